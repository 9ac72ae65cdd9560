"""Sockets that systemd opened in the agent's place, and which of the configured addresses each stands for."""

import ipaddress
import socket
from collections.abc import Sequence

_ALSO = {"": ("0.0.0.0", "::"), "localhost": ("127.0.0.1", "::1")}  # noqa: S104  # compared, not bound
"""What a host of the configuration may be called by a socket, beside its own name."""


class Handed:
    """The sockets that the agent was handed. They stay open as long as it runs: each listener gets a copy."""

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        self._sockets = sockets
        self._taken: set[int] = set()

    def take(self, host: str, port: int) -> list[socket.socket]:
        """Return copies of those that stand for an address; none where it is the agent's own to open."""
        names = _ALSO.get(host, (_plain(host),))
        found = [each for each in self._sockets if _address(each) in [(name, port) for name in names]]
        self._taken.update(each.fileno() for each in found)
        return [each.dup() for each in found]

    def left(self) -> list[str]:
        """Return the addresses of those that nobody has taken."""
        return [_spelled(each) for each in self._sockets if each.fileno() not in self._taken]

    def close(self) -> None:
        """Let them go; what systemd holds of them stays open."""
        for each in self._sockets:
            each.close()


def _address(listening: socket.socket) -> tuple[str, int] | None:
    if listening.family not in (socket.AF_INET, socket.AF_INET6) or listening.type != socket.SOCK_STREAM:
        return None
    host, port = listening.getsockname()[:2]
    return _plain(host), port


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:  # a name
        return host


def _spelled(listening: socket.socket) -> str:
    name = listening.getsockname()
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return name if isinstance(name, str) else repr(name)
