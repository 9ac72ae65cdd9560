"""The collector qdisc."""

import pytest

from agentd.plugin import Regex
from agentd_plugins.collectors.host._netlink import Link
from agentd_plugins.collectors.host._rtnetlink import Qdisc
from agentd_plugins.collectors.host.qdisc import QdiscCollector, QdiscConfig


class Tables:
    """A route socket to a pretended kernel."""

    def __init__(self, *answer):
        self.answer = answer
        self.closed = 0

    def links(self, wanted):
        return iter([Link(1, 2, 0, {3: b"eth0\0"}), Link(1, 3, 0, {3: b"lo\0"})])

    def qdiscs(self):
        return iter(self.answer)

    def close(self):
        self.closed += 1


def test_collect_tells_each_device():
    """The counters are told by device and kind, those of a device that went away meanwhile are not."""
    counts = (10, 11, 12, 13, 14, 15, 16)
    collector = QdiscCollector()
    collector._socket = Tables(*[Qdisc(2, "fq", *counts), Qdisc(9, "fq", *counts), Qdisc(3, "noqueue", *counts)])
    families = collector.collect()
    assert {family.name: (family.kind, family.samples["eth0", "fq"]) for family in families} == {
        "node_qdisc_bytes_total": ("counter", 10.0),
        "node_qdisc_packets_total": ("counter", 11.0),
        "node_qdisc_drops_total": ("counter", 12.0),
        "node_qdisc_requeues_total": ("counter", 13.0),
        "node_qdisc_overlimits_total": ("counter", 14.0),
        "node_qdisc_current_queue_length": ("gauge", 15.0),
        "node_qdisc_backlog": ("gauge", 16.0),
    }
    assert {tuple(family.samples) for family in families} == {(("eth0", "fq"), ("lo", "noqueue"))}


@pytest.mark.parametrize("option", [{"device_include": Regex("^lo$")}, {"device_exclude": Regex("eth")}])
def test_options_choose_devices(option):
    """Devices are included or excluded by an expression."""
    collector = QdiscCollector(QdiscConfig(**option))
    collector._socket = Tables(*[Qdisc(ifindex, "fq", *range(7)) for ifindex in (2, 3)])
    assert {key[0] for family in collector.collect() for key in family.samples} == {"lo"}


def test_include_and_exclude_contradict_each_other():
    """Both options at once are an error that names the two."""
    with pytest.raises(ValueError, match="device_exclude and device_include"):
        QdiscConfig(device_include=Regex("a"), device_exclude=Regex("b"))


async def test_stop_closes_the_socket():
    """Stopping closes what the first collection opened, and may come twice."""
    collector = QdiscCollector()
    collector._socket = Tables()
    await collector.stop()
    await collector.stop()
    assert collector._socket.closed == 2
