"""What robots say, and what it is called here: one table from the names of fields to metrics, units and scales.

Names of fields are those of plain JSON, of VDA 5050 (2.x and 3.0), of ROS 2's messages and of MAVLink's; a nested field
is written with dots, capitals do not count, and ``*`` stands for the value of a label. SI units, ratios from 0 to 1.
"""

from collections.abc import Mapping
from sys import float_info
from typing import NamedTuple

import msgspec

from agentd.plugin import Metric, counter, gauge

ROBOT = "robot"

PERCENT, MILLI, CENTI, HECTO = 0.01, 0.001, 0.01, 100.0


class Signal(NamedTuple):
    """A metric that robots tell, and between which values it is credible."""

    metric: Metric
    unit: str = ""
    low: float = -float_info.max
    high: float = float_info.max

    @property
    def name(self) -> str:
        """The name of its family."""
        return self.metric.name


class Term(NamedTuple):
    """What a field means: its metric, the values of the labels beside ``robot``, and how to get to its unit."""

    signal: Signal
    labels: tuple[str | None, ...] = ()
    scale: float = 1.0
    absent: frozenset[float] = frozenset()
    """Values that mean "not known"."""


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a source means by a field, where it is not what the vocabulary says."""

    field: str
    robots: str = "*"
    metric: str | None = None
    scale: float | None = None
    absent: list[float] | None = None


def _signal(
    kind: str,
    name: str,
    help: str,
    *labels: str,
    unit: str = "",
    low: float = -float_info.max,
    high: float = float_info.max,
) -> Signal:
    declare = counter if kind == "C" else gauge
    return Signal(declare(f"robot_{name}", help, (ROBOT, *labels), unit=unit), unit or _unit(name), low, high)


def _ratio(name: str, help: str, *labels: str) -> Signal:
    # A little above 1 is a rounding or a full battery, a hundred times as much another scale.
    return _signal("G", name, help, *labels, low=0.0, high=1.05)


def _flag(name: str, help: str, *labels: str) -> Signal:
    return _signal("G", name, help, *labels, unit="1 or 0", low=0.0, high=1.0)


def _unit(name: str) -> str:
    name = name.removesuffix("_total")
    units = {
        "_radians_per_second": "radians per second",
        "_meters_per_second": "meters per second",
        "_newton_meters": "newton meters",
    }
    for ending, unit in units.items():
        if name.endswith(ending):
            return unit
    last = name.rpartition("_")[2]
    known = ("ratio", "volts", "amperes", "celsius", "seconds", "meters", "watts", "joules", "bytes", "radians", "dbm")
    return last if last in known else ""


SIGNALS: Mapping[str, Signal] = {
    signal.name.removeprefix("robot_"): signal
    for signal in (
        _ratio("battery_charge_ratio", "How full a robot's battery is.", "battery"),
        _signal("G", "battery_voltage_volts", "Voltage of a robot's battery.", "battery"),
        _signal("G", "battery_cell_voltage_volts", "Voltage of a cell of a robot's battery.", "battery", "cell"),
        _signal("G", "battery_current_amperes", "Current into (+) or out of (-) a robot's battery.", "battery"),
        _signal("G", "battery_temperature_celsius", "Temperature of a robot's battery.", "battery", low=-90, high=300),
        _ratio("battery_health_ratio", "What a battery can hold, of what it could when new.", "battery"),
        _signal("C", "battery_cycles_total", "Times that a robot's battery was charged.", "battery", unit="cycles"),
        _signal("G", "battery_time_remaining_seconds", "How long a robot's battery lasts as it is used.", "battery"),
        _flag("battery_charging", "Whether a robot's battery is charged now.", "battery"),
        _signal("G", "battery_range_meters", "How far a robot gets with what its battery has."),
        _signal("G", "power_watts", "Power that a robot draws.", "rail"),
        _signal("C", "energy_joules_total", "Energy that a robot has used.", "rail"),
        _ratio("cpu_utilization_ratio", "Share of a robot's processors that is busy."),
        _ratio("memory_utilization_ratio", "Share of a robot's memory that is used."),
        _signal("G", "memory_used_bytes", "Memory of a robot that is used."),
        _signal("G", "filesystem_free_bytes", "Room that is left on a robot's disk.", "mountpoint"),
        _ratio("filesystem_utilization_ratio", "Share of a robot's disk that is used.", "mountpoint"),
        _signal("C", "network_receive_bytes_total", "Bytes that a robot's network has received.", "interface"),
        _signal("C", "network_transmit_bytes_total", "Bytes that a robot's network has sent.", "interface"),
        _signal("G", "reported_network_latency_seconds", "Latency of the network as the robot itself measures it."),
        _signal(
            "G", "temperature_celsius", "Temperature that a sensor of a robot reads.", "sensor", low=-274, high=5000
        ),
        _ratio("gpu_utilization_ratio", "Share of the time that a robot's GPU is busy.", "gpu"),
        _signal("G", "gpu_power_watts", "Power that a robot's GPU draws.", "gpu"),
        _signal("G", "position_meters", "Where a robot is on an axis of a map or frame.", "axis", "frame"),
        _signal("G", "heading_radians", "Where a robot is turned to.", "frame"),
        _signal("G", "velocity_meters_per_second", "How fast a robot moves along an axis of its own.", "axis"),
        _signal("G", "angular_velocity_radians_per_second", "How fast a robot turns about an axis.", "axis"),
        _signal("C", "odometer_meters_total", "Distance that a robot has gone."),
        _flag("localized", "Whether a robot knows where it is."),
        _ratio("localization_score_ratio", "How sure a robot is of where it is."),
        _signal("G", "localization_deviation_meters", "How wrong a robot's position may be."),
        _signal("G", "link_rssi_dbm", "Strength of the radio signal that a robot receives.", "interface", high=0),
        _signal("G", "joint_position_radians", "Angle of a joint.", "joint"),
        _signal("G", "joint_effort_newton_meters", "Torque of a joint.", "joint"),
        _signal("G", "joint_temperature_celsius", "Temperature of a joint.", "joint", low=-274, high=5000),
        _signal("G", "joint_current_amperes", "Current of a joint's motor.", "joint"),
        _signal("G", "motor_angular_velocity_radians_per_second", "How fast a motor turns.", "motor"),
        _signal("G", "motor_temperature_celsius", "Temperature of a motor.", "motor", low=-274, high=5000),
        _flag("estop_active", "Whether an emergency stop holds a robot.", "kind"),
        _flag("protective_field_violation", "Whether something is in a robot's protective field."),
        _signal("G", "errors_active", "Errors that a robot has now.", "level", unit="errors"),
        _signal("C", "errors_total", "Errors that a robot has had.", "type", "level", unit="errors"),
        _flag("operating_mode", "1 for the mode that a robot works in.", "mode"),
        _flag("state", "1 for the state that a robot is in.", "state"),
        _flag("driving", "Whether a robot drives."),
        _flag("paused", "Whether a robot is paused."),
        _flag("load_present", "Whether a robot carries something."),
        _signal("C", "actions_total", "Actions of a robot that have ended.", "type", "status", unit="actions"),
        _flag("mission_active", "Whether a robot is on a mission."),
        _signal("C", "topic_messages_total", "Messages of a topic.", "topic", unit="messages"),
        _signal("G", "topic_age_seconds", "Time since the last message of a topic.", "topic"),
        _signal("G", "diagnostic_level", "0 fine, 1 warning, 2 error, 3 stale.", "name", "hardware_id", unit="level"),
        _flag("sensor_healthy", "Whether a sensor is there and well.", "sensor"),
    )
}
"""What robots tell, by the name without ``robot_``."""

ENERGY_TERMS = ("pair", "hyper", "entropy", "reg", "mem", "total")
"""Terms of an optimisation, which is called energy and has nothing to do with joules."""

ENERGY = Signal(gauge("agentd_energy_term_value", "A term of an abstract energy, not in joules.", (ROBOT, "term")))

CUSTOM = Signal(
    gauge("robot_custom_value", "Any other number that a robot sends, by the field's name.", (ROBOT, "field"))
)

TEXTS: Mapping[str, str] = {
    "operatingmode": "operating_mode",
    "operating_mode": "operating_mode",
    "mode": "operating_mode",
    "state": "state",
    "status": "state",
    "robot_state": "state",
    "safetystate.estop": "estop_active",
    "safetystate.activeemergencystop": "estop_active",
    "estop": "estop_active",
}
"""Fields whose value is a text out of a few: each becomes the value of a label."""

STOPS = ("AUTOACK", "MANUAL", "REMOTE")
"""Emergency stops of VDA 5050: each is told as 0 where none is active."""

NO_STOP = frozenset({"none", "false", "0", ""})
"""Texts of an emergency stop that is not active."""


SAYINGS: tuple[tuple[str, tuple[str | None, ...], float, tuple[float, ...], str], ...] = (
    # Metric, labels beside the robot, scale, values for "not known", and the fields that mean it.
    ("battery_charge_ratio", (), PERCENT, (), "battery_level battery_percentage battery_percent battery.level"),
    (
        "battery_charge_ratio",
        (),
        PERCENT,
        (),
        "battery.percentage batteryState.batteryCharge powerSupply.stateOfCharge",
    ),
    ("battery_charge_ratio", (), PERCENT, (-1,), "battery_remaining SYS_STATUS.battery_remaining"),
    ("battery_charge_ratio", (), PERCENT, (-1,), "BATTERY_STATUS.battery_remaining"),
    ("battery_charge_ratio", ("*",), PERCENT, (), "batteries.*.level batteries.*.percentage"),
    ("battery_voltage_volts", (), 1, (), "battery_voltage battery.voltage batteryState.batteryVoltage"),
    ("battery_voltage_volts", (), 1, (), "powerSupply.batteryVoltage"),
    ("battery_voltage_volts", (), MILLI, (65535,), "SYS_STATUS.voltage_battery"),
    ("battery_voltage_volts", ("*",), 1, (), "batteries.*.voltage"),
    ("battery_charge_ratio", (), 1, (), "BatteryState.percentage battery_state.percentage"),  # ROS 2: from 0 to 1
    ("battery_voltage_volts", (), 1, (), "BatteryState.voltage battery_state.voltage"),
    ("battery_current_amperes", (), 1, (), "BatteryState.current battery_state.current"),
    ("battery_temperature_celsius", (), 1, (), "BatteryState.temperature battery_state.temperature"),
    ("battery_current_amperes", (), 1, (), "battery_current battery.current powerSupply.batteryCurrent"),
    ("battery_current_amperes", (), -CENTI, (-1,), "SYS_STATUS.current_battery BATTERY_STATUS.current_battery"),
    ("battery_current_amperes", ("*",), 1, (), "batteries.*.current"),
    ("battery_temperature_celsius", (), 1, (), "battery_temperature battery.temperature"),
    ("battery_temperature_celsius", (), CENTI, (32767,), "BATTERY_STATUS.temperature"),
    ("battery_temperature_celsius", ("*",), 1, (), "batteries.*.temperature"),
    ("battery_health_ratio", (), PERCENT, (), "battery_health batteryState.batteryHealth powerSupply.batteryHealth"),
    ("battery_cycles_total", (), 1, (), "battery_cycles cycle_count"),
    ("battery_time_remaining_seconds", (), 1, (0,), "BATTERY_STATUS.time_remaining"),
    ("battery_charging", (), 1, (), "charging is_charging battery.charging batteryState.charging powerSupply.charging"),
    ("battery_range_meters", (), 1, (), "reach batteryState.reach powerSupply.range"),
    ("power_watts", (), 1, (), "power power_w power_watts energy.power_watts"),
    ("power_watts", ("*",), 1, (), "power.*"),
    ("energy_joules_total", (), 1, (), "energy_joules energy_j energy.joules"),
    ("energy_joules_total", (), HECTO, (-1,), "BATTERY_STATUS.energy_consumed"),
    ("energy_joules_total", ("*",), 1, (), "energy.joules.*"),
    ("cpu_utilization_ratio", (), PERCENT, (), "cpu_usage cpu.usage cpu_percent cpu.percent"),
    ("cpu_utilization_ratio", (), MILLI, (), "SYS_STATUS.load"),
    ("memory_utilization_ratio", (), PERCENT, (), "memory_usage memory.usage memory_percent memory.percent"),
    ("memory_used_bytes", (), 1, (), "memory_used memory.used"),
    ("filesystem_utilization_ratio", (), PERCENT, (), "disk_usage disk.usage disk_percent disk.percent"),
    ("filesystem_utilization_ratio", ("*",), PERCENT, (), "disk.*.usage"),
    ("filesystem_free_bytes", (), 1, (), "disk_free disk.free"),
    ("network_receive_bytes_total", ("*",), 1, (), "network.*.rx_bytes"),
    ("network_transmit_bytes_total", ("*",), 1, (), "network.*.tx_bytes"),
    ("reported_network_latency_seconds", (), MILLI, (), "network_latency_ms network.latency_ms"),
    ("temperature_celsius", (), 1, (), "temperature temperature_c"),
    ("temperature_celsius", ("*",), 1, (), "temperature.* temperatures.*"),
    ("gpu_utilization_ratio", (), PERCENT, (), "gpu_usage gpu.usage"),
    ("gpu_utilization_ratio", ("*",), PERCENT, (), "gpus.*.usage"),
    ("gpu_power_watts", (), 1, (), "gpu_power gpu.power"),
    ("position_meters", ("x",), 1, (), "position.x pose.position.x pose.pose.position.x agvPosition.x"),
    ("position_meters", ("y",), 1, (), "position.y pose.position.y pose.pose.position.y agvPosition.y"),
    ("position_meters", ("z",), 1, (), "position.z pose.position.z pose.pose.position.z"),
    ("position_meters", ("x",), 1, (), "mobileRobotPosition.x"),
    ("position_meters", ("y",), 1, (), "mobileRobotPosition.y"),
    ("heading_radians", (), 1, (), "theta heading position.theta agvPosition.theta mobileRobotPosition.theta"),
    ("velocity_meters_per_second", ("x",), 1, (), "speed velocity velocity.vx velocity.linear.x twist.linear.x"),
    ("velocity_meters_per_second", ("x",), 1, (), "twist.twist.linear.x"),
    ("velocity_meters_per_second", ("y",), 1, (), "velocity.vy velocity.linear.y twist.linear.y twist.twist.linear.y"),
    ("velocity_meters_per_second", ("z",), 1, (), "velocity.linear.z twist.linear.z twist.twist.linear.z"),
    ("angular_velocity_radians_per_second", ("x",), 1, (), "velocity.angular.x twist.angular.x twist.twist.angular.x"),
    ("angular_velocity_radians_per_second", ("y",), 1, (), "velocity.angular.y twist.angular.y twist.twist.angular.y"),
    ("angular_velocity_radians_per_second", ("z",), 1, (), "velocity.angular.z twist.angular.z twist.twist.angular.z"),
    ("angular_velocity_radians_per_second", ("z",), 1, (), "velocity.omega yawspeed"),
    ("odometer_meters_total", (), 1, (), "odometer odometer_m"),
    ("localized", (), 1, (), "agvPosition.positionInitialized mobileRobotPosition.localized"),
    ("localization_score_ratio", (), 1, (), "agvPosition.localizationScore mobileRobotPosition.localizationScore"),
    ("localization_deviation_meters", (), 1, (), "agvPosition.deviationRange mobileRobotPosition.deviationRange"),
    ("joint_position_radians", ("*",), 1, (), "joints.*.position"),
    ("joint_effort_newton_meters", ("*",), 1, (), "joints.*.effort"),
    ("joint_temperature_celsius", ("*",), 1, (), "joints.*.temperature"),
    ("joint_current_amperes", ("*",), 1, (), "joints.*.current"),
    ("motor_angular_velocity_radians_per_second", ("*",), 1, (), "motors.*.velocity"),
    ("motor_temperature_celsius", ("*",), 1, (), "motors.*.temperature"),
    ("protective_field_violation", (), 1, (), "safetyState.fieldViolation"),
    ("errors_active", ("*",), 1, (), "errors_active.*"),
    ("sensor_healthy", ("*",), 1, (), "sensors.*.healthy"),
    ("topic_messages_total", ("*",), 1, (), "topics.*.messages"),
    ("topic_age_seconds", ("*",), 1, (), "topics.*.age"),
)


def _term(name: str, labels: tuple[str | None, ...] = (), scale: float = 1.0, absent: tuple[float, ...] = ()) -> Term:
    signal = SIGNALS[name]
    rest = len(signal.metric.labels) - 1 - len(labels)
    return Term(signal, (*labels, *(None,) * rest), float(scale), frozenset(absent))


TERMS: Mapping[str, Term] = {
    **{f"{group}.{term}": Term(ENERGY, (term,)) for group in ("energy", "energy_terms") for term in ENERGY_TERMS},
    # Whoever uses our own names is understood, with and without the prefix.
    **{spelled: _term(name) for name in SIGNALS for spelled in (name, f"robot_{name}")},
    **{
        field.lower(): _term(name, labels, scale, absent)
        for name, labels, scale, absent, fields in SAYINGS
        for field in fields.split()
    },
}
"""The vocabulary: what each field means, by its name in small letters."""

_OPEN: dict[tuple[int, str], list[tuple[list[str], Term]]] = {}
for _name, _meant in TERMS.items():
    if "*" in _name:
        _parts = _name.split(".")
        _OPEN.setdefault((len(_parts), _parts[0]), []).append((_parts, _meant))


def meaning(field: str) -> Term | None:
    """Return what a field means, or None where the vocabulary does not have it."""
    term = TERMS.get(field.lower())
    if term is not None and "*" not in field:
        return term
    if "." not in field:
        return None
    parts, small = field.split("."), field.lower().split(".")
    for pattern, open_term in _OPEN.get((len(parts), small[0]), ()):
        if all(map(_fits, pattern, small)):
            value = parts[pattern.index("*")]
            return open_term._replace(labels=tuple(value if each == "*" else each for each in open_term.labels))
    return None


def _fits(wanted: str, found: str) -> bool:
    return found not in ("", "*") if wanted == "*" else wanted == found


def overridden(term: Term | None, override: Override) -> Term:
    """Return what a field means to a source. Raises ``ValueError`` for a metric or a field that there is not."""
    if override.metric is not None and override.metric.removeprefix("robot_") == "custom_value":
        term = Term(CUSTOM, (override.field,))
    elif override.metric is not None:
        signal = SIGNALS.get(override.metric.removeprefix("robot_"))
        if signal is None:
            raise ValueError(f"there is no metric {override.metric!r} in the vocabulary of robots")
        term = _term(signal.name.removeprefix("robot_"))
    if term is None:
        raise ValueError(f"the vocabulary has no field {override.field!r}: say which metric it is, or custom_value")
    if override.scale is not None:
        term = term._replace(scale=override.scale)
    if override.absent is not None:
        term = term._replace(absent=frozenset(override.absent))
    return term
