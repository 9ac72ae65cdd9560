"""Routes to other machines and networks, as the kernel's tables have them, over netlink."""

from collections import Counter
from collections.abc import Iterable, Mapping

from agentd.plugin import Collector, Config, Context, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host._netlink import IFLA_IFNAME, named
from agentd_plugins.collectors.host._rtnetlink import IP, Route, TableSocket

PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    17: "mrouted",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
"""Who made a route (RTPROT_* in linux/rtnetlink.h)."""


class NetworkRoute(Collector[Config]):
    """The unicast routes of all tables."""

    name = "network_route"
    blocking = True  # may wait for the kernel's RTNL lock

    route_info = gauge(
        "node_network_route_info",
        "Always 1: the labels say where a route leads, by which gateway, and who made it.",
        ("device", "src", "dest", "gw", "priority", "proto", "weight"),
    )
    route_count = gauge("node_network_routes", "Number of routes by each network device.", ("device",))

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._socket = TableSocket()

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._socket.close()

    def collect(self) -> list[Family]:
        """Return the routes, and how many there are."""
        names = {link.ifindex: named(link) for link in self._socket.links(frozenset({IFLA_IFNAME}))}
        rows = labelled(self._socket.routes(), names)
        counts = Counter(str(row[0]) for row in rows)
        return [
            self.route_info(dict.fromkeys(rows, 1.0)),
            self.route_count({device: float(count) for device, count in counts.items()}),
        ]


def labelled(routes: Iterable[Route], names: Mapping[int, str]) -> list[Labels]:
    """Return the labels of each way that a route has; the same ones may occur in two tables."""
    return [
        (
            names.get(hop.ifindex, ""),
            text(route.source),
            f"{text(route.destination)}/{route.prefix_length}" if route.prefix_length else "default",
            text(hop.gateway),
            str(route.priority),
            PROTOCOLS.get(route.protocol, "unknown"),
            "" if hop.weight is None else str(hop.weight),
        )
        for route in routes
        for hop in route.hops
    ]


def text(ip: IP | None) -> str:
    """Return an address as text, nothing for none."""
    return "" if ip is None else str(ip)


@hookimpl
def agentd_collectors() -> list[type[NetworkRoute]]:
    """Register the collector."""
    return [NetworkRoute]
