"""The collector powersupplyclass."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host.powersupplyclass import FOLDER, PowerSupplyClass, PowerSupplyConfig


class OddHost(Host):
    """A host on which a battery cannot tell its current now."""

    def sys(self, name, *, lasting=False):
        if name.endswith("current_now"):
            raise OSError(19, "No such device")
        return super().sys(name)


def machine(tmp_path, supplies, **options):
    """Return the collector on a machine with these supplies."""
    (tmp_path / FOLDER).mkdir(parents=True)
    for supply, files in supplies.items():
        (tmp_path / FOLDER / supply).mkdir()
        for name, content in files.items():
            (tmp_path / FOLDER / supply / name).write_text(f"{content}\n")
    return PowerSupplyClass(PowerSupplyConfig(**options), Context(host=OddHost(HostPaths(sysfs=str(tmp_path)))))


async def told(collector):
    """Return the samples by the rest of each family's name, those of info with their labels that are there."""
    families = {family.name.removeprefix("node_power_supply_"): family for family in await collector.collect()}
    info = families.pop("info")
    words = [{k: v for k, v in zip(info.label_names, key, strict=True) if v is not None} for key in info.samples]
    return {name: family.samples for name, family in families.items()}, words


async def test_numbers_have_their_units(tmp_path):
    """Micro units and tenths of degrees become whole ones; what is broken is left out, what is empty no label."""
    battery = {"capacity": 81, "current_now": 1, "voltage_now": 11660000, "temp": -35, "power_now": -2500000}
    battery |= {"cycle_count": "", "energy_full": "full", "status": "Discharging", "model_name": "", "alarm": 3}
    numbers, words = await told(machine(tmp_path, {"BAT 0": battery, "AC": {"online": 1, "type": "Mains"}}))
    assert numbers == {
        "capacity": {("BAT 0",): 81.0},
        "voltage_volt": {("BAT 0",): 11.66},
        "temp_celsius": {("BAT 0",): -3.5},
        "power_watt": {("BAT 0",): -2.5},
        "online": {("AC",): 1.0},
    }
    assert words == [{"power_supply": "AC", "type": "Mains"}, {"power_supply": "BAT 0", "status": "Discharging"}]


async def test_supplies_can_be_left_out(tmp_path):
    """The expression is searched for anywhere in a name."""
    collector = machine(tmp_path, {"AC": {"online": 1}, "hidpp_battery_0": {}}, ignored_supplies=Regex("hid"))
    assert (await told(collector))[1] == [{"power_supply": "AC"}]


async def test_a_supply_that_vanishes_meanwhile(tmp_path, monkeypatch):
    """It is listed, but nothing of it can be read."""
    collector = machine(tmp_path, {"BAT0": {"capacity": 5}})
    asked = collector.collect()
    (tmp_path / FOLDER / "BAT0" / "capacity").unlink()
    assert [family.name for family in await asked] == ["node_power_supply_info"]


def test_no_support_and_no_supply_differ(tmp_path):
    """Without the folder there is no data, with an empty one there is nothing to tell."""
    with pytest.raises(NoData):
        PowerSupplyClass(context=Context(host=Host(HostPaths(sysfs=str(tmp_path / "missing"))))).collect()
    assert machine(tmp_path, {}).collect() == []
