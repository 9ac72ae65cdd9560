"""The collector zfs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.zfs import STATES, Zfs, io, objset, table

TABLE = b"""6 1 0x01 3 816 1 2
name                            type data
hits                            4    7
memory_available                3    -5
l2-odd.name                     4    9
words                           7    many
broken                          4    x
"""
OBJSET = b"""7 1 0x01 7 2160 1 2
name                            type data
dataset_name                    7    tank/with  two blanks
writes                          4    3
signed                          3    4
"""
IO = b"""1 3 0x00 1 80 1 2
nread nwritten reads writes wtime wlentime wupdate rtime rlentime rupdate wcnt rcnt
1     2        3     4      5     6        7       8     9        10      11   12
"""


def write(procfs, files):
    """Write files of ZFS."""
    for name, text in files.items():
        place = procfs / "spl/kstat/zfs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)


def collected(procfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Zfs(None, Context(host=Host(HostPaths(procfs=str(procfs)))))
    assert made.collect() is not None
    return {family.name.removeprefix("node_zfs_"): family.samples for family in made.collect()}


def test_collect_tells_tables_pools_and_datasets(tmp_path):
    """Rows have the names of their tables before them; text, junk and unknown files are passed over."""
    write(tmp_path, {"arcstats": TABLE, "zil": TABLE, "dbgmsg": TABLE, "fm": b"", "tank/io": IO})
    write(tmp_path, {"tank/objset-0x36": OBJSET, "tank/state": b"DEGRADED\n", "old/txgs": b"x", "old/objset-1": b"x"})
    samples = collected(tmp_path)
    for part in ("arc", "zil"):
        assert samples.pop(f"{part}_hits") == {(): 7.0}
        assert samples.pop(f"{part}_memory_available") == {(): -5.0}
        assert samples.pop(f"{part}_name") == {(): 9.0}
    assert samples.pop("zpool_dataset_writes") == {("tank", "tank/with  two blanks"): 3.0}
    assert samples.pop("zpool_nread") == {("tank",): 1.0}
    assert samples.pop("zpool_rcnt") == {("tank",): 12.0}
    assert samples.pop("zpool_state") == {("tank", state): float(state == "degraded") for state in STATES}
    assert len(samples) == 10
    assert all(name.startswith("zpool_") for name in samples)


def test_the_state_of_a_pool_may_be_unheard_of(tmp_path):
    """A state that is not known is none of those that are; a pool whose state cannot be read has none."""
    write(tmp_path, {"a/state": b"NEW\n", "b/state": b"", "c/io": b""})
    assert collected(tmp_path) == {"zpool_state": {("a", state): 0.0 for state in STATES}}


def test_a_machine_without_zfs_has_no_data(tmp_path):
    """Without the folder there is nothing to tell; an empty one is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "spl/kstat/zfs").mkdir(parents=True)
    assert collected(tmp_path) == {}


@pytest.mark.parametrize("parser", [table, objset])
def test_a_file_without_heading_is_no_table(parser):
    """Where the line with name, type and data is missing, ValueError says so."""
    with pytest.raises(ValueError, match="expected name, type and data"):
        parser(b"hits 4 7\n")


def test_a_dataset_needs_a_name():
    """Numbers of which nobody says whose they are cannot be told."""
    with pytest.raises(ValueError, match="dataset_name"):
        objset(TABLE)


@pytest.mark.parametrize("text", [b"", IO[:60], IO.replace(b"12\n", b"\n"), IO.replace(b"12\n", b"x\n")])
def test_io_without_a_number_for_each_name_tells_nothing(text):
    """Where names and numbers do not match, none can be trusted."""
    assert io(text) == {}


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda junk: b"name type data\ndataset_name 7 a\n" + junk),
        st.sampled_from([TABLE, OBJSET, IO]).flatmap(
            lambda text: st.integers(0, len(text)).map(lambda end: text[:end])
        ),
    )
)
def test_parsers_take_anything(text):
    """Binary junk and truncated files give numbers with names fit for metrics, or ValueError."""
    for parser in (table, io, lambda text: objset(text)[1]):
        try:
            found = parser(text)
        except ValueError:
            continue
        for name, number in found.items():
            assert f"_{name}".isidentifier()
            assert isinstance(number, float)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z"), st.integers(0, 2**64 - 1), max_size=5))
def test_table_reads_any_number(rows):
    """Numbers of 64 bits arrive as floats by their names."""
    lines = (f"{name:<32}4    {number}\n" for name, number in rows.items())
    assert table(("name type data\n" + "".join(lines)).encode()) == {
        name: float(number) for name, number in rows.items()
    }
