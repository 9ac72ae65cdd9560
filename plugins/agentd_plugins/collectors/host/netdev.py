"""Bytes, packets and errors of the network devices, from the kernel over netlink or from /proc/net/dev."""

import struct
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from agentd.plugin import Collector, Config, Context, Family, Frame, Layout, Metric, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _netclass
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host._netlink import IFLA_IFNAME, IFLA_STATS64, STATS64, Link, RouteSocket, named
from agentd_plugins.collectors.host._places import NOWHERE, Places

COLUMNS = (
    "receive_bytes receive_packets receive_errors receive_dropped receive_fifo receive_frame receive_compressed "
    "receive_multicast transmit_bytes transmit_packets transmit_errors transmit_dropped transmit_fifo transmit_colls "
    "transmit_carrier transmit_compressed"
).split()
"""The numbers in a line of /proc/net/dev, of which the kernel has summed up some (net/core/net-procfs.c)."""

LEGACY = {
    "receive_errs": "receive_errors",
    "receive_drop": "receive_dropped receive_missed_errors",
    "receive_fifo": "receive_fifo_errors",
    "receive_frame": "receive_frame_errors receive_length_errors receive_over_errors receive_crc_errors",
    "receive_multicast": "multicast",
    "transmit_errs": "transmit_errors",
    "transmit_drop": "transmit_dropped",
    "transmit_fifo": "transmit_fifo_errors",
    "transmit_colls": "collisions",
    "transmit_carrier": "transmit_carrier_errors transmit_aborted_errors "
    "transmit_heartbeat_errors transmit_window_errors",
}
"""Names of /proc/net/dev, and the numbers that the kernel adds up under them."""


class NetdevConfig(Config):
    """Options of the collector netdev."""

    device_include: Regex | None = None
    """Devices to tell of, all others left out; not together with ``device_exclude``."""
    device_exclude: Regex | None = None
    """Devices to leave out."""
    address_info: bool = False
    """Whether to tell the IP addresses of the devices."""
    netlink: bool = True
    """Whether to tell what netlink knows beside /proc/net/dev: packets without a handler, and errors one by one."""
    label_ifalias: bool = False
    """Whether each device gets its alias (``ip link set … alias``) as the label ``ifalias``."""
    enable_detailed_metrics: bool = False
    """Whether errors are told one by one, under other names, instead of summed up as in /proc/net/dev."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class Netdev(Collector[NetdevConfig]):
    """What each network device of the agent's network namespace has received and transmitted."""

    name = "netdev"
    # /proc/net/dev and sysfs are read without waiting for anything. Netlink may have to wait for the kernel's RTNL
    # lock, which a driver can hold for seconds: it is asked in a worker, and only for what they do not have.
    blocking = False

    statistic = counter(
        "node_network_*_total",
        "What the network device has counted as {} since it exists: bytes, packets or errors.",
        ("device",),
    )
    aliased = counter(statistic.name, statistic.help, ("device", "ifalias"))
    address = gauge(
        "node_network_address_info",
        "IP addresses of the network device, with the length of the prefix in bits as netmask; always 1.",
        ("device", "address", "netmask", "scope"),
    )

    def __init__(self, config: NetdevConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)
        self._route = RouteSocket()
        self._metrics: dict[str, Metric] = {}
        self._places = NOWHERE
        self._layout = Layout()
        self._sysfs_is_proven = False
        self._counting: list[str] = []  # devices of which sysfs tells what had no handler

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._route.close()

    def collect(self) -> Frame | list[Family] | Awaitable[list[Family]]:
        """Return a family for each number that the kernel keeps, and the addresses where they are asked for."""
        try:
            text = self.host.proc("net/dev")
        except FileNotFoundError:  # procfs is that of another machine, or a copy
            if not self.config.netlink:
                raise
            return self.in_worker(self._ask)
        if self.config.address_info or (self.config.netlink and self.config.enable_detailed_metrics):
            return self.in_worker(self._ask)
        if self.config.label_ifalias:  # aliases may change at any time
            return self._told(text)
        words = split(text)
        numbers = self._places.read(words)
        counts = list(map(self._nohandler, self._counting))
        if numbers is None or None in counts:  # devices came or went
            return self._learn(words, text)
        return self._layout.fill([*numbers, *counts])  # type: ignore[list-item]  # there is no None in them

    def _learn(self, words: Sequence[bytes], text: bytes) -> Frame:
        families = [family for family in self._told(text) if family.samples]
        self._layout = Layout(families)
        nohandler = self._metric("receive_nohandler").name
        self._counting = [str(key[0]) for family in families if family.name == nohandler for key in family.samples]
        rows = places(text)
        shown = [place for name, place in rows.items() if not self._filter.ignores(name)]
        order = [place + column for column in self._told_columns() for place in shown]
        numbers = {place + column for place in rows.values() for column in range(len(COLUMNS))}
        self._places = Places(words, (place for place in range(len(words)) if place not in numbers), order)
        return Frame.of(families)

    def _told(self, text: bytes) -> list[Family]:
        """Return what /proc/net/dev says, and sysfs beside it."""
        devices = parse(text)
        families = self._families(COLUMNS, devices)
        if self.config.netlink and self._prove_sysfs(devices):
            self.host.forget("class/net")  # names that two devices exchange change places in the kernel's list
            counts = {name: self._nohandler(name) for name in devices if not self._filter.ignores(name)}
            without_handler = {self._labels(name): count for name, count in counts.items() if count is not None}
            families.append(self._metric("receive_nohandler")(without_handler))
        return families

    def _told_columns(self) -> list[int]:
        """Return the columns of /proc/net/dev in the order in which they are told."""
        columns = {name: (float(column),) for column, name in enumerate(COLUMNS)}
        named = columns if self.config.enable_detailed_metrics else legacy(columns)
        return [int(column) for (column,) in named.values()]

    def _ask(self) -> list[Family]:
        if self.config.netlink:
            families = self._families(STATS64, statistics(self._route.links(frozenset({IFLA_IFNAME, IFLA_STATS64}))))
        else:
            families = self._families(COLUMNS, parse(self.host.proc("net/dev")))
        return [*families, self._addresses()] if self.config.address_info else families

    def _families(self, names: Sequence[str], devices: Mapping[str, Sequence[float]]) -> list[Family]:
        rows = {self._labels(name): row for name, row in devices.items() if not self._filter.ignores(name)}
        columns: Mapping[str, Sequence[float]] = dict(zip(names, zip(*rows.values(), strict=False), strict=False))
        if not self.config.enable_detailed_metrics:
            columns = legacy(columns)
        return [self._metric(name)(zip(rows, column, strict=True)) for name, column in columns.items()]

    def _metric(self, name: str) -> Metric:
        if name not in self._metrics:
            self._metrics[name] = (self.aliased if self.config.label_ifalias else self.statistic).bound(name)
        return self._metrics[name]

    def _prove_sysfs(self, devices: Iterable[str]) -> bool:
        # A sysfs that was mounted in another network namespace shows other devices, of which some may have these names.
        if not self._sysfs_is_proven:
            with suppress(OSError):
                self._sysfs_is_proven = set(devices) == set(_netclass.devices(self.host))
        return self._sysfs_is_proven

    def _nohandler(self, device: str) -> float | None:
        try:
            return float(self.host.sys(f"class/net/{device}/statistics/rx_nohandler", lasting=True))
        except (OSError, ValueError):  # gone meanwhile, an older kernel, or the sysfs of another network namespace
            return None

    def _labels(self, device: str) -> tuple[str | None, ...]:
        if not self.config.label_ifalias:
            return (device,)
        try:
            return device, self.host.sys(f"class/net/{device}/ifalias").decode(errors="replace")
        except OSError:  # sysfs may show another network namespace
            return device, None

    def _addresses(self) -> Family:
        links = self._route.links(frozenset({IFLA_IFNAME}))
        devices = {link.ifindex: named(link) for link in links}
        samples = {}
        for ifindex, ip, prefix_length in self._route.addresses():
            device = devices.get(ifindex)
            if device is not None and not self._filter.ignores(device):
                samples[device, str(ip), str(prefix_length), scope(ip)] = 1.0
        return self.address(samples)


