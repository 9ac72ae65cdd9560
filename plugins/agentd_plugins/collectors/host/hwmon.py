"""Sensors on boards and chips: temperatures, fans, voltages and the like, from /sys/class/hwmon."""

from collections.abc import Awaitable
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _hwmon
from agentd_plugins.collectors.host._devices import Devices
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._hwmon import FOLDER, Meaning
from agentd_plugins.collectors.host._sysfs import Sysfs

SENSOR = ("chip", "sensor")

SURVEY_SECONDS = 60.0
"""How long the list of a chip's files and the labels of its sensors, which drivers hardly ever change, are believed."""

NEVER = float("-inf")


class HwmonConfig(Config):
    """Options of the collector hwmon."""

    chip_include: Regex | None = None
    """Chips to tell of, all others left out."""
    chip_exclude: Regex | None = None
    """Chips to leave out, even where ``chip_include`` matches them."""
    sensor_include: Regex | None = None
    """Sensors to tell of, all others left out: chip and sensor as in ``platform_coretemp_0;temp3``."""
    sensor_exclude: Regex | None = None
    """Sensors to leave out, even where ``sensor_include`` matches them."""


class Reading(NamedTuple):
    """A file that is a measurement, and how to tell it."""

    path: str
    metric: Metric
    labels: Labels
    factor: float
    divisor: float


class Survey(NamedTuple):
    """What is known about a chip."""

    name: str
    """What the driver calls it."""
    readings: list[Reading]
    sensor_labels: list[Labels]
    when: float
    """When that was, by the clock that never goes back; ``NEVER`` where a label could not be read."""


