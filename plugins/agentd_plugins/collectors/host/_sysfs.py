"""Reads attributes of sysfs (Documentation/filesystems/sysfs.rst): files that each hold one value, or refuse it."""

import logging
import os
import re
from math import isfinite

from agentd.plugin import Host

UNDECODED = re.compile("[\udc80-\udcff]+")
"""Bytes that are no UTF-8, as ``surrogateescape`` keeps them."""


class Sysfs:
    """Reads attributes for one collector. What cannot be read now is None, so that it costs its own sample only.

    A driver may answer anything in the place of a value: EAGAIN, EIO, ENODEV, EINVAL, EOPNOTSUPP. That is a matter of
    the hardware, and silent. That a right is lacking is said once.
    """

    def __init__(self, host: Host, log: logging.Logger) -> None:
        self._host = host
        self._log = log
        self._refused = False

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, in their order as texts. Raises ``OSError``."""
        return sorted(os.listdir(f"{self._host.paths.sysfs}/{folder}"))

    def files(self, folder: str) -> list[str]:
        """Return the names of what is in a folder and no folder itself, in their order. Raises ``OSError``."""
        with os.scandir(f"{self._host.paths.sysfs}/{folder}") as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))

    def numbered(self, folder: str, prefix: str) -> list[str]:
        """Return the names in a folder that are a prefix with a number behind it; none where there is no folder."""
        try:
            names = self.names(folder)
        except OSError:
            return []
        return [name for name in names if name.startswith(prefix) and name[len(prefix) :][:1].isdigit()]

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder."""
        return os.access(f"{self._host.paths.sysfs}/{path}", os.F_OK)

    def link(self, path: str) -> str | None:
        """Return where a symbolic link leads; None where there is none."""
        try:
            return os.readlink(f"{self._host.paths.sysfs}/{path}")  # noqa: PTH115  # a Path costs more than the call
        except OSError:
            return None

    def line(self, path: str) -> str | None:
        """Return an attribute without the line break at its end, each run of bytes that are no UTF-8 as one U+FFFD."""
        content = self._read(path)
        return None if content is None else decoded(content)

    def text(self, path: str) -> str | None:
        """Return the same without the blanks around it."""
        line = self.line(path)
        return None if line is None else line.strip()

    def number(self, path: str) -> float | None:
        """Return an attribute that is a number; None where it is anything else."""
        content = self._read(path)
        return None if content is None else number(content)

    def count(self, path: str) -> float | None:
        """Return an attribute that is a number which cannot be negative; None where it is anything else."""
        value = self.number(path)
        return value if value is not None and value >= 0 else None

    def _read(self, path: str) -> bytes | None:
        try:
            return self._host.sys(path)
        except PermissionError:
            if not self._refused:
                self._refused = True
                self._log.warning(
                    "%s/%s, and what is protected like it, is left out: reading it takes the drop-in read-all.conf, "
                    "or root",
                    self._host.paths.sysfs,
                    path,
                )
        except OSError:
            pass
        return None


def number(content: bytes) -> float | None:
    """Return the number that an attribute holds; None where it holds anything else."""
    try:
        value = float(content)
    except ValueError:
        return None
    return value if isfinite(value) else None


def decoded(content: bytes) -> str:
    """Return an attribute as text, each run of bytes that are no UTF-8 as one U+FFFD."""
    text = content.decode("utf-8", "surrogateescape")
    return text if text.isascii() else UNDECODED.sub("\ufffd", text)
