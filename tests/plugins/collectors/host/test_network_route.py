"""The collector network_route."""

from ipaddress import ip_address

from agentd_plugins.collectors.host._netlink import Link
from agentd_plugins.collectors.host._rtnetlink import Hop, Route
from agentd_plugins.collectors.host.network_route import NetworkRoute, labelled


class Tables:
    """A route socket to a pretended kernel."""

    def __init__(self, *answer):
        self.answer = answer
        self.closed = 0

    def links(self, wanted):
        return iter([Link(1, 2, 0, {3: b"eth0\0"}), Link(1, 3, 0, {3: b"lo\0"})])

    def routes(self):
        return iter(self.answer)

    def close(self):
        self.closed += 1


def test_labels_of_routes():
    """Labels are node_exporter's: a destination without a prefix is the default, an origin without a name unknown."""
    gateway = ip_address("10.0.0.1")
    routes = [
        Route(None, 0, None, 0, 16, (Hop(2, gateway),)),
        Route(ip_address("10.0.0.0"), 8, ip_address("10.0.0.9"), 7, 99, (Hop(2, gateway, 3), Hop(9, None, 1))),
    ]
    assert labelled(routes, {2: "eth0"}) == [
        ("eth0", "", "default", "10.0.0.1", "0", "dhcp", ""),
        ("eth0", "10.0.0.9", "10.0.0.0/8", "10.0.0.1", "7", "unknown", "3"),
        ("", "10.0.0.9", "10.0.0.0/8", "", "7", "unknown", "1"),
    ]


def test_network_route_tells_and_counts():
    """Each way is a sample, and each device has the number of its ways; what two tables have is told once."""
    ways = (Hop(2, None),)
    routes = [Route(ip_address(text), 32, None, 0, 4, ways) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.2")]
    collector = NetworkRoute()
    collector._socket = Tables(*routes)
    told, counted = collector.collect()
    assert (told.name, told.kind, len(told.samples)) == ("node_network_route_info", "gauge", 2)
    assert (counted.name, counted.samples) == ("node_network_routes", {("eth0",): 3.0})


async def test_stop_closes_the_socket():
    """Stopping closes what the first collection opened, and may come twice."""
    collector = NetworkRoute()
    collector._socket = Tables()
    await collector.stop()
    await collector.stop()
    assert collector._socket.closed == 2
