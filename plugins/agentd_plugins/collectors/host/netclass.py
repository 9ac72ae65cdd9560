"""What kind of thing each network device is and how its link does, from /sys/class/net or over netlink."""

from collections.abc import Awaitable, Sequence

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _netclass, _netclass_rtnl
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._linkwatch import LinkWatch
from agentd_plugins.collectors.host._netclass_survey import Survey
from agentd_plugins.collectors.host._netlink import STATS64

BYTES = 1_000_000 / 8
"""Bytes in the megabit in which the kernel tells speeds."""

IFF_UP = 1

DEVICE = ("device",)
INFO = ("device", "address", "broadcast", "duplex", "operstate", "adminstate", "ifalias")


class NetclassConfig(Config):
    """Options of the collector netclass."""

    ignored_devices: Regex = Regex("^$")
    """Devices to leave out."""
    ignore_invalid_speed: bool = False
    """Whether to leave out the speed of a device that does not know it, rather than to tell a number without sense."""
    netlink: bool = False
    """Whether to ask the kernel over netlink instead of reading files, which tells alternative names, too. It goes by
    files nevertheless where ``sysfs`` is not ``/sys``, and so perhaps that of another network namespace."""
    rtnl_with_stats: bool = False
    """Whether to tell, over netlink, also what devices have counted: the families of netdev, which has to be off."""


class Netclass(Collector[NetclassConfig]):
    """Attributes of the network devices.

    A device is read again as soon as the kernel announces that it changed, and otherwise after a minute, a quarter of
    all devices at a collection: so far may a speed lag behind that somebody sets by hand. Where the kernel cannot be
    listened to, because sysfs is not at /sys or netlink is forbidden, a device is read again when the state of its link
    changed: what people set by hand, such as the MTU or the alias, may then lag behind as far.
    """

    name = "netclass"
    # What is kept is told at once. Reading may wait for the kernel's RTNL lock and for a driver: in a worker.
    blocking = False

    up = gauge("node_network_up", "Whether the network device is operational: 1 or 0.", DEVICE)
    info = gauge("node_network_info", "Always 1: the labels say what a network device is like.", INFO)
    altname = gauge(
        "node_network_altnames_info", "Always 1: another name that a network device has.", ("altname", "device")
    )
    numbers = {
        "addr_assign_type": gauge(
            "node_network_address_assign_type",
            "Where the address is from: 0 the device, 1 chance, 2 another device, 3 somebody who set it.",
            DEVICE,
        ),
        "carrier": gauge("node_network_carrier", "Whether there is something at the other end: 1 or 0.", DEVICE),
        "carrier_changes": counter(
            "node_network_carrier_changes_total", "Times that the carrier came or went.", DEVICE
        ),
        "carrier_up_count": counter("node_network_carrier_up_changes_total", "Times that the carrier came.", DEVICE),
        "carrier_down_count": counter(
            "node_network_carrier_down_changes_total", "Times that the carrier went.", DEVICE
        ),
        "dev_id": gauge("node_network_device_id", "Tells apart devices that share one address.", DEVICE),
        "dormant": gauge(
            "node_network_dormant", "Whether the device waits for something, a login say: 1 or 0.", DEVICE
        ),
        "flags": gauge("node_network_flags", "Flags of the device (IFF_*), added up.", DEVICE),
        "ifindex": gauge("node_network_iface_id", "The kernel's number for the device.", DEVICE),
        "iflink": gauge("node_network_iface_link", "Number of the device on which this one is built.", DEVICE),
        "link_mode": gauge(
            "node_network_iface_link_mode", "How the link comes up: 0 by itself, 1 only after a login.", DEVICE
        ),
        "mtu": gauge("node_network_mtu_bytes", "Bytes in the largest packet that the device takes.", DEVICE),
        "name_assign_type": gauge(
            "node_network_name_assign_type",
            "Where the name is from: 1 counted up, 2 foreseeable, 3 given by a program, 4 changed by one.",
            DEVICE,
        ),
        "netdev_group": gauge("node_network_net_dev_group", "Number of the group of devices it is in.", DEVICE),
        "speed": gauge("node_network_speed_bytes", "Bytes a second of which the link is capable now.", DEVICE),
        "tx_queue_len": gauge("node_network_transmit_queue_length", "Packets that may wait to be transmitted.", DEVICE),
        "type": gauge("node_network_protocol_type", "Kind of the device (ARPHRD_*): 1 is Ethernet.", DEVICE),
    }
    statistics = tuple(
        gauge(f"node_network_{name}_total", f"What the device has counted as {name} since it exists.", DEVICE)
        for name in STATS64
    )

    def __init__(self, config: NetclassConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.ignored_devices)
        own = self.host.paths.sysfs == "/sys"
        self._sockets = _netclass_rtnl.Sockets() if own and self.config.netlink else None
        self._survey = Survey(self.host, self.clock, self._filter.ignores, LinkWatch() if own else None)
        self._told: list[Family] = []

    async def stop(self) -> None:
        """Close the sockets, which the first collection opened."""
        self._survey.close()
        if self._sockets:
            self._sockets.close()

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return the attributes of all devices, at once where none of them has to be read again."""
        if self._sockets:
            return self.in_worker(self._ask, self._sockets)
        try:
            fresh = self._survey.is_fresh()
        except (FileNotFoundError, PermissionError) as error:
            raise NoData(f"no network devices to be seen in sysfs: {error.strerror}") from None
        return self._told if fresh else self.in_worker(self._read)

    def _ask(self, sockets: _netclass_rtnl.Sockets) -> list[Family]:
        found = sockets.devices(self.host, with_statistics=self.config.rtnl_with_stats)
        return self._families([device for device in found if not self._filter.ignores(device.name)])

    def _read(self) -> list[Family]:
        try:
            devices = self._survey.devices()
        except (FileNotFoundError, PermissionError) as error:
            raise NoData(f"no network devices to be seen in sysfs: {error.strerror}") from None
        self._told = self._families(devices)
        return self._told

    def _families(self, devices: Sequence[_netclass.Device]) -> list[Family]:
        families = [
            self.up({device.name: float(device.words.get("operstate") == "up") for device in devices}),
            self.info({self._labels(device): 1.0 for device in devices}),
            self.altname({(name, device.name): 1.0 for device in devices for name in device.altnames if name}),
        ]
        for key, metric in self.numbers.items():
            samples = {device.name: device.numbers[key] for device in devices if key in device.numbers}
            if key == "speed":
                samples = self._speeds(samples)
            families.append(metric(samples))
        for metric, column in zip(self.statistics, zip(*(d.statistics for d in devices), strict=False), strict=False):
            families.append(metric(dict(zip((d.name for d in devices), column, strict=True))))
        return [family for family in families if family.samples]

    def _speeds(self, megabits: dict[str, float]) -> dict[str, float]:
        ignored = (-1.0, 4294967295.0) if self.config.ignore_invalid_speed else ()
        return {name: speed * BYTES for name, speed in megabits.items() if speed not in ignored}

    def _labels(self, device: _netclass.Device) -> Labels:
        address, broadcast, duplex, operstate, ifalias = (device.words.get(name, "") for name in _netclass.WORDS)
        if self._sockets:
            return device.name, address, broadcast, duplex, operstate, None, ifalias
        flags = device.numbers.get("flags")
        state = "unknown" if flags is None else "up" if int(flags) & IFF_UP else "down"
        return device.name, address, broadcast, duplex, operstate, state, ifalias


@hookimpl
def agentd_collectors() -> list[type[Netclass]]:
    """Register the collector."""
    return [Netclass]
