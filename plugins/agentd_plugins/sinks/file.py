"""Appends events to a file, as JSON lines: one event a line. It is rotated here, or by logrotate."""

import asyncio
import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from agentd.plugin import Config, Context, Duration, Record, Retry, Sink, Size, hookimpl
from agentd_plugins.sinks._alone import Alone
from agentd_plugins.sinks._rotated import Rotated, sync_folder

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
LONGEST = 2 << 20
"""Bytes at the end of a file in which its last line must begin: more than an event may have."""


class FileConfig(Config):
    """Options of the sink file."""

    path: Annotated[str, Meta(examples=["/var/log/agentd/events.jsonl"])]
    """The file. It is made, with its folders, where it is not there."""
    mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$", examples=["0640"])] = "0640"
    """Who may read and write the file when it is made, in octal."""
    max_size: Size = Size(64 << 20)
    """The file is rotated before it would get larger; "0B": never. It is renamed to "PATH.000001", the next one to
    "PATH.000002": the names of rotated files do not change again."""
    max_age: Annotated[Duration, Meta(examples=["1d"])] | None = None
    """The file is rotated at each multiple of this since 1970 UTC, "1d" being midnight, with the first event after it;
    left out, its age does not matter."""
    keep: Annotated[int, Meta(ge=1)] = 5
    """Rotated files that are kept; the oldest are removed."""
    compress: bool = True
    """Whether rotated files are compressed with gzip."""
    fsync: Literal["batch", "interval", "never"] = "batch"
    """When what was written is made to survive a power cut: with each batch, before the agent counts it as delivered;
    at the interval; or when the system likes to."""
    fsync_interval: Duration = Duration(1)
    """The longest time until then for fsync = "interval"."""

    def __post_init__(self) -> None:
        wrong = []
        if not self.path.startswith("/") or self.path.endswith("/"):
            wrong.append(f'path must begin with "/" and name a file; found "{self.path}"')
        if self.max_age is not None and self.max_age < 60:
            wrong.append("max_age must be at least 1m")
        if self.fsync_interval <= 0:
            wrong.append("fsync_interval must be longer than 0s")
        if wrong:
            raise ValueError("; ".join(wrong))


