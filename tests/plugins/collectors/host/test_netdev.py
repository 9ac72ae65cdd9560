"""The collector netdev."""

import asyncio
import inspect
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host._netlink import Address, Link
from agentd_plugins.collectors.host.netdev import Netdev, NetdevConfig, legacy, parse, scope, statistics

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"
NAME, STATS64 = 3, 23

ETH0 = {
    "receive_packets": 101.0,
    "transmit_packets": 102.0,
    "receive_bytes": 103.0,
    "transmit_bytes": 104.0,
    "receive_errors": 105.0,
    "transmit_errors": 106.0,
    "receive_dropped": 107.0,
    "transmit_dropped": 108.0,
    "multicast": 109.0,
    "collisions": 110.0,
    "receive_length_errors": 111.0,
    "receive_over_errors": 112.0,
    "receive_crc_errors": 113.0,
    "receive_frame_errors": 114.0,
    "receive_fifo_errors": 115.0,
    "receive_missed_errors": 116.0,
    "transmit_aborted_errors": 117.0,
    "transmit_carrier_errors": 118.0,
    "transmit_fifo_errors": 119.0,
    "transmit_heartbeat_errors": 120.0,
    "transmit_window_errors": 121.0,
    "receive_compressed": 122.0,
    "transmit_compressed": 123.0,
    "receive_nohandler": 124.0,
}
"""What the device ``eth0`` of the pretended kernel has counted, in the order of its structure."""

ETH0_LEGACY = {
    "receive_packets": 101.0,
    "transmit_packets": 102.0,
    "receive_bytes": 103.0,
    "transmit_bytes": 104.0,
    "receive_errs": 105.0,
    "transmit_errs": 106.0,
    "receive_drop": 107.0 + 116.0,
    "transmit_drop": 108.0,
    "receive_multicast": 109.0,
    "transmit_colls": 110.0,
    "receive_frame": 114.0 + 111.0 + 112.0 + 113.0,
    "receive_fifo": 115.0,
    "transmit_carrier": 118.0 + 117.0 + 120.0 + 121.0,
    "transmit_fifo": 119.0,
    "receive_compressed": 122.0,
    "transmit_compressed": 123.0,
    "receive_nohandler": 124.0,
}


def device(name, first, ifindex=1, count=25):
    """Return a device as the kernel tells of it, that has counted ``first``, ``first + 1`` and so on."""
    return Link(1, ifindex, 0, {NAME: name + b"\0", STATS64: pack(f"={count}Q", *range(first, first + count))})


class Route:
    """A netlink socket to a pretended kernel."""

    def __init__(self):
        self.closed = 0

    def links(self, wanted):
        assert wanted <= {NAME, STATS64}
        return iter([device(b"lo", 1, 1), device(b"eth0", 101, 2), device(b"veth7", 201, 3)])

    def addresses(self):
        found = [
            (1, "127.0.0.1", 8),
            (2, "192.0.2.7", 24),
            (2, "fe80::1", 64),
            (2, "2001:db8::7", 48),
            (9, "192.0.2.8", 24),
        ]
        return iter(Address(ifindex, ip_address(text), length) for ifindex, text, length in found)

    def close(self):
        self.closed += 1


def collector(**options):
    """Return the collector with a pretended kernel, without a /proc/net/dev where no procfs is given."""
    options.setdefault("procfs", PROC / "nothing")
    paths = {name: str(options.pop(name)) for name in ("procfs", "sysfs") if name in options}
    made = Netdev(NetdevConfig(**options), Context(host=Host(HostPaths(**paths))))
    made._route = Route()
    return made


def collected(made):
    """Return what a collector returns, at once or after it has asked in a worker."""
    families = made.collect()
    return asyncio.run(families) if inspect.isawaitable(families) else list(families)


def told(families, *labels):
    """Return the value of one series in each family of statistics that has it, by the statistic's name."""
    values = {family.name: family.samples[labels] for family in families if labels in family.samples}
    return {name.removeprefix("node_network_").removesuffix("_total"): value for name, value in values.items()}


def test_collect_adds_up_as_proc_net_dev_does():
    """Over netlink the names are those of /proc/net/dev, with errors summed up, and one more; all are counters."""
    families = collected(collector())
    assert told(families, "eth0") == ETH0_LEGACY
    assert {(family.kind, family.label_names, tuple(family.samples)) for family in families} == {
        ("counter", ("device",), (("lo",), ("eth0",), ("veth7",)))
    }


def test_collect_tells_every_number_where_details_are_wanted():
    """With detailed metrics each number has its own name, and nothing is summed up."""
    assert told(collected(collector(enable_detailed_metrics=True)), "eth0") == ETH0


