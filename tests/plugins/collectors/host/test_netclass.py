"""The collector netclass."""

import asyncio
import inspect
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Clock, Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host import _netclass, _netclass_rtnl, _netclass_survey
from agentd_plugins.collectors.host._netlink import Link
from agentd_plugins.collectors.host.netclass import Netclass, NetclassConfig

ATTRIBUTES = {
    "addr_assign_type": "1",
    "address": "02:00:00:00:00:07",
    "broadcast": "ff:ff:ff:ff:ff:ff",
    "carrier": "1",
    "carrier_changes": "5",
    "carrier_up_count": "3",
    "carrier_down_count": "2",
    "dev_id": "0x11",
    "dormant": "0",
    "duplex": "full",
    "flags": "0x1003",
    "ifalias": "to the barn",
    "ifindex": "7",
    "iflink": "9",
    "link_mode": "0",
    "mtu": "1500",
    "name_assign_type": "4",
    "netdev_group": "12",
    "operstate": "up",
    "speed": "2500",
    "tx_queue_len": "1000",
    "type": "1",
}


class Hands(Clock):
    """A clock whose hands a test moves."""

    now = 1000.0

    def monotonic(self):
        return self.now


class Watch:
    """Announcements of a pretended kernel: one answer after the other, then that nothing changed."""

    def __init__(self, *answers):
        self.answers = [None, *answers]
        self.closed = False

    def changed(self):
        answer = self.answers.pop(0) if self.answers else set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


@pytest.fixture
def sysfs(tmp_path):
    """An empty /sys/class/net."""
    (tmp_path / "class/net").mkdir(parents=True)
    return tmp_path


def device(sysfs, name, **changes):
    """Make a device or change its attributes; one that is None is missing."""
    folder = sysfs / "class/net" / name
    for attribute, text in ((ATTRIBUTES | changes) if not folder.exists() else changes).items():
        folder.mkdir(exist_ok=True)
        (folder / attribute).unlink(missing_ok=True)
        if text is not None:
            (folder / attribute).write_text(f"{text}\n")


def made(sysfs, watch=None, clock=None, **options):
    """Return the collector; with a watch as if sysfs were /sys."""
    context = Context(host=Host(HostPaths(sysfs=str(sysfs))), clock=clock or Hands())
    collector = Netclass(NetclassConfig(**options), context)
    if watch:
        collector._survey._watch = watch
        collector._survey._watch_is_proven = True
    return collector


def collected(collector):
    """Return the samples of each family by the part of its name that differs, and whether a worker was needed."""
    families = collector.collect()
    waits = inspect.isawaitable(families)
    if waits:
        families = asyncio.run(finish(families))
    return {family.name.removeprefix("node_network_"): family.samples for family in families}, waits


async def finish(families):
    return await families


def test_collect_tells_every_attribute(sysfs):
    """Each file becomes a metric under node_exporter's name and in its unit, words become labels."""
    device(sysfs, "eth7")
    samples, _ = collected(made(sysfs))
    assert samples.pop("info") == {
        ("eth7", "02:00:00:00:00:07", "ff:ff:ff:ff:ff:ff", "full", "up", "up", "to the barn"): 1.0
    }
    assert {name: values["eth7",] for name, values in samples.items()} == {
        "up": 1.0,
        "address_assign_type": 1.0,
        "carrier": 1.0,
        "carrier_changes_total": 5.0,
        "carrier_up_changes_total": 3.0,
        "carrier_down_changes_total": 2.0,
        "device_id": 17.0,
        "dormant": 0.0,
        "flags": 4099.0,
        "iface_id": 7.0,
        "iface_link": 9.0,
        "iface_link_mode": 0.0,
        "mtu_bytes": 1500.0,
        "name_assign_type": 4.0,
        "net_dev_group": 12.0,
        "speed_bytes": 2500e6 / 8,
        "transmit_queue_length": 1000.0,
        "protocol_type": 1.0,
    }


def test_only_what_counts_is_a_counter(sysfs):
    """The changes of the carrier are counters, all the rest are gauges."""
    device(sysfs, "eth7")
    families = asyncio.run(finish(made(sysfs).collect()))
    counters = {family.name for family in families if family.kind == "counter"}
    assert counters == {f"node_network_carrier_{kind}changes_total" for kind in ("", "up_", "down_")}
    assert {family.kind for family in families} == {"counter", "gauge"}


