"""The ways in which odd hardware, odd drivers and odd kernels break a file: what it holds instead, or answers with."""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from random import Random

from agentd.plugin import Host, HostPaths

Fault = bytes | int
"""What a file holds instead, or the number of the error that reading it answers."""

ERRORS = (
    errno.ENOENT,
    errno.EAGAIN,
    errno.EIO,
    errno.ENODEV,
    errno.EACCES,
    errno.EINVAL,
    errno.ENXIO,
    errno.EOPNOTSUPP,
)
"""What drivers answer: see open(2), read(2), and Documentation/filesystems/sysfs.rst of the kernel."""

FOR_GOOD = frozenset({errno.ENOENT, errno.EOPNOTSUPP})
"""What a plugin may take to hold until the next boot."""

NUMBER = re.compile(rb"(?<![\w.-])\d+")


class OddHost(Host):
    """A host that notes what is read of procfs and sysfs, and of which some files are broken."""

    def __init__(self, paths: HostPaths | None = None) -> None:
        super().__init__(paths)
        self.told: dict[str, bytes] = {}
        """What was read, by path."""
        self.odd: Mapping[str, Fault] = {}
        """What is broken, by path."""

    def proc(self, name: str) -> bytes:
        """Return what a file below procfs holds, or raise what it answers."""
        path = f"{self.paths.procfs}/{name}"
        return self._fault(path) if path in self.odd else self._noted(path, super().proc(name))

    def sys(self, name: str, *, lasting: bool = False) -> bytes:
        """Return what a file below sysfs holds, or raise what it answers. Nothing is kept open."""
        path = f"{self.paths.sysfs}/{name}"
        return (self._fault(path) if path in self.odd else self._noted(path, super().sys(name))).rstrip(b"\n")

    def _noted(self, path: str, content: bytes) -> bytes:
        self.told[path] = content
        return content

    def _fault(self, path: str) -> bytes:
        fault = self.odd[path]
        if isinstance(fault, int):
            raise OSError(fault, os.strerror(fault), path)
        return fault


def faults(content: bytes, random: Random, *, driver: bool = False) -> list[Fault]:
    """Return the ways in which a file with this content may be broken. What a ``driver`` answers may be no number."""
    number = driver and NUMBER.fullmatch(content.strip())
    return [*contents(content, random), *ERRORS, *((b"nan\n", b"inf\n", b"9" * 400) if number else ())]


def contents(content: bytes, random: Random) -> list[bytes]:
    """Return what may stand in a file instead of this."""
    lines = content.split(b"\n")
    return [
        b"",
        b"\n",
        content[: random.randrange(len(content) + 1)],
        content[: random.randrange(len(content) + 1)],
        b"\n".join(line for line in lines if random.random() < 0.5),
        b"\n".join(line.rpartition(b" ")[0] for line in lines),
        b"\n".join(line + b" 1 more" for line in lines),
        content + b"\n" + content,
        random.randbytes(200),
        bytes(random.choices(range(32, 127), k=300)),
        b"\xff\xfe\n" + content,
        re.sub(rb"[A-Za-z]", b"\xff", content, count=20),
        content.replace(b" ", b":"),
        NUMBER.sub(rb"-\g<0>", content),
        NUMBER.sub(b"0", content),
        NUMBER.sub(b"18446744073709551615", content),
        NUMBER.sub(b"9" * 30, content),
        NUMBER.sub(b"none", content),
        NUMBER.sub(b"", content),
    ]


def kinds(paths: Iterable[str]) -> list[str]:
    """Return one path of those that differ in their numbers only, as they do from one device to the next alike."""
    return list({re.sub(r"\d+", "0", path): path for path in paths}.values())


def described(fault: Fault) -> str:
    """Return a fault in a few words."""
    if isinstance(fault, int):
        return f"answers {errno.errorcode.get(fault, fault)}"
    return f"holds {fault[:60]!r}{' …' if len(fault) > 60 else ''}"
