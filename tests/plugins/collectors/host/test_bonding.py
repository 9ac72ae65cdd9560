"""The collector bonding."""

import pytest

from agentd.plugin import Config, Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.bonding import Bonding


def bond(sysfs, master, prefix="lower", **slaves):
    """Make a bond of devices in the given states; one whose state is None vanishes just now."""
    folder = sysfs / "class/net" / master
    (folder / "bonding").mkdir(parents=True)
    (folder / "bonding/slaves").write_text(" ".join(slaves) + "\n")
    for slave, state in slaves.items():
        if state is not None:
            (folder / f"{prefix}_{slave}/bonding_slave").mkdir(parents=True)
            (folder / f"{prefix}_{slave}/bonding_slave/mii_status").write_text(f"{state}\n")
    with (sysfs / "class/net/bonding_masters").open("a") as masters:
        masters.write(f"{master} ")


def collected(sysfs):
    """Return the samples of each family by its name."""
    made = Bonding(Config(), Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name: family.samples for family in made.collect()}


def test_collect_counts_devices_with_and_without_a_link(tmp_path):
    """Each bond has the number of its devices, and how many of them are up."""
    bond(tmp_path, "bond0", eth0="up", eth1="down", eth2="going down")
    bond(tmp_path, "backup", prefix="slave", eth5="up")
    bond(tmp_path, "empty")
    assert collected(tmp_path) == {
        "node_bonding_slaves": {("bond0",): 3.0, ("backup",): 1.0, ("empty",): 0.0},
        "node_bonding_active": {("bond0",): 1.0, ("backup",): 1.0, ("empty",): 0.0},
    }


def test_what_vanishes_meanwhile_is_left_out(tmp_path):
    """A device that was just taken out of its bond does not count, and a bond that went away is not told."""
    bond(tmp_path, "bond0", eth0="up", eth1=None)
    with (tmp_path / "class/net/bonding_masters").open("a") as masters:
        masters.write("gone \xff")
    assert collected(tmp_path) == {"node_bonding_slaves": {("bond0",): 1.0}, "node_bonding_active": {("bond0",): 1.0}}


def test_no_bonds(tmp_path):
    """A kernel without the module for bonds has no data; one with it but without bonds answers."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/net").mkdir(parents=True)
    (tmp_path / "class/net/bonding_masters").write_text("\n")
    assert not any(collected(tmp_path).values())
