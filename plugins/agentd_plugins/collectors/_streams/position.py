"""Where a reader stands in a stream, and how many entries went before it got them (XINFO STREAM of Redis 7)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Entry = Sequence[Any]
"""An entry as Redis sends it: its id, and its fields and values in turns, all of them bytes."""

FIRST = b"0-0"


def number(id_: bytes) -> tuple[int, int]:
    """Return an entry's id as numbers that can be compared: milliseconds since 1970 as a rule, and a counter."""
    milliseconds, _, counter = id_.partition(b"-")
    return int(milliseconds), int(counter or b"0")


class Info(NamedTuple):
    """What a server tells of a stream."""

    last: bytes
    """The highest id that the stream ever had."""
    length: int
    added: int | None
    """How many entries were ever added; None: the server does not know (before Redis 7)."""
    first: bytes | None
    """The id of the oldest entry that is there."""


def info(answer: Sequence[Any]) -> Info:
    """Return what an answer to XINFO STREAM says."""
    told: Mapping[bytes, Any] = dict(zip(answer[::2], answer[1::2], strict=False))
    first = told.get(b"first-entry")
    return Info(told[b"last-generated-id"], told[b"length"], told.get(b"entries-added"), first[0] if first else None)


class Position:
    """Where a reader stands in a stream: behind which entry, and the how many-th of all that was."""

    def __init__(self, id_: bytes, added: int | None, lost: int = 0, gaps: int = 0) -> None:
        self.id = id_
        self.added = added
        """How many entries were added up to this one, as far as is known."""
        self.lost = lost
        """Entries that were gone before they were read."""
        self.gaps = gaps
        """How many times that was found."""
        self._mark: tuple[bytes, int] | None = None

    @classmethod
    def new(cls, found: Info | None, *, beginning: bool) -> "Position":
        """Return where a reader begins that was never there before. What is gone already is no loss of its."""
        if found is None:
            return cls(FIRST, 0)
        if beginning:
            return cls(FIRST, None if found.added is None else found.added - found.length)
        return cls(found.last, found.added)

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> "Position":
        """Return what was saved."""
        return cls(saved["id"].encode(), saved["added"], saved["lost"], saved["gaps"])

    def save(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"id": self.id.decode(), "added": self.added, "lost": self.lost, "gaps": self.gaps}

    def read(self, entries: Sequence[Entry], *, all_there_was: bool) -> None:
        """Go on behind entries that were read; they may be all that there was when they were asked for."""
        mark = self._mark
        if entries:
            self.id = entries[-1][0]
        if mark is not None and (all_there_was or number(self.id) >= number(mark[0])):
            within = bisect_right(entries, number(mark[0]), key=lambda entry: number(entry[0]))
            self._settle(mark[1], within)
            self.added = mark[1] + len(entries) - within
            self._mark = None
        elif self.added is not None:
            self.added += len(entries)

    def look(self, found: Info | None) -> bool:
        """Compare with what the server tells, and say whether anything was learned.

        A gap is counted when the reader has come to the last entry that the server told of.
        """
        if found is None:  # there is no such stream: whatever comes will be the first
            changed, self.added, self._mark = self.added != 0, 0, None
            return changed
        if number(found.last) < number(self.id):  # it was deleted, and another one made under its name
            self.id, self.added, self._mark = FIRST, 0, None
            self.gaps += 1
            return True
        if found.added is None:
            return False
        if found.last != self.id:
            self._mark = (found.last, found.added)
            return False
        changed = self.added != found.added
        self._settle(found.added, 0)
        self.added = found.added
        return changed

    def _settle(self, added: int, read: int) -> None:
        """Count what is missing where so many were added, and so many more read than was noted so far."""
        missing = 0 if self.added is None else added - self.added - read
        if missing > 0:
            self.lost += missing
        if missing:  # less than none: it was deleted, and another one made under its name
            self.gaps += 1
