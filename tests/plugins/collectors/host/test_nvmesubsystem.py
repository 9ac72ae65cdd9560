"""The collector nvmesubsystem."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.nvmesubsystem import SHOWN, Nvmesubsystem

ABOUT = {"subsysnqn": "nqn.2024-01.example:a", "model": "Array", "serial": "7", "iopolicy": "numa"}


def write(folder, files):
    """Make a folder with files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def collected(sysfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Nvmesubsystem(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_nvmesubsystem_"): family.samples for family in made.collect()}


def test_collect_tells_paths_and_namespaces(tmp_path):
    """Controllers that are live are counted apart, and namespaces are not taken for controllers."""
    folder = tmp_path / "class/nvme-subsystem/nvme-subsys1"
    write(folder, ABOUT)
    write(folder / "nvme2", {"state": "live", "transport": "tcp"})
    write(folder / "nvme3", {"state": "connecting", "transport": "rdma"})
    for name in ("nvme1n1", "nvme1n1p1", "nvme2c2n1", "power"):
        write(folder / name, {})
    samples = collected(tmp_path)
    assert samples["info"] == {("nvme-subsys1", "nqn.2024-01.example:a", "Array", "7", "numa"): 1.0}
    assert samples["namespace_info"] == {("nvme-subsys1", "nvme1n1"): 1.0}
    assert samples["paths"] == {("nvme-subsys1",): 2.0}
    assert samples["paths_live"] == {("nvme-subsys1",): 1.0}
    assert {key[1:]: value for key, value in samples["path_state"].items() if value} == {
        ("nvme2", "tcp", "live"): 1.0,
        ("nvme3", "rdma", "connecting"): 1.0,
    }
    assert len(samples["path_state"]) == 2 * len(SHOWN) == 14


@pytest.mark.parametrize(
    ("state", "shown"),
    [("deleting (no IO)", "deleting"), ("deleting", "deleting"), ("what", "unknown"), ("", "unknown")],
)
def test_states_are_told_by_few_names(tmp_path, state, shown):
    """Two states of the kernel have one name, and those that are not known are called unknown."""
    folder = tmp_path / "class/nvme-subsystem/nvme-subsys0"
    write(folder, ABOUT)
    write(folder / "nvme0", {"state": state, "transport": "fc"})
    told = collected(tmp_path)["path_state"]
    assert [key[-1] for key, value in told.items() if value] == [shown]


def test_what_went_away_is_left_out(tmp_path):
    """A controller without any attribute is no path, and attributes that are missing are empty labels."""
    folder = tmp_path / "class/nvme-subsystem/nvme-subsys0"
    write(folder, {"model": "Array"})
    write(folder / "nvme0", {})
    write(tmp_path / "class/nvme-subsystem/other", ABOUT)
    assert collected(tmp_path) == {
        "info": {("nvme-subsys0", "", "Array", "", ""): 1.0},
        "paths": {("nvme-subsys0",): 0.0},
        "paths_live": {("nvme-subsys0",): 0.0},
    }


def test_a_machine_without_subsystems_has_no_data(tmp_path):
    """Without the class there is nothing to tell; an empty class is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/nvme-subsystem").mkdir(parents=True)
    assert collected(tmp_path) == {}
