"""Reads the TCP sockets of this machine over a netlink socket: sock_diag(7)."""

import socket
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from agentd_plugins.collectors.host._netlink import RouteSocket, unpacked

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20  # linux/netlink.h, linux/sock_diag.h
REQUEST = Struct("=BBxxI48x")
"""``struct inet_diag_req_v2``: family, protocol, mask of states; which socket, where only one is asked for."""
ANSWER = Struct("=xBxx48xxxxxII8x")
"""``struct inet_diag_msg``: the state, the queues of what was received and is to be sent; more that is not needed."""
STATES = 0xFFF
"""All states, those of connections that are being made among them (net/tcp_states.h)."""


class TcpSocket(NamedTuple):
    """One TCP socket: its state (net/tcp_states.h) and how much waits in it, of a listening one not in bytes."""

    state: int
    received: int
    unsent: int


def opened() -> socket.socket:
    """Return a new socket to the kernel's list of sockets. Raises ``OSError`` where that is forbidden."""
    diagnosis = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    diagnosis.settimeout(0)  # an answer is made inside the calls that ask for it and take it
    return diagnosis


class DiagnosisSocket(RouteSocket):
    """A socket to the kernel's list of sockets, opened at its first use and anew after each error.

    It sees the network namespace in which the agent runs. Errors are ``OSError``, and ``ValueError`` for an answer that
    makes no sense.
    """

    def __init__(self, open: Callable[[], socket.socket] = opened) -> None:
        super().__init__(open)

    def tcp(self) -> Iterator[TcpSocket]:
        """Yield the TCP sockets of IPv4 and IPv6; of the latter there are none where it is switched off."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for body in self._dump(SOCK_DIAG_BY_FAMILY, REQUEST.pack(family, socket.IPPROTO_TCP, STATES)):
                yield TcpSocket(*unpacked(ANSWER, body))
