"""Remembers who holds the event loop, so that it is known at the next start when that never ended.

A plugin that blocks in C may let nothing of this process run any more, and what ends the process then (a watchdog) asks
nobody. So whoever begins is written down before: into memory that is a file's, which costs no system call and outlives
the process. The file is one of the runtime directory, which as a rule lies in memory, too.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 30.0
"""Seconds of standstill after which one assumes that somebody ends an agent, where no watchdog says when it does."""

BEATS = 10
"""Signs of life within the watchdog's time, given by a thread of its own: while they go on, threads can run."""

THREADS = 128
"""Jobs in threads at once of which is known whose they are."""

SIZE = 64 << 10
_NUMBERS = 8 * (1 + 2 * (1 + THREADS))
"""Bytes of the numbers at its head: the last sign of life, then who (a line of the names, from 1; 0: nobody) and since
when, for the event loop and each job in a thread. All times are of the monotonic clock. Behind it are the names."""

_pack = struct.Struct("dd").pack_into

Hold = tuple[float, float]
"""Who held the event loop, and since when."""


class Held:
    """Who holds the event loop now. Before ``open`` and after ``close`` nothing outlives the process."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_NUMBERS)).cast("d")
        self._loop: Hold = (0.0, 0.0)
        self._file: int | None = None
        self._names: mmap.mmap | None = None
        self._end = _NUMBERS
        self._known: dict[str, float] = {}
        self._free = list(range(3, 3 + 2 * THREADS, 2))
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def open(self, file: Path, boot: str, limit: float | None) -> list[str]:
        """Write to a file from now on; return who seems to have held up the process that wrote to it before until
        somebody ended it, as a rule nobody.

        ``limit`` are the seconds of a standstill after which a watchdog does that; None where there is none. Where the
        file cannot be used, or is another agent's, nothing is remembered.
        """
        descriptor = None
        try:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = os.pread(descriptor, SIZE, 0)
            os.posix_fallocate(descriptor, 0, SIZE)  # else a full disk would end the process later, by SIGBUS
            memory = mmap.mmap(descriptor, SIZE)
        except OSError:
            if descriptor is not None:
                os.close(descriptor)
            return []
        memory[:] = bytes(SIZE)
        self._file, self._names = descriptor, memory
        self._view = memoryview(memory)[:_NUMBERS].cast("d")
        self._known.clear()
        self._number(boot)
        beat = (LIMIT if limit is None else limit) / BEATS
        self._view[0] = time.monotonic()
        threading.Thread(target=self._live, args=(beat,), name="held", daemon=True).start()
        return suspects(before, boot, time.monotonic(), limit)

    def close(self) -> None:
        """Remember nothing any more: the process ends as it should, or what holds it up now is its end alone."""
        self._closed.set()
        self._view = memoryview(bytearray(_NUMBERS)).cast("d")
        if self._names is not None and self._file is not None:
            self._names[:_NUMBERS] = bytes(_NUMBERS)
            self._names = None
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapped memory has a descriptor of its own
            os.close(self._file)

    def hold(self, key: str, now: float) -> Hold:
        """Note who has the event loop from now on; return who had it, for ``give_back``."""
        before = self._loop
        self.give_back((self._known.get(key) or self._number(key), now))
        return before

    def give_back(self, before: Hold) -> None:
        """Note that who had the event loop before has it again: mostly nobody."""
        self._loop = before
        _pack(self._view, 8, *before)

    def enter(self, key: str) -> int:
        """Note whose job a thread begins; return its place, for ``leave``."""
        place = self._free.pop() if self._free else 0
        if place:
            self._view[place + 1] = time.monotonic()
            self._view[place] = self._known.get(key) or self._number(key)
        return place

    def leave(self, place: int) -> None:
        """Note that a job in a thread is done."""
        if place:
            self._view[place] = 0.0
            self._free.append(place)

    def _number(self, key: str) -> float:
        line = key.encode() + b"\n"
        with self._lock:
            names, end = self._names, self._end + len(line)
            if names is not None:
                if end >= SIZE:
                    return 0.0
                names[self._end : end] = line
                self._end = end
            self._known[key] = float(len(self._known) + 1)
        return self._known[key]

    def _live(self, beat: float) -> None:
        view = self._view
        while not self._closed.wait(beat):
            view[0] = time.monotonic()


def suspects(before: bytes, boot: str, now: float, limit: float | None) -> list[str]:
    """Return who seems to have held up the process that left these bytes until it was ended; see ``Held.open``.

    That is who had the event loop for longer than half of the limit, while threads could run. Where not even these
    could, it is who had the event loop, or the job in a thread that began last before the standstill, or either: nobody
    can tell who of them had the interpreter. That is assumed only where there is a watchdog, after which the agent is
    started again at once; else the process may have been ended long ago for any reason.
    """
    if len(before) < _NUMBERS:
        return []
    numbers = memoryview(before)[:_NUMBERS].cast("d")
    known, *names = before[_NUMBERS:].split(b"\n")
    if known != boot.encode():
        return []
    wait = LIMIT if limit is None else limit
    last, holds = numbers[0], [(numbers[at], numbers[at + 1]) for at in range(1, len(numbers), 2)]
    loop, *jobs = holds
    found: Sequence[Hold] = ()
    if loop[0] and last - loop[1] >= wait / 2:
        found = [loop]
    elif limit is not None and now - last >= wait / 2:
        late = [job for job in jobs if job[0] and job[1] >= last - 2 * wait / BEATS]
        found = [loop, *sorted(late, key=lambda job: job[1])[-1:]]
    keys = []
    for number, _ in found:
        with contextlib.suppress(ValueError, OverflowError, IndexError, UnicodeDecodeError):
            if number >= 2:  # the first line is the boot's
                keys.append(names[int(number) - 2].decode())
    return list(dict.fromkeys(filter(None, keys)))
