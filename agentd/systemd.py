"""Talks to systemd: readiness and status, by the protocol of sd_notify(3)."""

import os
import socket


def notify(**fields: str) -> bool:
    """Tell systemd ``READY="1"``, ``STATUS="…"`` or ``STOPPING="1"``; return whether somebody listens.

    Does nothing outside of systemd (``NOTIFY_SOCKET`` is not set), and never raises: the agent runs on without.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    text = "\n".join(f"{name}={value}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.sendto(text.encode(), address)
    except OSError:
        return False
    return True
