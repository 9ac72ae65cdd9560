"""Talks to systemd: readiness, status, watchdog (sd_notify(3)), and the sockets that it opened (sd_listen_fds(3))."""

import asyncio
import os
import socket
import time
from collections.abc import Callable

from agentd.errors import text_of

FIRST_SOCKET = 3
"""The descriptor of the first socket that is handed over: SD_LISTEN_FDS_START of sd-daemon.h."""

STATUS_EVERY = 10.0
"""Seconds between two looks at whether the status line is still right."""


def notify(**fields: str) -> bool:
    """Tell systemd ``READY="1"``, ``STATUS="…"`` or ``STOPPING="1"``; return whether somebody listens.

    Does nothing outside of systemd (``NOTIFY_SOCKET`` is not set), and never raises: the agent runs on without.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    # A line break would begin another field.
    text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(1.0)
            connection.sendto(text.encode(errors="replace"), address)
    except OSError:
        return False
    return True


def ready(status: str = "") -> bool:
    """Tell systemd that the agent is ready, after its start or after a reload; return whether somebody listens."""
    return notify(READY="1", **({"STATUS": status} if status else {}))


def reloading() -> bool:
    """Tell systemd that the agent reloads its configuration; ``ready`` has to follow, however that ends.

    The time by the monotonic clock is what systemd 253 and later ask for with ``Type=notify-reload``; older ones do
    without.
    """
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify(RELOADING="1", MONOTONIC_USEC=str(now))


def watchdog() -> float | None:
    """Return after how many seconds without a sign of life systemd restarts the agent; None where it does not watch.

    ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say so: sd_watchdog_enabled(3).
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) else None


async def report(status: Callable[[], str]) -> None:
    """Feed systemd's watchdog and keep its status line up to date, until cancelled.

    Whoever blocks the event loop for longer than the watchdog allows starves it: this is a task of that loop, and no
    thread. Without systemd it ends at once.
    """
    told = _asked(status)
    if not notify(STATUS=told):
        return
    limit = watchdog()
    # Half of the limit is what sd_watchdog_enabled(3) advises; a third leaves room for one sign that comes late.
    every = STATUS_EVERY if limit is None else min(STATUS_EVERY, limit / 3)
    due = time.monotonic() + STATUS_EVERY
    while True:
        if limit is not None:
            notify(WATCHDOG="1")
        await asyncio.sleep(every)
        if time.monotonic() >= due:
            due = time.monotonic() + STATUS_EVERY
            now = _asked(status)
            if now != told:
                notify(STATUS=now)
                told = now


def _asked(status: Callable[[], str]) -> str:
    try:
        return status()
    except Exception as error:  # noqa: BLE001  # a status that cannot be told must not starve the watchdog
        return f"the status cannot be told: {text_of(error)}"


def sockets() -> list[socket.socket]:
    """Take over the sockets that systemd opened for this process (``agentd.socket``); none where there are none.

    They are taken once: what says that they are there (``LISTEN_PID``, ``LISTEN_FDS``) is removed from the environment,
    so that no process that this one starts believes that they are meant for it.
    """
    pid, count, _names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    taken = []
    for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + int(count)):
        try:
            handed = socket.socket(fileno=descriptor)
        except OSError:  # no socket, but a FIFO say, or closed
            continue
        handed.set_inheritable(False)  # systemd hands them over without close-on-exec
        handed.settimeout(0)
        taken.append(handed)
    return taken
