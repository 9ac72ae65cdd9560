"""How much is kept: the oldest events go when the journal is too large, or they are too old."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agentd.store import database

log = logging.getLogger(__name__)

CHUNK = 1000
"""Rows that are deleted at once, so that what is to be written never waits for long."""

DEAD_SHARE = 4
"""What part of the file dead letters may take when it is full: one in so many."""

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
    """Return 5 % of the disk, at most 256 MiB; of a small one, up to a quarter and 1 MiB."""
    status = os.statvfs(directory)
    disk = status.f_blocks * status.f_frsize
    return int(min(256 << 20, max(disk * 0.05, min(1 << 20, disk * 0.25))))


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
        excess = self.used - self._size
        if excess > 0 and self._thin_out_dead_letters(connection):
            return True
        oldest = connection.execute(
            # The newest stays: the next life goes on from its number, and must not give out one twice.
            "SELECT seq, type, source, stored, length(data) FROM events "
            "WHERE seq < (SELECT max(seq) FROM events) ORDER BY seq LIMIT ?",
            (CHUNK,),
        ).fetchall()
        bound = 0
        for seq, _, _, _, length in oldest:
            if excess <= 0:
                break
            bound, excess = seq, excess - max(1, length or 0)
        if self._synchronised() is not False:
            cutoff = time.time() - self._age
            # Rows from a time when the clock was wrong are as old as a later one says, at least.
            aged = (seq for seq, _, _, stored, _ in oldest if isinstance(stored, float) and 0 < stored < cutoff)
            bound = max([bound, *aged])
        # Of a damaged row, anything may be anything.
        gone = [(seq, str(type_), str(source)) for seq, type_, source, _, _ in oldest if seq <= bound]
        if gone:
            with database.transaction(connection):
                connection.execute("DELETE FROM events WHERE seq <= ?", (bound,))
            self._gone(gone)
        if free > SPARE:
            many = min(8 * SPARE, max(16, self._size // 16 // page))  # each of them may go through the log
            connection.execute(f"PRAGMA incremental_vacuum({many})").fetchall()
        return bool(gone) or free > SPARE

    def _thin_out_dead_letters(self, connection: sqlite3.Connection) -> bool:
        """Forget the oldest dead letters where all take more than a quarter: they must not drive out the events."""
        (size,) = connection.execute("SELECT total(length(data)) FROM dead").fetchone()
        if size <= self._size / DEAD_SHARE:
            return False
        with database.transaction(connection):
            connection.execute(
                "DELETE FROM dead WHERE number IN (SELECT number FROM dead ORDER BY number LIMIT 1 + "
                "(SELECT count(*) FROM dead) / 10)"
            )
        log.warning("journal: the oldest dead letters were dropped: all took more than a quarter of its size")
        return True
