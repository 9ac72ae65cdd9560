"""The collector swap."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.swap import Area, Swap, parse

HEADING = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
TEXT = HEADING + b"/dev/sda2                               partition\t2097148\t\t512\t\t-2\n"


def collect(tmp_path, text):
    """Return what a collector tells from a fake procfs."""
    (tmp_path / "swaps").write_bytes(text)
    families = Swap(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    return {family.name: family.samples for family in families}


def test_collect_tells_bytes_and_priorities(tmp_path):
    """KiB become bytes; a priority may be negative; a file's path stays as the kernel escapes it."""
    text = TEXT + b"/var/swap\\040file\\040(deleted)\tfile\t\t1024\t\t0\t\t10\n"
    disk, file = ("/dev/sda2", "partition"), (r"/var/swap\040file\040(deleted)", "file")
    assert collect(tmp_path, text) == {
        "node_swap_size_bytes": {disk: 2097148 * 1024.0, file: 1024 * 1024.0},
        "node_swap_used_bytes": {disk: 512 * 1024.0, file: 0.0},
        "node_swap_priority": {disk: -2.0, file: 10.0},
    }


def test_collect_tells_nothing_where_nothing_is_swapped_to(tmp_path):
    """A heading alone is no error: the samples are none."""
    assert collect(tmp_path, HEADING) == {
        "node_swap_size_bytes": {},
        "node_swap_used_bytes": {},
        "node_swap_priority": {},
    }


def test_collect_has_no_data_without_swapping(tmp_path):
    """A kernel that cannot swap is no failure."""
    with pytest.raises(NoData, match="CONFIG_SWAP"):
        Swap(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_parse_keeps_a_path_that_is_no_text():
    """Bytes that are no UTF-8 are escaped, blanks that only Unicode knows are part of the path."""
    assert parse(HEADING + "/a\u00a0b".encode() + b"\xff file 1 0 5 new\n") == [
        Area("/a\u00a0b\\xff", "file", 1024.0, 0.0, 5.0)
    ]


@pytest.mark.parametrize("line", [b"/dev/sda2 partition 1 2\n", b"/dev/sda2 partition much 2 3\n"])
def test_parse_refuses_a_line_that_is_none(line):
    """A line that is too short, or has something else than numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a swap area|could not convert"):
        parse(HEADING + line)


@given(st.integers(0, 10**400), st.integers(0, 10**400), st.integers(-(2**15), 2**15))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(size, used, priority):
    """Any numbers are read; those beyond any float become infinite."""
    expected = Area("/swap", "file", float(str(size)) * 1024, float(str(used)) * 1024, float(priority))
    assert parse(HEADING + b"/swap%35sfile\t\t%d\t\t%d\t\t%d\n" % (b"", size, used, priority)) == [expected]


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
