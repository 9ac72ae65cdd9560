"""The collector sockstat."""

import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.sockstat import Sockstat, parse

IPV4 = b"sockets: used 40\nTCP: inuse 5 orphan 1 tw 2 alloc 7 mem 3\nFRAG: inuse 0 memory 64\n"
IPV6 = b"TCP6: inuse 2\nFRAG6: inuse 0 memory 0\n"


@pytest.fixture
def net(tmp_path):
    """Return the folder net of a fake procfs."""
    folder = tmp_path / "net"
    folder.mkdir()
    return folder


def values(tmp_path):
    """Return the value of each family that a collector tells from a fake procfs."""
    families = Sockstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.kind for family in families} <= {"gauge"}
    return {family.name: family.samples[()] for family in families}


def test_collect_tells_both_files(net, tmp_path):
    """Each number is a family of its own; memory in pages is told in bytes as well."""
    (net / "sockstat").write_bytes(IPV4)
    (net / "sockstat6").write_bytes(IPV6)
    assert values(tmp_path) == {
        "node_sockstat_sockets_used": 40.0,
        "node_sockstat_TCP_inuse": 5.0,
        "node_sockstat_TCP_orphan": 1.0,
        "node_sockstat_TCP_tw": 2.0,
        "node_sockstat_TCP_alloc": 7.0,
        "node_sockstat_TCP_mem": 3.0,
        "node_sockstat_TCP_mem_bytes": 3.0 * os.sysconf("SC_PAGE_SIZE"),
        "node_sockstat_FRAG_inuse": 0.0,
        "node_sockstat_FRAG_memory": 64.0,
        "node_sockstat_TCP6_inuse": 2.0,
        "node_sockstat_FRAG6_inuse": 0.0,
        "node_sockstat_FRAG6_memory": 0.0,
    }


def test_collect_leaves_out_a_version_of_ip_that_is_switched_off(net, tmp_path):
    """Without IPv6 there is no file about it, and without any file nothing to tell."""
    assert values(tmp_path) == {}
    (net / "sockstat").write_bytes(b"TCP: inuse 5\n")
    assert values(tmp_path) == {"node_sockstat_TCP_inuse": 5.0}


def test_collect_leaves_out_what_node_exporter_does_not_know(net, tmp_path):
    """What a newer kernel adds to a protocol brings no new series; a negative number is told."""
    (net / "sockstat").write_bytes(b"TCP: inuse -1 newer 5\n")
    assert values(tmp_path) == {"node_sockstat_TCP_inuse": -1.0}


def test_collect_refuses_what_is_no_number(net, tmp_path):
    """A word in the place of a number is an error that names it."""
    (net / "sockstat").write_bytes(b"TCP: inuse many\n")
    with pytest.raises(ValueError, match="many"):
        values(tmp_path)


@pytest.mark.parametrize("text", [b"TCP:\n", b"TCP: inuse\n", b"TCP inuse 1\n"])
def test_parse_refuses_what_is_no_protocol(text):
    """A line without a protocol, names and numbers is an error that is a ValueError."""
    with pytest.raises(ValueError, match="expected a protocol"):
        list(parse(text))


@given(
    st.dictionaries(
        st.from_regex(rb"[A-Z]{1,8}6?", fullmatch=True),
        st.dictionaries(st.from_regex(rb"[a-z_]{1,8}", fullmatch=True), st.integers(-1, 10**30), min_size=1),
    )
)
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(protocols):
    """Any numbers of any protocols are read."""
    lines = [
        b"%s: %s\n" % (protocol, b" ".join(b"%s %d" % item for item in fields.items()))
        for protocol, fields in protocols.items()
    ]
    text = b"".join(lines)
    assert [(protocol, name, int(text.split()[place])) for protocol, name, place in parse(text)] == [
        (protocol.decode(), name.decode(), number)
        for protocol, fields in protocols.items()
        for name, number in fields.items()
    ]


@given(st.integers(0, len(IPV4)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        list(parse(IPV4[:length] + junk))
