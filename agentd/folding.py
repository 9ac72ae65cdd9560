"""Folds what is said again and again: the first time is passed on, later ones are counted. Pure: time is handed in."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

WINDOW = 300.0
"""Seconds for which the same is counted, from the first time on."""

LINES = 1000
"""Different lines that are remembered at once. Where there are more, the oldest is done with sooner."""

LONGEST = 500
"""Characters that are remembered of each."""


class Repeats(NamedTuple, Generic[K]):
    """What was not passed on of one line."""

    key: K
    text: str
    """How it was worded the last time."""
    times: int
    seconds: float
    """Since the first time, which was passed on and is not counted."""

    def __str__(self) -> str:
        times = "once" if self.times == 1 else f"{self.times} times"
        span = f"{self.seconds / 60:.0f} min" if self.seconds >= 60 else f"{self.seconds:.0f} s"
        return f"{self.text} (the same {times} in {span})"


@dataclass(slots=True)
class _Window:
    began: float
    times: int = 0
    text: str = ""


class Folding(Generic[K]):
    """The lines that were said lately, told apart by a key."""

    def __init__(self, window: float = WINDOW, lines: int = LINES) -> None:
        self._window = window
        self._lines = lines
        self._windows: OrderedDict[K, _Window] = OrderedDict()  # which are in the order in which they began

    def is_new(self, key: K, text: str, now: float) -> bool:
        """Say whether a line is to be passed on; if it is not, it is counted. ``ended`` comes first."""
        window = self._windows.get(key)
        if window is None:
            self._windows[key] = _Window(now)
            return True
        window.times += 1
        window.text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        return False

    def ended(self, now: float, *, room: int = 0) -> list[Repeats[K]]:
        """Forget the lines whose window is over, and as many as it takes to have ``room`` for others; return what was
        counted of them.
        """
        told = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if now - window.began < self._window and len(self._windows) + room <= self._lines:
                break
            del self._windows[key]
            if window.times:
                told.append(Repeats(key, window.text, window.times, now - window.began))
        return told

    def all(self, now: float) -> list[Repeats[K]]:
        """Forget all lines; return what was counted of them."""
        return self.ended(now, room=self._lines + 1)
