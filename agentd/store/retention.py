"""How much is kept: the oldest events go when the journal is too large, or they are too old."""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agentd.store import database

CHUNK = 1000
"""Rows that are deleted at once, so that what is to be written never waits for long."""

SPARE = 64
"""Free pages that the file may have before it is made smaller."""


class Limits(NamedTuple):
    """How much is kept."""

    size: int
    """Bytes of the file."""
    age: float
    """Seconds."""
    memory: int
    """Bytes that may wait to be written; without a disk, bytes that are kept."""


def default_size(directory: Path) -> int:
    """Return 5 % of the disk, at most 256 MiB."""
    status = os.statvfs(directory)
    return int(min(256 << 20, max(1 << 20, status.f_blocks * status.f_frsize * 0.05)))


class Retention:
    """Drops what is too much, a little at a time. Called in the writer's thread."""

    def __init__(
        self,
        size: int,
        age: float,
        synchronised: Callable[[], bool | None],
        gone: Callable[[Sequence[tuple[int, str, str]]], None],
    ) -> None:
        """``gone`` is told of each chunk of events that were dropped: their numbers, types and sources."""
        self.used = 0
        """Bytes in use, as of the last look."""
        self._size = size
        self._age = age
        self._synchronised = synchronised
        self._gone = gone

    def keep_up(self, connection: sqlite3.Connection) -> bool:
        """Drop a chunk where there is too much; say whether there may be more to do."""
        page, pages, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        self.used = page * (pages - free)
        oldest = connection.execute(
            "SELECT seq, type, source, stored FROM events ORDER BY seq LIMIT ?", (CHUNK,)
        ).fetchall()
        bound = oldest[-1][0] if oldest and self.used > self._size else 0
        if self._synchronised() is not False:
            cutoff = time.time() - self._age
            # Rows from a time when the clock was wrong are as old as a later one says, at least.
            bound = max([bound, *(seq for seq, _, _, stored in oldest if 0 < stored < cutoff)])
        gone = [(seq, type_, source) for seq, type_, source, _ in oldest if seq <= bound]
        if gone:
            with database.transaction(connection):
                connection.execute("DELETE FROM events WHERE seq <= ?", (bound,))
            self._gone(gone)
        if free > SPARE:
            connection.execute(f"PRAGMA incremental_vacuum({8 * SPARE})").fetchall()
        return bool(gone) or free > SPARE
