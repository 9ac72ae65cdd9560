"""Asks the kernel over netlink what kind of thing each network device is: rtnetlink(7), and ethtool's family."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from agentd.plugin import Host
from agentd_plugins.collectors.host._genetlink import FamilySocket, every, nested, number, uint32
from agentd_plugins.collectors.host._netclass import Device, parse, text
from agentd_plugins.collectors.host._netlink import Link, RouteSocket, attributes

WITHOUT_NETLINK = ("addr_assign_type", "dev_id", "name_assign_type")
"""Numbers that only sysfs has. Reading them waits for no driver."""

# linux/if_link.h
IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_OPERSTATE, IFLA_IFALIAS, IFLA_STATS64 = 1, 2, 3, 16, 20, 23
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_LINK, IFLA_LINKMODE = 5, 17
IFLA_NUMBERS = {
    "mtu": 4,
    "tx_queue_len": 13,
    "netdev_group": 27,
    "carrier": 33,
    "carrier_changes": 35,
    "carrier_up_count": 47,
    "carrier_down_count": 48,
    "link_mode": IFLA_LINKMODE,
    "dormant": IFLA_LINKMODE,  # what node_exporter says: netlink tells only of the operational state
}
WANTED = frozenset(
    {IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_OPERSTATE, IFLA_IFALIAS, IFLA_PROP_LIST, IFLA_LINK}
) | frozenset(IFLA_NUMBERS.values())

OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
"""Words for the operational states of RFC 2863, in the order of linux/if.h."""

# linux/ethtool_netlink.h
ETHTOOL_MSG_LINKMODES_GET = 4
ETHTOOL_A_LINKMODES_HEADER, ETHTOOL_A_LINKMODES_SPEED, ETHTOOL_A_LINKMODES_DUPLEX = 1, 5, 6
ETHTOOL_A_HEADER_DEV_NAME, ETHTOOL_A_HEADER_FLAGS = 2, 3
ETHTOOL_FLAG_COMPACT_BITSETS = 1

DUPLEX = {0: "Half", 1: "Full", 255: "Unknown"}
"""Words for the duplex modes, which over netlink node_exporter writes with a capital."""


class LinkMode(NamedTuple):
    """Speed in megabits a second and duplex mode of a device."""

    speed: int | None
    duplex: str


class Sockets:
    """The two sockets that tell of devices over netlink: the kernel's list of links, and ethtool's."""

    def __init__(self, route: RouteSocket | None = None, ethtool: FamilySocket | None = None) -> None:
        self._route = route or RouteSocket()
        self._ethtool = ethtool or FamilySocket("ethtool")

    def devices(self, host: Host, *, with_statistics: bool) -> list[Device]:
        """Return all devices. Raises ``OSError`` and ``ValueError``."""
        wanted = WANTED | {IFLA_STATS64} if with_statistics else WANTED
        return list(linked(host, self._route.links(wanted), self._modes()))

    def close(self) -> None:
        """Close both; the next call opens others."""
        self._route.close()
        self._ethtool.close()

    def _modes(self) -> dict[str, LinkMode]:
        flags = uint32(ETHTOOL_A_HEADER_FLAGS, ETHTOOL_FLAG_COMPACT_BITSETS)
        try:
            answers = self._ethtool.ask(ETHTOOL_MSG_LINKMODES_GET, nested(ETHTOOL_A_LINKMODES_HEADER, flags))
        except FileNotFoundError:  # before Linux 5.6
            return {}
        return dict(map(link_mode, answers))


def linked(host: Host, links: Iterable[Link], modes: Mapping[str, LinkMode]) -> Iterator[Device]:
    """Yield the devices of a dump over netlink, with what only sysfs and ethtool know. Raises ``ValueError``."""
    for link in links:
        found = link.attributes
        name = plain(found.get(IFLA_IFNAME, b""))
        numbers = {key: float(number(found[kind])) for key, kind in IFLA_NUMBERS.items() if kind in found}
        numbers["flags"], numbers["ifindex"], numbers["type"] = float(link.flags), float(link.ifindex), float(link.type)
        # The kernel leaves out a link that leads to the device itself.
        numbers["iflink"] = float(number(found[IFLA_LINK]) if IFLA_LINK in found else 0) or float(link.ifindex)
        for key in WITHOUT_NETLINK:
            if (value := parse(text(host, name, key))) is not None:
                numbers[key] = value
        mode = modes.get(name)
        if mode and mode.speed is not None:
            numbers["speed"] = float(mode.speed)
        state = number(found.get(IFLA_OPERSTATE, b"\0"))
        words = {
            "address": found.get(IFLA_ADDRESS, b"").hex(":"),
            "broadcast": found.get(IFLA_BROADCAST, b"").hex(":"),
            "duplex": mode.duplex if mode else "",
            "operstate": OPERSTATES[state] if state < len(OPERSTATES) else "unknown",
            "ifalias": plain(found.get(IFLA_IFALIAS, b"")),
        }
        names = every(found.get(IFLA_PROP_LIST, b""))
        altnames = tuple(plain(value) for kind, value in names if kind == IFLA_ALT_IFNAME)
        yield Device(name, numbers, words, altnames, statistics(found.get(IFLA_STATS64, b"")))


def statistics(numbers: bytes) -> tuple[float, ...]:
    """Return the numbers of a ``struct rtnl_link_stats64``, as many as this kernel has."""
    return tuple(map(float, struct.unpack_from(f"={len(numbers) // 8}Q", numbers)))


def plain(name: bytes) -> str:
    """Return a name that ends in a zero as text."""
    return name.rstrip(b"\0").decode(errors="replace")


def link_mode(answer: bytes) -> tuple[str, LinkMode]:
    """Return a device's name and mode from one answer of ethtool. Raises ``ValueError``."""
    found = attributes(
        answer, 0, frozenset({ETHTOOL_A_LINKMODES_HEADER, ETHTOOL_A_LINKMODES_SPEED, ETHTOOL_A_LINKMODES_DUPLEX})
    )
    header = attributes(found.get(ETHTOOL_A_LINKMODES_HEADER, b""), 0, frozenset({ETHTOOL_A_HEADER_DEV_NAME}))
    speed, duplex = found.get(ETHTOOL_A_LINKMODES_SPEED), number(found.get(ETHTOOL_A_LINKMODES_DUPLEX, b"\0"))
    name = plain(header.get(ETHTOOL_A_HEADER_DEV_NAME, b""))
    return name, LinkMode(None if speed is None else number(speed), DUPLEX.get(duplex, f"Duplex({duplex})"))
