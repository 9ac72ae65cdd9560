"""Numbered frames that a robot keeps until the agent has them safe: in a file that survives the program.

Each line of the file is a change: its CRC-32 in eight hexadecimal digits, a space, and ``S <last number> <stream id>``
(the beginning), ``F <number> <frame>`` (kept), ``A <number>`` (all up to there are safe) or ``D <number>`` (dropped).
"""

import asyncio
import contextlib
import errno
import logging
import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from agentd.client.queue import MAX_BYTES, MAX_FRAMES, MemoryQueue, WhenFull

REWRITE = 256 << 10
"""Bytes of lines without use from which on the file is written anew, where they are also more than the others."""

log = logging.getLogger("agentd.client")


@dataclass(slots=True)
class Contents:
    """What the bytes of a file tell."""

    stream_id: str | None = None
    last_seq: int = 0
    frames: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    whole: int = 0
    """Bytes up to the end of the last line that has an end: behind them is what a crash cut off."""
    damaged: int = 0
    """Lines that are not what was written."""


def replay(data: bytes) -> Contents:
    """Return what the changes in a file come to. A line that is cut off at the end is left out: it never counted."""
    *lines, cut_off = data.split(b"\n")
    found = Contents(whole=len(data) - len(cut_off))
    for line in lines:
        record = line[9:]
        if line[:9] != b"%08x " % zlib.crc32(record) or not _apply(found, record):
            found.damaged += 1
    return found


class FileQueue(MemoryQueue):
    """Keeps frames in a file as well, from which the next run of the program goes on, with the same stream id.

    A frame that was appended survives the end of the program, ``kill -9`` as well. With ``sync`` it is on disk before
    it is sent, so that a power cut cannot make the numbers go back; without, a power cut may cost the newest frames.
    One program at a time uses a file. Raises ``OSError`` where it cannot be opened, or is in use.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool = True,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        when_full: WhenFull = "wait",
    ) -> None:
        super().__init__(max_frames=max_frames, max_bytes=max_bytes, when_full=when_full)
        self.path = Path(path)
        self._sync = sync
        self._file = -1
        self._written = 0
        self._unsettled = False
        self._rewrite_beyond = REWRITE
        self._lock = _locked(self.path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    async def settle(self) -> None:
        """Return when all that was appended is on disk. Raises ``OSError``."""
        if not (self._sync and self._unsettled):
            return
        self._unsettled = False
        try:
            # A copy of the descriptor: the file may be written anew and closed meanwhile.
            await asyncio.to_thread(_sync_and_close, os.dup(self._file))
        except BaseException:
            self._unsettled = True
            raise

    def renew(self) -> None:
        """Begin a new numbering. Raises ``OSError`` where it cannot be written down."""
        super().renew()
        self._rewrite()

    def close(self) -> None:
        """Close the file; another program may use it."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _load(self) -> None:
        data = self.path.read_bytes() if self.path.exists() else b""
        found = replay(data)
        for seq, body in sorted(found.frames.items()):
            self._keep(seq, body)
        self.last_seq = found.last_seq
        if found.stream_id is not None and not found.damaged:
            self.stream_id = found.stream_id
            self._open(found.whole)
            return
        # What is missing may have held a number that was used: with a new numbering nothing is taken for a repeat.
        if data:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            aside.write_bytes(data)
            log.warning(
                "%s: %d damaged lines; %d frames could be read and are sent with new numbers, the file is kept as %s",
                *(self.path, found.damaged, len(self), aside),
            )
        self.renew()

    def _open(self, whole: int) -> None:
        """Go on behind the last whole line."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self._file, whole)
        self._written = whole

    def _note(self, record: bytes, *, must: bool = False) -> None:
        try:
            self._write(_line(record))
            self._unsettled |= must
        except OSError as error:
            if must:
                raise OSError(error.errno, f"a frame cannot be kept: {error.strerror}", str(self.path)) from error
            # The agent knows what it has acknowledged: what is sent again because of this is dropped there.
            log.warning("%s: cannot be written: %s", self.path, error)
        unused = self._written - self.size
        if not must and unused > self._rewrite_beyond and unused > self.size:
            self._try_to_rewrite()

    def _write(self, line: bytes) -> None:
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._written)  # half a line would spoil the next
            raise
        self._written += len(line)

    def _try_to_rewrite(self) -> None:
        try:
            self._rewrite()
        except OSError as error:
            self._rewrite_beyond = 2 * self._written
            log.warning("%s: cannot be written anew, and grows: %s", self.path, error)
        else:
            self._rewrite_beyond = REWRITE

    def _rewrite(self) -> None:
        """Replace the file by one with what is kept alone; whenever this ends, one of them is there, and whole."""
        anew = self.path.with_name(f"{self.path.name}.new")
        lines = [_line(b"S %d %b" % (self.last_seq, self.stream_id.encode()))]
        lines += [_line(b"F %d %b" % frame) for frame in self._frames.items()]
        with anew.open("wb") as file:
            file.writelines(lines)
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
        anew.replace(self.path)
        if self._sync:
            _sync_and_close(os.open(self.path.parent, os.O_RDONLY))
        before = self._file
        self._open(sum(map(len, lines)))
        if before >= 0:
            os.close(before)


def _line(record: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(record), record)


def _apply(found: Contents, record: bytes) -> bool:
    """Apply a change; say whether it is one."""
    kind, number, rest = (*record.split(b" ", 2), b"", b"")[:3]
    if not number.isdigit() or len(number) > 16:
        return False
    seq = int(number)
    match kind:
        case b"S":
            found.stream_id, found.last_seq = rest.decode("ascii", "replace"), seq
        case b"F":
            found.frames[seq] = rest
            found.last_seq = max(found.last_seq, seq)
        case b"A":
            while found.frames and next(iter(found.frames)) <= seq:
                found.frames.popitem(last=False)
        case b"D":
            found.frames.pop(seq, None)
        case _:
            return False
    return True


def _locked(path: Path) -> int:
    """Return the descriptor of a lock beside a file. Raises ``OSError`` where another program has it."""
    import fcntl  # systems that lack it have the queue in memory

    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise OSError(error.errno, "in use by another program, or by another queue of this one", str(path)) from None
    return lock


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
