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
from zlib import crc32

from agentd.store import database
from agentd.store.file import File
from agentd.store.retention import Limits
from agentd.store.waiting import ROW, Job, Row, renumbered, size, take

log = logging.getLogger(__name__)

LINGER = 0.01
"""Seconds for which what was emitted waits for more, so that one flush of the disk serves all."""

LOOK_EVERY = 10.0
"""Seconds between two looks at whether the file still is where it was, while no events come."""

UPKEEP_EVERY, IDLE_UPKEEP_EVERY = 1.0, 60.0
"""Seconds between two looks at what is too much: while events come, and while none do."""

PART = 8
"""What part of its size the journal may grow by before it is looked for what is too much: one in so many. A transaction
has no more than that, nor has the write-ahead log for long: all has to fit onto a small disk."""

RETRY = (0.5, 3.0)
"""Seconds between two attempts to write to a disk that refuses: at first, and at last."""

INSERT = "INSERT INTO events (seq, type, source, stored, crc, data) VALUES (?, ?, ?, ?, ?, ?)"


class MovedError(OSError):
    """The file of the open connection is no longer at its name: what is written would be lost."""


class Writer:
    """Writes from a thread of its own. A disk that refuses is tried again; what waits meanwhile has a limit."""

    def __init__(
        self,
        path: Path | None,
        *,
        limits: Limits,
        anew: Callable[[int], None],
        found: Callable[[sqlite3.Connection], None],
        settle: Callable[[], None],
        synchronised: Callable[[], bool | None],
        upkeep: Callable[[sqlite3.Connection], bool],
        changed: Callable[[], None],
    ) -> None:
        """``anew`` is called with the highest number that a lost journal had, before the new one takes any; ``found``
        with each database that was opened; ``settle`` when its directory may have been made anew;
        ``upkeep`` from time to time, and says whether there is more of it to do;
        ``changed`` on the event loop when something was written, or could not be.
        """
        self.file = File(path, limits.size // PART, anew, self._use, settle)
        self.durable = 0
        """The highest number that was written down."""
        self.next = 1
        """The number of the next event. Whoever takes it holds ``lock``."""
        self.problem = ""
        """Why nothing can be written now; empty while all is well."""
        self.dropped = 0
        """Events for which there was no room in memory."""
        self.commits: deque[float] = deque(maxlen=10_000)
        """Seconds that the last transactions took; whoever tells of them takes them away."""
        self._memory = limits.memory
        self._part = limits.size // PART if path is not None else limits.memory
        self._since_upkeep = 0
        self._found = found
        self._synchronised = synchronised
        self._upkeep = upkeep
        self._changed = changed
        self.loop = asyncio.get_running_loop()
        self._ready = threading.Condition(threading.Lock())
        self._rows: deque[Row] = deque()
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self._writing: Sequence[Row] = ()
        self._idle = False
        self._told = False
        self._closing = self._ended = False
        self._due = self._look = 0.0
        self._thread = threading.Thread(target=self._run, name="agentd-journal", daemon=True)

    def open(self) -> None:
        """Open the database and start. Where the disk refuses, the thread goes on trying."""
        try:
            self.file.open()
        except (*database.ERRORS, OSError) as error:
            self._complain(error)
            self.file.glance()
        self._thread.start()

    def put(self, row: Row) -> None:
        """Have an event written down. The caller holds ``lock``; takes a moment, from any thread."""
        self._rows.append(row)
        self._bytes += len(row[3]) + ROW
        if self._bytes > self._memory:
            self._trim()
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
        if self._ended:
            done.set_exception(sqlite3.OperationalError("the journal is closed"))
        else:
            self._add(Job(work, rows, done))
        return done

    def suspect(self, error: Exception, opened: int) -> None:
        """Note that a reader found the file damaged that was the ``opened``th. From any thread."""

        def work(_connection: sqlite3.Connection) -> None:
            if self.file.opened == opened:  # else it has been replaced meanwhile
                raise error

        with self.lock:
            self._add(Job(work, (), None))

    def _add(self, job: Job) -> None:
        self._jobs.append(job)
        self._idle = False
        self._ready.notify()

    @property
    def closed(self) -> bool:
        """Whether nothing more will be written."""
        return self._closing

    @property
    def last(self) -> int:
        """The number of the last event that readers can get."""
        with self._ready:
            for rows in (self._rows, self._writing) if self.problem else ():
                if rows:
                    return max(self.durable, rows[-1][0])
            return self.durable

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
            jobs = self._take()
            if self._closing and not self._writing and not jobs:
                break
            try:
                try:
                    connection = None if self.problem else self.file.connection
                    self._write(connection or self.file.ready(), jobs)
                except MovedError:
                    self._write(self.file.ready(), jobs)
            except Exception as error:  # noqa: BLE001  # whatever it is, this thread goes on
                self._refused(jobs, error)
                if self._closing:
                    break
                self._pause(wait)
                wait = min(2 * wait, RETRY[1])
            else:
                wait = RETRY[0]
        with self._ready:
            self._ended = True
            jobs = self._abandoned()
        self._tell([(job, sqlite3.OperationalError("the journal is closed")) for job in jobs])
        if self._rows:
            log.error("journal: %d events could not be written down", len(self._rows))
        try:
            if self.file.moved:
                self.file.ready()
            self.file.close()
        except Exception as error:  # noqa: BLE001  # there is nothing left to do but to say so
            log.error("journal: cannot be closed as it should: %s", error)

    def _abandoned(self) -> list[Job]:
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs

    def _take(self) -> list[Job]:
        """Wait until there is something to do, and take it: events into ``_writing``. Nothing is taken at the end."""
        while True:
            self._keep_up()
            with self._ready:
                if not self._urgent():
                    self._idle = True
                    self._ready.wait(max(0.0, min(self._look, self._due) - time.monotonic()))
                    self._idle = False
                if self._rows and not self._jobs and not self._closing:
                    self._ready.wait(LINGER)  # a job ends it
                if self._urgent():
                    if self._bytes + sum(size(job.rows) for job in self._jobs) <= self._part:
                        self._writing, self._rows, self._bytes = self._rows, deque(), 0
                        return self._abandoned()
                    self._writing, jobs = take(self._rows, self._jobs, self._part)
                    self._bytes -= size(self._writing)
                    return jobs

    def _urgent(self) -> bool:
        return bool(self._rows or self._jobs or self._closing or self.problem)

    def _keep_up(self) -> None:
        now = time.monotonic()
        if self.file.connection is None or self.problem or now < min(self._look, self._due):
            return
        more = False
        try:
            self.file.ready()
            self._look = now + LOOK_EVERY
            if now < self._due:
                return
            with self.file.using:
                more = self._upkeep(self.file.connection)
            self.file.shorten()
            self._since_upkeep = 0
        except Exception as error:  # noqa: BLE001  # as in _run
            self._refused([], error)
        self._due = time.monotonic() + (0.0 if more else IDLE_UPKEEP_EVERY)

    def _write(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        began = time.monotonic()
        stored = time.time() if self._synchronised() is not False else 0.0
        everything = [*self._writing, *(row for job in jobs for row in job.rows)]
        everything.sort()  # jobs and emitted events took their numbers in turns
        with self.file.using, database.transaction(connection):
            if self.problem:
                database.touch(connection)  # there may be nothing else that shows whether it is over
            connection.executemany(
                INSERT, [(seq, type_, source, stored, crc32(data), data) for seq, type_, source, data in everything]
            )
            results = [job.work(connection) for job in jobs]
            if self.file.moved:
                raise MovedError(f"{self.file.path} was removed or replaced just now")
        now = time.monotonic()
        self.commits.append(now - began)
        self._since_upkeep += size(everything)
        self._due = min(self._due, now + (UPKEEP_EVERY if self._since_upkeep < self._part else 0.0))
        if self.problem:
            log.warning("journal: it can be written to again")
        with self._ready:
            self._writing = ()
            self.problem = ""
            if everything:
                self.durable = max(self.durable, everything[-1][0])
        self._tell([(job, result) for job, result in zip(jobs, results, strict=True)])

    def _refused(self, jobs: list[Job], error: Exception) -> None:
        try:
            if isinstance(error, database.ERRORS) and self.file.path is not None and not self.file.moved:
                if database.damaged(error):
                    self.file.set_aside(f"it is damaged: {error}")
                elif database.code(error) != sqlite3.SQLITE_FULL:
                    self.file.close()  # one that was opened while it could only be read stays so
                elif self.file.connection is not None:
                    database.checkpoint(self.file.connection)  # the log is what may become smaller
        except Exception as further:  # noqa: BLE001  # as in _run
            error = further
        self._complain(error)
        with self._ready:
            self._rows.extendleft(reversed(self._writing))
            self._bytes += size(self._writing)
            self._writing = ()
            self._trim()
        self._tell([(job, error) for job in jobs])

    def _complain(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}{self.file.advice(error)}"
        if text != self.problem:
            log.error("journal: nothing can be written down: %s; events wait in memory, and it is tried again", text)
        with self._ready:
            self.problem = text

    def _trim(self) -> None:
        while self._bytes > self._memory:
            self._bytes -= len(self._rows.popleft()[3]) + ROW
            self.dropped += 1

    def _pause(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        while not self._closing and time.monotonic() < due and self.problem:
            with self._ready:
                jobs = self._abandoned()  # who waits for the disk now waits in vain
                if not jobs:
                    self._ready.wait(min(0.1, seconds))
            if jobs:
                self._tell([(job, sqlite3.OperationalError(self.problem)) for job in jobs])

    def _use(self, connection: sqlite3.Connection) -> None:
        """Go on from what a database has, and give what came before it could be opened numbers above its own."""
        highest = database.highest(connection)
        with self._ready:
            self.durable = max(self.durable, highest)
            rows = [*self._writing, *self._rows]
            by = self.durable + 1 - rows[0][0] if rows else 0
            if by > 0:
                self._writing, self._rows = (), deque(renumbered(row, row[0] + by) for row in rows)
                self.next += by
            self.next = max(self.next, self.durable + 1)
        self._found(connection)

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