@pytest.mark.parametrize("junk", [None, "", "what", "\0", "0x", "9" * 5000, "0x" + "f" * 400])
def test_an_attribute_that_cannot_be_read_is_left_out(sysfs, junk):
    """A missing, empty or senseless attribute costs its own sample and no other."""
    device(sysfs, "eth7", mtu=junk)
    samples, _ = collected(made(sysfs))
    assert "mtu_bytes" not in samples
    assert samples["carrier"] == {("eth7",): 1.0}


def test_words_may_be_missing(sysfs):
    """Without its files a device is not up, and the labels are empty; without flags its administrative state is not
    known.
    """
    device(sysfs, "eth7", address=None, broadcast=None, duplex=None, operstate=None, ifalias=None, flags=None)
    device(sysfs, "eth8", flags="0x1002", operstate="dormant")
    samples, _ = collected(made(sysfs))
    assert ("eth7", "", "", "", "", "unknown", "") in samples["info"]
    assert [key[4:6] for key in samples["info"] if key[0] == "eth8"] == [("dormant", "down")]
    assert samples["up"] == {("eth7",): 0.0, ("eth8",): 0.0}


@pytest.mark.parametrize(("ignore", "expected"), [(False, {("a",): -125000.0, ("b",): 0.0}), (True, {("b",): 0.0})])
def test_ignore_invalid_speed(sysfs, ignore, expected):
    """A speed of -1, which says that it is not known, is told as it is or left out."""
    device(sysfs, "a", speed="-1")
    device(sysfs, "b", speed="0")
    samples, _ = collected(made(sysfs, ignore_invalid_speed=ignore))
    assert samples["speed_bytes"] == expected


def test_ignored_devices_and_files_are_left_out(sysfs):
    """Devices that the expression matches anywhere in their names are left out, and so is a file among the devices."""
    for name in ("eth7", "veth1", "lo"):
        device(sysfs, name)
    (sysfs / "class/net/bonding_masters").write_text("bond0\n")
    samples, _ = collected(made(sysfs, ignored_devices=Regex("eth")))
    assert samples["up"] == {("lo",): 1.0}


def test_no_devices_to_be_seen(tmp_path):
    """Without /sys/class/net there is no data, which is no error."""
    with pytest.raises(NoData):
        made(tmp_path).collect()


def test_an_announcement_has_its_device_read_again(sysfs):
    """While nothing is announced nothing is read; a device that changed is read, and no other."""
    device(sysfs, "a", ifindex="1")
    device(sysfs, "b", ifindex="2")
    collector = made(sysfs, Watch(set(), {2}))
    collected(collector)
    device(sysfs, "a", mtu="9000")
    device(sysfs, "b", mtu="9000")
    samples, waits = collected(collector)
    assert not waits
    assert samples["mtu_bytes"] == {("a",): 1500.0, ("b",): 1500.0}
    samples, waits = collected(collector)
    assert waits
    assert samples["mtu_bytes"] == {("a",): 1500.0, ("b",): 9000.0}


def test_devices_come_and_go(sysfs):
    """An announcement about a device that is not known has the list read again: it is told, those that went are not."""
    device(sysfs, "a", ifindex="1")
    collector = made(sysfs, Watch({5, 1}, set()))
    collected(collector)
    device(sysfs, "b", ifindex="5")
    (sysfs / "class/net/a").rename(sysfs / "class/net/c")
    samples, _ = collected(collector)
    assert set(samples["up"]) == {("b",), ("c",)}
    samples, waits = collected(collector)
    assert not waits
    assert set(samples["up"]) == {("b",), ("c",)}


def test_lost_announcements_have_all_read_again(sysfs):
    """Where the kernel says that announcements were lost, everything is read again."""
    for name in "abc":
        device(sysfs, name)
    collector = made(sysfs, Watch(None))
    collected(collector)
    for name in "abc":
        device(sysfs, name, mtu="68")
    assert set(collected(collector)[0]["mtu_bytes"].values()) == {68.0}


def test_age_has_a_part_read_again(sysfs):
    """What is not announced, such as a speed set by hand, is found out after a minute, some devices at a time."""
    names = [f"eth{number}" for number in range(8)]
    for name in names:
        device(sysfs, name)
    clock = Hands()
    collector = made(sysfs, Watch(), clock)
    collected(collector)
    for name in names:
        device(sysfs, name, speed="10")
    clock.now += _netclass_survey.KEPT_SECONDS
    assert not collected(collector)[1]
    clock.now += 1
    slow = [sum(value == 1.25e6 for value in collected(collector)[0]["speed_bytes"].values()) for _ in range(4)]
    assert slow == [3, 6, 8, 8]


