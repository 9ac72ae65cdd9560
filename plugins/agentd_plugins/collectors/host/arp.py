"""How many neighbours the machine knows by ARP, from /proc/net/arp or from the kernel over netlink."""

import socket
from collections import Counter
from collections.abc import Awaitable, Mapping

from agentd.plugin import Collector, Config, Context, Family, Regex, gauge, hookimpl
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host._neighbour import NeighbourSocket
from agentd_plugins.collectors.host._parsed import parsed


class ArpConfig(Config):
    """Options of the collector arp."""

    device_include: Regex | None = None
    """Devices to tell of, all others left out; not together with ``device_exclude``."""
    device_exclude: Regex | None = None
    """Devices to leave out."""
    netlink: bool = True
    """Whether to ask the kernel over netlink where there is no /proc/net/arp, which tells the same."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class Arp(Collector[ArpConfig]):
    """Entries of the ARP table by network device."""

    name = "arp"
    blocking = False  # the file waits for nothing; netlink may wait for the kernel's RTNL lock, and is left to a worker

    entries = gauge(
        "node_arp_entries", "Number of IPv4 neighbours that ARP found or looks for behind the device.", ("device",)
    )

    def __init__(self, config: ArpConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)
        self._socket = NeighbourSocket()

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._socket.close()

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return the number of entries of each device that has any."""
        try:
            return self._families(parsed(self.host, "net/arp", parse))
        except FileNotFoundError:
            if not self.config.netlink or self.host.paths.sysfs != "/sys":
                raise
            return self.in_worker(self._ask)

    def _ask(self) -> list[Family]:
        counts = Counter(neighbour.ifindex for neighbour in self._socket.ipv4_neighbours())
        return self._families({name: count for ifindex, count in counts.items() if (name := device(ifindex))})

    def _families(self, counts: Mapping[str, int]) -> list[Family]:
        samples = {name: float(count) for name, count in counts.items() if not self._filter.ignores(name)}
        return [self.entries(samples)] if samples else []


def device(ifindex: int) -> str | None:
    """Return the name of a network device; None where it went away meanwhile."""
    try:
        return socket.if_indextoname(ifindex)
    except (OSError, OverflowError):
        return None


def parse(text: bytes) -> Mapping[str, int]:
    """Return how many entries of an arp file (arp(7)) each device has: its name stands at the end of a line.

    A device without link layer addresses, a tunnel say, leaves that column empty.
    """
    devices = []
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) not in {5, 6}:
            raise ValueError(f"expected five or six columns in arp, found {line[:80]!r}")
        devices.append(columns[-1].decode(errors="replace"))
    return Counter(devices)


@hookimpl
def agentd_collectors() -> list[type[Arp]]:
    """Register the collector."""
    return [Arp]
