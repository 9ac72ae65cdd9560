"""The collector softnet."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.softnet import Softnet, parse

NEW = b"0000000a 00000001 00000002 0 0 0 0 0 00000003 00000004 00000005 00000006 00000007 00000008 00000009\n"


def test_collect_tells_a_sample_for_each_cpu(tmp_path):
    """A kernel of today tells the CPU's number, which need not be that of the line, and the backlog."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "softnet_stat").write_bytes(NEW)
    families = Softnet(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.name: family.samples for family in families} == {
        "node_softnet_processed_total": {("7",): 10.0},
        "node_softnet_dropped_total": {("7",): 1.0},
        "node_softnet_times_squeezed_total": {("7",): 2.0},
        "node_softnet_cpu_collision_total": {("7",): 3.0},
        "node_softnet_received_rps_total": {("7",): 4.0},
        "node_softnet_flow_limit_count_total": {("7",): 5.0},
        "node_softnet_backlog_len": {("7",): 6.0},
    }
    assert [family.kind for family in families] == ["counter"] * 6 + ["gauge"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (9, [10.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0]),
        (10, [10.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]),
        (11, [10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]),
        (12, [10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]),
    ],
)
def test_parse_reads_what_older_kernels_tell(columns, told):
    """What they do not count is 0, and a CPU's number is that of its line."""
    line = b" ".join(NEW.split()[:columns]) + b"\n"
    assert parse(line + line) == {"0": told, "1": told}


@pytest.mark.parametrize("text", [b"1 2 3 4 5 6 7 8\n", b"\n", b"g 0 0 0 0 0 0 0 0\n"])
def test_parse_refuses_what_is_no_table(text):
    """Too few columns, and other things than hexadecimal numbers, are errors that are ValueErrors."""
    with pytest.raises(ValueError, match=r"expected at least 9 columns|invalid literal"):
        parse(text)


@given(st.lists(st.lists(st.integers(0, 2**70), min_size=15, max_size=18), max_size=4))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(rows):
    """Any numbers are read, and further columns are passed over."""
    text = b"".join(b" ".join(b"%08x" % number for number in row) + b"\n" for row in rows)
    cpus = {str(row[12]): [float(row[place]) for place in (0, 1, 2, 8, 9, 10, 11)] for row in rows}
    assert parse(text) == cpus


@given(st.integers(0, len(NEW)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(NEW[:length] + junk)
