"""Bit masks of MAVLink: which sensors are well, and whether a vehicle knows where it is (mavlink.io, common.xml)."""

from collections.abc import Iterator, Mapping

from agentd_plugins.collectors.robots.derived import Derived, Make, Recipe, customs, output
from agentd_plugins.collectors.robots.series import Key, Series

SENSORS = (
    "3d_gyro",
    "3d_accel",
    "3d_mag",
    "absolute_pressure",
    "differential_pressure",
    "gps",
    "optical_flow",
    "vision_position",
    "laser_position",
    "external_ground_truth",
    "angular_rate_control",
    "attitude_stabilization",
    "yaw_position",
    "z_altitude_control",
    "xy_position_control",
    "motor_outputs",
    "rc_receiver",
    "3d_gyro2",
    "3d_accel2",
    "3d_mag2",
    "geofence",
    "ahrs",
    "terrain",
    "reverse_motor",
    "logging",
    "battery",
    "proximity",
    "satcom",
    "prearm_check",
    "obstacle_avoidance",
    "propulsion",
)
"""MAV_SYS_STATUS_SENSOR, from the lowest bit. The highest says that there are further ones, and is none."""

MASKS = tuple(f"sys_status.onboard_control_sensors_{which}" for which in ("present", "enabled", "health"))
FLAGS = ("estimator_status.flags", "ekf_status_report.flags")
"""The fields, in small letters. Where a robot sends both kinds of flags, which are the same, the first counts."""

RELATIVE, ABSOLUTE, CONSTANT = 8, 16, 128
"""ESTIMATOR_STATUS_FLAGS, and EKF_STATUS_FLAGS of ardupilotmega.xml: the horizontal position is good, from where it
began or on the earth; and the estimator only holds a position.
"""

BITS: tuple[tuple[str, str], ...] = (
    (
        'robot_sensor_healthy{sensor="*"}',
        "`SYS_STATUS.onboard_control_sensors_health`, of the sensors in `…_present` and `…_enabled`",
    ),
    (
        "robot_localized",
        "`flags` of `ESTIMATOR_STATUS` or `EKF_STATUS_REPORT`: whether the horizontal position is good",
    ),
)
"""What is read from bits, as the documentation has it."""


def healthy(present: float, enabled: float, health: float) -> dict[str, bool]:
    """Return whether each sensor that is there and in use is well."""
    used, well = int(present) & int(enabled), int(health)
    return {name: bool(well >> bit & 1) for bit, name in enumerate(SENSORS) if used >> bit & 1}


def localized(flags: float) -> bool:
    """Return whether an estimator knows where it is. PX4 says that it holds a position also while it stands still."""
    mask = int(flags)
    return bool(mask & ABSOLUTE) or bool(mask & RELATIVE and not mask & CONSTANT)


class Sensors:
    """Which sensors are well, by three masks."""

    __slots__ = ("_known", "_make", "_masks", "_sensors")
    total = None

    def __init__(self, masks: list[Series], known: Mapping[Key, Series], make: Make) -> None:
        self._masks, self._known, self._make = masks, known, make
        self._sensors: dict[str, Derived] = {}

    def take(self, longest: float) -> None:
        """Look at the masks."""
        stamps = [mask.stamp for mask in self._masks]
        first = min(stamps)
        told = first and max(stamps) - first <= longest
        found = healthy(*[mask.value for mask in self._masks]) if told else {}
        for name, well in found.items():
            if name not in self._sensors:
                made = output(self._known, self._make, "sensor_healthy", (name,))
                if made is None:
                    continue
                self._sensors[name] = Derived(*made)
            self._sensors[name].put(float(well), first)
        for name in self._sensors.keys() - found.keys():
            self._sensors[name].withdraw()


class Localized:
    """Whether a robot knows where it is, by the flags of its estimator."""

    __slots__ = ("_flags", "_shown")
    total = None

    def __init__(self, flags: Series, shown: Derived) -> None:
        self._flags, self._shown = flags, shown

    def take(self, longest: float) -> None:
        """Look at the flags: one value, which no other has to be near to."""
        if self._flags.stamp:
            self._shown.put(float(localized(self._flags.value)), self._flags.stamp)
        else:
            self._shown.withdraw()


def recipes(known: Mapping[Key, Series], make: Make) -> Iterator[Recipe]:
    """Return what follows from the masks that a robot has told."""
    fields = customs(known)
    masks = [fields[field] for field in MASKS if field in fields]
    if len(masks) == len(MASKS):
        yield Sensors(masks, known, make)
    for field in FLAGS:
        if field in fields:
            shown = output(known, make, "localized", ())
            if shown is not None:
                yield Localized(fields[field], Derived(*shown))
            break
