"""The collector lnstat, and the reader of /proc/net/stat that it shares with conntrack."""

import errno
import logging
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host._percpu import parse
from agentd_plugins.collectors.host.lnstat import Lnstat

TABLE = b"entries  hits lookups\n0000000a  0000000b ffffffff\n0000000a  0000000d 00000000\n"


@pytest.fixture
def stat(tmp_path):
    """Return the folder of the files in a fake procfs."""
    folder = tmp_path / "net" / "stat"
    folder.mkdir(parents=True)
    return folder


def told(tmp_path):
    """Return the samples of each family that a collector tells from a fake procfs."""
    collector = Lnstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))
    return {family.name: family.samples for family in collector.collect()}


def test_collect_tells_columns_of_all_files(stat, tmp_path):
    """Columns of the same name in two files make one family, each line is a CPU."""
    (stat / "one").write_bytes(b"entries hits\n0000000f 00000001\n0000000f 00000002\n")
    (stat / "two").write_bytes(b"entries\n00000003\n")
    assert told(tmp_path) == {
        "node_lnstat_entries_total": {("one", "0"): 15.0, ("one", "1"): 15.0, ("two", "0"): 3.0},
        "node_lnstat_hits_total": {("one", "0"): 1.0, ("one", "1"): 2.0},
    }


def test_collect_tells_nothing_without_files(tmp_path):
    """A kernel without these statistics is no failure."""
    assert told(tmp_path) == {}


def test_collect_leaves_out_headings_that_fit_no_name(stat, tmp_path):
    """A heading that cannot be part of a metric's name is left out, its neighbours are not."""
    (stat / "odd").write_bytes(b"a-b \xc3\xbc \xff fine\n1 2 2 3\n")
    assert told(tmp_path) == {"node_lnstat_fine_total": {("odd", "0"): 3.0}}


@pytest.mark.parametrize(("number", "warnings"), [(errno.EACCES, 1), (errno.ENOENT, 0), (errno.EIO, 0)])
def test_collect_leaves_out_a_file_that_cannot_be_read(stat, tmp_path, caplog, number, warnings):
    """A file that is refused, or goes away, costs its own samples; a right that is lacking is said once."""
    for file in ("one", "two"):
        (stat / file).write_bytes(b"hits\n1\n")

    class RefusingHost(Host):
        def proc(self, name):
            if name.endswith("one"):
                raise OSError(number, "refused", name)
            return super().proc(name)

    collector = Lnstat(context=Context(host=RefusingHost(HostPaths(procfs=str(tmp_path)))))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (family,) = collector.collect()
            assert family.samples == {("two", "0"): 1.0}
    assert len(caplog.records) == caplog.text.count("read-all.conf") == warnings


def test_collect_leaves_out_a_file_that_is_no_table(stat, tmp_path, caplog):
    """A file that cannot be understood costs its own samples, and is named once."""
    (stat / "one").write_bytes(b"hits\nnone\n")
    (stat / "two").write_bytes(b"hits\n1\n")
    collector = Lnstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))
    for _ in range(2):
        (family,) = collector.collect()
        assert family.samples == {("two", "0"): 1.0}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["/proc/net/stat/one is left out"]


@pytest.mark.parametrize("text", [b"", b"\n1 2\n", b"a b\n1\n", b"a b\n1 2\n\n", b"a\nxyz\n"])
def test_parse_refuses_what_is_no_table(text):
    """No heading, short lines and other things than numbers are errors that are ValueErrors."""
    with pytest.raises(ValueError, match=r"expected a heading|invalid literal"):
        parse(text)


def test_parse_takes_a_heading_alone_and_further_numbers():
    """A table without CPUs has empty columns, and numbers without a heading are passed over."""
    assert parse(b"a b") == {"a": [], "b": []}
    assert parse(b"a b\n1 2 3\n") == {"a": [1], "b": [2]}


@given(st.lists(st.lists(st.integers(0, 2**80), min_size=3, max_size=3), max_size=4))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(rows):
    """Any numbers of any number of CPUs are read."""
    text = b"a b c\n" + b"".join(b"%08x  %08x %08x\n" % tuple(row) for row in rows)
    assert parse(text) == {name: [row[place] for row in rows] for place, name in enumerate("abc")}


@given(st.integers(0, len(TABLE)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TABLE[:length] + junk)
