"""Reads mountinfo files (proc_pid_mountinfo(5))."""

import re
from typing import NamedTuple

_ESCAPE = re.compile(rb"\\([0-3][0-7][0-7])")
_INVALID = re.compile("[\udc80-\udcff]+")


class Mount(NamedTuple):
    """A mounted file system."""

    id: int
    """Tells this mount from one that takes its place later."""
    major: str
    minor: str
    path: bytes
    """Where it is mounted, byte for byte."""
    fstype: str
    device: str
    """What the kernel calls its source: a device, a server's export, or any word."""
    readonly: bool


def parse(text: bytes) -> list[Mount]:
    """Return the mounts in a mountinfo file, the upper of two in the same place after the lower.

    Raises ``ValueError`` on a line that cannot be understood.
    """
    mounts = []
    for line in text.split(b"\n"):
        if not line:
            continue
        # The number of fields before the dash varies. Blanks within a field are escaped, and a field may be empty.
        before, _, after = line.partition(b" - ")
        fields, about = before.split(b" "), after.split(b" ", 2)
        if len(fields) < 6 or len(about) < 3:
            raise ValueError(f"expected at least 6 fields, a dash and 3 more in mountinfo, found {line[:200]!r}")
        try:
            major, minor = fields[2].split(b":")
            ids = int(fields[0]), str(int(major)), str(int(minor))
        except ValueError:
            raise ValueError(f"expected numbers such as 36 35 98:0 in mountinfo, found {line[:200]!r}") from None
        options, of_filesystem = fields[5].split(b","), about[2].split(b",")
        readonly = b"ro" in options or b"ro" in of_filesystem or b"emergency_ro" in of_filesystem
        path, fstype, device = plain(fields[4]), label(plain(about[0])), label(plain(about[1]))
        mounts.append(Mount(*ids, path, fstype, device, readonly))
    return mounts


def plain(field: bytes) -> bytes:
    r"""Return a field without its escapes: blanks, tabs, line breaks and backslashes are written ``\040`` and so on."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field) if b"\\" in field else field


def label(raw: bytes) -> str:
    """Return the text for a label: each run of bytes that is no UTF-8 becomes one U+FFFD."""
    return _INVALID.sub("\ufffd", raw.decode("utf-8", "surrogateescape"))
