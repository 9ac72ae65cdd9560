"""Something asynchronous in a thread and a loop of its own, so that it may hang, and be told where it does."""

import asyncio
import contextvars
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Generic, TypeVar

from agentd.testing.traces import shorten, stack

__tracebackhide__ = True

T = TypeVar("T")

Frame = tuple[FrameType, int]
"""A frame, and the number of the line at which it is."""

DEADLINE = 60.0
"""Seconds after which what a test started counts as hanging. It is no measurement: machines may be busy."""

WORKER = "agentd-worker"
"""The name of the threads in which plugins block."""


class Hang(AssertionError):
    """Something did not end in time. The text says where it hangs."""


class _Run(Generic[T]):
    def __init__(self, main: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._main = main
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.result: T
        self.error: BaseException | None = None

    def __call__(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._noted())
        except BaseException as error:  # noqa: BLE001  # it is raised again in the caller's thread
            self.error = error

    async def _noted(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            self.result = await self._main()
        except BaseException as error:  # noqa: BLE001  # as above, without asyncio's frames around it
            self.error = error

    def give_up(self, thread: threading.Thread) -> str:
        """Return where it hangs, and end it where it can be ended."""
        frames = sys._current_frames()  # noqa: SLF001  # documented, for debuggers
        here = frames.get(thread.ident or 0)
        found = _frames(here)
        if (
            self._loop is not None and here is not None and here.f_code.co_name == "select"
        ):  # the loop has nothing to do
            found = [each for task in asyncio.all_tasks(self._loop) for each in _awaited(task)]
            workers = [each for each in threading.enumerate() if each.name == WORKER and each.ident in frames]
            found += [each for worker in workers for each in _frames(frames[worker.ident or 0])]
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return "".join(stack(found).format())


def waiting(task: "asyncio.Task[Any]") -> traceback.StackSummary:
    """Return the lines at which a task waits, from the outermost inwards: those of a plugin, where there are any."""
    return stack(_awaited(task))


def _frames(frame: FrameType | None) -> list[Frame]:
    return list(traceback.walk_stack(frame))[::-1] if frame is not None else []


def _awaited(task: "asyncio.Task[Any]") -> list[Frame]:
    frames = []
    inner: Any = task.get_coro()
    while inner is not None:
        inner = getattr(inner, "_inner", inner)  # where each step is measured
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    return frames


def within(
    seconds: float,
    what: Callable[[], str] | str,
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Return what ``main`` returns, run in a thread with an event loop of its own; what it raises is raised here.

    Raises ``Hang`` where it is not done after so many seconds without ``progress`` having changed. Its thread, if it
    waits for something for ever, is left to itself.
    """
    run = _Run(main)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="agentd-testing", daemon=True)
    thread.start()
    before = None
    while True:
        thread.join(seconds)
        if not thread.is_alive():
            break
        if (now := progress()) == before:
            name = what if isinstance(what, str) else what()
            raise Hang(f"{name} is not done after {seconds:g} s. It hangs here:\n{run.give_up(thread)}")
        before = now
    if run.error is not None:
        shorten(run.error)
        raise run.error
    return run.result
