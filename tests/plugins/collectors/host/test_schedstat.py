"""The collector schedstat."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.schedstat import Schedstat, parse

TEXT = b"""version 17
timestamp 4294892811
cpu0 5 0 0 0 0 0 1500000000 250000000 77
domain0 MC 3 1 2 3
cpu2 6 0 0 0 0 0 3000000000 0 9
domain0 MC 3 4 5 6
"""


def test_collect_tells_seconds_and_turns_by_cpu(tmp_path):
    """Nanoseconds become seconds; lines of domains are not told, and CPUs keep their numbers."""
    (tmp_path / "schedstat").write_bytes(TEXT)
    families = Schedstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.name: family.samples for family in families} == {
        "node_schedstat_running_seconds_total": {("0",): 1.5, ("2",): 3.0},
        "node_schedstat_waiting_seconds_total": {("0",): 0.25, ("2",): 0.0},
        "node_schedstat_timeslices_total": {("0",): 77.0, ("2",): 9.0},
    }
    assert {(family.kind, family.label_names) for family in families} == {("counter", ("cpu",))}


def test_collect_has_no_data_without_statistics(tmp_path):
    """A kernel without the file is no failure."""
    with pytest.raises(NoData, match="CONFIG_SCHEDSTATS"):
        Schedstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_parse_leaves_out_lines_that_it_cannot_read():
    """A line that is cut off, or has no numbers where they should be, takes no other with it."""
    good = b"cpu1 0 0 0 0 0 0 1000000000 0 1 8 9\n"
    bad = b"cpu3 0 0 0 0 0 0 1 2\ncpu4 0 0 0 0 0 0 a b c\ncpu 0 0 0 0 0 0 1 2 3\ncpux 0 0 0 0 0 0 1 2 3\n"
    assert parse(bad + good) == {("1",): (1.0, 0.0, 1.0)}


@given(st.lists(st.integers(0, 10**400), min_size=9, max_size=12))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(numbers):
    """Any numbers are read, however many there are; those beyond any float become infinite."""
    running, waiting, turns = (float(str(number)) for number in numbers[6:9])
    line = b"cpu12 " + b" ".join(b"%d" % number for number in numbers)
    assert parse(b"version 15\n" + line + b"\n") == {("12",): (running / 1e9, waiting / 1e9, turns)}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