def test_collect_reads_proc_net_dev_instead():
    """Without netlink the numbers are those of the file, under the same names but for receive_nohandler."""
    families = collected(collector(netlink=False, procfs=PROC))
    assert told(families, "eth0") == {
        "receive_bytes": 2.0**64,
        "receive_packets": 520993275.0,
        "receive_errs": 1.0,
        "receive_drop": 2.0,
        "receive_fifo": 3.0,
        "receive_frame": 4.0,
        "receive_compressed": 5.0,
        "receive_multicast": 6.0,
        "transmit_bytes": 9315587528.0,
        "transmit_packets": 43451486.0,
        "transmit_errs": 7.0,
        "transmit_drop": 8.0,
        "transmit_fifo": 9.0,
        "transmit_colls": 10.0,
        "transmit_carrier": 11.0,
        "transmit_compressed": 12.0,
    }
    assert {family.name for family in families} == {
        f"node_network_{name}_total" for name in ETH0_LEGACY.keys() - {"receive_nohandler"}
    }


def test_details_of_proc_net_dev_differ_in_four_names():
    """The file has its numbers summed up: with detailed metrics only errors and dropped packets have other names."""
    plain = told(collected(collector(netlink=False, procfs=PROC)), "eth0").keys()
    detailed = told(collected(collector(netlink=False, procfs=PROC, enable_detailed_metrics=True)), "eth0").keys()
    assert plain - detailed == {"receive_errs", "receive_drop", "transmit_errs", "transmit_drop"}
    assert detailed - plain == {"receive_errors", "receive_dropped", "transmit_errors", "transmit_dropped"}


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ({"device_include": Regex("^(lo|eth.*)$")}, {"lo", "eth0"}),
        ({"device_exclude": Regex("eth")}, {"lo"}),
        ({"device_include": Regex("^none$")}, set()),
    ],
)
@pytest.mark.parametrize("netlink", [True, False])
def test_options_choose_devices(options, devices, netlink):
    """Devices are included or excluded by an expression that is searched for in their names."""
    families = collected(collector(netlink=netlink, procfs=PROC, **options))
    assert {key[0] for family in families for key in family.samples} == devices


def test_include_and_exclude_contradict_each_other():
    """Both options at once are an error that names the two."""
    with pytest.raises(ValueError, match="device_exclude and device_include"):
        NetdevConfig(device_include=Regex("a"), device_exclude=Regex("b"))


def test_alias_becomes_a_label(tmp_path):
    """With the option each device has its alias as a label, an empty one too; one that sysfs lacks has none."""
    for name, alias in (("lo", "\n"), ("eth0", "up\u00e4link\n")):
        folder = tmp_path / "class" / "net" / name
        folder.mkdir(parents=True)
        (folder / "ifalias").write_text(alias, encoding="utf-8")
    families = collected(collector(label_ifalias=True, sysfs=tmp_path))
    assert {family.label_names for family in families} == {("device", "ifalias")}
    assert {tuple(family.samples) for family in families} == {(("lo", ""), ("eth0", "up\u00e4link"), ("veth7", None))}


def test_address_info_tells_addresses_of_the_chosen_devices():
    """Each address comes with its device, prefix and scope; those of excluded or vanished devices are left out."""
    *_, family = collected(collector(address_info=True, device_exclude=Regex("^lo$")))
    assert (family.name, family.kind) == ("node_network_address_info", "gauge")
    assert family.label_names == ("device", "address", "netmask", "scope")
    assert family.samples == {
        ("eth0", "192.0.2.7", "24", "global"): 1.0,
        ("eth0", "fe80::1", "64", "link-local"): 1.0,
        ("eth0", "2001:db8::7", "48", "global"): 1.0,
    }


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.0.0.1", "link-local"),
        ("::1", "link-local"),
        ("169.254.1.1", "link-local"),
        ("224.0.0.251", "link-local"),
        ("ff02::fb", "link-local"),
        ("ff11::1", "interface-local"),
        ("ff0e::1", ""),
        ("239.1.2.3", ""),
        ("0.0.0.0", ""),
        ("::", ""),
        ("10.1.2.3", "global"),
        ("fd00::1", "global"),
    ],
)
def test_scope_uses_node_exporters_words(address, reach):
    """Loopback counts as link-local, private addresses as global, and what has no word is empty."""
    assert scope(ip_address(address)) == reach


async def test_stop_closes_the_socket_and_may_come_twice():
    """Stopping closes what the first collection opened; a collection afterwards works again."""
    real = Netdev(NetdevConfig(device_include=Regex("^lo$"), enable_detailed_metrics=True))
    await real.start()
    try:
        await real.collect()
    except PermissionError as error:
        pytest.skip(f"netlink is forbidden here: {error}")
    kept = real._route._socket
    assert kept.fileno() >= 0
    await real.collect()
    assert real._route._socket is kept
    await real.stop()
    await real.stop()
    assert kept.fileno() == -1
    assert await real.collect()
    await real.stop()


