"""The journal: every event in the order in which it was emitted, a place in it for each sink, and what plugins keep."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentd.events.envelope import Record
from agentd.store import database, identity
from agentd.store.file import Aside
from agentd.store.reader import DeadLetter, Found, Reader, Wanted
from agentd.store.retention import Limits, Retention
from agentd.store.waiting import Row
from agentd.store.writer import Writer

CURSORS_EVERY = 0.25
"""Seconds between two times at which the places of sinks are written down. A crash repeats what came since."""

DEAD_LETTERS = 10_000
"""Dead letters that are kept for a sink; the oldest go."""


class NotWritten(Exception):
    """Something could not be written down; the text says why."""


class Journal:
    """What is kept of events. Made, opened and closed on the event loop; ``append`` is safe from any thread."""

    def __init__(
        self,
        directory: Path | None,
        limits: Limits,
        *,
        who: identity.Identity,
        synchronised: Callable[[], bool | None] = lambda: None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a directory all is kept in memory; ``settle`` is called when it may have been made anew."""
        self._directory = directory
        self.who = who
        """What belongs into the state directory as of the present journal."""
        size = limits.size if directory else limits.memory
        self._retention = Retention(size, limits.age, synchronised, self._count_losses)
        self._writer = Writer(
            directory / "journal.db" if directory else None,
            limits=limits._replace(size=size),
            anew=self._begin_anew,
            found=self._found,
            settle=settle,
            synchronised=synchronised,
            upkeep=self._retention.keep_up,
            changed=self._changed,
        )
        # In memory numbers begin with the time: whoever asks for what follows one must not take an old for a new one.
        self._writer.next = who.first + 1 if directory else int(time.time() * 1e6)
        self._reader = Reader(self._writer)
        self._cursors: dict[str, int] = {}
        self._dead: dict[str, int] | None = None
        self._moved: set[str] = set()
        self._saving: asyncio.TimerHandle | None = None
        self._state: dict[str, dict[str, Any]] = {}
        self._watching: dict[str, Wanted] = {}
        self._lost: dict[str, int] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self.taken = 0
        """Events that were taken since the journal was opened."""

    @property
    def durable(self) -> bool:
        """Whether what is committed is on a disk."""
        return self._directory is not None

    @property
    def problem(self) -> str:
        """Why nothing can be written down now; empty while all is well."""
        return self._writer.problem

    @property
    def last(self) -> int:
        """The number of the last event that readers can get."""
        return self._writer.last

    @property
    def written(self) -> int:
        """The number of the last event that was written down: what has a higher one may yet be lost, or get another."""
        return self._writer.durable

    def open(self) -> None:
        """Open what is on disk, and begin to write."""
        self._writer.open()

    async def close(self, within: float = 2.0) -> None:
        """Write down what there is, and close everything."""
        self._save_cursors()
        if self._saving is not None:
            self._saving.cancel()
        await asyncio.to_thread(self._writer.close, within)
        await asyncio.to_thread(self._reader.close)
        for waiter in self._waiters:
            waiter.cancel()

    def append(self, type: str, source: str, head: bytes) -> None:
        """Take an event, to be written down soon; ``head`` is its envelope up to where its number belongs."""
        writer = self._writer
        with writer.lock:
            seq = writer.next
            writer.next = seq + 1
            self.taken += 1
            writer.put((seq, type, source, b"%b%d}}" % (head, seq)))

    async def commit(
        self, events: Sequence[tuple[str, str, bytes]], plugin: str = "", state: Mapping[str, Any] | None = None
    ) -> None:
        """Write events and a plugin's state down in one transaction; return when they are on disk.

        Raises ``NotWritten`` where that cannot be done now: then nothing of it was.
        """
        if not self.durable:
            raise NotWritten("events are kept in memory only: [journal] enabled = false")
        if self.problem:
            raise NotWritten(self.problem)
        changes = {
            database.text(key): None if value is None else msgspec.json.encode(value)
            for key, value in (state or {}).items()
        }

        def work(connection: sqlite3.Connection) -> None:
            for key, value in changes.items():
                if value is None:
                    connection.execute("DELETE FROM state WHERE plugin = ? AND key = ?", (plugin, key))
                else:
                    connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (plugin, key, value))

        def written(done: "asyncio.Future[object]") -> None:
            if not _failed(done):  # whether or not somebody still waits for it
                kept = self._state.setdefault(plugin, {})
                for key, value in changes.items():
                    if value is None:
                        kept.pop(key, None)
                    else:
                        kept[key] = msgspec.json.decode(value)

        with self._writer.lock:
            first = self._writer.next
            self._writer.next += len(events)
            self.taken += len(events)
            rows: list[Row] = [
                (seq, type_, source, b"%b%d}}" % (head, seq)) for seq, (type_, source, head) in enumerate(events, first)
            ]
            done = self._writer.submit(work, rows)
        done.add_done_callback(written)
        await _finished(done)

    def state(self, plugin: str) -> dict[str, Any]:
        """Return what a plugin has committed; the very dictionary, which follows what it commits."""
        return self._state.setdefault(plugin, {})

    async def wait(self, after: int, *, written: bool = False) -> None:
        """Return when there is an event with a higher number that can be read, or that was ``written`` down."""
        while (self.written if written else self.last) <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def read(self, after: int, *, wanted: Wanted | None = None, events: int = 500, size: int = 1 << 20) -> Found:
        """Return the wanted events behind a number, in order: at most so many, and so many bytes, but at least one.

        Looks at a limited number of events: what is found may be nothing, and the reading has to go on from there.
        """
        return await self._reader.read(after, wanted, events, size)

    async def search(self, before: int | None, *, wanted: Wanted | None = None, events: int = 100) -> Found:
        """Return the last wanted events below a number (or of all), the newest first; as ``read`` otherwise."""
        return await self._reader.search(before if before is not None else 1 << 62, wanted, events)

    async def count(self, after: int, until: int, wanted: Wanted) -> int:
        """Return how many wanted events there are behind a number, up to another, as far as they can be read now."""
        return await self._reader.count(after, until, wanted)

    def cursor(self, sink: str) -> int | None:
        """Return the number up to which a sink has got its events; None for one that is new."""
        return self._cursors.get(sink)

    def move(self, sink: str, seq: int) -> None:
        """Note that a sink has got all up to a number. It is written down soon."""
        self._cursors[sink] = seq
        self._moved.add(sink)
        self._save_soon()

    def watch(self, sink: str, wanted: Wanted | None) -> None:
        """Count what a sink loses when old events are dropped before it got them; None ends that."""
        if wanted is None:
            self._watching.pop(sink, None)
        else:
            self._watching[sink] = wanted

    def losses(self) -> dict[str, int]:
        """Return how many events each sink has lost since the last time that this was asked."""
        with self._writer.lock:
            lost, self._lost = self._lost, {}
        return lost

    def asides(self) -> list[Aside]:
        """Return the databases that were set aside since the last time that this was asked."""
        asides = self._writer.file.aside
        return [asides.pop(0) for _ in range(len(asides))]

    @property
    def dropped(self) -> int:
        """Events that were lost because there was no room in memory while they waited to be written down."""
        return self._writer.dropped

    @property
    def damaged(self) -> int:
        """Events that were found damaged when they were read, and left out."""
        return self._reader.damaged

    @property
    def size(self) -> int:
        """Bytes in use in the file, as of the last look."""
        return self._retention.used

    def commit_durations(self) -> list[float]:
        """Return how many seconds each transaction took since the last time that this was asked."""
        commits = self._writer.commits
        return [commits.popleft() for _ in range(len(commits))]

    async def bury(self, sink: str, records: Iterable[Record], reason: str) -> None:
        """Keep events that a sink's receiver will never accept. Raises ``NotWritten``."""
        rows = [
            (sink, record.seq, time.time(), database.storable(reason[:1000]), record.type, record.source, record.json)
            for record in records
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO dead (sink, seq, time, reason, type, source, data) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM dead WHERE sink = ?1 AND number <= (SELECT number FROM dead WHERE sink = ?1 "
                "ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (sink, DEAD_LETTERS),
            )

        await self._job(work)
        self._dead = None

    async def dead(self, sink: str, after: int = 0, events: int = 100) -> list[DeadLetter]:
        """Return dead letters of a sink behind a number, the oldest first."""
        return await self._reader.dead(sink, after, events)

    async def count_dead(self) -> dict[str, int]:
        """Return how many dead letters each sink has."""
        if self._dead is None:  # to count them is to read them all
            self._dead = counting = dict[str, int]()
            counting |= await self._reader.count_dead()
            return counting
        return self._dead

    async def bury_no_more(self, sink: str, numbers: Sequence[int]) -> None:
        """Forget dead letters, which arrived after all or were given up. Raises ``NotWritten``."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM dead WHERE sink = ? AND number = ?", [(sink, n) for n in numbers])

        await self._job(work)
        self._dead = None

    async def _job(self, work: Callable[[sqlite3.Connection], object]) -> None:
        with self._writer.lock:
            done = self._writer.submit(work)
        await _finished(done)

    def _save_soon(self) -> None:
        if self._saving is None:
            self._saving = self._writer.loop.call_later(CURSORS_EVERY, self._save_cursors)

    def _save_cursors(self) -> None:
        self._saving = None
        moved = [(sink, self._cursors[sink]) for sink in self._moved]
        self._moved.clear()
        if not moved:
            return

        def written(done: "asyncio.Future[object]") -> None:
            if _failed(done) and not self._writer.closed:
                self._moved.update(sink for sink, _ in moved)
                self._save_soon()

        with self._writer.lock:
            done = self._writer.submit(
                lambda connection: connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", moved)
            )
        done.add_done_callback(written)

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _begin_anew(self, highest: int) -> None:
        """Number what follows above all that a lost journal may have given out. Called in the writer's thread."""
        who = self.who.next_journal(highest)
        if self._directory is not None and who.agent_id:
            identity.save(self._directory, who)
        self.who = who
        with self._writer.lock:
            self._writer.next = max(self._writer.next, highest + 1, who.first + 1)

    def _found(self, connection: sqlite3.Connection) -> None:
        """Go on from what a database has. Called in the writer's thread, but for the first."""
        cursors = dict(connection.execute("SELECT sink, seq FROM cursors"))
        state = connection.execute("SELECT plugin, key, value FROM state").fetchall()
        with self._writer.lock:
            for sink, seq in cursors.items():
                self._cursors.setdefault(sink, seq)
            for plugin, key, value in state:
                with contextlib.suppress(msgspec.DecodeError):
                    self._state.setdefault(plugin, {}).setdefault(key, msgspec.json.decode(value))

    def _count_losses(self, gone: Sequence[tuple[int, str, str]]) -> None:
        for sink, wanted in list(self._watching.items()):
            cursor = self._cursors.get(sink, 0)
            lost = sum(seq > cursor and wanted(type_, source) for seq, type_, source in gone)
            if lost:
                with self._writer.lock:
                    self._lost[sink] = self._lost.get(sink, 0) + lost


def _failed(done: "asyncio.Future[object]") -> bool:
    return done.cancelled() or done.exception() is not None


async def _finished(done: "asyncio.Future[object]") -> None:
    try:
        await asyncio.shield(done)
    except Exception as error:
        raise NotWritten(str(error)) from error
