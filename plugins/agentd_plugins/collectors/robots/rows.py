"""Rows of numbers, one for each cell of a battery, each motor or each joint.

ROS 2: sensor_msgs/BatteryState and sensor_msgs/JointState. MAVLink: BATTERY_STATUS and ESC_TELEMETRY_1_TO_4 and so on
(mavlink.io, common.xml and ardupilotmega.xml).
"""

from collections.abc import Iterator, Mapping, Sequence
from math import pi
from typing import Any, NamedTuple

TOO_HIGH = 1e6
"""What no cell, motor or joint has, in any of these units; also what is no number is not below."""


class Row(NamedTuple):
    """What the numbers of a row are."""

    metric: str
    before: tuple[str | None, ...] = ()
    """The values of the labels before the one that says which number of the row it is."""
    scale: float = 1.0
    absent: float | None = None
    """The number that means "not known"."""
    first: int = 0
    """The label of the first number."""
    sum: str = ""
    """The metric that all together make, if any."""


_CELL = "battery_cell_voltage_volts"
_MOTORS = {
    "rpm": ("motor_angular_velocity_radians_per_second", 2 * pi / 60),
    "temperature": ("motor_temperature_celsius", 1),
}

ROWS: Mapping[str, Row] = {
    "cell_voltage": Row(_CELL, (None,)),
    "cell_voltages": Row(_CELL, (None,)),
    "battery.cell_voltages": Row(_CELL, (None,)),
    "batterystate.cell_voltage": Row(_CELL, (None,)),
    "battery_state.cell_voltage": Row(_CELL, (None,)),
    "battery_status.voltages": Row(_CELL, (None,), scale=0.001, absent=65535, sum="battery_voltage_volts"),
    **{
        f"esc_telemetry_{first}_to_{first + 3}.{field}": Row(metric, scale=scale, first=first)
        for first in (1, 5, 9, 13, 17, 21, 25, 29)
        for field, (metric, scale) in _MOTORS.items()
    },
}
"""The rows that are understood, by their fields in small letters."""

JOINTS: Mapping[str, str] = {
    f"{message}.{field}": metric
    for message in ("jointstate", "joint_state", "joint_states")
    for field, metric in (("position", "joint_position_radians"), ("effort", "joint_effort_newton_meters"))
}
"""The same for rows whose numbers belong to the joints that another field names."""

NAMES = frozenset({"jointstate.name", "joint_state.name", "joint_states.name"})
"""The fields that name them; they come first in the message."""

Number = tuple[str, tuple[str | None, ...], float]
"""A metric of the vocabulary, its labels beside ``robot``, and a value."""


def of_row(row: Row, numbers: Sequence[Any]) -> Iterator[Number]:
    """Return what a row says; what is no number, or not known, is left out."""
    found = [
        (str(place), number * row.scale)
        for place, number in enumerate(numbers, row.first)
        if _is_number(number) and number != row.absent
    ]
    for label, value in found:
        yield row.metric, (*row.before, label), value
    if row.sum and found:
        yield row.sum, row.before, sum(value for _, value in found)


def of_joints(metric: str, names: Sequence[str], numbers: Sequence[Any]) -> Iterator[Number]:
    """Return what a row says of the joints of these names."""
    for name, number in zip(names, numbers, strict=False):
        if _is_number(number):
            yield metric, (name,), float(number)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < TOO_HIGH
