"""Where the machine's own files are, and the cheapest way to read the ones that the kernel makes up on the fly."""

import contextlib
import os
import time
from collections import deque
from pathlib import Path

import msgspec


class HostPaths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the kernel's file systems are mounted; in a container, say, under ``/host``."""

    procfs: str = "/proc"
    """Mount point of procfs."""
    sysfs: str = "/sys"
    """Mount point of sysfs."""
    rootfs: str = "/"
    """Root of the file system that is watched."""
    udev_data: str = "/run/udev/data"
    """Folder of udev's device database."""


GRACE = 5.0
"""Seconds for which a descriptor that is no longer used stays open."""


class Host:
    """Reads files of the watched machine. Errors are ``OSError`` as from ``open``; safe to use from several threads.

    Files of procfs are kept open and read again at offset 0, which the kernel answers afresh and which costs half of
    opening them each time (see ``benchmarks/``). A file that went away is opened anew; those of single processes, which
    come and go, are never kept (but for ``1/…``, the first process).
    """

    def __init__(self, paths: HostPaths | None = None) -> None:
        self.paths: HostPaths = paths or HostPaths()
        """Where its files are."""
        self._kept: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._retired: deque[tuple[float, int]] = deque()

    def proc(self, name: str) -> bytes:
        """Return the contents of a file below procfs, ``proc("net/dev")`` say."""
        path = f"{self.paths.procfs}/{name}"
        if name[:1].isdigit() and not name.startswith("1/"):
            return read(path)
        return self._read_kept(path)

    def _read_kept(self, path: str) -> bytes:
        descriptor = self._kept.get(path)
        if descriptor is not None:
            try:
                return self._again(path, descriptor)
            except OSError:  # the file behind the descriptor is gone: look for it anew
                self._forget(path)
        return self._open(path)

    def sys(self, name: str, *, lasting: bool = False) -> bytes:
        """Return the contents of a file below sysfs without the line break at its end.

        One that is ``lasting`` is kept open as those of procfs are. Where a device is given another name, it goes on
        being read: see ``forget``.
        """
        path = f"{self.paths.sysfs}/{name}"
        return (self._read_kept(path) if lasting else read(path)).rstrip(b"\n")

    def has(self, folder: str) -> bool:
        """Say whether there is anything in a folder of sysfs, ``class/nvme`` say: of devices, whether there are any."""
        try:
            return bool(os.listdir(f"{self.paths.sysfs}/{folder}"))  # a Path costs thrice as much
        except OSError:
            return False

    def forget(self, folder: str) -> None:
        """Close what was kept of files below a folder of sysfs: their names may by now mean others."""
        for path in [path for path in self._kept if path.startswith(f"{self.paths.sysfs}/{folder}/")]:
            self._forget(path)

    def path(self, name: str) -> Path:
        """Return where ``/etc/os-release``, say, is found under ``rootfs``."""
        return Path(self.paths.rootfs) / name.lstrip("/")

    def __del__(self) -> None:
        self.close()  # descriptors are plain numbers: nobody else would

    def close(self) -> None:
        """Close the descriptors that were kept."""
        for path in list(self._kept):
            self._forget(path)
        while self._retired:
            os.close(self._retired.popleft()[1])

    def _open(self, path: str) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = _whole(descriptor, path)
            if data and _made_up(os.fstat(descriptor), len(data)):
                self._sizes[path] = len(data)
                if self._kept.setdefault(path, descriptor) == descriptor:  # no other thread was faster
                    descriptor = -1
            return data
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _again(self, path: str, descriptor: int) -> bytes:
        # A read may end at any border of a record (the kernel's seq_file fills a page at a time): only an empty one
        # says that this was all.
        size = self._sizes.get(path, 3072) + 1024
        data = os.pread(descriptor, size, 0)
        while data and (more := os.pread(descriptor, size, len(data))):
            data += more
        self._sizes[path] = len(data)
        return data

    def _forget(self, path: str) -> None:
        descriptor = self._kept.pop(path, None)
        self._sizes.pop(path, None)
        now = time.monotonic()
        if descriptor is not None:
            self._retired.append((now, descriptor))
        # Another thread may be about to read from it, and would read another file were its number given out again.
        with contextlib.suppress(IndexError):
            while self._retired[0][0] < now - GRACE:
                os.close(self._retired.popleft()[1])


def _made_up(status: os.stat_result, length: int) -> bool:
    """Say whether a file is one that the kernel makes up; any other may be replaced by renaming, so is not kept."""
    # It takes no room on a disk, and its size is 0 (procfs) or that of a page whatever it holds (sysfs).
    return status.st_blocks == 0 and status.st_size in (0, 4096) and status.st_size != length


def read(path: str) -> bytes:
    """Return the whole of a file. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _whole(descriptor, path)
    finally:
        os.close(descriptor)


def _whole(descriptor: int, path: str) -> bytes:
    try:
        data = os.read(descriptor, 16384)
        if data:
            while more := os.read(descriptor, 65536):
                data += more
    except OSError as error:  # which a descriptor alone gives no name to
        error.filename = path
        raise
    return data
