"""What was put together once and may be needed again, as long as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by their keys: so many at most, and none that was not asked for lately.

    A plain cache would keep the series of ten thousand robots that have gone until as many other answers have come.
    """

    def __init__(self, most: int, lookups: int) -> None:
        """Keep what was asked for among so many lookups; the check itself is made once in so many."""
        self._most = most
        self._lookups = lookups
        self._known: dict[K, V] = {}
        self._asked: dict[K, int] = {}
        self._now = 0

    def __iter__(self) -> Iterator[V]:
        return iter(list(self._known.values()))

    def get(self, key: K) -> V | None:
        """Return what is known by a key."""
        self._now += 1
        if self._now % self._lookups == 0:
            self._forget()
        value = self._known.get(key)
        if value is not None:
            self._asked[key] = self._now
        return value

    def put(self, key: K, value: V) -> V:
        """Remember a value, in the place of the one that was not asked for longest where there are too many."""
        if key not in self._known and len(self._known) >= self._most:
            oldest = min(self._asked, key=self._asked.__getitem__)
            del self._known[oldest], self._asked[oldest]
        self._known[key] = value
        self._asked[key] = self._now
        return value

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self._asked.clear()

    def _forget(self) -> None:
        since = self._now - self._lookups
        self._asked = {key: asked for key, asked in self._asked.items() if asked > since}
        self._known = {key: self._known[key] for key in self._asked}
