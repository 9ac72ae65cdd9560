"""Bit masks of MAVLink."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.robots.bits import SENSORS, healthy, localized
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import meaning
from agentd_plugins.collectors.robots.readings import Readings

masks = st.integers(0, 2**32 - 1)


def told(*frames):
    """Return what is known, of sensors and of the position, after frames."""
    one = Readings("r1", 200, Lexicon(meaning), lambda *_: None, lambda: None)
    for stamp, metrics in enumerate(frames, 1):
        one.apply(metrics, float(stamp), live=True)
    wanted = ("robot_sensor_healthy", "robot_localized")
    return {labels: each.value for (name, labels), each in one.series.items() if each.stamp and name in wanted}


def status(present, enabled, health):
    names = ("present", "enabled", "health")
    return {f"onboard_control_sensors_{n}": m for n, m in zip(names, (present, enabled, health), strict=True)}


def test_the_bits_have_the_places_of_common_xml():
    """Some of MAV_SYS_STATUS_SENSOR, by their values; the highest bit names no sensor."""
    assert len(SENSORS) == len(set(SENSORS)) == 31
    for value, name in ((1, "3d_gyro"), (8, "absolute_pressure"), (32, "gps"), (0x10000, "rc_receiver"),
                        (0x20000, "3d_gyro2"), (0x100000, "geofence"), (0x2000000, "battery"),
                        (0x10000000, "prearm_check"), (0x40000000, "propulsion")):  # fmt: skip
        assert healthy(value, value, 0) == {name: False}
        assert healthy(2**32 - 1, value, value) == {name: True}
    assert healthy(2**31, 2**31, 2**31) == {}


@given(masks, masks, masks)
@settings(max_examples=100, deadline=None)
def test_only_what_is_there_and_in_use_is_judged(present, enabled, health):
    """A sensor that is not there, or switched off, has no health; a mask that a robot takes for signed is the same."""
    found = healthy(present, enabled, health)
    for bit, name in enumerate(SENSORS):
        value = 1 << bit
        assert (name in found) == bool(present & value and enabled & value)
        assert found.get(name, False) == bool(present & enabled & health & value)
    assert healthy(present - 2**32, enabled, health - 2**32) == found


@pytest.mark.parametrize(
    ("flags", "known"),
    [(0, False), (8, True), (16, True), (8 | 128, False), (16 | 128, True), (256 | 512, False), (0b111, False)],
)
def test_a_good_horizontal_position_is_one(flags, known):
    """Absolute or relative, but not a relative one that is only held; that one is expected is none."""
    assert localized(flags) is known


def test_sensors_of_a_status():
    """One that breaks is 0; one that is switched off or taken away is absent; each is looked at in every frame."""
    first = {"SYS_STATUS": status(0b111, 0b011, 0b001)}
    assert told(first) == {("3d_gyro",): 1.0, ("3d_accel",): 0.0}
    assert told(first, {"SYS_STATUS": status(0b110, 0b111, 0b110)}) == {("3d_accel",): 1.0, ("3d_mag",): 1.0}
    assert told({"SYS_STATUS": {"onboard_control_sensors_health": 1}}) == {}, "nobody knows what is there"
    assert told(first, {"SYS_STATUS": {"onboard_control_sensors_health": None}}) == {}


def test_masks_of_flat_frames_and_of_separate_ones():
    """Fields may be flat, in any order, in any spelling, and in frames of their own."""
    flat = {f"sys_status.{name}": mask for name, mask in status(3, 3, 1).items()}
    assert told(dict(reversed(flat.items()))) == {("3d_gyro",): 1.0, ("3d_accel",): 0.0}
    assert told(*({name: mask} for name, mask in flat.items())) == {("3d_gyro",): 1.0, ("3d_accel",): 0.0}
    assert told(flat, {**flat, "sys_status.onboard_control_sensors_health": 2})["3d_accel",] == 1.0


@pytest.mark.parametrize("message", ["ESTIMATOR_STATUS", "EKF_STATUS_REPORT"])
def test_flags_of_an_estimator(message):
    """Either message says whether a vehicle knows where it is."""
    assert told({message: {"flags": 16}}) == {(): 1.0}
    assert told({message: {"flags": 16}}, {message: {"flags": 1}}) == {(): 0.0}
    assert told({message: {"flags": 16}}, {message: {"flags": None}}) == {}


def test_a_robots_own_words_go_before_bits():
    """What a robot says of a sensor or of its position itself is shown, whatever the masks say."""
    frame = {"SYS_STATUS": status(3, 3, 0), "sensors": {"3d_gyro": {"healthy": 1}}}
    assert told(frame, frame) == {("3d_gyro",): 1.0, ("3d_accel",): 0.0}
    frame = {"ESTIMATOR_STATUS": {"flags": 0}, "agvPosition": {"positionInitialized": True}}
    assert told(frame, frame) == {(): 1.0}
