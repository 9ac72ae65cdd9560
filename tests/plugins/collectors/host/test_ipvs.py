"""The collector ipvs."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.ipvs import Ipvs, IpvsConfig, endpoint, parse, parse_stats

STATS = (
    b"   Total Incoming Outgoing         Incoming         Outgoing\n"
    b"   Conns  Packets  Packets            Bytes            Bytes\n"
    b"       A       1F        2       1000000000                0\n\n"
    b" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"
    b"       0        0        0                0                0\n"
)
SERVICES = (
    b"IP Virtual Server version 1.2.1 (size=4096)\n"
    b"Prot LocalAddress:Port Scheduler Flags\n"
    b"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
    b"TCP  0A000001:0050 wrr\n"
    b"  -> 0A000002:1F90      Masq    3      10         4\n"
    b"  -> 0A000003:1F90      Masq    1      20         5\n"
    b"FWM  0000002A rr\n"
    b"  -> 0A000002:0000      Route   1      7          0\n"
    b"SCTP [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr\n"
    b"  -> [2001:0db8:0000:0000:0000:0000:0000:0002]:1F90      Masq    2      1          0\n"
)


@pytest.fixture
def net(tmp_path):
    """Return the folder net of a fake procfs with a load balancer."""
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "ip_vs_stats").write_bytes(STATS)
    (folder / "ip_vs").write_bytes(SERVICES)
    return folder


def families(tmp_path, **options):
    """Return each family that a collector tells from a fake procfs, by the end of its name."""
    collector = Ipvs(IpvsConfig(**options), Context(host=Host(HostPaths(procfs=str(tmp_path)))))
    return {family.name.removeprefix("node_ipvs_"): family for family in collector.collect()}


def test_collect_tells_totals_and_backends(net, tmp_path):
    """Totals come from one file, backends from the other, with the address or the mark of their service."""
    told = families(tmp_path)
    assert {name: family.samples[()] for name, family in told.items() if family.kind == "counter"} == {
        "connections_total": 10.0,
        "incoming_packets_total": 31.0,
        "outgoing_packets_total": 2.0,
        "incoming_bytes_total": 2.0**36,
        "outgoing_bytes_total": 0.0,
    }
    assert told["backend_connections_active"].samples == {
        ("10.0.0.1", "80", "10.0.0.2", "8080", "TCP", ""): 10.0,
        ("10.0.0.1", "80", "10.0.0.3", "8080", "TCP", ""): 20.0,
        ("", "0", "10.0.0.2", "0", "FWM", "0000002A"): 7.0,
        ("2001:db8::1", "80", "2001:db8::2", "8080", "SCTP", ""): 1.0,
    }
    assert sum(told["backend_connections_inactive"].samples.values()) == 9.0
    assert sum(told["backend_weight"].samples.values()) == 7.0


@pytest.mark.parametrize(
    ("labels", "names", "samples"),
    [
        ("proto", ("proto",), {("TCP",): 30.0, ("FWM",): 7.0, ("SCTP",): 1.0}),
        (
            "proto,,remote_port",
            ("remote_port", "proto"),
            {("8080", "TCP"): 30.0, ("0", "FWM"): 7.0, ("8080", "SCTP"): 1.0},
        ),
        ("", (), {(): 38.0}),
    ],
)
def test_collect_adds_up_what_labels_do_not_tell_apart(net, tmp_path, labels, names, samples):
    """Backends that differ in no chosen label are one sample; labels have an order of their own."""
    family = families(tmp_path, backend_labels=labels)["backend_connections_active"]
    assert (family.label_names, family.samples) == (names, samples)


def test_options_refuse_labels_that_do_not_exist():
    """A label that no backend has is an error that names it."""
    with pytest.raises(ValueError, match="found port"):
        IpvsConfig(backend_labels="proto,port")


def test_collect_tells_no_backends_where_there_are_none(net, tmp_path):
    """A load balancer without services has totals only."""
    (net / "ip_vs").write_bytes(SERVICES[: SERVICES.index(b"TCP")])
    assert not [name for name in families(tmp_path) if name.startswith("backend")]


def test_collect_tells_no_data_without_the_module(tmp_path):
    """A kernel without a load balancer is no failure."""
    with pytest.raises(NoData, match="ip_vs is not loaded"):
        families(tmp_path)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("7F000001:FFFF", "127.0.0.1", "65535"),
        ("[0000:0000:0000:0000:0000:ffff:0a00:0001]:0001", "10.0.0.1", "1"),
        ("[0000:0000:0000:0000:0000:0000:0000:0001]:0000", "::1", "0"),
    ],
)
def test_endpoint_reads_both_versions_of_ip(text, address, port):
    """Addresses are told as people write them; one of IPv4 within IPv6 as that of IPv4."""
    assert endpoint(text) == (address, port)


@pytest.mark.parametrize("text", ["", "7F0001:0050", "7F000001", "7F000001:many", "[x]:0050"])
def test_endpoint_refuses_what_is_no_address(text):
    """Anything else is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        endpoint(text)


@pytest.mark.parametrize("text", [b"", b"a\nb\n", b"a\nb\n1 2 3 4\n", b"a\nb\n1 2 3 4 x\n"])
def test_parse_stats_refuses_what_is_cut_off(text):
    """A file without five numbers in its third line is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected five numbers|invalid literal"):
        parse_stats(text)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_parse_stats_reads_back_what_a_kernel_would_write(numbers):
    """Any totals are read."""
    assert parse_stats(b"a\nb\n%8X %8X %8X %16X %16X\n" % tuple(numbers)) == tuple(map(float, numbers))


@given(st.integers(0, len(SERVICES)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parsers_return_or_raise_value_error(length, junk):
    """Files cut off anywhere, with binary junk behind them, never raise anything but ValueError."""
    with suppress(ValueError):
        list(parse(SERVICES[:length] + junk))
    with suppress(ValueError):
        parse_stats(STATS[:length] + junk)