async def test_all_ways_agree_about_the_running_kernel(tmp_path):
    """Asked each way, the kernel tells of the same devices; numbers may only have grown meanwhile."""
    usual, over_netlink = (
        Netdev(NetdevConfig()),
        Netdev(NetdevConfig(), Context(host=Host(HostPaths(procfs=str(tmp_path))))),
    )
    try:
        first = {family.name: family.samples for family in usual.collect()}
        second = {family.name: family.samples for family in await over_netlink.collect()}
    except OSError as error:
        pytest.skip(f"netlink or procfs is not to be had here: {error}")
    finally:
        await over_netlink.stop()
    assert first.keys() == second.keys()
    for name, samples in first.items():
        assert samples.keys() == second[name].keys()
        assert {key[0] for key in samples} == {device for _, device in socket.if_nameindex()}
        assert all(second[name][key] >= value for key, value in samples.items())
    assert first["node_network_receive_errs_total"] == second["node_network_receive_errs_total"]


@pytest.fixture
def sysfs(tmp_path):
    """A sysfs that has the devices of /proc/net/dev, and of one what had no handler."""
    for device in parse((PROC / "net/dev").read_bytes()):
        (tmp_path / "class/net" / device / "statistics").mkdir(parents=True)
    (tmp_path / "class/net/eth0/statistics/rx_nohandler").write_text("7\n")
    return tmp_path


def test_the_sysfs_of_another_network_namespace_is_not_believed(sysfs):
    """Where sysfs shows other devices, those of the same name are others, too: what had no handler is absent."""
    (sysfs / "class/net/docker0").mkdir()
    names = {family.name for family in collected(collector(procfs=PROC, sysfs=sysfs))}
    assert "node_network_receive_bytes_total" in names
    assert "node_network_receive_nohandler_total" not in names


def test_a_device_without_the_file_lacks_one_number(sysfs):
    """Where sysfs does not say it of a device, only the packets without a handler are absent for it, not 0."""
    families = collected(collector(procfs=PROC, sysfs=sysfs))
    samples = {family.name: family.samples for family in families}
    assert samples["node_network_receive_nohandler_total"] == {("eth0",): 7.0}
    assert ("lo",) in samples["node_network_receive_bytes_total"]


def test_an_older_kernel_lacks_the_last_number():
    """A number that the kernel's structure does not have yet is left out, not 0."""
    made = collector(enable_detailed_metrics=True)
    made._route.links = lambda wanted: iter([device(b"eth0", 101, count=23)])
    assert ETH0.items() - told(collected(made), "eth0").items() == {("receive_nohandler", 124.0)}


def test_statistics_passes_over_a_device_that_counts_nothing():
    """A device without counters is left out, and a name that is no UTF-8 becomes text."""
    links = [Link(1, 1, 0, {NAME: b"silent\0"}), device(b"a\xff", 1, count=2)]
    assert statistics(links) == {"a\\xff": (1.0, 2.0)}


def test_parse_takes_names_with_colons_and_columns_to_come():
    """An alias as older kernels list it keeps its colon, and a seventeenth number does no harm."""
    head = b"Inter-|\n face |\n"
    numbers = b" ".join(b"%d" % number for number in range(17))
    assert parse(head + b"br10:30:" + numbers + b"\n") == {"br10:30": tuple(map(float, range(16)))}


@pytest.mark.parametrize("line", [b"eth0 1 2 3", b"eth0: 1 2 3", b"eth0:" + b" x" * 16])
def test_parse_refuses_a_line_that_tells_too_little(line):
    """A line without a device, or with fewer than sixteen numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a device and 16 numbers|could not convert"):
        parse(b"\n\n" + line + b"\n")


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=24, max_size=24), max_size=5))
@settings(max_examples=100, deadline=None)
def test_legacy_loses_no_error(rows):
    """Whatever the numbers, their sum over all names is the same before and after."""
    columns = dict(zip(ETH0, zip(*rows, strict=True), strict=False))
    before, after = (sum(sum(column) for column in table.values()) for table in (columns, legacy(columns)))
    assert before == after
    assert set(legacy(columns)) == (set(ETH0_LEGACY) if rows else set())


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_statistics_takes_numbers_of_any_length(numbers):
    """Counters cut off anywhere give as many whole numbers as there are."""
    assert len(statistics([Link(1, 1, 0, {NAME: b"x\0", STATS64: numbers})])["x"]) == len(numbers) // 8


@given(st.integers(0, 700), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse((PROC / "net" / "dev").read_bytes()[:length] + junk)


@given(st.lists(st.integers(0, 10**400), min_size=16, max_size=16))
@settings(max_examples=100, deadline=None)
def test_parse_takes_huge_numbers(numbers):
    """Numbers beyond any float become infinite instead of raising OverflowError."""
    text = b"\n\neth0:" + b" ".join(b"%d" % number for number in numbers)
    assert parse(text) == {"eth0": tuple(float(str(number)) for number in numbers)}