def test_a_refused_watch_is_no_loss(sysfs):
    """Where netlink is forbidden, the state of each link is looked at instead."""
    device(sysfs, "a")
    watch = Watch()
    watch.answers = [PermissionError(1, "no")]
    collector = made(sysfs, watch)
    assert collected(collector)[0]["carrier"] == {("a",): 1.0}
    device(sysfs, "a", carrier="0", operstate="down", carrier_changes="6")
    assert collected(collector)[0]["carrier"] == {("a",): 0.0}


@pytest.mark.parametrize("change", [{"operstate": "down"}, {"carrier_changes": "6"}, {"flags": "0x1002"}])
def test_without_a_watch_the_state_of_a_link_has_it_read_again(sysfs, change):
    """Where the kernel cannot be listened to, a device is read again when its link changed, or after a minute."""
    device(sysfs, "a")
    clock = Hands()
    collector = made(sysfs, clock=clock)
    collected(collector)
    device(sysfs, "a", mtu="9000")
    samples, waits = collected(collector)
    assert not waits
    assert samples["mtu_bytes"] == {("a",): 1500.0}
    device(sysfs, "a", **change)
    assert collected(collector)[0]["mtu_bytes"] == {("a",): 9000.0}
    device(sysfs, "a", mtu="68")
    clock.now += _netclass_survey.KEPT_SECONDS + 1
    assert collected(collector)[0]["mtu_bytes"] == {("a",): 68.0}


def test_without_a_watch_devices_come_and_go(sysfs):
    """Where the kernel cannot be listened to, the list of devices is looked at each time."""
    device(sysfs, "a")
    collector = made(sysfs)
    collected(collector)
    device(sysfs, "b")
    assert set(collected(collector)[0]["up"]) == {("a",), ("b",)}
    for file in (sysfs / "class/net/a").iterdir():
        file.unlink()
    (sysfs / "class/net/a").rmdir()
    assert set(collected(collector)[0]["up"]) == {("b",)}


def test_a_watch_of_another_namespace_is_not_believed(sysfs):
    """Where sysfs shows other devices than the kernel lists, its announcements are about others."""
    device(sysfs, "nobody-has-this")
    watch = Watch()
    collector = made(sysfs, watch)
    collector._survey._watch_is_proven = False
    collected(collector)
    assert watch.closed
    assert collector._survey._watch is None


async def test_stop_may_come_twice(sysfs):
    """Stopping closes what listens, also where nothing was collected yet."""
    watch = Watch()
    collector = made(sysfs, watch)
    await collector.stop()
    await collector.stop()
    assert watch.closed


def attribute(kind, value):
    """Return a netlink attribute, padded as the kernel does."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(name=b"eth7", ifindex=7, **more):
    """Return a device as a dump over netlink tells of it."""
    found = {
        3: name + b"\0",
        1: bytes.fromhex("020000000007"),
        2: b"\xff" * 6,
        4: pack("=I", 1500),
        13: pack("=I", 1000),
        16: b"\6",
        17: b"\1",
        20: b"to the barn\0",
        27: pack("=I", 12),
        33: b"\1",
        35: pack("=I", 5),
        47: pack("=I", 3),
        48: pack("=I", 2),
        52: attribute(53, b"long-name\0") + attribute(53, b"\0") + attribute(53, b"l\xc3\xa4nger\0"),
    }
    return Link(1, ifindex, 0x1003, found | more.get("attributes", {}))


class Route:
    """A route socket to a pretended kernel."""

    def __init__(self, *links):
        self.answer = links

    def links(self, wanted):
        return iter(self.answer)

    def close(self):
        pass


class Family:
    """An ethtool socket to a pretended kernel."""

    def __init__(self, *answers):
        self.answers = answers

    def ask(self, command, request):
        if self.answers == (None,):
            raise FileNotFoundError
        return list(self.answers)

    def close(self):
        pass


def mode(name, speed=2500, duplex=1):
    """Return what ethtool says of a device's link."""
    header = attribute(0x8001, attribute(1, pack("=I", 7)) + attribute(2, name + b"\0"))
    return header + attribute(5, pack("=I", speed)) + attribute(6, bytes([duplex]))


def over_netlink(sysfs, route, ethtool, **options):
    """Return the collector with pretended sockets."""
    collector = made(sysfs, netlink=True, **options)
    collector._sockets = _netclass_rtnl.Sockets(route, ethtool)
    return collector


