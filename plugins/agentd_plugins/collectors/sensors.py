"""Temperatures and fans where /sys has none (the collector hwmon reads those), from psutil."""

from collections.abc import Mapping
from typing import Any

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, gauge, hookimpl
from agentd_plugins.collectors._psutil import Reader, number

SENSOR = ("chip", "sensor")


class Sensors(Collector[Config]):
    """Temperatures and the speeds of fans, under the names of node_exporter's hwmon."""

    name = "sensors"

    temperatures = {
        "current": gauge("node_hwmon_temp_celsius", "Temperature, in °C.", SENSOR),
        "high": gauge("node_hwmon_temp_max_celsius", "Temperature above which it is too warm, in °C.", SENSOR),
        "critical": gauge("node_hwmon_temp_crit_celsius", "Temperature that does damage, in °C.", SENSOR),
    }
    fans = {"current": gauge("node_hwmon_fan_rpm", "Speed of a fan, in turns in a minute.", SENSOR)}
    label = gauge(
        "node_hwmon_sensor_label", "Always 1: the label says what the sensor measures.", ("chip", "sensor", "label")
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._reader = Reader(self.log)

    def collect(self) -> list[Family]:
        """Return what each sensor measures now."""
        temperatures = numbered(self._reader.ask("sensors_temperatures"), "temp")
        fans = numbered(self._reader.ask("sensors_fans"), "fan")
        if not temperatures and not fans:
            raise NoData("psutil finds no sensors of temperatures or fans")
        named = {
            (*place, label): 1.0
            for place, reading in (temperatures | fans).items()
            if (label := getattr(reading, "label", ""))
        }
        families = [*told(self.temperatures, temperatures), *told(self.fans, fans)]
        return [*families, self.label(named)] if named else families


def numbered(chips: Mapping[str, list[Any]] | None, kind: str) -> dict[tuple[str, str], Any]:
    """Return readings by chip and sensor: ``temp1``, ``temp2`` and so on, as hwmon calls those of a chip."""
    return {
        (chip, f"{kind}{index}"): reading
        for chip, readings in (chips or {}).items()
        for index, reading in enumerate(readings, 1)
    }


def told(metrics: Mapping[str, Metric], readings: Mapping[tuple[str, str], Any]) -> list[Family]:
    """Return a family for each field that any of the readings has."""
    families = []
    for field, metric in metrics.items():
        samples: dict[Labels, float] = {
            place: value for place, reading in readings.items() if (value := number(reading, field)) is not None
        }
        if samples:
            families.append(metric(samples))
    return families


@hookimpl
def agentd_collectors() -> list[type[Sensors]]:
    """Register the collector."""
    return [Sensors]
