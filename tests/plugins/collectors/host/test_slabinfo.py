"""The collector slabinfo."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData, Refused, Regex
from agentd_plugins.collectors.host.slabinfo import Slabinfo, SlabinfoConfig, parse

HEADING = b"slabinfo - version: 2.1\n# name            <active_objs> <num_objs> : tunables <limit> : slabdata <n>\n"
REST = b" : tunables    0    0    0 : slabdata     27     27      0\n"
TEXT = (
    HEADING
    + b"dentry         704    864    192   21    1"
    + REST
    + b"kmalloc-8k     132    148   8192    4    8"
    + REST
)


def collect(tmp_path, **options):
    """Return what a collector with these options tells from a fake procfs."""
    (tmp_path / "slabinfo").write_bytes(TEXT)
    context = Context(host=Host(HostPaths(procfs=str(tmp_path))))
    families = Slabinfo(SlabinfoConfig(**options), context).collect()
    return {family.name: family.samples for family in families}


def ignores_none(name):
    """Ignore nothing."""
    return False


def test_collect_tells_five_numbers_of_each_cache(tmp_path):
    """The columns have the names that node_exporter gives them; tunables and slabs are not told."""
    assert collect(tmp_path) == {
        "node_slabinfo_active_objects": {("dentry",): 704.0, ("kmalloc-8k",): 132.0},
        "node_slabinfo_objects": {("dentry",): 864.0, ("kmalloc-8k",): 148.0},
        "node_slabinfo_object_size_bytes": {("dentry",): 192.0, ("kmalloc-8k",): 8192.0},
        "node_slabinfo_objects_per_slab": {("dentry",): 21.0, ("kmalloc-8k",): 4.0},
        "node_slabinfo_pages_per_slab": {("dentry",): 1.0, ("kmalloc-8k",): 8.0},
    }
    assert {(metric.kind, metric.labels) for metric in Slabinfo.columns} == {("gauge", ("slab",))}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"slabs_include": Regex("^kmalloc")}, {("kmalloc-8k",)}),
        ({"slabs_exclude": Regex("malloc")}, {("dentry",)}),
        ({"slabs_include": Regex("e"), "slabs_exclude": Regex("^den")}, set()),
    ],
)
def test_options_pick_caches(tmp_path, options, names):
    """Both expressions are searched for anywhere in a name, and what is excluded stays so."""
    assert set(collect(tmp_path, **options)["node_slabinfo_objects"]) == names


def test_a_refusal_names_what_grants_the_right():
    """Without the right to read, there is no data, for a reason that the agent says once."""

    class RefusingHost(Host):
        def proc(self, name):
            raise PermissionError(13, "Permission denied", name)

    collector = Slabinfo(context=Context(host=RefusingHost()))
    with pytest.raises(Refused, match=r"read-all\.conf"):
        collector.collect()


def test_collect_has_no_data_without_the_file(tmp_path):
    """A kernel that does not list its caches is no failure."""
    with pytest.raises(NoData, match="does not list"):
        Slabinfo(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_parse_keeps_blanks_in_a_name():
    """The name of a cache is whatever a module gave it."""
    assert parse(b"my own cache (9)  1 2 3 4 5" + REST, ignores_none) == {"my own cache (9)": [1.0, 2.0, 3.0, 4.0, 5.0]}


def test_parse_takes_statistics_behind_the_columns():
    """A kernel that debugs its caches adds groups of numbers to each line."""
    line = b"dentry 1 2 3 4 5" + REST.rstrip() + b" : globalstat 7 8 9 : cpustat 1 2\n"
    assert parse(line, ignores_none) == {"dentry": [1.0, 2.0, 3.0, 4.0, 5.0]}


@pytest.mark.parametrize("line", [b"dentry 1 2 3 4" + REST, b"dentry 1 2 3 4 many" + REST, b" : 1 2 3 4 5 6\n"])
def test_parse_refuses_a_line_that_is_none(line):
    """A line that is too short, or has something else than numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a cache|could not convert"):
        parse(HEADING + line, ignores_none)


@given(st.lists(st.integers(0, 10**400), min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(numbers):
    """Any numbers are read; those beyond any float become infinite."""
    line = b"inode_cache      " + b" ".join(b"%6d" % number for number in numbers) + REST
    assert parse(HEADING + line, ignores_none) == {"inode_cache": [float(str(number)) for number in numbers]}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk, ignores_none)
