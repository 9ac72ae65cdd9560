"""Where the machine's own files are, and the cheapest way to read the ones that the kernel makes up on the fly."""

import os
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


class Host:
    """Reads files of the watched machine. Errors are ``OSError`` as from ``open``; safe to use from several threads.

    Files of procfs are kept open and read again at offset 0, which the kernel answers afresh and which costs half of
    opening them each time (see ``benchmarks/``). A file that went away is opened anew; those of single processes, which
    come and go, are never kept (but for ``1/…``, the first process).
    """

    def __init__(self, paths: HostPaths | None = None) -> None:
        self.paths = paths or HostPaths()
        self._kept: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    def proc(self, name: str) -> bytes:
        """Return the contents of a file below procfs, ``proc("net/dev")`` say."""
        path = f"{self.paths.procfs}/{name}"
        if name[:1].isdigit() and not name.startswith("1/"):
            return read(path)
        descriptor = self._kept.get(path)
        if descriptor is not None:
            try:
                return self._again(path, descriptor)
            except OSError:  # the file behind the descriptor is gone: look for it anew
                self._forget(path)
        return self._open(path)

    def sys(self, name: str) -> bytes:
        """Return the contents of a file below sysfs without the line break at its end."""
        return read(f"{self.paths.sysfs}/{name}").rstrip(b"\n")

    def path(self, name: str) -> Path:
        """Return where ``/etc/os-release``, say, is found under ``rootfs``."""
        return Path(self.paths.rootfs) / name.lstrip("/")

    def close(self) -> None:
        """Close the descriptors that were kept."""
        for path in list(self._kept):
            self._forget(path)

    def _open(self, path: str) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = _whole(descriptor)
            # Files that the kernel makes up have size 0. Any other may be replaced by renaming, so is not kept.
            if data and os.fstat(descriptor).st_size == 0 and path not in self._kept:
                self._sizes[path] = len(data)
                self._kept[path] = descriptor
                descriptor = -1
            return data
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _again(self, path: str, descriptor: int) -> bytes:
        # A read may end at any border of a record (the kernel's seq_file fills a page at a time): only an empty one
        # says that this was all.
        size = self._sizes[path] + 1024
        data = os.pread(descriptor, size, 0)
        while data and (more := os.pread(descriptor, size, len(data))):
            data += more
        self._sizes[path] = len(data)
        return data

    def _forget(self, path: str) -> None:
        descriptor = self._kept.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)


def read(path: str) -> bytes:
    """Return the whole of a file. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _whole(descriptor)
    finally:
        os.close(descriptor)


def _whole(descriptor: int) -> bytes:
    data = os.read(descriptor, 16384)
    if data:
        while more := os.read(descriptor, 65536):
            data += more
    return data
