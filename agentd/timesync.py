"""Whether the clock is right: somebody outside has said so, and not long ago."""

import ctypes
import sys
from pathlib import Path

STA_UNSYNC = 0x40
"""The bit in the status of adjtimex(2) that says that the clock is not synchronised."""

STATUS = 5 * ctypes.sizeof(ctypes.c_long)
"""Where the status is in ``struct timex``: behind ``modes``, which takes the room of a long, and four longs."""

ROOM = 512
"""Bytes: more than the structure has on any architecture."""


def synchronised(run: Path = Path("/run")) -> bool | None:
    """Return whether the clock is synchronised; None where this process may not know.

    The kernel tells, unless a filter of system calls forbids to ask; then systemd-timesyncd does, where it is what sets
    the clock.
    """
    told = _kernel()
    if told is not None:
        return told
    folder = run / "systemd" / "timesync"
    return (folder / "synchronized").exists() if folder.exists() else None


def _kernel() -> bool | None:
    answer = ctypes.create_string_buffer(ROOM)  # nothing but zeros asks, and changes nothing
    try:
        if ctypes.CDLL(None).adjtimex(answer) < 0:
            return None
    except (OSError, AttributeError):  # a C library without it
        return None
    return not int.from_bytes(answer.raw[STATUS : STATUS + 4], sys.byteorder) & STA_UNSYNC
