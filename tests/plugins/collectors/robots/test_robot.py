"""What the agent itself knows of a robot, and which robots there are."""

import gc

import pytest

from agentd_plugins.collectors.robots.fleet import Fleet, TooManyRobots
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import Override, meaning
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig


def robot():
    return Robot("r1", 50, Lexicon(meaning), {}, grew=lambda: None, warn=lambda *_: None)


@pytest.mark.parametrize(
    ("charge", "current", "suspects"),
    [
        ((80, 78, 76), 5, 2),
        ((80, 78, 76), -5, 0),
        ((80, 82), -5, 1),
        ((80, 82), 5, 0),
        ((80, 79.9, 79.8), 5, 0),
        ((80, 70), 0, 0),
    ],
)
def test_a_charge_that_moves_against_its_current_is_suspect(charge, current, suspects):
    """Where the charge falls while the current says charging, or the other way round, that is counted."""
    one = robot()
    for level in charge:
        one.readings.apply({"battery_level": level, "battery_current": current}, 1.0, live=True)
        one.check_sign()
    assert one.own("telemetry_suspect_total", "current_sign").value == suspects


def test_the_rate_is_the_robots_own():
    """Frames of a second are counted together, whichever connection they come by."""
    one = robot()
    one.heard(10.0, 3, 100)
    assert not one.exceeds(3)
    one.heard(10.9, 1, 100)
    assert one.exceeds(3)
    one.heard(11.0, 1, 100)
    assert not one.exceeds(3)
    assert (one.frames, one.bytes, one.seen) == (5, 300, 11.0)


def test_lost_messages_are_told_once():
    """What a window lost is what came since the one before."""
    one = robot()
    assert one.lost_since() == 0
    one.count("messages_lost_total", "data", by=3)
    assert (one.lost_since(), one.lost_since()) == (3, 0)


def values(fleet, now, name):
    return {key: value for family in fleet.frame(now) if family.name == name for key, value in family.samples.items()}


def test_what_is_old_leaves_the_exposition_and_comes_again():
    """Values older than ``stale_after`` are not shown, robots stay known as down, and new values are shown again."""
    fleet = Fleet(RobotsConfig(), {}, lambda *_: None)
    one = fleet.robot("r1")
    one.readings.apply({"cpu_usage": 50, "x": 1}, 100.0, live=True)
    one.fresh = 100.0
    assert values(fleet, 130.0, "robot_cpu_utilization_ratio") == {("r1",): 0.5}
    assert values(fleet, 130.0, "robot_up") == {("r1",): 1.0}
    assert values(fleet, 131.0, "robot_cpu_utilization_ratio") == {}
    assert values(fleet, 131.0, "robot_up") == {("r1",): 0.0}
    one.readings.apply({"x": 2}, 140.0, live=True)
    assert values(fleet, 141.0, "robot_cpu_utilization_ratio") == {}
    assert values(fleet, 141.0, "robot_custom_value") == {("r1", "x"): 2.0}


def test_silent_robots_are_forgotten_but_not_expected_ones_nor_their_numbers():
    """After ``forget_after`` a robot's series are gone; those of expected robots and the streams' numbers stay."""
    state = {"robot:r1": {"streams": {"s": 7}, "at": 1.0}}
    fleet = Fleet(RobotsConfig(expected_robots=["must"]), state, lambda *_: None)
    one = fleet.robot("r1")
    one.seen = 100.0
    assert fleet.forget_silent(100.0 + 86400) == []
    assert fleet.forget_silent(101.0 + 86400) == ["r1"]
    assert values(fleet, 101.0 + 86400, "robot_up") == {("must",): 0.0}
    assert fleet.robot("r1").streams.safe("s") == 7


def test_numbers_of_robots_that_never_come_again_go():
    """What is kept of a robot goes when it is old and the robot is not known; so does what nobody understands."""
    state = {
        "epoch": "e",
        "robot:old": {"streams": {"s": 7}, "at": 1.0},
        "robot:here": {"streams": {"s": 7}, "at": 1.0},
        "robot:new": {"streams": {"s": 7}, "at": 10.0},
        "robot:odd": 5,
    }
    fleet = Fleet(RobotsConfig(), state, lambda *_: None)
    assert fleet.robot("here").streams.safe("s") == 7
    assert fleet.outdated(5.0, 10) == ["robot:old", "robot:odd"]
    assert fleet.outdated(5.0, 1) == ["robot:old"]


def test_there_are_at_most_as_many_robots_as_may_be():
    """A robot beyond ``max_robots`` is refused, a known one is not."""
    fleet = Fleet(RobotsConfig(max_robots=1), {}, lambda *_: None)
    fleet.robot("r1")
    with pytest.raises(TooManyRobots):
        fleet.robot("r2")
    assert fleet.has_room("r1")
    assert not fleet.has_room("r2")
    assert fleet.forget("r1")
    assert not fleet.forget("r1")
    fleet.robot("r2")


def test_signal_state_tells_live_stale_and_never_seen_apart():
    """By configuration each robot's metric is 2, 1 or 0."""
    fleet = Fleet(
        RobotsConfig(signal_state=["battery_charge_ratio", "robot_cpu_utilization_ratio"]), {}, lambda *_: None
    )
    fleet.robot("r1").readings.apply({"battery_level": 1}, 100.0, live=True)
    for now, battery in ((110.0, 2.0), (200.0, 1.0)):
        (states,) = fleet.others(now)
        assert states.samples == {
            ("r1", "robot_battery_charge_ratio"): battery,
            ("r1", "robot_cpu_utilization_ratio"): 0.0,
        }


def test_overrides_hold_for_the_robots_of_their_pattern():
    """What one make of robots means by a field is not what the others do."""
    fleet = Fleet(RobotsConfig(overrides=[Override("Battery_Level", robots="old-*", scale=1.0)]), {}, lambda *_: None)
    for name, wanted in (("old-1", 0.5), ("new-1", 0.005)):
        one = fleet.robot(name)
        one.readings.apply({"battery_level": 0.5}, 1.0, live=True)
        assert [series.value for series in one.readings.series.values()] == [pytest.approx(wanted)]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"signal_state": ["love"]}, "no metric 'love'"),
        ({"overrides": [Override("x", metric="love")]}, "no metric 'love'"),
        ({"overrides": [Override("batteries.*.level", scale=1)]}, "stands for nothing"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, error):
    """A metric that there is not, and a pattern where a field is wanted, are errors of the configuration."""
    with pytest.raises(ValueError, match=error.replace("*", r"\*")):
        RobotsConfig(**options)


def test_one_that_is_forgotten_goes_at_once():
    """A robot that is forgotten does not wait for the garbage collector, which does not look at what is old."""

    def robots():
        return sum(type(each) is Robot for each in gc.get_objects())

    before = robots()
    fleet = Fleet(RobotsConfig(), {}, lambda *_: None)
    gc.disable()
    try:
        fleet.robot("r").readings.apply({"battery_level": 80, "what": 1.0, "text": "x"}, 1.0, live=True)
        assert robots() == before + 1
        assert fleet.forget("r")
        assert robots() == before
    finally:
        gc.enable()
