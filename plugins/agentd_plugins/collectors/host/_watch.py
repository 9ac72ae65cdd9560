"""Asks about one thing after the other in a single worker thread, and notices which call hangs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Answer = TypeVar("Answer")


class Watch(Generic[Item, Answer]):
    """Remembers which items hang: they are not asked again until their call has returned.

    ``function`` gives the answer for an item. ``hangs`` is told of one that was not answered within so many seconds,
    ``returned``, in the thread that hung, that its call is over.
    """

    def __init__(
        self,
        function: Callable[[Item], Answer],
        hangs: Callable[[Item, float], None],
        returned: Callable[[Item], None],
    ) -> None:
        self._function = function
        self._say_hangs = hangs
        self._say_returned = returned
        self._lock = threading.Lock()
        self._hanging: set[Item] = set()

    async def ask(
        self, items: Sequence[Item], in_worker: Callable[..., Awaitable[Any]], patience: Callable[[], float]
    ) -> dict[Item, Answer | None]:
        """Return an answer for each item, None for one that hangs. Those that nobody came to in time are missing.

        ``patience`` says before each hop into a worker how many seconds it may last; 0 ends the asking. An item at
        which a hop stands when its time is over counts as hanging, and the next hop goes on behind it. Raises
        ``TimeoutError`` where there was no answer at all, and whatever the function raises.
        """
        with self._lock:
            answers: dict[Item, Answer | None] = {item: None for item in items if item in self._hanging}
        rest = [item for item in items if item not in answers]
        begun = True
        while rest and begun and (seconds := patience()) > 0:
            hop = _Hop[Item, Answer](rest)
            await self._wait(hop, in_worker, seconds)
            begun = hop.begun > 0
            answers |= hop.answers
            if hop.hangs:
                answers[rest[hop.begun - 1]] = None
            rest = rest[hop.begun :]
        if rest and not answers:
            raise TimeoutError("no worker thread came free in time: see what else the log says hangs")
        return answers

    async def _wait(self, hop: "_Hop[Item, Answer]", in_worker: Callable[..., Awaitable[Any]], seconds: float) -> None:
        task = asyncio.ensure_future(in_worker(self._work, hop))
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:  # also where the whole collection is cancelled while it waits
            with self._lock:
                hop.left = True
                hop.hangs = hop.standing
                if hop.hangs:
                    self._hanging.add(hop.items[hop.begun - 1])
            if hop.hangs:
                self._say_hangs(hop.items[hop.begun - 1], seconds)
            if not task.done():
                task.cancel()  # what has not begun need not begin; what hangs goes on
        if task.done():
            task.result()

    def _work(self, hop: "_Hop[Item, Answer]") -> None:
        for item in hop.items:
            with self._lock:
                if not hop.begin():
                    return
            try:
                hop.answers[item] = self._function(item)
            finally:
                with self._lock:
                    hop.standing = False
                    self._hanging.discard(item)
            if hop.hangs:
                self._say_returned(item)


class _Hop(Generic[Item, Answer]):
    """One way through a worker thread, as both sides see it."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.begun = 0
        self.answers: dict[Item, Answer] = {}
        self.standing = False
        """Whether the item that was begun last has not returned."""
        self.left = False
        """Whether nobody waits any more."""
        self.hangs = False
        """Whether it stood when it was left."""

    def begin(self) -> bool:
        """Go on to the next item, if there is anybody who waits for it."""
        if not self.left:
            self.begun += 1
            self.standing = True
        return not self.left