class Hwmon(Collector[HwmonConfig]):
    """Chips that monitor hardware."""

    name = "hwmon"
    # The chips are listed from memory; what they measure comes over slow buses, so it is asked for in a worker.
    blocking = False

    chip_names = gauge("node_hwmon_chip_names", "Always 1: what the driver calls a chip.", ("chip", "chip_name"))
    sensor_label = gauge(
        "node_hwmon_sensor_label", "Always 1: what a sensor is for, as its driver says.", (*SENSOR, "label")
    )
    units = {
        "amps": gauge("node_hwmon_*_amps", "Current in amperes: {}.", SENSOR),
        "beep": gauge("node_hwmon_*_enabled", "Whether the chip beeps if need be, {}: 1 or 0.", SENSOR),
        "beep_enable": gauge("node_hwmon_beep_enabled", "Whether the chip may beep at all: 1 or 0.", SENSOR),
        "celsius": gauge("node_hwmon_*_celsius", "Temperature in degrees Celsius: {}.", SENSOR),
        "joules": counter("node_hwmon_*_joule_total", "Energy used so far, in joules: {}.", SENSOR),
        "megahertz": gauge("node_hwmon_*_freq_mhz", "Frequency in megahertz: {}.", SENSOR),
        "plain": gauge("node_hwmon_*", "Setting or value {} of a sensor, in the driver's unit.", SENSOR),
        "ratio": gauge("node_hwmon_*", "Share that is measured, 0 to 1: {}.", SENSOR),
        "rpm": gauge("node_hwmon_*_rpm", "Turns of a fan in a minute: {}.", SENSOR),
        "seconds": gauge("node_hwmon_*_seconds", "Seconds over which power is averaged: {}.", SENSOR),
        "status": gauge("node_hwmon_*", "Whether the chip reports {}: 1 or 0.", SENSOR),
        "update_interval": gauge("node_hwmon_update_interval_seconds", "Seconds between two measurements.", SENSOR),
        "volts": gauge("node_hwmon_*_volts", "Voltage in volts: {}.", SENSOR),
        "vrm": gauge("node_hwmon_voltage_regulator_version", "Version of the voltage regulator, times 10.", SENSOR),
        "watts": gauge("node_hwmon_*_watt", "Power in watts: {}.", SENSOR),
    }

    def __init__(self, config: HwmonConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        options = self.config
        self._chip_filters = (Filter(options.chip_exclude), Filter(None, options.chip_include))
        self._sensor_filters = (Filter(options.sensor_exclude), Filter(None, options.sensor_include))
        self._devices = Devices(self, self._read)
        self._links: dict[str, str] = {}
        self._chips: dict[str, str] = {}
        self._surveys: dict[str, Survey] = {}
        self._metrics: dict[tuple[str, str], Metric] = {}

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return what every chip measures now."""
        try:
            folders = self._sysfs.names(FOLDER)
        except OSError:
            raise NoData("the kernel knows no chips that monitor hardware") from None
        links = {folder: self._sysfs.link(f"{FOLDER}/{folder}") or "" for folder in folders}
        if links != self._links:  # a chip came or went, or its folder is now another's
            self._chips = {
                folder: chip
                for folder, chip in _hwmon.chips(self.host, self._sysfs, links).items()
                if not any(names.ignores(chip) for names in self._chip_filters)
            }
            self._surveys = {}
            self._links = links
        return self._ask(list(self._chips)) if self._chips else []

    async def _ask(self, folders: list[str]) -> list[Family]:
        chip_names: dict[Labels, float] = {}
        sensor_labels: dict[Labels, float] = {}
        families: dict[str, Family] = {}
        for folder, (survey, values) in (await self._devices.ask(folders)).items():
            if survey.name:
                chip_names[self._chips[folder], survey.name] = 1.0
            sensor_labels |= dict.fromkeys(survey.sensor_labels, 1.0)
            for (_, metric, labels, factor, divisor), value in zip(survey.readings, values, strict=True):
                if value is not None:
                    family = families.get(metric.name)
                    if family is None:
                        family = families[metric.name] = metric({})
                    family.samples[labels] = value * factor / divisor
        about = (self.chip_names(chip_names), self.sensor_label(sensor_labels))
        return [family for family in (*about, *families.values()) if family.samples]

    def _read(self, folder: str) -> tuple[Survey, list[float | None]]:
        survey = self._surveys.get(folder)
        if survey is None or self.clock.monotonic() - survey.when > SURVEY_SECONDS:
            survey = self._survey(folder, self._chips.get(folder, folder))
            self._surveys[folder] = survey
        return survey, [self._sysfs.number(reading.path) for reading in survey.readings]

    def _survey(self, folder: str, chip: str) -> Survey:
        sensors: dict[str, dict[str, str]] = {}
        types: dict[str, str] = {}
        for path in (f"{FOLDER}/{folder}", f"{FOLDER}/{folder}/device"):  # old drivers have their files in the latter
            try:
                files = self._sysfs.files(path)
            except OSError:
                continue
            for file in files:
                if found := _hwmon.attribute(file):
                    types[found.sensor] = found.type
                    sensors.setdefault(found.sensor, {})[found.element] = f"{path}/{file}"
        readings: list[Reading] = []
        sensor_labels: list[Labels] = []
        when = self.clock.monotonic()
        for sensor, paths in sensors.items():
            if any(names.ignores(f"{chip};{sensor}") for names in self._sensor_filters):
                continue
            label = self._sysfs.line(paths["label"]) if "label" in paths else None
            if label is not None:
                sensor_labels.append((chip, sensor, label))
            elif "label" in paths:
                when = NEVER
            for element, path in paths.items():
                found_meaning = _hwmon.meaning(types[sensor], element, bare="" in paths)
                if found_meaning and (found_meaning.unit.name != "megahertz" or label is not None):
                    told = _hwmon.clean(label or "") if found_meaning.unit.name == "megahertz" else sensor
                    readings.append(self._reading(path, (chip, told), found_meaning))
        name = _hwmon.clean(self._sysfs.text(f"{FOLDER}/{folder}/name") or "")
        return Survey(name, readings, sensor_labels, when)

    def _reading(self, path: str, labels: Labels, meaning: Meaning) -> Reading:
        key = meaning.unit.name, meaning.part
        if key not in self._metrics:
            self._metrics[key] = self.units[meaning.unit.name].bound(meaning.part)
        return Reading(path, self._metrics[key], labels, meaning.unit.factor, meaning.unit.divisor)


@hookimpl
def agentd_collectors() -> list[type[Hwmon]]:
    """Register the collector."""
    return [Hwmon]
