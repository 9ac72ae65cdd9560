"""Reads the neighbours of this machine, whose link layer addresses it knows, over a socket of rtnetlink(7)."""

import socket
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from agentd_plugins.collectors.host._netlink import RouteSocket, unpacked

NEIGHBOUR = Struct("=BxxxiHBB")
"""``struct ndmsg``: family, index of the device, state (NUD_…), flags (NTF_…), type."""

RTM_GETNEIGH = 30
NUD_NOARP = 0x40  # linux/neighbour.h: an entry for which nobody has to be asked, multicast say


class Neighbour(NamedTuple):
    """One entry of the kernel's table: ``family`` is AF_INET for those of ARP, ``state`` has bits of NUD_…."""

    family: int
    ifindex: int
    state: int


class NeighbourSocket(RouteSocket):
    """A socket that also knows the kernel's table of neighbours."""

    def ipv4_neighbours(self) -> Iterator[Neighbour]:
        """Yield the neighbours that ARP found or looks for. Raises ``OSError`` and ``ValueError``."""
        for body in self._dump(RTM_GETNEIGH, NEIGHBOUR.pack(socket.AF_INET, 0, 0, 0, 0)):
            neighbour = parse_neighbour(body)
            # /proc/net/arp leaves out the same ones.
            if neighbour.family == socket.AF_INET and not neighbour.state & NUD_NOARP:
                yield neighbour


def parse_neighbour(body: bytes) -> Neighbour:
    """Return the neighbour that a message tells of. Raises ``ValueError`` where it ends too soon."""
    family, ifindex, state, _, _ = unpacked(NEIGHBOUR, body)
    return Neighbour(family, ifindex, state)
