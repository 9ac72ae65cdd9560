"""Reads routes and queueing disciplines from the kernel over a route netlink socket: rtnetlink(7)."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import NamedTuple

from agentd_plugins.collectors.host._genetlink import number
from agentd_plugins.collectors.host._netlink import RouteSocket, attributes, unpacked

ROUTE = Struct("=BBBBBBBBI")
"""``struct rtmsg``: family, length of the destination's prefix and of the source's, type of service, table, protocol,
scope, type, flags."""
NEXT_HOP = Struct("=HBBi")
"""``struct rtnexthop``: length with its attributes, flags, weight less one, index of the device."""
QDISC = Struct("=BxxxiIII")
"""``struct tcmsg``: family, index of the device, handle, parent, info."""

RTM_GETROUTE, RTM_GETQDISC = 26, 38
RTN_UNICAST = 1
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH = 1, 4, 5, 6, 7, 9
ROUTE_WANTED = frozenset({RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH})

TC_ROOT = (0, 2**32 - 1)
"""Parents of what stands between a device and the rest of the kernel; other parents are disciplines themselves."""
TCA_KIND, TCA_STATS, TCA_STATS2 = 1, 3, 7
TCA_STATS_BASIC, TCA_STATS_QUEUE = 1, 3
BASIC = Struct("=QI")
"""``struct gnet_stats_basic``: bytes, packets."""
QUEUE = Struct("=IIIII")
"""``struct gnet_stats_queue``: packets and bytes in the queue, drops, requeues, times over the limit."""
LEGACY = Struct("=QIIIIIII")
"""``struct tc_stats``: bytes, packets, drops, times over the limit, two rates, packets and bytes in the queue."""

IP = IPv4Address | IPv6Address


class Hop(NamedTuple):
    """Where packets go next; ``weight`` is None where there is only one way."""

    ifindex: int
    gateway: IP | None
    weight: int | None = None


class Route(NamedTuple):
    """One entry of a routing table that leads to another machine."""

    destination: IP | None
    prefix_length: int
    source: IP | None
    priority: int
    protocol: int
    hops: tuple[Hop, ...]


class Qdisc(NamedTuple):
    """What the queueing discipline at the root of a device has counted, and what is in its queue now."""

    ifindex: int
    kind: str
    sent_bytes: int
    packets: int
    drops: int
    requeues: int
    overlimits: int
    queued_packets: int
    queued_bytes: int


class TableSocket(RouteSocket):
    """A socket that also knows what else the kernel's network configuration consists of."""

    def routes(self) -> Iterator[Route]:
        """Yield the unicast routes of all tables. Raises ``OSError`` and ``ValueError``."""
        for body in self._dump(RTM_GETROUTE, ROUTE.pack(socket.AF_UNSPEC, *(0,) * 8)):
            route = parse_route(body)
            if route is not None:
                yield route

    def qdiscs(self) -> Iterator[Qdisc]:
        """Yield the disciplines at the roots of all devices. Raises ``OSError`` and ``ValueError``."""
        for body in self._dump(RTM_GETQDISC, QDISC.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            qdisc = parse_qdisc(body)
            if qdisc is not None:
                yield qdisc


def parse_route(body: bytes) -> Route | None:
    """Return the route that a message tells of; None where it is no unicast route of IPv4 or IPv6."""
    family, prefix_length, _, _, _, protocol, _, kind, _ = unpacked(ROUTE, body)
    if kind != RTN_UNICAST or family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    found = attributes(body, ROUTE.size, ROUTE_WANTED)
    several = tuple(hops(found[RTA_MULTIPATH])) if RTA_MULTIPATH in found else ()
    one = Hop(number(found.get(RTA_OIF, bytes(4))), ip(found.get(RTA_GATEWAY)))
    priority = number(found.get(RTA_PRIORITY, bytes(4)))
    return Route(
        ip(found.get(RTA_DST)), prefix_length, ip(found.get(RTA_PREFSRC)), priority, protocol, several or (one,)
    )


def hops(data: bytes) -> Iterator[Hop]:
    """Yield the ways among which packets are divided, from the attribute that holds them."""
    start = 0
    while start < len(data):
        length, _, weight, ifindex = unpacked(NEXT_HOP, data, start)
        if length < NEXT_HOP.size or start + length > len(data):
            raise ValueError(f"netlink: a hop claims {length} bytes where {len(data) - start} are left")
        found = attributes(data[start : start + length], NEXT_HOP.size, frozenset({RTA_GATEWAY}))
        yield Hop(ifindex, ip(found.get(RTA_GATEWAY)), weight + 1)
        start += (length + 3) & ~3


def ip(packed: bytes | None) -> IP | None:
    """Return an address of 4 or 16 bytes. Raises ``ValueError`` for any other length."""
    return ip_address(packed) if packed else None


def parse_qdisc(body: bytes) -> Qdisc | None:
    """Return the discipline that a message tells of; None where it is not at the root of a device."""
    _, ifindex, _, parent, _ = unpacked(QDISC, body)
    if parent not in TC_ROOT:
        return None
    found = attributes(body, QDISC.size, frozenset({TCA_KIND, TCA_STATS, TCA_STATS2}))
    kind = found.get(TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
    if TCA_STATS2 not in found:
        sent, packets, drops, over, _, _, queued, backlog = unpacked(LEGACY, found.get(TCA_STATS, bytes(LEGACY.size)))
        return Qdisc(ifindex, kind, sent, packets, drops, 0, over, queued, backlog)
    parts = attributes(found[TCA_STATS2], 0, frozenset({TCA_STATS_BASIC, TCA_STATS_QUEUE}))
    sent, packets = unpacked(BASIC, parts.get(TCA_STATS_BASIC, bytes(BASIC.size)))
    queued, backlog, drops, requeues, over = unpacked(QUEUE, parts.get(TCA_STATS_QUEUE, bytes(QUEUE.size)))
    return Qdisc(ifindex, kind, sent, packets, drops, requeues, over, queued, backlog)
