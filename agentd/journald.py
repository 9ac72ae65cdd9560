"""Talks to journald by its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram a log entry."""

import re
import socket
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"

LONGEST = 64
"""Characters of a field's name that journald takes; an entry with a longer one loses that field."""


def encode(fields: Mapping[str, str]) -> bytes:
    """Return an entry as journald reads it. Whatever a value holds, it neither ends its field nor begins another."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts.append(b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data))
        else:
            parts.append(b"%s=%s\n" % (name.encode(), data))
    return b"".join(parts)


def field_name(text: str) -> str:
    """Return a name as journald allows it: capitals, digits and underscores, ``AGENTD_`` before it."""
    return f"AGENTD_{re.sub('[^A-Z0-9]', '_', text.upper())}"[:LONGEST]


def send(fields: Mapping[str, str], address: str = SOCKET) -> bool:
    """Send an entry without waiting; return whether it was taken. One too large for a datagram is not, for one."""
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as connection:
            connection.sendto(encode(fields), address)
    except OSError:
        return False
    return True
