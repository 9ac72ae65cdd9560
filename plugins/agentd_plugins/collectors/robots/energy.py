"""Energy, in one schema: what the machine tells of itself, what robots push, and abstract terms that are no joules."""

from collections.abc import Awaitable, Callable

import msgspec

from agentd.plugin import Snapshot, UnknownCollectorError
from agentd_plugins.collectors.robots.fleet import Fleet

COLLECTORS = ("rapl", "powersupplyclass")
"""Those that ask the machine; their metrics stay the only ones of it."""


class MachineValue(msgspec.Struct):
    """One value of the machine, under the name that Prometheus has it by."""

    name: str
    labels: dict[str, str]
    value: float


class RobotEnergy(msgspec.Struct):
    """What a robot has told of energy and what is not stale, by what it belongs to ("" for the whole robot)."""

    robot_id: str
    power_watts: dict[str, float]
    energy_joules: dict[str, float]
    battery_charge_ratio: dict[str, float]
    terms: dict[str, float]
    """Terms of an abstract energy: ``pair``, ``hyper``, ``entropy``, ``reg``, ``mem``, ``total``. No joules."""


class Energy(msgspec.Struct):
    """All that is known of energy now."""

    timestamp: float
    machine: list[MachineValue]
    robots: list[RobotEnergy]


_FIELDS = {
    "robot_power_watts": "power_watts",
    "robot_energy_joules_total": "energy_joules",
    "robot_battery_charge_ratio": "battery_charge_ratio",
    "agentd_energy_term_value": "terms",
}


async def energy(fleet: Fleet, gather: Callable[..., Awaitable[Snapshot]], now: float, timestamp: float) -> Energy:
    """Return what is known of energy, ``now`` being that of the monotonic clock.

    What this machine does not tell, and what robots have told too long ago, is left out.
    """
    machine = [value for collector in COLLECTORS for value in await _of_machine(collector, gather)]
    robots = []
    for robot in fleet:
        found: dict[str, dict[str, float]] = {field: {} for field in _FIELDS.values()}
        for series in robot.readings.series.values():
            field = _FIELDS.get(series.signal.name)
            if field is not None and fleet.shows(series, now):
                found[field][series.key[1] or ""] = series.value
        if any(found.values()):
            robots.append(RobotEnergy(robot.id, **found))
    return Energy(timestamp, machine, robots)


async def _of_machine(collector: str, gather: Callable[..., Awaitable[Snapshot]]) -> list[MachineValue]:
    try:
        snapshot = await gather(only={collector})
    except UnknownCollectorError:
        return []
    names = ("node_rapl_", "node_power_supply_")
    return [
        MachineValue(
            family.name,
            {name: text for name, text in zip(family.label_names, key, strict=True) if text is not None},
            value,
        )
        for family in snapshot.families
        if family.name.startswith(names)
        for key, value in family.samples.items()
        if isinstance(value, float)
    ]