class File(Sink[FileConfig]):
    """Writes events to a file as JSON lines, and rotates it by size or age."""

    name = "file"

    def __init__(self, config: FileConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._rotated = Rotated(Path(self.config.path), self.config.keep, compress=self.config.compress)
        self._lines = Lines(self.config, self._rotated, self.clock.time, self.log)
        self._alone = Alone(self.in_worker)
        self._tidying: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the file. Rotated ones that an earlier life did not compress are compressed now."""
        await self._alone(self._lines.open)
        self._tidy_soon()

    async def stop(self) -> None:
        """Close the file. Compressing ends where it is: the next life begins that file anew."""
        self._rotated.ending.set()
        tasks = [task for task in (self._tidying, self._syncing) if task is not None]
        if self._syncing is not None:
            self._syncing.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._alone(self._lines.close)

    async def reopen(self) -> None:
        """Close the file, and open the one that has the path now."""
        await self._alone(self._lines.close)
        await self._alone(self._lines.open)

    async def send(self, events: Sequence[Record]) -> None:
        """Append events; all of them are in the file in the end, or none."""
        try:
            await self._alone(self._lines.append, events)
        except OSError as error:
            raise Retry(f"cannot write {self.config.path}: {error.strerror or error}") from error
        finally:
            self._tidy_soon()
        self._lines.unheard = frozenset()
        if self.config.fsync == "interval" and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(self._sync_later())

    def _tidy_soon(self) -> None:
        # Apart from writing: compressing takes seconds.
        if self._rotated.untidy and (self._tidying is None or self._tidying.done()):
            self._tidying = asyncio.create_task(self._tidy())

    async def _tidy(self) -> None:
        try:
            await self.in_worker(self._rotated.tidy)
        except (OSError, RuntimeError) as error:  # the workers of an agent that stops take no more jobs
            self.log.warning("cannot compress or remove rotated files of %s: %s", self.config.path, error)

    async def _sync_later(self) -> None:
        await asyncio.sleep(self.config.fsync_interval)
        try:
            await self._alone(self._lines.sync)
        except (OSError, RuntimeError) as error:
            self.log.error("events in %s may be lost with a power cut: %s", self.config.path, error)


class Lines:
    """The file. Its methods block, and are called one at a time."""

    def __init__(self, config: FileConfig, rotated: Rotated, now: Callable[[], float], log: logging.Logger) -> None:
        self.config = config
        self.path = Path(config.path)
        self.unheard: frozenset[int] = frozenset()
        """The events that were written last: where nobody waited for the end of that, they will be sent again."""
        self._rotated = rotated
        self._now = now
        self._log = log
        self._descriptor = -1
        self._dirty = False
        self._period = 0.0

    def open(self) -> None:
        """Have the file open that has the path now, its last line complete."""
        if self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(self._descriptor)):
                    return
            self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._descriptor = os.open(self.path, FLAGS | os.O_NONBLOCK)  # that of a pipe would wait for a reader
        except FileNotFoundError:
            mode = int(self.config.mode, 8)
            self._descriptor = os.open(self.path, FLAGS | os.O_CREAT | os.O_EXCL, mode)
            os.fchmod(self._descriptor, mode)  # whatever the umask says
            sync_folder(self.path.parent)
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{self.path} is no regular file")
        try:  # two that write and repair the same file would cut each other's lines
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{self.path} is written by another process or another sink") from None
        except OSError:
            pass  # a network's file system that has no locks
        if lost := complete(self._descriptor):
            self._log.warning("%s ended within a line: %d bytes were cut off", self.path, lost)
        self._period = self._period_of(status.st_mtime if status.st_size else self._now())

    def _period_of(self, time: float) -> float:
        return time // self.config.max_age if self.config.max_age else 0.0

    def close(self) -> None:
        """Close the file, what was written made safe."""
        if self._descriptor >= 0:
            try:
                self.sync()
            except OSError as error:
                self._log.error("events in %s may be lost with a power cut: %s", self.path, error.strerror)
            self._dirty = False
            os.close(self._descriptor)
            self._descriptor = -1

    def sync(self) -> None:
        """Wait until what was written is on disk, unless that is not wanted."""
        if self._dirty and self._descriptor >= 0 and self.config.fsync != "never":
            os.fsync(self._descriptor)
        self._dirty = False

    def append(self, events: Sequence[Record]) -> None:
        """Write one line for each event. Where that fails, the file is as it was before."""
        data = b"".join(event.json + b"\n" for event in events if event.seq not in self.unheard)
        if not data:
            return
        self.open()
        if self._is_full(len(data)):
            self.close()
            self._rotated.add()
            self.open()
        self._period = self._period_of(self._now())
        before = os.fstat(self._descriptor).st_size
        try:
            self._dirty = True
            write(self._descriptor, data)
            if self.config.fsync == "batch":
                self.sync()
        except OSError:
            # After an error of fsync too: the kernel forgets what it could not write, so that it is written again.
            self._dirty = False
            with contextlib.suppress(OSError):  # the incomplete line is cut off when the file is opened again
                os.ftruncate(self._descriptor, before)
            self.close()
            raise
        self.unheard = frozenset(event.seq for event in events)

    def _is_full(self, more: int) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and (self._period_of(self._now()) > self._period or 0 < self.config.max_size < size + more)


def write(descriptor: int, data: bytes) -> None:
    """Write all of it; the kernel may take less at once, before a disk is full say."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def complete(descriptor: int) -> int:
    """Cut off a last line that has no end, and return its length. Raises ``ValueError`` where it is none of ours."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, LONGEST, max(0, size - LONGEST))
    begin = tail.rfind(b"\n") + 1
    lost = len(tail) - begin
    if lost:
        # A power cut may leave zeros where data was to be. Anything else is a file that somebody named by mistake.
        begins = {os.pread(descriptor, 1, 0), tail[begin : begin + 1]}
        if not begins <= {b"{", b"\0"} or size > len(tail) == lost:
            raise ValueError("the file to write to holds something else than JSON lines; it is left as it is")
        os.ftruncate(descriptor, size - lost)
    return lost


@hookimpl
def agentd_sinks() -> list[type[Any]]:
    """Register the sink."""
    return [File]
