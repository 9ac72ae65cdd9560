"""Names of chips in /sys/class/hwmon, and what their files mean (Documentation/hwmon/sysfs-interface.rst)."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentd.plugin import Host
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/hwmon"

TYPES = {
    *("vrm", "beep_enable", "update_interval", "in", "cpu", "fan", "pwm", "temp", "curr", "power", "energy"),
    *("humidity", "intrusion", "freq"),
}
"""Types of sensors that are told."""

FILE = re.compile(r"([^0-9]+)([0-9]{0,9})(?:_(.+))?")
UNFIT = re.compile("[^a-z0-9:_]")

MILLI = 0.001
MICRO = 1e6


class Attribute(NamedTuple):
    """What the name of a file says."""

    type: str
    sensor: str
    """The type with the sensor's number: ``temp1``; where there is no number, 0."""
    element: str
    """Which of the sensor's values: ``input``, ``max``; empty where the file's name has no further part."""


class Unit(NamedTuple):
    """What a number is, and what it is multiplied with and divided by to be in the unit of its metric."""

    name: str
    factor: float = 1.0
    divisor: float = 1.0


class Meaning(NamedTuple):
    """What an element of a sensor measures."""

    unit: Unit
    part: str
    """What stands in the name of the metric for the sensor's type and the element."""


PLAIN = Unit("plain")
STATUS = Unit("status")
SECONDS = Unit("seconds", factor=MILLI)
RPM = Unit("rpm")

OF_CHIP = {
    "beep_enable": Unit("beep_enable"),
    "update_interval": Unit("update_interval", factor=MILLI),
    "vrm": Unit("vrm"),
}
"""Settings of a whole chip, each told by a metric of its own."""

OF_ELEMENT = {"fault": STATUS, "alarm": STATUS, "beep": Unit("beep")}
"""Elements that mean the same whatever is measured."""

OF_BOTH = {
    ("fan", "input"): RPM,
    ("fan", "max"): RPM,
    ("fan", "min"): RPM,
    ("fan", "target"): RPM,
    ("freq", "input"): Unit("megahertz", divisor=MICRO),
    ("power", "accuracy"): Unit("ratio", divisor=MICRO),
    ("power", "average_interval"): SECONDS,
    ("power", "average_interval_max"): SECONDS,
    ("power", "average_interval_min"): SECONDS,
    ("temp", "type"): PLAIN,
}
"""Elements that mean something else than what is measured."""

OF_TYPE = {
    "cpu": Unit("volts", factor=MILLI),
    "curr": Unit("amps", factor=MILLI),
    "energy": Unit("joules", divisor=MICRO),
    "humidity": Unit("ratio", divisor=MICRO),
    "in": Unit("volts", factor=MILLI),
    "power": Unit("watts", divisor=MICRO),
    "temp": Unit("celsius", factor=MILLI),
}
"""All other elements."""


def attribute(file: str) -> Attribute | None:
    """Return what the name of a file says; None where it is none of a sensor's."""
    match = FILE.fullmatch(file)
    if not match or match[1] not in TYPES:
        return None
    return Attribute(match[1], f"{match[1]}{int(match[2] or 0)}", match[3] or "")


def meaning(type_: str, element: str, *, bare: bool) -> Meaning | None:
    """Return what an element measures; None where it is no measurement.

    ``bare`` says whether the sensor has a value whose file is named by nothing but the sensor, to which the one named
    ``input`` comes in addition; otherwise that is the sensor's value itself.
    """
    if type_ in OF_CHIP:
        return Meaning(OF_CHIP[type_], "") if not element else None
    if element == "label":
        return None
    part = type_ if not element or (element == "input" and not bare) else f"{type_}_{clean(element)}"
    unit = OF_ELEMENT.get(element) or OF_BOTH.get((type_, element)) or OF_TYPE.get(type_, PLAIN)
    return Meaning(unit, part)


def clean(text: str) -> str:
    """Return a text as it may stand in the name of a metric."""
    return UNFIT.sub("_", text.lower()).strip("_")


def chips(host: Host, sysfs: Sysfs, links: Mapping[str, str]) -> dict[str, str]:
    """Return a name for each folder below ``class/hwmon``, that differs in all of them and outlives a boot.

    It is made of the device's bus and name; where there is no device, it is what the driver calls the chip, or that of
    the folder. Chips on one device are told apart by what the driver calls them, or else by their folders.
    """
    names: dict[str, tuple[str, str]] = {}
    for folder in links:
        own = sysfs.text(f"{FOLDER}/{folder}/name") or ""
        base = _device(f"{host.paths.sysfs}/{FOLDER}/{folder}/device") or clean(own) or clean(_real(host, folder))
        if base and Path(host.paths.sysfs, FOLDER, folder).is_dir():
            names[folder] = base, own
    bases = Counter(base for base, _ in names.values())
    pairs = Counter(names.values())
    result = {}
    for folder, (base, own) in names.items():
        if bases[base] > 1:
            suffix = clean(own) if pairs[base, own] == 1 else ""
            result[folder] = f"{base}_{suffix or clean(folder)}"
        else:
            result[folder] = base
    return result


def _device(link: str) -> str:
    try:
        device = Path(link).resolve(strict=True)
    except (OSError, RuntimeError):  # links may lead in a circle
        return ""
    bus, name = clean(device.parent.name), clean(device.name)
    return f"{bus}_{name}" if bus and name else name


def _real(host: Host, folder: str) -> str:
    return Path(host.paths.sysfs, FOLDER, folder).resolve().name
