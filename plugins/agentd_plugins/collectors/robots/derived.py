"""What follows from other values of a robot, where it does not tell it itself.

Power and energy from a battery's voltage and current, the way from the speed, a battery's health from its capacities.
Which of it a robot has is decided when it tells a field for the first time; one that tells none of it pays nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import hypot, inf, isfinite
from typing import Protocol

from agentd_plugins.collectors.robots.series import Key, Series
from agentd_plugins.collectors.robots.signals import CUSTOM

CAPACITIES: Mapping[str, str] = {
    **{f"{message}.capacity": f"{message}.design_capacity" for message in ("batterystate", "battery_state")},
    "smart_battery_info.capacity_full": "smart_battery_info.capacity_full_specification",
    "battery_info.full_charge_capacity": "battery_info.design_capacity",
}
"""What a battery holds when full, and what it should; -1, 0 and NaN mean "not known" (sensor_msgs/BatteryState;
mavlink.io, common.xml).
"""

DERIVED: tuple[tuple[str, str], ...] = (
    ('robot_power_watts{rail="battery"}', "−`robot_battery_voltage_volts` × `robot_battery_current_amperes`"),
    ('robot_energy_joules_total{rail="battery"}', "the same over time, where it is above 0"),
    ("robot_odometer_meters_total", "`robot_velocity_meters_per_second` of all its axes over time"),
    (
        "robot_battery_health_ratio",
        (
            "`BatteryState.capacity` ÷ `design_capacity`, `SMART_BATTERY_INFO.capacity_full` ÷ "
            "`capacity_full_specification`, `BATTERY_INFO.full_charge_capacity` ÷ `design_capacity`"
        ),
    ),
)
"""What is derived, and from what, as the documentation has it."""

Make = Callable[[str, tuple[str | None, ...], str], Series | None]
"""Gives the series of a metric of the vocabulary, its labels and a field to blame; None where there is no room."""


UNKNOWN = -1.0
"""A rate of which nobody knows what it is; all others are not below 0."""


class Derived:
    """A series that the agent tells until its robot does: under the same labels, or for the whole robot."""

    __slots__ = ("instead", "series")

    def __init__(self, series: Series, instead: Series | None = None) -> None:
        self.series = series
        self.instead = instead

    def put(self, value: float, stamp: float) -> None:
        """Set it."""
        if self.series.raw is not None:
            return
        if self.instead is not None and self.instead.raw is not None:
            stamp = 0.0
        self.series.value, self.series.stamp = value, stamp

    def withdraw(self) -> None:
        """Note that it is not known now."""
        if self.series.raw is None:
            self.series.stamp = 0.0


class Total(Derived):
    """A counter of what a rate adds up to."""

    __slots__ = ("_at", "_rate")

    def __init__(self, series: Series, instead: Series | None = None) -> None:
        super().__init__(series, instead)
        self._at, self._rate = -inf, 0.0

    def add(self, at: float, rate: float, stamp: float, longest: float) -> None:
        """Take the rate at a moment. Nothing is added backwards, nor over a time that is too long to tell."""
        passed = at - self._at
        total = self.series.value
        if 0 < passed <= longest and self._rate >= 0:
            total += (self._rate + rate) / 2 * passed
        if passed >= 0:
            self._at, self._rate = at, rate
        if total < inf:
            self.put(total, stamp)

    def withdraw(self) -> None:
        """Note that the rate is not known now: what comes then has nothing to do with what was."""
        super().withdraw()
        self._rate = UNKNOWN


class Recipe(Protocol):
    """How something follows from the values that a robot has told."""

    @property
    def total(self) -> Total | None:
        """The counter that it has, if any."""

    def take(self, longest: float) -> None:
        """Look at the values now. Those more than ``longest`` seconds apart do not belong together."""


class Power:
    """Power that a battery gives, and the energy that it has given: what charges it is no energy that is used."""

    __slots__ = ("_amperes", "_volts", "_watts", "total")

    def __init__(self, volts: Series, amperes: Series, watts: Derived | None, joules: Total | None) -> None:
        self._volts, self._amperes = volts, amperes
        self._watts, self.total = watts, joules

    def take(self, longest: float) -> None:
        """Look at voltage and current, which is below 0 while the battery gives."""
        volts, amperes = self._volts, self._amperes
        first, last = volts.stamp, amperes.stamp
        if first > last:
            first, last = last, first
        power = 0.0 - volts.value * amperes.value  # no -0
        if first and last - first <= longest and isfinite(power):
            if self._watts is not None:
                self._watts.put(power, first)
            if self.total is not None:
                self.total.add(last, power if power > 0 else 0.0, first, longest)
            return
        for each in (self._watts, self.total):
            if each is not None:
                each.withdraw()


class Way:
    """How far a robot has gone, by its speed."""

    __slots__ = ("_axes", "total")

    def __init__(self, axes: Sequence[Series], meters: Total) -> None:
        self._axes = axes
        self.total = meters

    def take(self, longest: float) -> None:
        """Look at the speed."""
        stamps = [axis.stamp for axis in self._axes]
        first, last, speed = min(stamps), max(stamps), hypot(*[axis.value for axis in self._axes])
        if first and last - first <= longest and isfinite(speed):
            self.total.add(last, speed, first, longest)
        else:
            self.total.withdraw()


class Health:
    """What a battery holds, of what it should."""

    __slots__ = ("_full", "_new", "_ratio")
    total = None

    def __init__(self, full: Series, new: Series, ratio: Derived) -> None:
        self._full, self._new, self._ratio = full, new, ratio

    def take(self, longest: float) -> None:
        """Look at the capacities."""
        first = min(self._full.stamp, self._new.stamp)
        known = first and max(self._full.stamp, self._new.stamp) - first <= longest
        if known and self._full.value > 0 < self._new.value and isfinite(ratio := self._full.value / self._new.value):
            self._ratio.put(ratio, first)
        else:
            self._ratio.withdraw()


def recipes(known: Mapping[Key, Series], make: Make, before: Sequence[Recipe]) -> Iterator[Recipe]:
    """Return what follows from the series that a robot has; totals go on where those of before were."""
    totals = {id(recipe.total.series): recipe.total for recipe in before if recipe.total is not None}

    def total(name: str, *labels: str, whole: bool = False) -> Total | None:
        found = output(known, make, name, labels, whole=whole)
        if found is None:
            return None
        series, instead = found
        counter = totals.get(id(series)) or Total(series)
        counter.instead = instead
        return counter

    for (name, labels), amperes in list(known.items()):
        volts = known.get(("robot_battery_voltage_volts", labels))
        if name == "robot_battery_current_amperes" and volts is not None:
            rail = "battery" if labels[0] is None else f"battery_{labels[0]}"
            watts = output(known, make, "power_watts", (rail,), whole=True)
            joules = total("energy_joules_total", rail, whole=True)
            if watts is not None or joules is not None:
                yield Power(volts, amperes, Derived(*watts) if watts is not None else None, joules)
    axes = [known.get(("robot_velocity_meters_per_second", (axis,))) for axis in "xyz"]
    told = [axis for axis in axes if axis is not None]
    if told and (meters := total("odometer_meters_total")) is not None:
        yield Way(told, meters)
    fields = customs(known)
    for full, new in CAPACITIES.items():
        if full in fields and new in fields:
            found = output(known, make, "battery_health_ratio", (None,))
            if found is not None:
                yield Health(fields[full], fields[new], Derived(*found))
            break


def customs(known: Mapping[Key, Series]) -> dict[str, Series]:
    """Return what a robot has told that the vocabulary does not have, by the field in small letters."""
    return {(labels[0] or "").lower(): series for (name, labels), series in known.items() if name == CUSTOM.name}


def output(
    known: Mapping[Key, Series], make: Make, name: str, labels: tuple[str | None, ...], *, whole: bool = False
) -> tuple[Series, Series | None] | None:
    """Return a series to derive, and the one of the whole robot that would take its place, if there is such.

    None where the robot has no room, or tells it itself; with ``whole`` under whichever labels: who adds them up would
    count it twice.
    """
    metric = f"robot_{name}"
    mine = known.get((metric, labels))
    rivals = [series for (other, _), series in known.items() if other == metric] if whole else [mine]
    if any(series is not None and series.raw is not None for series in rivals):
        if mine is not None and mine.raw is None:
            mine.stamp = 0.0
        return None
    series = make(name, labels, name)
    instead = known.get((metric, (None,) * len(labels))) if whole else None
    return None if series is None else (series, instead)
