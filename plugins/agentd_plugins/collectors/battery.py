"""The battery where /sys has none (the collector powersupplyclass reads those), from psutil."""

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors._psutil import Reader, number

SUPPLY = ("power_supply",)
BATTERY, MAINS = "battery", "mains"
"""psutil knows one battery without a name, and whether the machine is plugged in."""


class Battery(Collector[Config]):
    """How full the battery is, and how long it lasts, under the names of node_exporter's powersupplyclass."""

    name = "battery"

    capacity = gauge("node_power_supply_capacity", "How full the battery is, in %.", SUPPLY, unit="%")
    online = gauge("node_power_supply_online", "1 where the machine gets power from outside, else 0.", SUPPLY)
    time_to_empty = gauge(
        "node_power_supply_time_to_empty_seconds", "Seconds that the battery will last at the present load.", SUPPLY
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._reader = Reader(self.log)

    def collect(self) -> list[Family]:
        """Return the battery's charge, and the time left where the system knows it."""
        found = self._reader.ask("sensors_battery")
        if found is None:
            raise NoData("psutil finds no battery")
        families = []
        if (percent := number(found, "percent")) is not None:
            families.append(self.capacity({BATTERY: percent}))
        if (plugged := number(found, "power_plugged")) is not None:
            families.append(self.online({MAINS: plugged}))
        seconds = number(found, "secsleft")
        if seconds is not None and seconds >= 0:  # negative: not known, or plugged in
            families.append(self.time_to_empty({BATTERY: seconds}))
        return families


@hookimpl
def agentd_collectors() -> list[type[Battery]]:
    """Register the collector."""
    return [Battery]
