"""The collector meminfo_numa."""

import shutil
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.meminfo_numa import MeminfoNuma, parse_meminfo, parse_numastat

MEMINFO = b"\nNode 0 MemTotal:       16 kB\nNode 0 Active(anon):     4 kB\nNode 0 HugePages_Free:     3\n"
NUMASTAT = b"numa_hit 12\nother_node 5\n"


@pytest.fixture
def folder(tmp_path):
    """Return the folder of the nodes in a fake sysfs."""
    folder = tmp_path / "devices" / "system" / "node"
    folder.mkdir(parents=True)
    return folder


def node(folder, number, meminfo=MEMINFO, numastat=NUMASTAT):
    """Make a node."""
    place = folder / f"node{number}"
    place.mkdir()
    (place / "meminfo").write_bytes(meminfo)
    (place / "numastat").write_bytes(numastat)
    return place


def collector(tmp_path):
    """Return a collector that reads a fake sysfs."""
    return MeminfoNuma(context=Context(host=Host(HostPaths(sysfs=str(tmp_path)))))


def samples(collector):
    """Return the samples of each family that a collector tells."""
    return {family.name: family.samples for family in collector.collect()}


def test_collect_tells_the_fields_of_each_node(folder, tmp_path):
    """Sizes come in bytes, numbers of pages bare, and where pages came from as counters."""
    node(folder, 0)
    node(folder, 10, b"Node 10 MemTotal: 8 kB\n", b"numa_hit 1\n")
    (folder / "possible").write_bytes(b"0-10\n")
    assert samples(collector(tmp_path)) == {
        "node_memory_numa_MemTotal": {("0",): 16384.0, ("10",): 8192.0},
        "node_memory_numa_Active_anon": {("0",): 4096.0},
        "node_memory_numa_HugePages_Free": {("0",): 3.0},
        "node_memory_numa_numa_hit_total": {("0",): 12.0, ("10",): 1.0},
        "node_memory_numa_other_node_total": {("0",): 5.0},
    }


def test_only_where_pages_came_from_is_counted(folder, tmp_path):
    """The fields of meminfo are gauges, those of numastat counters, all with the label ``node``."""
    node(folder, 0)
    families = collector(tmp_path).collect()
    assert {family.label_names for family in families} == {("node",)}
    assert all((family.kind == "counter") == family.name.endswith("_total") for family in families)


def test_collect_follows_nodes_that_come_and_go(folder, tmp_path):
    """A node is told as soon as it is there, and no longer than it is; no node is no failure."""
    watching = collector(tmp_path)
    assert samples(watching) == {}
    place = node(folder, 1)
    assert samples(watching)["node_memory_numa_MemTotal"] == {("1",): 16384.0}
    shutil.rmtree(place)
    assert samples(watching) == {}


def test_collect_forgets_files_where_nodes_have_changed(folder, tmp_path):
    """Files that the host keeps open are those of the nodes that are there now."""
    forgotten = []

    class RememberingHost(Host):
        def forget(self, folder):
            forgotten.append(folder)

    watching = MeminfoNuma(context=Context(host=RememberingHost(HostPaths(sysfs=str(tmp_path)))))
    node(folder, 0)
    watching.collect()
    watching.collect()
    assert forgotten == ["devices/system/node"]
    node(folder, 1)
    watching.collect()
    assert forgotten == ["devices/system/node"] * 2


def test_collect_tells_nothing_without_numa(tmp_path):
    """A kernel without nodes is no failure."""
    assert samples(collector(tmp_path)) == {}


def test_collect_leaves_out_a_file_that_is_gone(folder, tmp_path):
    """A node that vanishes between listing and reading takes nothing else with it."""
    (node(folder, 0) / "numastat").unlink()
    (folder / "node1").mkdir()
    assert set(samples(collector(tmp_path))) == {
        "node_memory_numa_MemTotal",
        "node_memory_numa_Active_anon",
        "node_memory_numa_HugePages_Free",
    }


@pytest.mark.parametrize("line", [b"Node 0 MemTotal:", b"Node 0 MemTotal: 1 MB", b"Node 0 A: 1 kB more", b"0 A: x y"])
def test_parse_meminfo_refuses_a_line_that_is_none(line):
    """A line without a number, or with a unit that is not known, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a line such as|could not convert"):
        parse_meminfo(MEMINFO + line + b"\n")


@pytest.mark.parametrize("line", [b"numa_hit", b"numa_hit 1 2", b"numa_hit many"])
def test_parse_numastat_refuses_a_line_that_is_none(line):
    """A line that is no name and number is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a line such as|could not convert"):
        parse_numastat(NUMASTAT + line + b"\n")


@given(st.dictionaries(st.from_regex(r"\A[A-Za-z_]{1,12}\Z"), st.integers(0, 10**400)))
@settings(max_examples=100, deadline=None)
def test_parsers_read_back_what_a_kernel_would_write(fields):
    """Any fields are read; numbers beyond any float become infinite."""
    values = {name: float(str(number)) for name, number in fields.items()}
    sizes = b"".join(b"Node 2 %-16s %8d kB\n" % (f"{name}:".encode(), number) for name, number in fields.items())
    assert parse_meminfo(sizes) == {name: value * 1024 for name, value in values.items()}
    assert parse_numastat(b"".join(b"%s %d\n" % (name.encode(), number) for name, number in fields.items())) == values


@given(st.sampled_from([MEMINFO, NUMASTAT]), st.integers(0, len(MEMINFO)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parsers_return_or_raise_value_error(text, length, junk):
    """Files cut off anywhere, with binary junk behind them, never raise anything but ValueError."""
    for parse in (parse_meminfo, parse_numastat):
        with suppress(ValueError):
            parse(text[:length] + junk)
