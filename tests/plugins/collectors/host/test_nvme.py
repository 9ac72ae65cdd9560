"""The collector nvme."""

import errno

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.nvme import Nvme

CONTROLLER = {"firmware_rev": "F1", "model": "Disk One ", "serial": " S 1", "state": "live", "cntlid": "4"}


def write(folder, files):
    """Make a folder with files in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")


def collected(sysfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Nvme(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_nvme_"): family.samples for family in made.collect()}


def test_collect_tells_controllers_and_namespaces(tmp_path):
    """Numbers of blocks are told in bytes; paths to namespaces, partitions and other folders are no namespaces."""
    folder = tmp_path / "class/nvme/nvme0"
    write(folder, CONTROLLER)
    write(
        folder / "nvme0n2", {"size": "100", "nuse": "30", "queue/logical_block_size": "512", "ana_state": "optimized"}
    )
    for other in ("nvme0c1n1", "ng0n1", "hwmon3", "nvme0n1p1"):
        write(folder / other, {"size": "1", "nuse": "1", "queue/logical_block_size": "512"})
    assert collected(tmp_path) == {
        "info": {("nvme0", "F1", "Disk One", "S 1", "live", "4"): 1.0},
        "namespace_info": {("nvme0", "2", "optimized"): 1.0},
        "namespace_capacity_bytes": {("nvme0", "2"): 51200.0},
        "namespace_size_bytes": {("nvme0", "2"): 51200.0},
        "namespace_used_bytes": {("nvme0", "2"): 15360.0},
        "namespace_logical_block_size_bytes": {("nvme0", "2"): 512.0},
    }


def test_what_cannot_be_read_is_left_out(tmp_path):
    """Older kernels lack nuse and ana_state; without the size of a block, nothing can be told in bytes."""
    folder = tmp_path / "class/nvme/nvme0"
    write(folder, {"model": "Some"})
    write(folder / "nvme0n1", {"size": "8", "queue/logical_block_size": "4096"})
    write(folder / "nvme0n2", {"size": "8", "nuse": "-1", "queue/logical_block_size": ""})
    (tmp_path / "class/nvme/nvme1").mkdir()
    assert collected(tmp_path) == {
        "info": {("nvme0", "", "Some", "", "", ""): 1.0},
        "namespace_info": {("nvme0", "1", "unknown"): 1.0, ("nvme0", "2", "unknown"): 1.0},
        "namespace_capacity_bytes": {("nvme0", "1"): 32768.0},
        "namespace_size_bytes": {("nvme0", "1"): 32768.0},
        "namespace_logical_block_size_bytes": {("nvme0", "1"): 4096.0},
    }


class OddHost(Host):
    """A machine on which one file answers with an error."""

    def __init__(self, paths, name, number):
        super().__init__(paths)
        self.name = name
        self.number = number

    def sys(self, name, *, lasting=False):
        """Return another file than that one."""
        if name.endswith(self.name):
            raise OSError(self.number, "odd", name)
        return super().sys(name, lasting=lasting)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.ENODEV, errno.EINVAL], ids=errno.errorcode.get)
def test_a_controller_that_does_not_answer_costs_one_sample(tmp_path, number):
    """Where the controller does not tell how much is in use, everything else is told."""
    folder = tmp_path / "class/nvme/nvme0"
    write(folder, CONTROLLER)
    write(folder / "nvme0n1", {"size": "8", "nuse": "1", "queue/logical_block_size": "512"})
    told = collected(tmp_path)
    host = OddHost(HostPaths(sysfs=str(tmp_path)), "/nuse", number)
    families = Nvme(None, Context(host=host)).collect()
    assert {family.name.removeprefix("node_nvme_") for family in families} == set(told) - {"namespace_used_bytes"}


def test_a_machine_without_controllers_has_no_data(tmp_path):
    """Without the class there is nothing to tell; an empty class is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/nvme").mkdir(parents=True)
    assert collected(tmp_path) == {}


def test_reading_may_ask_the_controller():
    """The collector says that it may block: usage is asked from the device."""
    assert Nvme.blocking
