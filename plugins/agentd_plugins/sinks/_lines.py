"""The file of the sink file: lines that are there as a whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.plugin import Record
from agentd_plugins.sinks._rotated import Rotated, sync_folder

if TYPE_CHECKING:
    from agentd_plugins.sinks.file import FileConfig

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
LONGEST = 2 << 20
"""Bytes at the end of a file in which its last line must begin: more than an event may have."""


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
            self._descriptor = self._made()
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    def _made(self) -> int:
        mode = int(self.config.mode, 8)
        path = Path(os.path.realpath(self.path))  # it may be a link to what is not there yet
        try:
            descriptor = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, mode)
        except FileNotFoundError as error:
            if not self.path.is_symlink():
                raise
            raise FileNotFoundError(error.errno, f"it is a link to {path}, whose folder is not there") from None
        os.fchmod(descriptor, mode)  # whatever the umask says
        sync_folder(path.parent)
        return descriptor

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
