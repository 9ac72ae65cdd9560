"""Reads wireless devices and the stations that they hear from the kernel: linux/nl80211.h, over generic netlink."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agentd_plugins.collectors.host._genetlink import FamilySocket, number, uint32
from agentd_plugins.collectors.host._netlink import attributes

CMD_GET_INTERFACE, CMD_GET_STATION, CMD_GET_SCAN = 5, 17, 32
ATTR_IFINDEX, ATTR_IFNAME, ATTR_MAC, ATTR_STA_INFO, ATTR_WIPHY_FREQ, ATTR_BSS = 3, 4, 6, 21, 38, 47
BSS_BSSID, BSS_INFORMATION_ELEMENTS, BSS_STATUS = 1, 6, 9

STATION = {
    "inactive_milliseconds": 1,
    "received_bytes_32": 2,
    "transmitted_bytes_32": 3,
    "signal": 7,
    "received_packets": 9,
    "transmitted_packets": 10,
    "retries": 11,
    "failed": 12,
    "connected_seconds": 16,
    "beacon_loss": 18,
    "received_bytes": 23,
    "transmitted_bytes": 24,
}
"""Numbers about a station (NL80211_STA_INFO_*), as wide as they are."""

RATES = {"transmit_rate": 8, "receive_rate": 14}
"""Attributes about a station that consist of attributes themselves (NL80211_RATE_INFO_*)."""

RATE_BITRATE, RATE_BITRATE32 = 1, 5
RATE_UNIT = 100_000.0
"""Bits a second in which the kernel tells rates."""

MODES = {0: "client", 1: "client", 2: "ad-hoc"}
"""What a device is in the network to which it belongs: authenticated, associated, or in one without access points."""

ELEMENT_SSID = 0


class Interface(NamedTuple):
    """A wireless device; ``frequency`` in megahertz is 0 where it uses no channel."""

    ifindex: int
    name: str
    frequency: int


class Network(NamedTuple):
    """The network to which a device belongs."""

    bssid: str
    ssid: str
    mode: str


class Station(NamedTuple):
    """Another device within hearing: an access point for its clients, and the other way round."""

    address: str
    numbers: Mapping[str, float]
    """By the names in ``STATION`` and ``RATES``, the latter in bits a second; what the driver does not know is missing.
    """


class WirelessSocket:
    """A socket to the kernel's wireless devices in the agent's network namespace.

    Errors are ``OSError``, of which ``FileNotFoundError`` says that the kernel knows no wireless devices at all, and
    ``ValueError`` for an answer that makes no sense.
    """

    def __init__(self, family: FamilySocket | None = None) -> None:
        self._family = family or FamilySocket("nl80211")

    def interfaces(self) -> list[Interface]:
        """Return the wireless devices, without those that have no name."""
        found = map(parse_interface, self._family.ask(CMD_GET_INTERFACE))
        return [interface for interface in found if interface.name]

    def network(self, interface: Interface) -> Network | None:
        """Return the network to which a device belongs, None where it belongs to none."""
        for answer in self._family.ask(CMD_GET_SCAN, uint32(ATTR_IFINDEX, interface.ifindex)):
            network = parse_network(answer)
            if network is not None:
                return network
        return None

    def stations(self, interface: Interface) -> Iterator[Station]:
        """Yield the stations that a device is connected to."""
        for answer in self._family.ask(CMD_GET_STATION, uint32(ATTR_IFINDEX, interface.ifindex)):
            station = parse_station(answer)
            if station is not None:
                yield station

    def close(self) -> None:
        """Close the socket; the next question opens another."""
        self._family.close()


def parse_interface(answer: bytes) -> Interface:
    """Return the wireless device that an answer tells of. Raises ``ValueError``."""
    found = attributes(answer, 0, frozenset({ATTR_IFINDEX, ATTR_IFNAME, ATTR_WIPHY_FREQ}))
    name = found.get(ATTR_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    ifindex, frequency = (number(found.get(kind, bytes(4))) for kind in (ATTR_IFINDEX, ATTR_WIPHY_FREQ))
    return Interface(ifindex, name, frequency)


def parse_network(answer: bytes) -> Network | None:
    """Return the network that an answer tells of, None where the device only heard it. Raises ``ValueError``."""
    bss = attributes(answer, 0, frozenset({ATTR_BSS})).get(ATTR_BSS, b"")
    found = attributes(bss, 0, frozenset({BSS_BSSID, BSS_INFORMATION_ELEMENTS, BSS_STATUS}))
    if BSS_STATUS not in found:
        return None
    mode = MODES.get(number(found[BSS_STATUS]), "unknown")
    return Network(found.get(BSS_BSSID, b"").hex(":"), ssid(found.get(BSS_INFORMATION_ELEMENTS, b"")), mode)


def ssid(elements: bytes) -> str:
    """Return a network's name, which may be any bytes, from the information elements of its beacon (IEEE 802.11)."""
    start = 0
    while start + 2 <= len(elements):
        kind, length = elements[start], elements[start + 1]
        if kind == ELEMENT_SSID:
            return elements[start + 2 : start + 2 + length].decode(errors="replace")
        start += 2 + length
    return ""


def parse_station(answer: bytes) -> Station | None:
    """Return the station that an answer tells of, None where it tells nothing of it. Raises ``ValueError``."""
    found = attributes(answer, 0, frozenset({ATTR_MAC, ATTR_STA_INFO}))
    if ATTR_STA_INFO not in found:
        return None
    kinds = STATION | RATES
    about = attributes(found[ATTR_STA_INFO], 0, frozenset(kinds.values()))
    numbers = {name: float(number(about[kind])) for name, kind in STATION.items() if kind in about}
    numbers |= {name: rate(about[kind]) for name, kind in RATES.items() if kind in about}
    if numbers.get("signal", 0.0) >= 128.0:  # a signed byte
        numbers["signal"] -= 256.0
    return Station(found.get(ATTR_MAC, b"").hex(":"), numbers)


def rate(data: bytes) -> float:
    """Return a rate in bits a second; beyond 6.5 Gbit/s only newer kernels can tell it. Raises ``ValueError``."""
    found = attributes(data, 0, frozenset({RATE_BITRATE, RATE_BITRATE32}))
    return number(found.get(RATE_BITRATE32) or found.get(RATE_BITRATE, b"\0")) * RATE_UNIT
