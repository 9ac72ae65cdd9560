"""Reads the journal, from a thread and by a connection of its own, a thousand rows at a time."""

import asyncio
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from agentd.events.envelope import Record
from agentd.store import database, salvage
from agentd.store.writer import Writer

FETCH = 1000
"""Rows that are fetched at once: a statement that stays open lets the write-ahead log grow."""

PAGE = 4 << 20
"""Bytes of events that are found by searching at once."""

Wanted = Callable[[str, str], bool]
"""Says of a type and a source whether such events are wanted."""

Answer = TypeVar("Answer")
Other = TypeVar("Other")


class Found(NamedTuple):
    """What was read from the journal."""

    records: list[Record]
    reached: int
    """The number up to which was looked, wanted or not; the next reading begins behind it."""
    written: float = inf
    """When the last of what was looked at was written down, in seconds since 1970; infinite where that is unknown."""


class DeadLetter(NamedTuple):
    """An event that its sink's receiver will never accept."""

    number: int
    record: Record
    time: float
    """When that was found out, in seconds since 1970."""
    reason: str


class Reader:
    """Reads what the writer has written, and what waits in its memory while the disk refuses."""

    def __init__(self, writer: Writer) -> None:
        self.damaged = 0
        """Events that were found damaged, and left out."""
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "agentd-journal-reader")
        self._connection: sqlite3.Connection | None = None
        self._opened = 0

    async def read(self, after: int, wanted: Wanted | None, events: int, size: int) -> Found:
        """Return the wanted events behind a number, in order; see ``Journal.read``."""

        def ask(connection: sqlite3.Connection) -> Found:
            query = "SELECT seq, type, source, data, crc FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            return self._chosen(after, connection.execute(query, (after, FETCH)), wanted, events, size)

        def read() -> Found:
            durable = self._writer.durable
            found = self._with_connection(ask, None)
            if found is None:
                found = Found([], after)
                if after < durable:  # what waits comes after what nobody can read now
                    return found
            if found.reached == after and self._writer.problem:
                rows = self._writer.waiting()
                if self._writer.durable == durable:  # nothing came between that was asked for too early
                    first = bisect_right(rows, after, key=itemgetter(0))
                    waiting = [(*row, crc32(row[3])) for row in rows[first : first + FETCH]]
                    return self._chosen(after, waiting, wanted, events, size)
            return found

        return await self._in_thread(read)

    async def search(self, before: int, wanted: Wanted | None, events: int) -> Found:
        """Return the last wanted events below a number, the newest first; see ``Journal.search``."""

        def ask(connection: sqlite3.Connection) -> Found:
            query = "SELECT seq, type, source, data, crc, stored FROM events WHERE seq < ? ORDER BY seq DESC LIMIT ?"
            times: list[float] = []

            def rows() -> Iterator[tuple[Any, ...]]:
                for *row, stored in connection.execute(query, (before, FETCH)):
                    times.append(stored if isinstance(stored, float) and stored else inf)
                    yield tuple(row)

            return self._chosen(before, rows(), wanted, events, PAGE)._replace(written=max(times, default=inf))

        return await self._in_thread(lambda: self._with_connection(ask, Found([], before)))

    async def count(self, after: int, until: int, wanted: Wanted) -> int:
        """Return how many wanted events there are behind a number, up to another; see ``Journal.count``."""

        def ask(connection: sqlite3.Connection) -> tuple[int, int]:
            query = "SELECT seq, type, source FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
            rows = connection.execute(query, (after, until, FETCH)).fetchall()
            # Of a damaged row, anything may be anything.
            return rows[-1][0] if rows else until, sum(wanted(str(type_), str(source)) for _, type_, source in rows)

        waiting = [(seq, wanted(type_, source)) for seq, type_, source, _ in self._writer.waiting() if seq <= until]
        total, written = 0, self._writer.durable
        while after < until:
            after, number = await self._in_thread(lambda: self._with_connection(ask, (until, 0)))
            total += number
        return total + sum(seq > written and it for seq, it in waiting)

    async def dead(self, sink: str, after: int, events: int) -> list[DeadLetter]:
        """Return dead letters of a sink behind a number, the oldest first."""
        query = (
            "SELECT number, seq, type, source, data, time, reason FROM dead WHERE sink = ? AND number > ? "
            "ORDER BY number LIMIT ?"
        )

        def ask(connection: sqlite3.Connection) -> list[DeadLetter]:
            return [
                DeadLetter(number, Record(seq, type_, source, data), when, reason)
                for number, seq, type_, source, data, when, reason in connection.execute(query, (sink, after, events))
            ]

        return await self._in_thread(lambda: self._with_connection(ask, []))

    async def count_dead(self) -> dict[str, int]:
        """Return how many dead letters each sink has."""

        def ask(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(connection.execute("SELECT sink, count(*) FROM dead GROUP BY sink"))

        return await self._in_thread(lambda: self._with_connection(ask, {}))

    def close(self) -> None:
        """End the thread, and close the connection."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    async def _in_thread(self, function: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _with_connection(self, ask: Callable[[sqlite3.Connection], Answer], otherwise: Other) -> Answer | Other:
        """Ask the database; return something else where it does not answer."""
        file = self._writer.file
        try:
            if file.path is None:
                with file.using:
                    return ask(file.connection) if file.connection is not None else otherwise
            if self._connection is None or self._opened != file.opened:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                if not file.opened or file.moved:
                    return otherwise
                self._opened = file.opened
                self._connection = database.reader(file.path)
            return ask(self._connection)
        except (*database.ERRORS, OSError) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if database.damaged(error):
                self._writer.suspect(error, self._opened)
            return otherwise

    def _chosen(
        self, reached: int, rows: Iterable[tuple[Any, ...]], wanted: Wanted | None, events: int, size: int
    ) -> Found:
        records: list[Record] = []
        for seq, type_, source, data, crc in rows:
            if not salvage.sound(seq, type_, source, data, crc):
                self.damaged += 1
                if seq > self._writer.durable:  # no number of an event: what lies behind it must not be passed over
                    continue
            elif wanted is None or wanted(type_, source):
                size -= len(data)
                if records and size < 0:
                    break
                records.append(Record(seq, type_, source, data))
            reached = seq
            if len(records) >= events:
                break
        return Found(records, reached)
