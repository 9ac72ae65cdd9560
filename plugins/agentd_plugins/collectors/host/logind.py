"""Sessions of users that logind knows, asked over D-Bus."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from agentd.plugin import Collector, Config, Family, gauge, hookimpl
from agentd_plugins.collectors.host import _dbus

SERVICE = "org.freedesktop.login1"
ROOT = "/org/freedesktop/login1"
MANAGER = f"{SERVICE}.Manager"
SESSION = f"{SERVICE}.Session"

REMOTE = ("true", "false")
TYPES = ("other", "unspecified", "tty", "x11", "wayland", "mir", "web")
CLASSES = ("other", "user", "greeter", "lock-screen", "background")
"""The words of org.freedesktop.login1(5) that node_exporter knows; what is none of them counts as other."""


class Logind(Collector[Config]):
    """How many sessions there are of each kind."""

    name = "logind"
    extra = "systemd"

    sessions = gauge(
        "node_logind_sessions",
        "Number of sessions; seat is empty for those that are at none, such as over SSH.",
        ("seat", "remote", "type", "class"),
    )

    async def start(self) -> None:
        """Check that the library is there."""
        _dbus.need()

    async def collect(self) -> list[Family]:
        """Return the number of sessions for each combination of labels, 0 included."""
        async with _dbus.service(SERVICE) as logind:
            seats = structures(await logind.call(ROOT, MANAGER, "ListSeats"), 1)
            sessions = structures(await logind.call(ROOT, MANAGER, "ListSessions"), 5)
            wanted = [
                (path, SESSION, name) for _, _, _, _, path, *_ in sessions for name in ("Remote", "Type", "Class")
            ]
            found = await logind.properties(wanted)
        kinds = zip(*[iter(found)] * 3, strict=True)
        told = (
            (session[3], *labels)
            for session, kind in zip(sessions, kinds, strict=True)
            if (labels := described(*kind)) is not None
        )
        counts = Counter(told)
        every = product([*(seat for seat, *_ in seats), ""], REMOTE, TYPES, CLASSES)
        return [self.sessions({labels: float(counts[labels]) for labels in every})]


def structures(listed: Iterable[Sequence[Any]], count: int) -> list[Sequence[Any]]:
    """Return a list of structures as it is, where each has at least so many fields. Raises ``ValueError``."""
    rows = list(listed)
    if any(len(row) < count for row in rows):
        raise ValueError(f"expected structures of {count} fields or more from logind, found {rows!r:.200}")
    return rows


def described(remote: object, type_: object, class_: object) -> tuple[str, str, str] | None:
    """Return the labels of a session, or None where it has ended before it could be asked for all of them."""
    if not (isinstance(remote, bool) and isinstance(type_, str) and isinstance(class_, str)):
        return None
    return (
        "true" if remote else "false",
        type_ if type_ in TYPES else "other",
        class_ if class_ in CLASSES else "other",
    )


@hookimpl
def agentd_collectors() -> list[type[Logind]]:
    """Register the collector."""
    return [Logind]
