"""Worker threads for what may block: as few as possible, and never stuck behind one that hangs.

One thread does all jobs, one after the other, as long as they are quick: several blocking collectors so share one hop.
Where a job does not end within a moment and others wait, a further thread joins in. The threads are daemons: one that
hangs in the kernel for ever does not keep the agent from ending.
"""

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from agentd.errors import text_of

T = TypeVar("T")

PATIENCE = 0.02
"""Seconds that a job waits behind another before a further thread is started."""

LIMIT = 64
"""Threads at most. When that many hang, further jobs wait, and time out."""

IDLE = 30.0
"""Seconds without a job after which a thread ends; the last one stays."""


class _Job:
    __slots__ = ("arguments", "error", "function", "future", "result")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[object, ...], future: "asyncio.Future[Any]"
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class _Bell:
    """Wakes an event loop from other threads. What asyncio has for that makes a hop a third longer: it
    reads twice.

    Its descriptors are closed when nobody can ring any more: a thread that hangs may do so long after all else.
    """

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def hang_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have this event loop answer from now on, if there is none yet."""
        if self._loop is None:
            self._loop = loop
            loop.add_reader(self._read, self._rung)

    def take_down(self) -> None:
        """Answer no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._read)
        self._answer = _nothing  # which refers back to the bell, and so to its descriptors

    def ring(self) -> bool:
        """Have ``answer`` called on the event loop; return whether there still is one."""
        os.write(self._write, b"!")
        return self._loop is not None and not self._loop.is_closed()

    def _rung(self) -> None:
        os.read(self._read, 64)
        self._answer()


def _nothing() -> None:
    """What a bell does that was taken down."""


class Workers:
    """Runs functions in worker threads on behalf of one event loop."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._bell = _Bell(self._drain)
        self._threads = 0
        self._busy = 0
        self._relief: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False

    @property
    def threads(self) -> int:
        """How many threads there are now, those that hang included."""
        return self._threads

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return what a function returns that is called in a worker thread; see ``submit``."""
        return await self.submit(function, *args)

    def submit(self, function: Callable[..., T], *args: object) -> "asyncio.Future[T]":
        """Have a function called in a worker thread; return what will have what it returns.

        Cancelling that stops the waiting, and a function that has not begun; no other. Raises ``RuntimeError`` after
        ``close``, and where there can be no thread.
        """
        if self._closed:
            raise RuntimeError("the agent is stopping: its workers take no more jobs")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        first = self._threads == 0
        if first:
            self._bell.hang_up(loop)
            self._add_thread()
        self._jobs.put(_Job(function, args, future))
        if not first and self._relief is None:
            self._relief = loop.call_later(PATIENCE, self._relieve, loop)
        return future

    def close(self) -> None:
        """Let the threads end that are not busy. Those that hang are left to themselves."""
        self._closed = True
        if self._relief is not None:
            self._relief.cancel()
        if not self._busy and not self._done:
            self._bell.take_down()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _relieve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._relief = None
        if self._done:
            self._drain()
        if self._jobs.empty() or self._closed:
            return
        if self._busy >= self._threads and self._threads < self._limit:
            with contextlib.suppress(RuntimeError):  # those that wait may still get their turn
                self._add_thread()
        self._relief = loop.call_later(PATIENCE, self._relieve, loop)

    def _add_thread(self) -> None:
        with self._lock:
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="agentd-worker", daemon=True).start()
        except RuntimeError:  # no memory, or as many tasks as the service may have: the next job tries again
            with self._lock:
                self._threads -= 1
            raise

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    if self._threads == 1:  # the last one stays
                        continue
                    self._threads -= 1
                return
            if job is None:
                with self._lock:
                    self._threads -= 1
                return
            begun = not job.future.cancelled()
            if begun:
                with self._lock:
                    self._busy += 1
                try:
                    job.result = job.function(*job.arguments)
                except BaseException as error:  # noqa: BLE001  # it is handed to the caller, SystemExit included
                    job.error = error
            # While more is to be done the loop sleeps on: waking it for each would cost more than the jobs themselves.
            # Where the next one takes long, what is done meanwhile is delivered by `_relieve`.
            with self._lock:
                if begun:
                    self._busy -= 1
                    self._done.append(job)
                wake = bool(self._done) and not self._draining and (self._closed or self._jobs.empty())
                self._draining = self._draining or wake
            if wake and not self._bell.ring():  # the loop has ended while this job was done: nobody waits for it
                with self._lock:
                    self._threads -= 1
                return
            del job  # or its result would live until the next one comes

    def _drain(self) -> None:
        with self._lock:
            self._draining = False
            done = list(self._done)
            self._done.clear()
            over = self._closed and not self._busy
        if over:
            self._bell.take_down()
        for job in done:
            if job.future.done():  # cancelled: nobody waits any more
                continue
            if job.error is None:
                job.future.set_result(job.result)
            elif isinstance(job.error, Exception) and not isinstance(job.error, StopIteration):
                job.future.set_exception(job.error)
            else:  # SystemExit and its like end the call, not the agent; a future refuses StopIteration
                job.future.set_exception(RuntimeError(f"{type(job.error).__name__}: {text_of(job.error)}"))
