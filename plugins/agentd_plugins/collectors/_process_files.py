"""What the kernel tells about a process or a thread, from its folder in /proc (proc_pid_stat(5) and its neighbours)."""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

T = TypeVar("T")
TICKS = float(os.sysconf("SC_CLK_TCK"))
PAGE = float(os.sysconf("SC_PAGE_SIZE"))
KIB = 1024.0

Count = float | None
"""None: not to be had, mostly for lack of a right."""


class Stat(NamedTuple):
    """The file ``stat``. Times in seconds, memory in bytes."""

    comm: str
    state: str
    parent: int
    minor_faults: float
    major_faults: float
    user: float
    system: float
    threads: float
    start: int
    """In clock ticks since booting. With the number of the process it says which one this is, for ever."""
    virtual: float
    resident: float


class Counts(NamedTuple):
    """What only grows as long as a process or thread lives."""

    user: Count = None
    system: Count = None
    read: Count = None
    written: Count = None
    major_faults: Count = None
    minor_faults: Count = None
    voluntary: Count = None
    nonvoluntary: Count = None


ZERO = Counts(*[0.0] * len(Counts._fields))
"""What a process has counted when it begins."""


class Files:
    """Reads the files of one process or thread. What its owner alone may read is None, and noted in ``denied``."""

    def __init__(self, procfs: str, folder: str) -> None:
        self._procfs = procfs
        self.folder = folder
        self.denied: set[str] = set()

    def stat(self) -> Stat:
        """Return what is in ``stat``. Raises ``OSError`` where there is no such process any more."""
        return parse_stat(self._bytes("stat"))

    def _bytes(self, name: str) -> bytes:
        # Not by way of the host, which keeps files of the first process open: its threads come and go, too.
        with open(f"{self._procfs}/{self.folder}/{name}", "rb", buffering=0) as file:
            return file.read()

    def status(self) -> dict[bytes, bytes]:
        """Return the fields of ``status``; none where it cannot be read."""
        return self._read("status", parse_fields) or {}

    def io(self) -> dict[bytes, bytes]:
        """Return the fields of ``io``; none where it cannot be read."""
        return self._read("io", parse_fields) or {}

    def smaps(self) -> dict[bytes, bytes]:
        """Return the fields of ``smaps_rollup``, since Linux 4.14; none where it cannot be read."""
        return self._read("smaps_rollup", parse_fields) or {}

    def command_line(self) -> list[str]:
        """Return the arguments, the name of the program first; none for a thread of the kernel."""
        return self._read("cmdline", parse_command_line) or []

    def descriptor_limit(self) -> Count:
        """Return how many files the process may have open; None where there is no limit."""
        return self._read("limits", parse_limit)

    def descriptors(self) -> Count:
        """Return how many files the process has open."""
        path = f"{self._procfs}/{self.folder}/fd"
        try:
            try:
                return float(len(os.listdir(path)))
            except PermissionError:  # since Linux 6.2 the size of the folder says it, too, and everybody may ask for it
                size = os.stat(path).st_size
                if size:
                    return float(size)
                self.denied.add("fd")
        except OSError:
            pass
        return None

    def threads(self) -> list[str]:
        """Return the folders of the threads."""
        try:
            names = os.listdir(f"{self._procfs}/{self.folder}/task")
        except OSError:
            return []
        return [f"{self.folder}/task/{name}" for name in names if name.isdigit()]

    def thread(self, folder: str) -> "Files":
        """Return the files of one of the threads."""
        return Files(self._procfs, folder)

    def _read(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        try:
            return parse(self._bytes(name))
        except PermissionError:
            self.denied.add(name)
        except (OSError, ValueError):  # ended meanwhile, no memory of its own, or an older kernel
            pass
        return None


def parse_stat(text: bytes) -> Stat:
    """Return the fields of a ``stat``. The name may hold anything, blanks and parentheses too."""
    begin, end = text.find(b"("), text.rfind(b")")
    fields = text[end + 1 :].split()
    if begin < 0 or end < begin or len(fields) < 22:
        raise ValueError(f"expected a name in parentheses and 22 fields in stat, found {text[:80]!r}")
    return Stat(
        comm=text[begin + 1 : end].decode("utf-8", "replace"),
        state=fields[0].decode("ascii", "replace"),
        parent=int(fields[1]),
        minor_faults=float(fields[7]),
        major_faults=float(fields[9]),
        user=float(fields[11]) / TICKS,
        system=float(fields[12]) / TICKS,
        threads=float(fields[17]),
        start=int(fields[19]),
        virtual=float(fields[20]),
        resident=float(fields[21]) * PAGE,
    )


def parse_fields(text: bytes) -> dict[bytes, bytes]:
    """Return the lines ``NAME: VALUE`` of a file by name; other lines are passed over."""
    return {name: value for name, colon, value in (line.partition(b":") for line in text.splitlines()) if colon}


def parse_command_line(text: bytes) -> list[str]:
    """Return the arguments in a ``cmdline``; a program that rewrote them may have put blanks in the place of zeros."""
    return text.rstrip(b"\0").decode("utf-8", "replace").split("\0") if text.strip(b"\0") else []


def parse_limit(text: bytes) -> Count:
    """Return the soft limit of open files in a ``limits``, None where there is none."""
    _, found, rest = text.partition(b"Max open files")
    words = rest.split(maxsplit=1)
    if not found or not words:
        raise ValueError(f"expected a limit of open files, found {text[:80]!r}")
    return None if words[0] == b"unlimited" else float(words[0])


def owner(status: dict[bytes, bytes]) -> int | None:
    """Return the effective user id in a ``status``."""
    identities = status.get(b"Uid", b"").split()
    return int(identities[1]) if len(identities) > 1 and identities[1].isdigit() else None


def counts(stat: Stat, status: dict[bytes, bytes], io: dict[bytes, bytes]) -> Counts:
    """Return what a process or thread has counted."""
    return Counts(
        user=stat.user,
        system=stat.system,
        read=number(io, b"read_bytes"),
        written=number(io, b"write_bytes"),
        major_faults=stat.major_faults,
        minor_faults=stat.minor_faults,
        voluntary=number(status, b"voluntary_ctxt_switches"),
        nonvoluntary=number(status, b"nonvoluntary_ctxt_switches"),
    )


def number(fields: dict[bytes, bytes], name: bytes) -> Count:
    """Return the number in a field, in bytes where the kernel says kB; None where there is none."""
    words = fields.get(name, b"").split(maxsplit=2)
    try:
        return float(words[0]) * (KIB if words[1:2] == [b"kB"] else 1.0) if words else None
    except ValueError:
        return None


def total(values: Iterable[Count]) -> Count:
    """Return the sum of the numbers that could be had; None where there were some to be had and none was."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return None if listed and not known else sum(known, 0.0)
