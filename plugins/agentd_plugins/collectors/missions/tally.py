"""What was counted: missions by status, those that are open, and how long they took."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from agentd.plugin import Histogram
from agentd_plugins.collectors._streams.position import Entry
from agentd_plugins.collectors.missions.entry import said

OTHER = "other"
"""The status under which those are counted for which there is no room."""

STATUS, OPEN, UNREADABLE, FORGOTTEN, DURATIONS = "status/", "open/", "unreadable", "forgotten", "durations"
"""What the keys of the state are called, or begin with."""


_UNKNOWN = None, 0


class Meaning(NamedTuple):
    """What a status means."""

    label: str
    """Under which it is counted."""
    starts: bool
    """Whether a mission begins with it."""
    ends: bool
    """Whether a mission is over with it."""


class Statuses:
    """What statuses mean, and how many there may be."""

    def __init__(self, starts: Iterable[str], ends: Iterable[str], most: int) -> None:
        self._starts = {status.lower() for status in starts}
        self._ends = {status.lower() for status in ends}
        self._most = most
        self._known: dict[str, Meaning] = {}
        self.refused = ""
        """The first status for which there was no room."""

    def know(self, status: str) -> Meaning:
        """Return what a status means."""
        meaning = self._known.get(status)
        if meaning is None:
            lower = status.lower()
            meaning = Meaning(status, lower in self._starts, lower in self._ends)
            if status == OTHER:  # which takes no room
                return meaning
            if len(self._known) >= self._most:
                self.refused = self.refused or status
                return meaning._replace(label=OTHER)
            self._known[status] = meaning
        return meaning


class Durations:
    """A histogram of seconds."""

    def __init__(self, bounds: Sequence[float], saved: Mapping[str, Any] | None = None) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """How many took longer than the bound before, and no longer than this one; the last: than any bound."""
        self.sum = 0.0
        if saved is not None and tuple(saved["bounds"]) == self.bounds:
            self.counts, self.sum = list(saved["counts"]), float(saved["sum"])

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def save(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"bounds": self.bounds, "counts": self.counts, "sum": self.sum}

    def histogram(self) -> Histogram:
        """Return it as a sample."""
        cumulative = list(accumulate(self.counts))
        return Histogram(tuple(zip(self.bounds, cumulative, strict=False)), cumulative[-1], self.sum)


class Tally:
    """Counts entries in memory. ``changes`` is what has to be saved together with the place up to which was counted."""

    def __init__(
        self, statuses: Statuses, bounds: Sequence[float], state: Mapping[str, Any], *, most: int, forget_after: float
    ) -> None:
        """``most`` missions are open at once; one of which nothing is heard for ``forget_after`` seconds is none."""
        self._state = state
        self._statuses = statuses
        self._most = most
        self._forget_after = int(forget_after * 1000)
        self.counts = {key.removeprefix(STATUS): n for key, n in state.items() if key.startswith(STATUS)}
        for status in self.counts:
            statuses.know(status)
        found = sorted((seen, key, start) for key, (start, seen) in _below(state, OPEN))
        self.open: dict[str, tuple[int | None, int]] = {key: (start, seen) for seen, key, start in found}
        """By mission, when it began and when it was heard of last, in milliseconds since 1970; the latter in order."""
        self.unreadable: int = state.get(UNREADABLE, 0)
        self.forgotten: int = state.get(FORGOTTEN, 0)
        self.durations = Durations(bounds, state.get(DURATIONS))
        self._changed: set[str] = set()
        self._touched: set[str] = set()

    def count(self, entries: Iterable[Entry]) -> None:
        """Count entries of one stream."""
        counted: dict[str, int] = {}
        know, follow = self._statuses.know, self._follow
        last, now = b"", 0
        for id_, fields in entries:
            found = said(fields) if fields else None
            if found is None:
                self.unreadable += 1
                self._changed.add(UNREADABLE)
                continue
            status, mission = found
            label, starts, ends = know(status)
            counted[label] = counted.get(label, 0) + 1
            if mission is not None:
                milliseconds = id_.partition(b"-")[0]
                if milliseconds != last:  # entries that come close together have the same
                    last, now = milliseconds, int(milliseconds)
                follow(mission, now, starts, ends)
        for label, number in counted.items():
            self.counts[label] = self.counts.get(label, 0) + number
            self._changed.add(STATUS + label)

    def _follow(self, mission: str, now: int, starts: bool, ends: bool) -> None:  # noqa: FBT001  # called for each entry
        open_ = self.open
        start, _ = open_.pop(mission, _UNKNOWN)
        self._touched.add(mission)
        if not ends:
            open_[mission] = (now if start is None and starts else start, now)
            if len(open_) > self._most:
                self._forget(next(iter(open_)))
        elif start is not None:
            self.durations.add(max(0, now - start) / 1000)
            self._changed.add(DURATIONS)

    def expire(self, now: float) -> None:
        """Forget missions of which nothing was heard for long; ``now`` in seconds since 1970."""
        due = int(now * 1000) - self._forget_after
        while self.open:
            mission, (_, seen) = next(iter(self.open.items()))
            if seen >= due:
                return
            self._forget(mission)

    def _forget(self, mission: str) -> None:
        del self.open[mission]
        self._touched.add(mission)
        self.forgotten += 1
        self._changed.add(FORGOTTEN)

    def changes(self) -> dict[str, Any]:
        """Return what has changed since ``saved``."""
        changes: dict[str, Any] = {
            key: self.open.get(mission)
            for mission in self._touched
            if (key := OPEN + mission) in self._state or mission in self.open
        }
        for key in self._changed:
            changes[key] = self._value(key)
        return changes

    def saved(self) -> None:
        """Note that ``changes`` were saved."""
        self._changed.clear()
        self._touched.clear()

    def _value(self, key: str) -> Any:
        if key == DURATIONS:
            return self.durations.save()
        if key in (UNREADABLE, FORGOTTEN):
            return self.unreadable if key == UNREADABLE else self.forgotten
        return self.counts[key.removeprefix(STATUS)]


def _below(state: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    return ((key.removeprefix(prefix), value) for key, value in state.items() if key.startswith(prefix))
