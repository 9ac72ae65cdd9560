"""The collector thermal_zone."""

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.thermal_zone import FOLDER, ThermalZone


class OddHost(Host):
    """A host on which the second zone's sensor does not answer now."""

    def sys(self, name, *, lasting=False):
        if name.endswith("thermal_zone1/temp"):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return super().sys(name)


def machine(tmp_path, **devices):
    """Return the collector on a machine with these devices."""
    for device, files in devices.items():
        (tmp_path / FOLDER / device).mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / FOLDER / device / name).write_text(f"{content}\n")
    return ThermalZone(context=Context(host=OddHost(HostPaths(sysfs=str(tmp_path)))))


async def told(collector):
    """Return the samples by family."""
    return {family.name: family.samples for family in await collector.collect()}


async def test_zones_and_cooling_devices(tmp_path):
    """Temperatures may be negative, and so may the state of a device that does not know it."""
    collector = machine(
        tmp_path,
        thermal_zone0={"type": "cpu thermal", "temp": 48250},
        thermal_zone1={"type": "acpitz", "temp": 1},
        thermal_zone2={"type": "outside", "temp": -5000},
        thermal_zone3={"type": "broken", "temp": ""},
        cooling_device0={"type": "intel_powerclamp", "cur_state": -1, "max_state": 50},
        cooling_device1={"type": "Fan", "cur_state": 1},
        other={"type": "x", "temp": 1},
    )
    assert await told(collector) == {
        "node_thermal_zone_temp": {("0", "cpu thermal"): 48.25, ("2", "outside"): -5.0},
        "node_cooling_device_cur_state": {("0", "intel_powerclamp"): -1.0},
        "node_cooling_device_max_state": {("0", "intel_powerclamp"): 50.0},
    }


def test_a_machine_without_zones_answers_nothing(tmp_path):
    """That is no failure, and no worker is asked."""
    assert machine(tmp_path).collect() == []
