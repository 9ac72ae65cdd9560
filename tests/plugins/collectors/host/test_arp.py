"""The collector arp, and the reader of the kernel's table of neighbours."""

import inspect
import socket
from contextlib import suppress
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host._neighbour import NeighbourSocket, parse_neighbour
from agentd_plugins.collectors.host.arp import Arp, ArpConfig, device, parse

HEADING = b"IP address       HW type     Flags       HW address            Mask     Device\n"
LINE = b"10.0.0.%d         0x1         0x2         02:00:00:00:00:01     *        %s\n"
REACHABLE, NOARP = 0x02, 0x40


def neighbour(ifindex, state=REACHABLE, family=socket.AF_INET):
    """Return the body of a message about a neighbour."""
    return pack("=BxxxiHBB", family, ifindex, state, 0, 1) + pack("=HH4s", 8, 1, bytes(4))


class Kernel:
    """A kernel that answers each request with the same bodies."""

    def __init__(self, *bodies):
        self.bodies = bodies
        self.closed = 0

    def open(self):
        return self

    def send(self, request):
        (sequence,) = unpack_from("=I", request, 8)
        parts = [*((28, body) for body in self.bodies), (3, pack("=i", 0))]
        self.data = b"".join(pack("=IHHII", 16 + len(body), kind, 2, sequence, 0) + body for kind, body in parts)

    def recvmsg(self, size):
        return self.data, [], 0, (0, 0)

    def close(self):
        self.closed += 1


def read(tmp_path, text, **options):
    """Return the samples that a collector tells from an arp file."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "arp").write_bytes(text)
    host = Host(HostPaths(procfs=str(tmp_path), sysfs=str(tmp_path)))
    return [family.samples for family in Arp(ArpConfig(**options), Context(host=host)).collect()]


def test_collect_counts_the_entries_of_each_device(tmp_path):
    """Where sysfs is elsewhere, the file tells, whatever the option says."""
    text = HEADING + LINE % (1, b"eth0") + LINE % (2, b"eth1") + LINE % (3, b"eth0")
    assert read(tmp_path, text, netlink=True) == [{("eth0",): 2.0, ("eth1",): 1.0}]


@pytest.mark.parametrize(("option", "told"), [("device_exclude", "eth1"), ("device_include", "eth0")])
def test_options_choose_devices(tmp_path, option, told):
    """Devices are left out, or all others are."""
    text = HEADING + LINE % (1, b"eth0") + LINE % (2, b"eth1")
    assert read(tmp_path, text, **{option: Regex("0")}) == [{(told,): 1.0}]


def test_options_contradict_each_other():
    """Devices are either chosen or left out."""
    with pytest.raises(ValueError, match="contradict"):
        ArpConfig(device_include=Regex("a"), device_exclude=Regex("b"))


def test_collect_tells_nothing_without_entries(tmp_path):
    """An empty table is no failure."""
    assert read(tmp_path, HEADING) == []


async def test_collect_asks_the_kernel_in_a_worker(monkeypatch):
    """Over netlink, entries that need no ARP, of IPv6, and of devices that went away are left out."""
    monkeypatch.setattr("agentd_plugins.collectors.host.arp.device", {1: "lo", 2: "eth0"}.get)
    bodies = neighbour(2), neighbour(2, 0), neighbour(1, NOARP), neighbour(1, family=socket.AF_INET6), neighbour(9)
    kernel = Kernel(*bodies)
    collector = Arp(context=Context(host=Host(HostPaths(procfs="/nowhere"))))
    collector._socket = NeighbourSocket(kernel.open)
    families = collector.collect()
    assert inspect.isawaitable(families), "there is no file that tells it"
    (family,) = await families
    assert (family.name, family.kind, family.samples) == ("node_arp_entries", "gauge", {("eth0",): 2.0})
    await collector.stop()
    assert kernel.closed == 1


def test_device_knows_that_one_is_gone():
    """The loopback device has a name, and a number that no device has has none."""
    assert device(socket.if_nametoindex("lo")) == "lo"
    assert device(2**31 - 1) is None


def test_the_running_kernel_answers():
    """The kernel's own answer is understood."""
    asking = NeighbourSocket()
    try:
        found = list(asking.ipv4_neighbours())
    except OSError as error:
        pytest.skip(f"the kernel does not list neighbours over netlink: {error}")
    finally:
        asking.close()
    assert all(entry.family == socket.AF_INET and not entry.state & NOARP for entry in found)


def test_parse_takes_entries_without_an_address():
    """A device without link layer addresses leaves that column empty."""
    assert parse(HEADING + b"10.0.0.1         0x300       0x2                               *        tun0\n") == {
        "tun0": 1
    }


@pytest.mark.parametrize("line", [b"\n", b"10.0.0.1 0x1\n", b"1 2 3 4 5 6 7\n"])
def test_parse_refuses_what_is_no_table(line):
    """A line that is cut off, or has too many columns, is an error that is a ValueError."""
    with pytest.raises(ValueError, match="expected five or six columns"):
        parse(HEADING + line)


@given(st.dictionaries(st.from_regex(rb"[a-z][a-z0-9.@:-]{0,14}", fullmatch=True), st.integers(1, 5)))
@settings(max_examples=100, deadline=None)
def test_parse_counts_what_a_kernel_would_write(devices):
    """Any number of entries of any devices is counted."""
    text = HEADING + b"".join(LINE % (1, name) * count for name, count in devices.items())
    assert parse(text) == {name.decode(): count for name, count in devices.items()}


@given(st.integers(0, 160), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse((HEADING + LINE % (1, b"eth0"))[:length] + junk)


@given(st.binary(max_size=30))
@settings(max_examples=100, deadline=None)
def test_parse_neighbour_refuses_what_is_cut_off(body):
    """A message of any length is read, or is an error that is a ValueError."""
    if len(body) >= 12:
        assert parse_neighbour(body).family == body[0]
    else:
        with pytest.raises(ValueError, match="netlink"):
            parse_neighbour(body)
