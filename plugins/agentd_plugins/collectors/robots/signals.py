"""The metrics of robots: what each is called, its unit, and between which values it is credible.

SI units, ratios from 0 to 1. What robots call them is told by the vocabulary.
"""

from collections.abc import Mapping
from sys import float_info
from typing import NamedTuple

from agentd.plugin import Metric, counter, gauge

ROBOT = "robot"


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
        _flag("clock_synchronized", "Whether a robot's clock is synchronized, as it says itself."),
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
        _signal("G", "topic_latency_seconds", "Time that the last message of a topic took.", "topic", low=0),
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
