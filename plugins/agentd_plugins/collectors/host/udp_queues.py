"""Memory in which UDP datagrams wait, from /proc/net/udp and /proc/net/udp6."""

from itertools import chain

from agentd.plugin import Collector, Config, Frame, Layout, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

EMPTY = b"00000000:00000000"


class UdpQueues(Collector[Config]):
    """The queues of all UDP sockets together."""

    name = "udp_queues"
    blocking = False

    queues = gauge(
        "node_udp_queues",
        "Bytes of memory in which datagrams wait, to be sent (tx) or to be read by a program (rx).",
        ("queue", "ip"),
        unit="bytes",
    )

    _told: tuple[str, ...] = ()
    _layout = Layout()

    def collect(self) -> Frame:
        """Return both queues for each version of IP that the kernel has."""
        waiting: dict[str, tuple[float, float]] = {}
        for ip, file in (("v4", "net/udp"), ("v6", "net/udp6")):
            try:
                waiting[ip] = parsed(self.host, file, parse)
            except FileNotFoundError:
                continue
        if not waiting:
            raise NoData("the kernel lists no UDP sockets")
        if self._told != tuple(waiting):
            self._told = tuple(waiting)
            self._layout = Layout([self.queues({(queue, ip): 0.0 for ip in waiting for queue in ("tx", "rx")})])
        return self._layout.fill([*chain.from_iterable(waiting.values())])


def parse(text: bytes) -> tuple[float, float]:
    """Return what waits to be sent and to be read in all sockets of a /proc/net/udp (proc_net(5)).

    Raises ``ValueError`` for a line that has no queues in its fifth column.
    """
    sent = received = 0
    for line in text.splitlines()[1:]:  # the first is a heading
        columns = line.split(None, 5)
        if len(columns) < 5:
            raise ValueError(f"expected at least five columns in udp, found {line[:200]!r}")
        if columns[4] != EMPTY:  # most are, and a server may have thousands
            tx, _, rx = columns[4].partition(b":")
            sent += int(tx, 16)
            received += int(rx, 16)
    return float(sent), float(received)


@hookimpl
def agentd_collectors() -> list[type[UdpQueues]]:
    """Register the collector."""
    return [UdpQueues]
