"""Folds events that repeat each other: the first goes at once, the others of a window become one, with a count."""

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agentd.events.envelope import Event, Record

MOST = 10_000
"""Different events whose windows are open at once; what is beyond goes as it is."""

LONGEST = 64
"""Characters or bytes of a key's value that are kept as they are; of what is longer, a digest is."""

HELD = 16 << 20
"""Bytes that are held back at most; what is beyond goes as it is."""


@dataclass(slots=True)
class _Window:
    until: float
    held: Record | None = None
    first: int = 0
    count: int = 0
    since: float = 0.0


class Condenser:
    """Folds the events of one sink. What is held back comes out when its window ends."""

    def __init__(self, key: Sequence[str], seconds: float) -> None:
        """Events repeat each other where these fields are the same, ``payload.plugin`` say."""
        self._fields = [field.split(".") for field in key]
        self._seconds = seconds
        self._windows: dict[Any, _Window] = {}
        self._ends: list[tuple[float, int, Any]] = []
        self._bytes = 0

    @property
    def due(self) -> float | None:
        """When the next window ends that may hold something, by the monotonic clock."""
        return self._ends[0][0] if self._ends else None

    @property
    def oldest(self) -> int | None:
        """The number of the oldest event that is held back."""
        return min((window.first for window in self._windows.values() if window.held is not None), default=None)

    def take(self, records: Iterable[Record], now: float) -> list[Record]:
        """Return those of the events that go at once, and keep the others."""
        passing = []
        for record in records:
            if not record.sound:  # it is set aside when it is sent
                passing.append(record)
                continue
            key = self._key(record.event)
            window = self._windows.get(key)
            if self._full(window, record):
                passing.append(record)
            elif window is None:
                self._windows[key] = _Window(now + self._seconds)
                heapq.heappush(self._ends, (now + self._seconds, record.seq, key))
                passing.append(record)
            else:
                if window.held is None:
                    window.first, window.since = record.seq, record.event.timestamp
                else:
                    self._bytes -= len(window.held.json)
                self._bytes += len(record.json)
                window.held = record
                window.count += 1
        return passing

    def ended(self, now: float) -> list[Record]:
        """Return what came together in windows that have ended, one event for each; those begin again."""
        records = []
        while self._ends and self._ends[0][0] <= now:
            _, seq, key = heapq.heappop(self._ends)
            window = self._windows.pop(key)
            if window.held is not None:
                self._bytes -= len(window.held.json)
                records.append(_folded(window))
                self._windows[key] = _Window(now + self._seconds)
                heapq.heappush(self._ends, (now + self._seconds, seq, key))
        return sorted(records, key=lambda record: record.seq)

    def _full(self, window: _Window | None, record: Record) -> bool:
        if window is None:
            return len(self._windows) >= MOST
        return window.held is None and self._bytes + len(record.json) > HELD

    def _key(self, event: Event) -> Any:
        values = []
        for path in self._fields:
            value: Any = getattr(event, path[0], None)
            for name in path[1:]:
                value = value.get(name) if isinstance(value, dict) else None
            known = value if isinstance(value, str | float | int | None) else msgspec.json.encode(value)
            if isinstance(known, str | bytes) and len(known) > LONGEST:  # each window keeps its key
                known = hashlib.sha256(known.encode() if isinstance(known, str) else known).digest()
            values.append(known)
        return tuple(values)


def _folded(window: _Window) -> Record:
    """Return the last event of a window, whose ``meta`` says how many it stands for, and since when."""
    assert window.held is not None  # noqa: S101  # the caller has seen to it
    last = window.held
    if window.count == 1:
        return last
    event = msgspec.structs.replace(
        last.event, meta={**last.event.meta, "condensed": {"count": window.count, "since": window.since}}
    )
    return Record(last.seq, last.type, last.source, msgspec.json.encode(event))
