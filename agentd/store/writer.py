"""The one thread that writes: what was emitted and what was asked for, together in one transaction at a time."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from agentd.store import database, salvage

log = logging.getLogger(__name__)

LINGER = 0.01
"""Seconds for which what was emitted waits for more, so that one flush of the disk serves all."""

RETRY = (0.5, 30.0)
"""Seconds between two attempts to write to a disk that refuses: at first, and at last."""

INSERT = "INSERT INTO events (seq, type, source, stored, crc, data) VALUES (?, ?, ?, ?, ?, ?)"


Row = tuple[int, str, str, bytes]
"""An event to be written down: number, type, source, envelope. A named tuple would take as long to make as all else."""


class Job(NamedTuple):
    """Something to be done in a transaction, with events of its own, and who waits for it."""

    work: Callable[[sqlite3.Connection], object]
    rows: Sequence[Row]
    done: "asyncio.Future[object] | None"


class Aside(NamedTuple):
    """A database that was set aside, and why."""

    path: Path
    reason: str
    salvaged: salvage.Salvaged


class Writer:
    """Writes from a thread of its own. A disk that refuses is tried again; what waits meanwhile has a limit."""

    def __init__(
        self,
        path: Path | None,
        *,
        memory: int,
        anew: Callable[[int], None],
        synchronised: Callable[[], bool | None],
        upkeep: Callable[[sqlite3.Connection], bool],
        changed: Callable[[], None],
    ) -> None:
        """``anew`` is called with the highest number that a lost journal had, before the new one takes any; ``upkeep``
        is called when there is nothing to write and says whether there is more of it to do; ``changed`` is
        called on the event loop when something was written, or could not be.
        """
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self.durable = 0
        """The highest number that was written down."""
        self.opened = 0
        """How often a database was opened: readers open theirs anew when this changes."""
        self.problem = ""
        """Why nothing can be written now; empty while all is well."""
        self.dropped = 0
        """Events for which there was no room in memory."""
        self.aside: list[Aside] = []
        """What was set aside and nobody was told of yet."""
        self.commits: deque[float] = deque(maxlen=10_000)
        """Seconds that the last transactions took; whoever tells of them takes them away."""
        self.using = threading.Lock()
        """Held while the connection is used: one in memory serves readers, too."""
        self._memory = memory
        self._anew = anew
        self._synchronised = synchronised
        self._upkeep = upkeep
        self._changed = changed
        self.loop = asyncio.get_running_loop()
        self._ready = threading.Condition(threading.Lock())
        self._rows: deque[Row] = deque()
        self._jobs: list[Job] = []
        self._bytes = 0
        self._writing: Sequence[Row] = ()
        self._idle = False
        self._told = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="agentd-journal", daemon=True)

    def open(self) -> None:
        """Open the database and start. Where the disk refuses, the thread goes on trying."""
        with contextlib.suppress(sqlite3.Error, OSError):
            self._connect()
        self._thread.start()

    def put(self, row: Row) -> None:
        """Have an event written down. The caller holds ``lock``; takes a moment, from any thread."""
        self._rows.append(row)
        self._bytes += len(row[3]) + 200
        while self._bytes > self._memory:
            self._bytes -= len(self._rows.popleft()[3]) + 200
            self.dropped += 1
        if self._idle:
            self._idle = False
            self._ready.notify()
        if self.problem and not self._told:
            self._tell()

    @property
    def lock(self) -> threading.Condition:
        """What is held while numbers are given out, so that events are written in their order."""
        return self._ready

    def submit(
        self, work: Callable[[sqlite3.Connection], object], rows: Sequence[Row] = ()
    ) -> "asyncio.Future[object]":
        """Have something done in the next transaction, and ``rows`` written. The caller holds ``lock``.

        The future fails with ``sqlite3.Error`` or ``OSError`` where that is not possible now; it is not tried again.
        """
        done: asyncio.Future[object] = self.loop.create_future()
        self._jobs.append(Job(work, rows, done))
        self._idle = False
        self._ready.notify()
        return done

    def suspect(self, error: sqlite3.Error) -> None:
        """Note that a reader found the file damaged. From any thread."""

        def work(_connection: sqlite3.Connection) -> None:
            raise error

        with self.lock:
            self._jobs.append(Job(work, (), None))
            self._idle = False
            self._ready.notify()

    def waiting(self) -> list[Row]:
        """Return the events that could not be written down yet, in their order; those that soon will be are none."""
        with self._ready:
            return [*self._writing, *self._rows] if self.problem else []

    def close(self, within: float) -> None:
        """Write what there is, and end; give up after ``within`` seconds."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(within)
        if self._thread.is_alive():
            log.error("journal: %d events could not be written down in time", len(self._rows) + len(self._writing))

    def _run(self) -> None:
        wait = RETRY[0]
        while True:
            rows, jobs = self._take()
            if not rows and not jobs and self._closing:
                break
            try:
                if self.connection is None:
                    self._connect()
                self._write(rows, jobs)
            except Exception as error:  # noqa: BLE001  # whatever it is, this thread goes on
                self._refused(rows, jobs, error)
                if self._closing:
                    break
                self._pause(wait)
                wait = min(2 * wait, RETRY[1])
            else:
                wait = RETRY[0]
        with self.using:
            if self.connection is not None:
                self.connection.close()

    def _take(self) -> tuple[Sequence[Row], list[Job]]:
        """Wait until there is something to do, and return it; nothing at the end."""
        more = True
        while True:
            with self._ready:
                if not (self._rows or self._jobs or self._closing):
                    self._idle = True
                    self._ready.wait(None if not more else 1.0)
                    self._idle = False
                if self._rows and not self._jobs and not self._closing:
                    self._ready.wait(LINGER)  # a job ends it
                if self._rows or self._jobs or self._closing:
                    rows, self._rows = self._rows, deque()
                    jobs, self._jobs = self._jobs, []
                    self._writing, self._bytes = rows, 0
                    return rows, jobs
            more = self._kept_up()

    def _kept_up(self) -> bool:
        if self.connection is None:
            return True
        try:
            with self.using:
                return self._upkeep(self.connection)
        except sqlite3.Error as error:
            self._refused((), [], error)
            return True

    def _write(self, rows: Sequence[Row], jobs: list[Job]) -> None:
        assert self.connection is not None  # noqa: S101  # _run has seen to it
        began = time.monotonic()
        stored = time.time() if self._synchronised() is not False else 0.0
        everything = [*rows, *(row for job in jobs for row in job.rows)]
        everything.sort()  # jobs and emitted events took their numbers in turns
        with self.using, database.transaction(self.connection):
            self.connection.executemany(
                INSERT, [(seq, type_, source, stored, crc32(data), data) for seq, type_, source, data in everything]
            )
            results = [job.work(self.connection) for job in jobs]
        self.commits.append(time.monotonic() - began)
        if self.problem:
            log.warning("journal: it can be written to again")
        with self._ready:
            self._writing = ()
            self.problem = ""
            if everything:
                self.durable = everything[-1][0]
        self._tell([(job, result) for job, result in zip(jobs, results, strict=True)])

    def _refused(self, rows: Sequence[Row], jobs: list[Job], error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and database.damaged(error):
            try:
                self._set_aside(f"it is damaged: {error}")
            except (sqlite3.Error, OSError) as further:
                error = further
        text = f"{type(error).__name__}: {error}"
        if text != self.problem:
            log.error("journal: nothing can be written down: %s; events wait in memory, and it is tried again", error)
        with self._ready:
            self._rows.extendleft(reversed(rows))
            self._bytes += sum(len(row[3]) + 200 for row in rows)
            self._writing = ()
            self.problem = text
        self._tell([(job, error) for job in jobs])

    def _pause(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        while not self._closing and time.monotonic() < due and self.problem:
            with self._ready:
                jobs, self._jobs = self._jobs, []  # who waits for the disk now waits in vain
                if not jobs:
                    self._ready.wait(min(0.1, seconds))
            if jobs:
                self._tell([(job, sqlite3.OperationalError(self.problem)) for job in jobs])

    def _connect(self) -> None:
        try:
            connection = database.connect(self.path)
        except database.UnusableError as error:
            self._set_aside(str(error))
            connection = database.connect(self.path)
        self.connection = connection
        self.opened += 1
        (highest,) = connection.execute("SELECT max(seq) FROM events").fetchone()
        cursors = connection.execute("SELECT max(seq) FROM cursors").fetchone()
        self.durable = max(self.durable, highest or 0, cursors[0] or 0)

    def _set_aside(self, reason: str) -> None:
        """Put the file away and begin a new one with what could be saved. Raises what the disk raises."""
        if self.path is None:
            return
        with self.using:
            if self.connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self.connection.close()
                self.connection = None
            aside = database.set_aside(self.path)
            saved = salvage.salvage(aside)
            log.error("journal: %s was set aside as %s: %s; a new one is begun with %s",
                      self.path, aside.name, reason, saved)  # fmt: skip
            self.aside.append(Aside(aside, reason, saved))
            connection = database.connect(self.path)
            self._anew(saved.highest)
            with database.transaction(connection):
                saved.restore(connection)
            self.connection = connection
            self.opened += 1

    def _tell(self, finished: Sequence[tuple[Job, object]] = ()) -> None:
        self._told = True

        def told() -> None:
            self._told = False
            for job, result in finished:
                if job.done is not None and not job.done.done():
                    if isinstance(result, Exception):
                        job.done.set_exception(result)
                    else:
                        job.done.set_result(result)
            self._changed()

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(told)
