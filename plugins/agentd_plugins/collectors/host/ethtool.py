"""What the drivers of network devices say of themselves, of their links and of what they count: ethtool(8)."""

import errno
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, Regex, gauge, hookimpl, unknown
from agentd_plugins.collectors.host import _netclass
from agentd_plugins.collectors.host._ethtool import CAPABILITIES, PORTS, SPEEDS, Ethtool, EthtoolSocket, Settings
from agentd_plugins.collectors.host._filters import Filter, exclusive

Answer = TypeVar("Answer")

MEGABIT = 1_000_000 / 8
"""Bytes in a megabit."""

DEVICE = ("device",)


class EthtoolConfig(Config):
    """Options of the collector ethtool."""

    device_include: Regex | None = None
    """Devices to tell of, all others left out; not together with ``device_exclude``."""
    device_exclude: Regex | None = None
    """Devices to leave out."""
    metrics_include: Regex = Regex(".*")
    """Which of the drivers' counters to tell, by the drivers' names for them."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class EthtoolCollector(Collector[EthtoolConfig]):
    """Drivers of network devices."""

    name = "ethtool"
    blocking = True  # asks drivers, and some of those their device

    info = gauge(
        "node_ethtool_info",
        "Always 1: the labels say which driver a network device has, and where the device is.",
        ("bus_info", "device", "driver", "expansion_rom_version", "firmware_version", "version"),
    )
    port = gauge("node_network_supported_port_info", "Always 1: a socket that the device has.", ("device", "type"))
    speeds = {
        word: gauge(
            f"node_network_{word}_speed_bytes",
            f"Bytes a second of a mode that is {word} by the network device.",
            ("device", "duplex", "mode"),
        )
        for word in ("supported", "advertised")
    }
    capabilities = {
        (capability, word): gauge(
            f"node_network_{capability}_{word}",
            f"Whether {capability} is {word} by the network device: 1 or 0.",
            DEVICE,
        )
        for capability in CAPABILITIES
        for word in ("supported", "advertised")
    }
    negotiated = gauge("node_network_autonegotiate", "Whether the mode of the link is negotiated: 1 or 0.", DEVICE)
    usual = {
        "rx_bytes": unknown("node_ethtool_received_bytes_total", "Bytes that the driver says were received.", DEVICE),
        "rx_dropped": unknown("node_ethtool_received_dropped_total", "Frames received and dropped.", DEVICE),
        "rx_errors": unknown("node_ethtool_received_errors_total", "Frames received that had errors.", DEVICE),
        "rx_packets": unknown("node_ethtool_received_packets_total", "Packets received.", DEVICE),
        "tx_bytes": unknown("node_ethtool_transmitted_bytes_total", "Bytes that the driver says were sent.", DEVICE),
        "tx_errors": unknown("node_ethtool_transmitted_errors_total", "Frames that could not be sent.", DEVICE),
        "tx_packets": unknown("node_ethtool_transmitted_packets_total", "Packets sent.", DEVICE),
    }
    statistic = unknown("node_ethtool_*", "What the driver counts as {}.", DEVICE)

    def __init__(
        self, config: EthtoolConfig | None = None, context: Context | None = None, ethtool: Ethtool | None = None
    ) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)
        self._ethtool = ethtool or EthtoolSocket()
        self._metrics: dict[str, Metric] = {}
        self._refused = False

    async def stop(self) -> None:
        """Close the socket, which the first collection opened."""
        self._ethtool.close()

    def collect(self) -> list[Family]:
        """Return what the drivers say."""
        try:
            devices = [name for name in _netclass.devices(self.host) if not self._filter.ignores(name)]
        except (FileNotFoundError, PermissionError) as error:
            raise NoData(f"no network devices to be seen in sysfs: {error.strerror}") from None
        families: dict[str, Family] = {}
        for device in devices:
            for metric, labels, value in self._device(device):
                families.setdefault(metric.name, metric({})).samples[labels] = value
        return list(families.values())

    def _device(self, device: str) -> Iterator[tuple[Metric, Labels, float]]:
        if settings := self._asked(self._ethtool.settings, device):
            yield from self._link(device, settings)
        if about := self._asked(self._ethtool.driver, device):
            yield self.info, (about.bus, device, about.driver, about.rom, about.firmware, about.version), 1.0
        for name, value in unambiguous(
            self._asked(self._ethtool.statistics, device) or (), self.config.metrics_include
        ):
            yield self._metric(name), (device,), float(value)

    def _link(self, device: str, settings: Settings) -> Iterator[tuple[Metric, Labels, float]]:
        for bit, name in PORTS.items():
            if settings.supported >> bit & 1:
                yield self.port, (device, name), 1.0
        for word, modes in (("supported", settings.supported), ("advertised", settings.advertised)):
            for bit, mode in SPEEDS.items():
                speed, duplex, medium = mode.split("/")
                if modes >> bit & 1:
                    yield self.speeds[word], (device, duplex, f"{speed}base{medium}"), float(speed) * MEGABIT
            for capability, bit in CAPABILITIES.items():
                yield self.capabilities[capability, word], (device,), float(modes >> bit & 1)
        yield self.negotiated, (device,), float(settings.negotiated)

    def _asked(self, question: Callable[[str], Answer], device: str) -> Answer | None:
        try:
            return question(device)
        except PermissionError as error:
            if not self._refused:
                self._refused = True
                self.log.warning("the kernel refuses to ask drivers of network devices: %s", error.strerror)
        except OSError as error:
            level = self.log.debug if error.errno in {errno.EOPNOTSUPP, errno.ENODEV} else self.log.info
            level("the driver of %s does not answer: %s", device, error.strerror)
        return None

    def _metric(self, name: str) -> Metric:
        if name not in self._metrics:
            self._metrics[name] = self.usual.get(name) or self.statistic.bound(metric_name(name))
        return self._metrics[name]


def unambiguous(statistics: Iterable[tuple[str, int]], included: Regex) -> Iterator[tuple[str, int]]:
    """Yield name and number of the counters to tell, without those that would get one and the same metric's name."""
    found: dict[str, list[tuple[str, int]]] = {}
    for raw, value in dict(statistics).items():
        name = sanitized(raw)
        if included.search(name):
            found.setdefault(metric_name(name), []).append((name, value))
    for part, same in found.items():
        if part and len(same) == 1:
            yield same[0]


def sanitized(name: str) -> str:
    """Return a driver's name for a counter without what a metric's name cannot have."""
    return re.sub(r"_*[^0-9A-Za-z_]+_*", "_", name)


def metric_name(name: str) -> str:
    """Return the part of a metric's name that stands for a counter: rx and tx are spelled out."""
    part = name.lower().lstrip("_")
    part = re.sub(r"(^|_)rx(_|$)", r"\g<1>received\g<2>", part)
    return re.sub(r"(^|_)tx(_|$)", r"\g<1>transmitted\g<2>", part)


@hookimpl
def agentd_collectors() -> list[type[EthtoolCollector]]:
    """Register the collector."""
    return [EthtoolCollector]