def test_netlink_tells_the_same(sysfs):
    """Over netlink the families are the same, with alternative names; three attributes come from sysfs all the same."""
    device(sysfs, "eth7")
    samples, _ = collected(over_netlink(sysfs, Route(link()), Family(mode(b"eth7"))))
    assert samples["info"] == {
        ("eth7", "02:00:00:00:00:07", "ff:ff:ff:ff:ff:ff", "Full", "up", None, "to the barn"): 1.0
    }
    assert samples["altnames_info"] == {("long-name", "eth7"): 1.0, ("länger", "eth7"): 1.0}
    by_files, _ = collected(made(sysfs))
    own = {"info", "altnames_info", "iface_link", "iface_link_mode", "dormant"}
    assert {name: values for name, values in samples.items() if name not in own} == {
        name: values for name, values in by_files.items() if name not in own
    }
    assert samples["iface_link"] == {("eth7",): 7.0}
    assert samples["dormant"] == samples["iface_link_mode"] == {("eth7",): 1.0}


def test_netlink_without_ethtool(sysfs):
    """A kernel without ethtool's family lacks speed and duplex mode, and nothing else."""
    samples, _ = collected(
        over_netlink(sysfs, Route(link(), link(b"tun0", 8, attributes={5: pack("=I", 3)})), Family(None))
    )
    assert "speed_bytes" not in samples
    assert {key[3] for key in samples["info"]} == {""}
    assert samples["iface_link"] == {("eth7",): 7.0, ("tun0",): 3.0}


@pytest.mark.parametrize(("duplex", "word"), [(0, "Half"), (1, "Full"), (255, "Unknown"), (3, "Duplex(3)")])
def test_netlink_spells_duplex_modes_with_a_capital(sysfs, duplex, word):
    """The words for duplex modes are node_exporter's over netlink."""
    samples, _ = collected(over_netlink(sysfs, Route(link()), Family(mode(b"eth7", duplex=duplex))))
    assert [key[3] for key in samples["info"]] == [word]


def test_netlink_with_statistics(sysfs):
    """With the option what devices have counted is told, too, as gauges; a device that counts nothing is left out."""
    counts = link(attributes={23: pack("=3Q", 1, 2, 3)})
    families = asyncio.run(finish(over_netlink(sysfs, Route(counts), Family(), rtnl_with_stats=True).collect()))
    told = {family.name: (family.kind, family.samples) for family in families}
    assert told["node_network_receive_packets_total"] == ("gauge", {("eth7",): 1.0})
    assert told["node_network_receive_bytes_total"] == ("gauge", {("eth7",): 3.0})
    assert "node_network_transmit_bytes_total" not in told


def test_netlink_ignores_devices(sysfs):
    """Ignored devices and speeds that are not known are left out over netlink as well."""
    route, family = Route(link(), link(b"lo", 1)), Family(mode(b"eth7", speed=2**32 - 1))
    samples, _ = collected(over_netlink(sysfs, route, family, ignored_devices=Regex("^lo$"), ignore_invalid_speed=True))
    assert samples["up"] == {("eth7",): 1.0}
    assert "speed_bytes" not in samples


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_parse_returns_a_number_or_none(content):
    """Whatever an attribute file holds, it is a number or none."""
    assert isinstance(_netclass.parse(content), float | None)


@given(st.integers(-(2**63), 2**64))
@settings(max_examples=100, deadline=None)
def test_parse_reads_decimal_and_hexadecimal(number):
    """A number comes back as it was written in either way."""
    assert _netclass.parse(b"%d" % number) == _netclass.parse(hex(number).encode()) == float(number)


@given(st.binary(max_size=80), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_link_mode_returns_or_raises_value_error(junk, length):
    """An answer of ethtool that is cut off or followed by junk never raises anything but ValueError."""
    with suppress(ValueError):
        _netclass_rtnl.link_mode(mode(b"eth7")[:length] + junk)


@given(st.dictionaries(st.sampled_from(sorted(_netclass_rtnl.WANTED)), st.binary(max_size=9)))
@settings(max_examples=100, deadline=None)
def test_linked_returns_or_raises_value_error(found):
    """Attributes of any content give a device or a ValueError."""
    with suppress(ValueError):
        list(_netclass_rtnl.linked(Host(HostPaths(sysfs="/nowhere")), [Link(1, 2, 3, found)], {}))
