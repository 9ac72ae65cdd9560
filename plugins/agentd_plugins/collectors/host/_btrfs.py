"""Asks mounted Btrfs file systems about their devices, by ioctl (linux/btrfs.h)."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from agentd_plugins.collectors.host._mountinfo import Mount, label

Ioctl = Callable[[int, int, bytearray], object]

FS_INFO, FS_INFO_SIZE = 0x8400941F, 1024
DEV_INFO, DEV_INFO_SIZE = 0xD000941E, 4096
DEV_STATS, DEV_STATS_SIZE = 0xC4089434, 1032
"""Requests, with the size of what is handed over. (On MIPS, PowerPC and SPARC they have other numbers: the kernel then
does not know these, and what sysfs has is told instead.)"""

FS_HEAD = struct.Struct("=QQ16s")
"""The highest number of a device, how many devices there are, and the file system's UUID."""

DEV_HEAD = struct.Struct("=Q16sQQ")
"""A device's number, its UUID, how many of its bytes are allocated, and how many it has."""

DEV_PATH = 3072
"""Where in the answer the path of the device begins."""

STATS = struct.Struct("=QQQ5Q")
"""A device's number, how many counters there are, flags, and the counters in the order of ``ERRORS``."""

ERRORS = ("write", "read", "flush", "corruption", "generation")
"""What is counted: failed writes, reads and flushes, wrong checksums, and blocks that are older than they should be."""

NUMBERS = 65536
"""How many numbers are tried at most: devices that were removed leave gaps."""


class Device(NamedTuple):
    """A device that a file system is on."""

    name: str
    uuid: str
    used: float
    """Bytes that are allocated to data, metadata or the system."""
    total: float
    errors: tuple[float, ...]
    """Counts in the order of ``ERRORS``."""


class Answers(NamedTuple):
    """What came of asking."""

    devices: dict[str, list[Device]]
    """The devices of each file system by its UUID, without the file systems that did not answer."""
    refused: list[str]
    """Places that may not be opened, of file systems that did not answer in another place either."""


def ask(mounts: Iterable[Mount], root: bytes, ioctl: Ioctl = fcntl.ioctl) -> Answers:
    """Ask each file system in the first place where it lets itself be opened; that is all the right that it takes."""
    found: dict[str, list[Device]] = {}
    refused: dict[str, str] = {}
    done = set()
    for mount in mounts:
        if mount.fstype != "btrfs" or mount.device in done:
            continue
        try:
            descriptor = os.open(_under(root, mount.path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError:
            refused.setdefault(mount.device, label(mount.path))
            continue
        except OSError:
            continue
        try:
            uuid, devices = _filesystem(descriptor, ioctl)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        done.add(mount.device)
        found[uuid] = devices
    return Answers(found, [place for device, place in refused.items() if device not in done])


def _under(root: bytes, path: bytes) -> bytes:
    return path if path == root or path.startswith(root + b"/") else root + path


def _filesystem(descriptor: int, ioctl: Ioctl) -> tuple[str, list[Device]]:
    answer = bytearray(FS_INFO_SIZE)
    ioctl(descriptor, FS_INFO, answer)
    highest, count, uuid = FS_HEAD.unpack_from(answer)
    devices = []
    for device in _devices(descriptor, min(highest + 1, NUMBERS), ioctl):
        devices.append(device)
        if len(devices) == count:
            break
    return str(UUID(bytes=uuid)), devices


def _devices(descriptor: int, numbers: int, ioctl: Ioctl) -> Iterator[Device]:
    for number in range(numbers):
        answer, stats = bytearray(DEV_INFO_SIZE), bytearray(DEV_STATS_SIZE)
        DEV_HEAD.pack_into(answer, 0, number, bytes(16), 0, 0)
        try:
            ioctl(descriptor, DEV_INFO, answer)
        except OSError as error:
            if error.errno == errno.ENODEV:  # no device has this number
                continue
            raise
        STATS.pack_into(stats, 0, number, len(ERRORS), 0, *[0] * len(ERRORS))
        ioctl(descriptor, DEV_STATS, stats)
        _, uuid, used, total = DEV_HEAD.unpack_from(answer)
        path = bytes(answer[DEV_PATH:]).partition(b"\0")[0]
        counts = tuple(map(float, STATS.unpack_from(stats)[3:]))
        yield Device(label(path.rpartition(b"/")[2]), str(UUID(bytes=uuid)), float(used), float(total), counts)
