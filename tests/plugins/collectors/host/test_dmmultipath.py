"""The collector dmmultipath."""

import asyncio

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.dmmultipath import Dmmultipath


def write(sysfs, files):
    """Write files below /sys/block."""
    for name, text in files.items():
        place = sysfs / "block" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")


def disk(sysfs, name, states, **files):
    """Make a disk over several paths, which are in these states; one without a state has no such file."""
    about = {"dm/uuid": "mpath-1", "dm/name": "data", "dm/suspended": "0", "size": "16"} | files
    write(sysfs, {f"{name}/{file}": text for file, text in about.items() if text is not None})
    for path, state in states.items():
        (sysfs / "block" / name / "slaves" / path).mkdir(parents=True)
        write(sysfs, {f"{path}/device/state": state} if state is not None else {})


def collected(sysfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Dmmultipath(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    families = made.collect()
    families = families if isinstance(families, list) else asyncio.run(families)  # in a worker where it has to ask
    return {family.name.removeprefix("node_dmmultipath_"): family.samples for family in families}


def test_collect_tells_disks_and_their_paths(tmp_path):
    """Paths of SCSI and NVMe are counted by whether they carry data; sectors are told in bytes."""
    disk(tmp_path, "dm-3", {"sda": "running", "sdb": "offline", "nvme0n1": "live"})
    disk(tmp_path, "dm-4", {}, **{"dm/uuid": "LVM-1"})
    write(tmp_path, {"dm-5/size": "1", "sdz/dm/uuid": "mpath-2"})
    device = ("data", "dm-3")
    assert collected(tmp_path) == {
        "device_info": {(*device, "mpath-1"): 1.0},
        "device_active": {device: 1.0},
        "device_size_bytes": {device: 8192.0},
        "device_paths": {device: 3.0},
        "device_paths_active": {device: 2.0},
        "device_paths_failed": {device: 1.0},
        "path_state": {
            ("data", "sda", "running"): 1.0,
            ("data", "sdb", "offline"): 1.0,
            ("data", "nvme0n1", "live"): 1.0,
        },
    }


def test_a_suspended_disk_is_not_active(tmp_path):
    """While the disk is suspended, and even without any path, it is told."""
    disk(tmp_path, "dm-0", {}, **{"dm/suspended": "1"})
    samples = collected(tmp_path)
    assert samples["device_active"] == {("data", "dm-0"): 0.0}
    assert samples["device_paths"] == {("data", "dm-0"): 0.0}


def test_what_cannot_be_read_is_left_out(tmp_path):
    """A path that tells no state counts as failed; a disk without a name is left out, one without a size is told."""
    disk(tmp_path, "dm-0", {"sda": None}, **{"size": "", "dm/suspended": "x"})
    disk(tmp_path, "dm-1", {}, **{"dm/name": None})
    device = ("data", "dm-0")
    assert collected(tmp_path) == {
        "device_info": {(*device, "mpath-1"): 1.0},
        "device_paths": {device: 1.0},
        "device_paths_active": {device: 0.0},
        "device_paths_failed": {device: 1.0},
    }


def test_a_machine_without_block_devices_has_no_data(tmp_path):
    """Without the folder there is nothing to tell; one without such disks is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "block").mkdir()
    assert collected(tmp_path) == {}
