"""What queues in front of the network devices, as the kernel's queueing disciplines count it: tc(8), over netlink."""

from agentd.plugin import Collector, Config, Context, Family, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host._netlink import IFLA_IFNAME, named
from agentd_plugins.collectors.host._rtnetlink import TableSocket

LABELS = ("device", "kind")


class QdiscConfig(Config):
    """Options of the collector qdisc."""

    device_include: Regex | None = None
    """Devices to tell of, all others left out; not together with ``device_exclude``."""
    device_exclude: Regex | None = None
    """Devices to leave out."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class QdiscCollector(Collector[QdiscConfig]):
    """The queueing discipline at the root of each network device."""

    name = "qdisc"
    blocking = True  # may wait for the kernel's RTNL lock

    metrics = {
        "sent_bytes": counter("node_qdisc_bytes_total", "Bytes sent.", LABELS),
        "packets": counter("node_qdisc_packets_total", "Packets sent.", LABELS),
        "drops": counter("node_qdisc_drops_total", "Packets dropped instead of sent.", LABELS),
        "requeues": counter(
            "node_qdisc_requeues_total", "Packets put back into the queue because the device did not take them.", LABELS
        ),
        "overlimits": counter("node_qdisc_overlimits_total", "Times that a packet met a limit of the rate.", LABELS),
        "queued_packets": gauge("node_qdisc_current_queue_length", "Packets in the queue now.", LABELS),
        "queued_bytes": gauge("node_qdisc_backlog", "Bytes in the queue now.", LABELS, unit="bytes"),
    }

    def __init__(self, config: QdiscConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)
        self._socket = TableSocket()

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._socket.close()

    def collect(self) -> list[Family]:
        """Return what the disciplines have counted."""
        qdiscs = list(self._socket.qdiscs())
        names = {link.ifindex: named(link) for link in self._socket.links(frozenset({IFLA_IFNAME}))}
        rows = {
            (name, qdisc.kind): qdisc
            for qdisc in qdiscs
            if (name := names.get(qdisc.ifindex)) is not None and not self._filter.ignores(name)
        }
        return [
            metric({labels: float(getattr(qdisc, field)) for labels, qdisc in rows.items()})
            for field, metric in self.metrics.items()
            if rows
        ]


@hookimpl
def agentd_collectors() -> list[type[QdiscCollector]]:
    """Register the collector."""
    return [QdiscCollector]
