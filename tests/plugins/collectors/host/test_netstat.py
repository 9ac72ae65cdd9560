"""The collector netstat."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host.netstat import Netstat, NetstatConfig, key6, tables

NETSTAT = b"TcpExt: SyncookiesSent TW ListenDrops\nTcpExt: 1 2 3\nIpExt: InOctets\nIpExt: 4\n"
SNMP = b"Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmpMsg: InType3\nIcmpMsg: 9\nTcp: MaxConn CurrEstab\nTcp: -1 6\n"
SNMP6 = b"Ip6InOctets                     \t7\nUdp6NoPorts                     \t8\nIcmp6InType1 \t5\n"


@pytest.fixture
def net(tmp_path):
    """Return the folder net of a fake procfs."""
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "netstat").write_bytes(NETSTAT)
    (folder / "snmp").write_bytes(SNMP)
    (folder / "snmp6").write_bytes(SNMP6)
    return folder


def made(tmp_path, **options):
    """Return a collector that reads a fake procfs."""
    return Netstat(NetstatConfig(**options), Context(host=Host(HostPaths(procfs=str(tmp_path)))))


def values(collector):
    """Return the value of each family that a collector tells."""
    families = collector.collect()
    assert {family.kind for family in families} <= {"unknown"}
    return {family.name.removeprefix("node_netstat_"): family.samples[()] for family in families}


def test_collect_tells_the_counters_of_the_default(net, tmp_path):
    """Of all three files what dashboards ask for is told, and nothing else."""
    assert values(made(tmp_path)) == {
        "TcpExt_SyncookiesSent": 1.0,
        "TcpExt_ListenDrops": 3.0,
        "IpExt_InOctets": 4.0,
        "Ip_Forwarding": 1.0,
        "Tcp_CurrEstab": 6.0,
        "Ip6_InOctets": 7.0,
        "Udp6_NoPorts": 8.0,
    }


def test_collect_tells_the_counters_that_the_option_names(net, tmp_path):
    """The expression is searched for anywhere in the name; a number may be negative."""
    collector = made(tmp_path, fields=Regex("MaxConn|InType"))
    assert values(collector) == {"Tcp_MaxConn": -1.0, "IcmpMsg_InType3": 9.0, "Icmp6_InType1": 5.0}


def test_collect_follows_lists_that_change(net, tmp_path):
    """What is remembered about the names does not outlive a change of their list, nor freeze their values."""
    collector = made(tmp_path)
    first = values(collector)
    (net / "netstat").write_bytes(b"TcpExt: TW ListenDrops SyncookiesSent\nTcpExt: 10 20 30\n")
    (net / "snmp").write_bytes(SNMP.replace(b"-1 6", b"-1 60"))
    (net / "snmp6").write_bytes(b"Udp6NoPorts 80\nIp6InOctets 70\n")
    assert values(collector) == {
        **{name: value for name, value in first.items() if name == "Ip_Forwarding"},
        "TcpExt_ListenDrops": 20.0,
        "TcpExt_SyncookiesSent": 30.0,
        "Tcp_CurrEstab": 60.0,
        "Udp6_NoPorts": 80.0,
        "Ip6_InOctets": 70.0,
    }


def test_collect_leaves_out_ipv6_where_it_is_switched_off(net, tmp_path):
    """Without IPv6 there is no file about it."""
    (net / "snmp6").unlink()
    assert not [name for name in values(made(tmp_path)) if "6_" in name]


@pytest.mark.parametrize(
    "text",
    [b"Tcp: A\n", b"Tcp: A\nUdp: 1\n", b"Tcp\nTcp\n", b"Tcp: MaxConn InErrs\nTcp: 1\n", b"Tcp: InErrs\nTcp: many\n"],
)
def test_collect_refuses_tables_that_are_cut_off(net, tmp_path, text):
    """Names without numbers are an error that is a ValueError."""
    (net / "snmp").write_bytes(text)
    with pytest.raises(ValueError, match=r"expected|could not convert"):
        made(tmp_path).collect()


def test_collect_refuses_a_name_without_a_number(net, tmp_path):
    """A file of pairs that ends within one is an error."""
    (net / "snmp6").write_bytes(b"Ip6InOctets 1\nUdp6NoPorts\n")
    with pytest.raises(ValueError, match="expected names and numbers in snmp6"):
        made(tmp_path).collect()


def test_key6_divides_a_name_at_its_6():
    """The protocol of a name ends with its first 6; a name without one is told nowhere."""
    assert [key6(name) for name in ("UdpLite6InErrors", "Ip6InOctets66", "Nothing")] == [
        "UdpLite6_InErrors",
        "Ip6_InOctets66",
        "",
    ]


@given(
    st.dictionaries(
        st.from_regex(rb"[A-Z][A-Za-z]{0,8}", fullmatch=True),
        st.lists(st.tuples(st.from_regex(rb"[A-Z][A-Za-z0-9]{0,8}", fullmatch=True), st.integers(-1, 2**70))),
    )
)
@settings(max_examples=100, deadline=None)
def test_tables_reads_back_what_a_kernel_would_write(protocols):
    """Any names and numbers of any protocols are read, in their order."""
    text = b"".join(
        b"%s: %s\n%s: %s\n"
        % (protocol, b" ".join(name for name, _ in row), protocol, b" ".join(b"%d" % number for _, number in row))
        for protocol, row in protocols.items()
    )
    assert [
        (protocol, names.split(), list(map(int, numbers.split()))) for protocol, names, numbers in tables(text)
    ] == [(protocol, [name for name, _ in row], [number for _, number in row]) for protocol, row in protocols.items()]


@given(st.integers(0, len(SNMP)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_tables_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        list(tables(SNMP[:length] + junk))
