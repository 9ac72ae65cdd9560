"""What the kernel's load balancer (IP Virtual Server) does, from /proc/net/ip_vs_stats and /proc/net/ip_vs."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

LABELS = ("local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark")


class IpvsConfig(Config):
    """Options of the collector ipvs."""

    backend_labels: str = ",".join(LABELS)
    """Labels by which backends are told, with commas between them; those that differ in none of them are added up."""

    def __post_init__(self) -> None:
        if wrong := sorted(set(self.backend_labels.split(",")) - {*LABELS, ""}):
            raise ValueError(f"backend_labels: expected some of {', '.join(LABELS)}, found {', '.join(wrong)}")


class Backend(NamedTuple):
    """A server among which a service is divided; a service has an address and a port, or a firewall mark."""

    local_address: str
    local_port: str
    remote_address: str
    remote_port: str
    proto: str
    local_mark: str
    weight: int
    active: int
    inactive: int


class Ipvs(Collector[IpvsConfig]):
    """Connections and traffic in all, and connections and weight by backend (ipvsadm(8))."""

    name = "ipvs"
    blocking = False

    totals = (
        counter("node_ipvs_connections_total", "Number of connections that were made."),
        counter("node_ipvs_incoming_packets_total", "Number of packets from clients."),
        counter("node_ipvs_outgoing_packets_total", "Number of packets to clients."),
        counter("node_ipvs_incoming_bytes_total", "Bytes from clients."),
        counter("node_ipvs_outgoing_bytes_total", "Bytes to clients."),
    )
    backends = {
        "active": gauge("node_ipvs_backend_connections_active", "Number of connections in use now.", LABELS),
        "inactive": gauge(
            "node_ipvs_backend_connections_inactive", "Number of connections known that are not in use.", LABELS
        ),
        "weight": gauge("node_ipvs_backend_weight", "Share of new connections, relative to other backends.", LABELS),
    }

    def __init__(self, config: IpvsConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        chosen = self.config.backend_labels.split(",")
        self._labels = tuple(label for label in LABELS if label in chosen)
        self._backends = {
            field: Metric(metric.name, metric.kind, metric.help, self._labels)
            for field, metric in self.backends.items()
        }

    def collect(self) -> list[Family]:
        """Return what there is in all, and by backend."""
        try:
            totals = parsed(self.host, "net/ip_vs_stats", parse_stats)
        except FileNotFoundError:
            raise NoData("no load balancer: the kernel's module ip_vs is not loaded") from None
        backends = parsed(self.host, "net/ip_vs", lambda text: list(parse(text)))
        families = [metric(total) for metric, total in zip(self.totals, totals, strict=True)]
        return families + [metric(self._sums(backends, field)) for field, metric in self._backends.items() if backends]

    def _sums(self, backends: list[Backend], field: str) -> dict[Labels, float]:
        sums: dict[Labels, float] = {}
        for backend in backends:
            labels = tuple(getattr(backend, label) for label in self._labels)
            sums[labels] = sums.get(labels, 0.0) + getattr(backend, field)
        return sums


def parse_stats(text: bytes) -> tuple[float, ...]:
    """Return connections, packets in and out, bytes in and out: hexadecimal, in the third line of ip_vs_stats."""
    lines = text.splitlines()
    words = lines[2].split() if len(lines) > 2 else []
    if len(words) != 5:
        raise ValueError(f"expected five numbers in the third line of ip_vs_stats, found {text[:200]!r}")
    return tuple(float(int(word, 16)) for word in words)


def parse(text: bytes) -> Iterator[Backend]:
    """Yield the backends in ip_vs, which stand behind an arrow below their service (net/netfilter/ipvs/ip_vs_ctl.c)."""
    service = ("", "", "", "")
    for line in text.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) < 2 or words[1] in {"LocalAddress:Port", "RemoteAddress:Port"}:
            continue
        if words[0] in {"TCP", "UDP", "SCTP"}:
            service = (*endpoint(words[1]), words[0], "")
        elif words[0] == "FWM":
            service = ("", "0", "FWM", words[1])
        elif words[0] == "->" and len(words) >= 6:
            address, port, proto, mark = service
            weight, active, inactive = map(int, words[3:6])
            yield Backend(address, port, *endpoint(words[1]), proto, mark, weight, active, inactive)


def endpoint(text: str) -> tuple[str, str]:
    """Return address and port of ``C0A80016:0CEA`` or ``[2001:0DB8:…:0001]:0CEA``, the port as a decimal number."""
    host, _, port = text.rpartition(":")
    ip: IPv4Address | IPv6Address
    if host.startswith("["):
        ip = ip_address(host.strip("[]"))
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
    else:
        ip = ip_address(bytes.fromhex(host))
    return str(ip), str(int(port, 16))


@hookimpl
def agentd_collectors() -> list[type[Ipvs]]:
    """Register the collector."""
    return [Ipvs]
