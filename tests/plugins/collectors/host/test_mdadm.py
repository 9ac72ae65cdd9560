"""The collector mdadm, and its reader of /proc/mdstat."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host import _mdstat
from agentd_plugins.collectors.host.mdadm import Mdadm

PERSONALITIES = b"Personalities : [raid0] [raid1] [raid6] [raid5] [raid4]\n"
UNUSED = b"unused devices: <none>\n"

WHOLE = b"""md0 : active raid1 sdb1[1] sda1[0]
      1000 blocks super 1.2 [2/2] [UU]
      bitmap: 1/1 pages [4KB], 65536KB chunk, file: /resync.check

"""
RECOVERING = b"""md1 : active raid5 sdc1[3](S) sdb1[1](F) sda1[0]
      2000 blocks super 1.2 level 5, 64k chunk, algorithm 2 [3/2] [U_U]
      [=>...................]  recovery =  5.0% (50/1000) finish=1.0min speed=1K/sec
      bitmap: 0/1 pages [0KB], 65536KB chunk

"""
STRIPES = b"""md_d2 : active (auto-read-only) raid0 sdb2[1] sda2[0]
      3000 blocks super 1.2 512k chunks

"""


def array(*, name="md0", line="active raid1 sdb1[1] sda1[0]", status="1000 blocks [2/2] [UU]", busy=""):
    """Return the array that a file with only this one has."""
    (found,) = _mdstat.parse(PERSONALITIES + f"{name} : {line}\n      {status}\n      {busy}\n\n".encode() + UNUSED)
    return found


def write(sysfs, name, **files):
    """Write the attributes of an array."""
    folder = sysfs / "block" / name / "md"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n")


def collected(root):
    """Return the samples of each family by its name without what all have in common."""
    made = Mdadm(None, Context(host=Host(HostPaths(procfs=str(root), sysfs=str(root)))))
    return {family.name.removeprefix("node_md_"): family.samples for family in made.collect()}


def test_collect_tells_disks_blocks_and_states(tmp_path):
    """What is in sync is the whole array, or as far as the present run has come."""
    (tmp_path / "mdstat").write_bytes(PERSONALITIES + WHOLE + RECOVERING + STRIPES + UNUSED)
    samples = collected(tmp_path)
    assert samples["disks_required"] == {("md0",): 2.0, ("md1",): 3.0, ("md_d2",): 2.0}
    assert {key: value for key, value in samples["disks"].items() if value} == {
        ("md0", "active"): 2.0,
        ("md1", "active"): 2.0,
        ("md1", "failed"): 1.0,
        ("md1", "spare"): 1.0,
        ("md_d2", "active"): 2.0,
    }
    assert samples["blocks"] == {("md0",): 1000.0, ("md1",): 2000.0, ("md_d2",): 3000.0}
    assert samples["blocks_synced"] == {("md0",): 1000.0, ("md1",): 50.0, ("md_d2",): 3000.0}
    assert len(samples["state"]) == 15
    assert {key for key, value in samples["state"].items() if value} == {
        ("md0", "active"),
        ("md1", "recovering"),
        ("md_d2", "active"),
    }


@pytest.mark.parametrize(
    ("busy", "state", "synced"),
    [
        ("[>..]  resync =  1.0% (10/1000) finish=1.0min speed=1K/sec", "resyncing", 10.0),
        ("[>..]  check =  2.0% (20/1000) finish=1.0min speed=1K/sec", "checking", 20.0),
        ("[>..]  reshape =  3.0% (30/1000) finish=1.0min speed=1K/sec", "reshaping", 30.0),
        ("resync=DELAYED", "resyncing", 0.0),
        ("resync=PENDING", "resyncing", 0.0),
        ("resync=REMOTE", "resyncing", None),
        ("recover", "active", 1000.0),
    ],
)
def test_parse_knows_what_an_array_is_busy_with(busy, state, synced):
    """Each kind of run has its state; before it begins nothing is in sync, and on another machine nobody knows."""
    found = array(busy=busy)
    assert (found.state, found.synced) == (state, synced)


def test_an_inactive_array_has_no_disks():
    """Of an array that was not started no disks are counted but the spare and the failed ones."""
    found = array(line="inactive sdb[1](S) sda[0](S)", status="64 blocks super external:imsm")
    assert found[2:] == (0.0, 0.0, 0.0, 2.0, 64.0, 64.0)


def test_what_is_not_understood_is_not_known():
    """A status line of another form costs disks and blocks, not the state and the failed disks."""
    found = array(line="active faulty sda[0](F)", status="what")
    assert found == ("md0", "active", None, None, 1.0, 0.0, None, None)


def test_an_array_that_is_not_understood_is_told_in_part(tmp_path):
    """What is not known of an array has no sample, and other arrays are told whole."""
    (tmp_path / "mdstat").write_bytes(PERSONALITIES + b"md9 : active raid1 sda[0]\n\n" + WHOLE)
    samples = collected(tmp_path)
    assert samples["disks_required"] == {("md0",): 2.0}
    assert samples["state"]["md9", "active"] == 1.0
    assert samples["disks"]["md9", "failed"] == 0.0
    assert ("md9", "active") not in samples["disks"]


def test_collect_tells_attributes_of_sysfs(tmp_path):
    """The number of disks may have the old one behind it; containers have none; junk costs its own sample."""
    (tmp_path / "mdstat").write_bytes(PERSONALITIES + UNUSED)
    write(tmp_path, "md0", level="raid5", raid_disks="5 (4)", degraded="1")
    write(tmp_path, "md1", level="raid0", raid_disks="2")
    write(tmp_path, "md2", level="container", raid_disks="3")
    write(tmp_path, "md3", level="raid1", raid_disks="", degraded="x")
    write(tmp_path, "md4", level="")
    write(tmp_path, "md5")
    write(tmp_path, "sda", level="raid1", raid_disks="9")
    assert collected(tmp_path) == {
        "raid_disks": {("md0",): 5.0, ("md1",): 2.0},
        "degraded": {("md0",): 1.0, ("md1",): 0.0, ("md2",): 0.0, ("md4",): 0.0},
    }


def test_a_machine_without_arrays_has_no_data(tmp_path):
    """Without the file there is nothing to tell; one without arrays is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "mdstat").write_bytes(b"Personalities : \n" + UNUSED)
    assert collected(tmp_path) == {}


ALL = PERSONALITIES + WHOLE + RECOVERING + STRIPES + UNUSED


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(ALL)).map(lambda end: ALL[:end]),
        st.binary(max_size=60).map(lambda junk: PERSONALITIES + b"md7 : " + junk + b"\n " + junk + WHOLE),
    )
)
def test_parse_takes_anything(text):
    """Binary junk and truncated files give arrays or none, and no error."""
    for found in _mdstat.parse(text):
        assert found.name
        assert found.failed >= 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 2**53))
def test_parse_reads_any_number(required, active, blocks):
    """Numbers arrive as they were written, also with words that are not known yet between them."""
    found = array(status=f"{blocks} blocks super 9.9 new words [{required}/{active}] [UU_] more")
    assert (found.required, found.active, found.blocks) == (required, active, blocks)
