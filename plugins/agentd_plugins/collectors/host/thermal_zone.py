"""Temperatures, and what cools, from /sys/class/thermal (Documentation/driver-api/thermal/sysfs-api.rst)."""

from collections.abc import Awaitable

from agentd.plugin import Collector, Config, Context, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host._devices import Devices
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/thermal"

ZONE = "thermal_zone"
COOLING = "cooling_device"

MILLIDEGREES = 1000.0


class ThermalZone(Collector[Config]):
    """Thermal zones and cooling devices."""

    name = "thermal_zone"
    # The devices are listed from memory; a sensor may wait for its bus, so it is asked in a worker.
    blocking = False

    temp = gauge("node_thermal_zone_temp", "Temperature of the zone in degrees Celsius.", ("zone", "type"))
    cur_state = gauge(
        "node_cooling_device_cur_state", "How much the device cools, in steps; -1: it does not know.", ("name", "type")
    )
    max_state = gauge("node_cooling_device_max_state", "How much it could cool, in steps.", ("name", "type"))

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._devices = Devices(self, self._read)

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return what the zones and the cooling devices say; a machine may have none."""
        names = self._sysfs.numbered(FOLDER, ZONE) + self._sysfs.numbered(FOLDER, COOLING)
        return self._ask(names) if names else []

    async def _ask(self, names: list[str]) -> list[Family]:
        temperatures: dict[Labels, float] = {}
        states: dict[Labels, float] = {}
        limits: dict[Labels, float] = {}
        for name, (kind, values) in (await self._devices.ask(names)).items():
            if name.startswith(ZONE) and values:
                temperatures[name.removeprefix(ZONE), kind] = values[0] / MILLIDEGREES
            elif len(values) == 2:
                labels: Labels = (name.removeprefix(COOLING), kind)
                states[labels], limits[labels] = values
        families = (self.temp(temperatures), self.cur_state(states), self.max_state(limits))
        return [family for family in families if family.samples]

    def _read(self, name: str) -> tuple[str, list[float]]:
        files = ("temp",) if name.startswith(ZONE) else ("cur_state", "max_state")
        numbers = (self._sysfs.number(f"{FOLDER}/{name}/{file}") for file in files)
        values = [number for number in numbers if number is not None]
        return self._sysfs.text(f"{FOLDER}/{name}/type") or "", values


@hookimpl
def agentd_collectors() -> list[type[ThermalZone]]:
    """Register the collector."""
    return [ThermalZone]