def statistics(links: Iterable[Link]) -> dict[str, tuple[float, ...]]:
    """Return the numbers of each device by its name, in the order of ``STATS64``."""
    devices = {}
    for link in links:
        numbers = link.attributes.get(IFLA_STATS64)
        if numbers is not None:
            devices[named(link)] = tuple(map(float, struct.unpack_from(f"={len(numbers) // 8}Q", numbers)))
    return devices


def split(text: bytes) -> list[bytes]:
    """Return the words of /proc/net/dev, names of devices without the colon that may touch the first number."""
    return text.replace(b":", b" ").split()


def places(text: bytes) -> dict[str, int]:
    """Return which of the words of /proc/net/dev (proc_net(5)) is the first of each device's 16 numbers."""
    devices = {}
    place = 0
    for row, line in enumerate(text.splitlines()):
        if row >= 2:  # two lines are headings
            name, colon, numbers = line.rpartition(b":")
            if not colon or len(numbers.split()) < len(COLUMNS):
                raise ValueError(f"expected a device and 16 numbers in net/dev, found {line[:80]!r}")
            devices[name.strip().decode(errors="backslashreplace")] = place + len(split(name))
        place += len(split(line))
    return devices


def parse(text: bytes) -> dict[str, tuple[float, ...]]:
    """Return the numbers of each device by its name, in the order of ``COLUMNS``, from /proc/net/dev (proc_net(5))."""
    words = split(text)
    return {name: tuple(map(float, words[place : place + len(COLUMNS)])) for name, place in places(text).items()}


def legacy(columns: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return columns under the names of /proc/net/dev, added up as it does."""
    rest = dict(columns)
    for name, parts in LEGACY.items():
        found = [rest.pop(part) for part in parts.split() if part in rest]
        if found:
            rest[name] = found[0] if len(found) == 1 else [sum(values) for values in zip(*found, strict=True)]
    return rest


def scope(ip: IPv4Address | IPv6Address) -> str:
    """Return how far an address reaches, in node_exporter's words; a loopback counts as a link (RFC 4291, RFC 5771)."""
    if ip.is_multicast:
        reach = ip.packed[1] & 0xF if ip.version == 6 else 2 * (ip.packed[:3] == b"\xe0\0\0")
        return {1: "interface-local", 2: "link-local"}.get(reach, "")
    if ip.is_loopback or ip.is_link_local:
        return "link-local"
    return "" if ip.is_unspecified else "global"


@hookimpl
def agentd_collectors() -> list[type[Netdev]]:
    """Register the collector."""
    return [Netdev]
