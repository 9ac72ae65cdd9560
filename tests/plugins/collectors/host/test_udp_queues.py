"""The collector udp_queues."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.udp_queues import UdpQueues, parse

HEADING = (
    b"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref drops\n"
)
LINE = b"  12: 0100007F:0035 00000000:0000 07 %08X:%08X 00:00000000 00000000     0        0 55 2 000000000000 3\n"


@pytest.fixture
def net(tmp_path):
    """Return the folder net of a fake procfs."""
    folder = tmp_path / "net"
    folder.mkdir()
    return folder


def collect(tmp_path):
    """Return what a collector tells from a fake procfs."""
    return UdpQueues(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_collect_adds_up_the_queues(net, tmp_path):
    """The queues of all sockets are added, for each version of IP."""
    (net / "udp").write_bytes(HEADING + LINE % (16, 1) + LINE % (0, 0) + LINE % (0, 300))
    (net / "udp6").write_bytes(HEADING)
    (family,) = collect(tmp_path)
    assert (family.name, family.kind, family.label_names) == ("node_udp_queues", "gauge", ("queue", "ip"))
    assert family.samples == {("tx", "v4"): 16.0, ("rx", "v4"): 301.0, ("tx", "v6"): 0.0, ("rx", "v6"): 0.0}


def test_collect_leaves_out_a_version_of_ip_that_is_switched_off(net, tmp_path):
    """Without IPv6 there is no file about it."""
    (net / "udp").write_bytes(HEADING)
    (family,) = collect(tmp_path)
    assert set(family.samples) == {("tx", "v4"), ("rx", "v4")}


def test_collect_tells_no_data_without_sockets(tmp_path):
    """Without both files there is nothing to tell, which is no failure."""
    with pytest.raises(NoData, match="no UDP sockets"):
        collect(tmp_path)


@pytest.mark.parametrize("line", [b"12: 0100007F:0035 00000000:0000 07\n", b"\n", b"1 2 3 4 12\n", b"1 2 3 4 x:y\n"])
def test_parse_refuses_a_line_without_queues(line):
    """A line that is cut off, or has no numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected at least five columns|invalid literal"):
        parse(HEADING + line)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=5))
@settings(max_examples=100, deadline=None)
def test_parse_adds_up_what_a_kernel_would_write(queues):
    """Any queues of any number of sockets are added."""
    text = HEADING + b"".join(LINE % pair for pair in queues)
    assert parse(text) == (float(sum(tx for tx, _ in queues)), float(sum(rx for _, rx in queues)))


@given(st.integers(0, len(HEADING + LINE)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse((HEADING + LINE)[:length] + junk)
