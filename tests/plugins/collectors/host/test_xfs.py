"""The collector xfs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.xfs import LINES, Xfs, parse

SOME = b"""extent_alloc 1 2 3 4
abt 5 6 7 8
rw 9 10
vnodes 11 12 13 14 15 16 17 18
xpc 1 2 3
gc xpc 4
unheard_of 1
"""


def filesystem(sysfs, name, text):
    """Make a file system's statistics."""
    folder = sysfs / "fs/xfs" / name / "stats"
    folder.mkdir(parents=True)
    (folder / "stats").write_bytes(text)


def collector(sysfs):
    """Return a collector that reads this folder."""
    return Xfs(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))


def collected(made):
    """Return the samples of each family by its name without what all have in common."""
    return {family.name.removeprefix("node_xfs_"): family.samples for family in made.collect()}


def test_collect_tells_each_file_system(tmp_path):
    """Each column has its own name; calls of write come before those of read."""
    filesystem(tmp_path, "sda1", SOME)
    filesystem(tmp_path, "dm-0", b"rw 1 2\n")
    (tmp_path / "fs/xfs/debug").mkdir()
    (tmp_path / "fs/xfs/stats").mkdir()
    (tmp_path / "fs/xfs/stats/stats").write_bytes(SOME)  # what all file systems together have counted
    samples = collected(collector(tmp_path))
    assert samples["write_calls_total"] == {("sda1",): 9.0, ("dm-0",): 1.0}
    assert samples["read_calls_total"] == {("sda1",): 10.0, ("dm-0",): 2.0}
    assert samples["allocation_btree_records_deleted_total"] == {("sda1",): 8.0}
    assert samples["vnode_remove_total"] == {("sda1",): 17.0}
    assert len(samples) == 4 + 4 + 2 + 7


def test_file_systems_come_and_go(tmp_path):
    """What is mounted later is told as well, and what is unmounted no longer."""
    made = collector(tmp_path)
    assert collected(made) == {}
    filesystem(tmp_path, "sda1", SOME)
    assert set(collected(made)["read_calls_total"]) == {("sda1",)}
    filesystem(tmp_path, "sdb1", SOME)
    (tmp_path / "fs/xfs/sda1/stats/stats").unlink()
    assert set(collected(made)["read_calls_total"]) == {("sdb1",)}


def test_short_and_broken_lines_are_left_out():
    """A line with letters in the place of numbers is no line, and columns may be missing or new ones be there."""
    assert parse(b"abt 1 x 3 4\nrw 7\ndir 1 2 3 4 5\nig\n") == {
        b"rw": [7.0],
        b"dir": [1.0, 2.0, 3.0, 4.0, 5.0],
        b"ig": [],
    }


def test_a_missing_column_costs_its_own_sample(tmp_path):
    """Where the number of reads is missing, that of writes is told."""
    filesystem(tmp_path, "sda1", b"rw 7\n")
    assert collected(collector(tmp_path)) == {"write_calls_total": {("sda1",): 7.0}}


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.integers(0, len(SOME)).map(lambda end: SOME[:end])))
def test_parse_takes_anything(text):
    """Binary junk and truncated files give known lines of numbers, and no error."""
    for name, numbers in parse(text).items():
        assert name in LINES
        assert all(isinstance(number, float) for number in numbers)
