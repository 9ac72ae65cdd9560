"""What follows from other values, where a robot does not tell it itself."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentd.plugin import UnknownCollectorError
from agentd_plugins.collectors.robots.derived import Total
from agentd_plugins.collectors.robots.energy import energy
from agentd_plugins.collectors.robots.fleet import Fleet
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import meaning
from agentd_plugins.collectors.robots.readings import Readings
from agentd_plugins.collectors.robots.series import Series
from agentd_plugins.collectors.robots.settings import RobotsConfig
from agentd_plugins.collectors.robots.signals import SIGNALS

LONGEST = 30.0
POWER, ENERGY = ("robot_power_watts", ("battery",)), ("robot_energy_joules_total", ("battery",))
WAY, HEALTH = ("robot_odometer_meters_total", ()), ("robot_battery_health_ratio", (None,))


def readings(budget=200):
    notes = []
    return Readings("r1", budget, Lexicon(meaning), lambda *note: notes.append(note), lambda: None, longest=LONGEST)


def shown(one, key):
    """Return the value of a series that is known."""
    series = one.series.get(key)
    return series.value if series is not None and series.stamp else None


def told(*frames, live=True):
    """Return the readings of a robot that told frames at moments."""
    one = readings()
    for stamp, metrics in frames:
        one.apply(metrics, stamp, live=live)
    return one


def draws(amperes):
    return {"battery_voltage": 20, "battery_current": -amperes}


def test_power_is_what_the_battery_gives():
    """Discharging is drawn power, charging is below 0, and idling is 0 without a sign."""
    assert shown(told((1, draws(3))), POWER) == 60.0
    assert shown(told((1, draws(-3))), POWER) == -60.0
    idle = shown(told((1, draws(0))), POWER)
    assert (idle, math.copysign(1, idle)) == (0.0, 1.0)


def test_batteries_with_names_have_rails_of_their_own():
    """Each battery is a rail; one without a current has none."""
    frame = {"batteries.a.voltage": 10, "batteries.a.current": -1, "batteries.b.voltage": 9}
    one = told((1, frame), (3, frame))
    assert shown(one, ("robot_power_watts", ("battery_a",))) == 10.0
    assert shown(one, ("robot_energy_joules_total", ("battery_a",))) == 20.0
    assert len(one.series) == 5


def test_energy_is_power_over_time():
    """It begins at 0, grows by the mean of two moments, and what charges the battery takes nothing away."""
    frames = [(10, draws(1)), (12, draws(3)), (14, draws(-9)), (16, draws(-9)), (18, draws(2))]
    joules = [shown(told(*frames[: n + 1]), ENERGY) for n in range(len(frames))]
    assert joules == [0.0, 80.0, 140.0, 140.0, 180.0]


def test_fields_that_come_one_by_one():
    """Voltage and current need not be in one frame, but near to each other."""
    one = told((1, {"battery_voltage": 20}), (2, {"battery_current": -1}), (3, {"battery_current": -3}))
    assert (shown(one, POWER), shown(one, ENERGY)) == (60.0, 40.0)
    assert one.series[POWER].stamp == 1, "as old as the oldest of what it was made of"
    one.apply({"battery_current": -3}, 32.0, live=True)
    assert (shown(one, POWER), shown(one, ENERGY)) == (None, None)
    one.apply({"battery_voltage": 20}, 33.0, live=True)
    assert (shown(one, POWER), shown(one, ENERGY)) == (60.0, 40.0), "nobody knows what was between"


@pytest.mark.parametrize("unknown", [None, math.nan, 1e308])
def test_what_is_not_known_is_not_derived(unknown):
    """A voltage that is not known, or too large to count with, takes away what was made of it, until it is back."""
    one = told((1, draws(1)), (2, draws(1)), (3, {"battery_voltage": unknown, "battery_current": -100}))
    assert (shown(one, POWER), shown(one, ENERGY)) == (None, None)
    one.apply(draws(1), 4.0, live=True)
    one.apply(draws(1), 5.0, live=True)
    assert (shown(one, POWER), shown(one, ENERGY)) == (20.0, 40.0)


def test_a_gap_adds_nothing():
    """Over a time longer than ``stale_after`` nobody knows what was drawn."""
    assert shown(told((1, draws(1)), (31, draws(1))), ENERGY) == 600.0
    assert shown(told((1, draws(1)), (31.5, draws(1)), (32, draws(1))), ENERGY) == 10.0


def test_a_time_that_was_counted_is_not_counted_again():
    """Also not where a frame from before it said "not known"."""
    frames = [(1, draws(1)), (2, draws(1)), (1, {"battery_voltage": None}), (1, draws(1)), (2, draws(1))]
    assert shown(told(*frames, live=False), ENERGY) == 20.0


def test_late_frames_add_nothing():
    """What is told late, live or numbered, neither adds again what was counted nor goes back."""
    one = told((10, draws(1)), (20, draws(1)))
    assert one.apply(draws(9), 15.0, live=False)
    assert shown(one, ENERGY) == 200.0
    numbered = told((10, draws(1)), (20, draws(1)), (12, draws(9)), (18, draws(9)), (21, draws(1)), live=False)
    assert shown(numbered, ENERGY) == 220.0


def test_the_way_is_speed_over_time():
    """Backwards counts as well, and all axes together."""
    assert shown(told((1, {"speed": 1}), (3, {"speed": -2})), WAY) == 3.0
    twist = {"twist": {"linear": {"x": 3, "y": 4, "z": 0}}}
    assert shown(told((1, twist), (2, twist)), WAY) == 5.0


def test_an_axis_that_comes_later_goes_on():
    """The total goes on where it was when a robot begins to tell of another axis."""
    one = told((1, {"velocity.vx": 3}), (2, {"velocity.vx": 3}), (3, {"velocity.vx": 3, "velocity.vy": 4}))
    assert shown(one, WAY) == 7.0


@pytest.mark.parametrize(
    ("metrics", "ratio"),
    [
        ({"BatteryState": {"capacity": 9.0, "design_capacity": 10.0}}, 0.9),
        ({"battery_state": {"design_capacity": 10.0, "capacity": 5.0}}, 0.5),
        ({"SMART_BATTERY_INFO": {"capacity_full": 4000, "capacity_full_specification": 5000}}, 0.8),
        ({"SMART_BATTERY_INFO": {"capacity_full": -1, "capacity_full_specification": 5000}}, None),
        ({"BATTERY_INFO": {"full_charge_capacity": 4, "design_capacity": 0}}, None),
        ({"BatteryState": {"capacity": math.nan, "design_capacity": 10.0}}, None),
        ({"BatteryState": {"capacity": 9.0, "design_capacity": 10.0}, "battery_health": 70}, 0.7),
    ],
)
def test_health(metrics, ratio):
    """What a battery holds, of what it should; not known where either is not, and the robot's own where it tells it."""
    assert shown(told((1, metrics)), HEALTH) == (None if ratio is None else pytest.approx(ratio))


def test_a_robots_own_value_goes_before():
    """From the moment that a robot tells it; a value that means "not known" tells nothing."""
    rails = told((1, {**draws(1), "power": {"arm": 5}}), (2, {**draws(1), "power": {"arm": 5}}))
    assert (shown(rails, POWER), shown(rails, ENERGY)) == (None, 20.0), "the sum of its rails must not count it twice"
    one = told((1, draws(1)), (2, draws(1)))
    one.apply({**draws(1), "power": 33}, 3.0, live=True)
    assert (shown(one, POWER), shown(one, ("robot_power_watts", (None,)))) == (None, 33.0)
    assert shown(one, ENERGY) == 40.0, "of energy it has told nothing"
    one.apply({**draws(1), "BATTERY_STATUS": {"energy_consumed": -1}}, 4.0, live=True)
    assert shown(one, ENERGY) == 60.0
    one.apply({**draws(1), "BATTERY_STATUS": {"energy_consumed": 7}}, 5.0, live=True)
    assert (shown(one, ENERGY), shown(one, ("robot_energy_joules_total", (None,)))) == (None, 700.0)
    way = told((1, {"speed": 1}), (2, {"speed": 1}), (3, {"speed": 1, "odometer": 500}), (4, {"speed": 1}))
    assert shown(way, WAY) == 500.0


def test_an_own_value_that_is_known_only_later_goes_before_as_well():
    """Also where its field has come from the beginning, as "not known"."""
    frame = {"battery_voltage": 20, "battery_current": -1, "BATTERY_STATUS.energy_consumed": -1}
    one = told((1, frame), (2, frame))
    assert shown(one, ENERGY) == 20.0
    one.apply({**frame, "BATTERY_STATUS.energy_consumed": 7}, 3.0, live=True)
    assert (shown(one, ENERGY), shown(one, ("robot_energy_joules_total", (None,)))) == (None, 700.0)


def test_what_is_derived_has_its_place_in_the_budget():
    """A robot that has no room left tells what it did before, and nothing follows from it."""
    one = readings(budget=2)
    one.apply(draws(1), 1.0, live=True)
    assert list(one.series) == [("robot_battery_voltage_volts", (None,)), ("robot_battery_current_amperes", (None,))]


def test_totals_survive_when_memory_is_short():
    """What the agent has counted is kept when values are dropped, and goes on when the robot tells them again."""
    one = told((1, draws(1)), (2, draws(1)))
    one.drop()
    assert list(one.series) == [ENERGY]
    one.apply(draws(1), 3.0, live=True)
    one.apply(draws(1), 4.0, live=True)
    assert shown(one, ENERGY) == 40.0


amperes = st.one_of(st.floats(-100, 100), st.sampled_from([None, math.nan, math.inf, 1e308, -1e308]))
moments = st.one_of(st.floats(1, 200), st.integers(1, 50).map(float))


@given(st.lists(st.tuples(moments, amperes, st.booleans()), max_size=20))
@example([(1.0, 0.0, True), (3.0, None, True), (2.0, 0.0, False), (1.0, 0.0, True), (2.0, -1.0, False)])
@settings(max_examples=150, deadline=None)
def test_energy_never_decreases(told_then):
    """Whatever comes, in whatever order, live or late: no step takes anything away, all is finite, none adds more than
    ``stale_after`` at the highest power, and all together no more than the time between the oldest frame and the
    newest: no time is counted twice. (A frame without a current tells a voltage: its moment counts.)
    """
    one, joules, most = readings(), 0.0, 0.0
    oldest, newest = math.inf, -math.inf
    for stamp, current, live in told_then:
        one.apply({"battery_voltage": 2, "battery_current": current, "speed": current}, stamp, live=live)
        series = one.series.get(ENERGY)
        after = series.value if series is not None else 0.0
        for each in one.series.values():
            assert math.isfinite(each.value)
        oldest, newest = min(oldest, stamp), max(newest, stamp)
        if current is not None and math.isfinite(2 * current):
            most = max(most, -2 * current)
        assert after >= joules
        assert after - joules <= most * LONGEST * (1 + 1e-9)
        assert after <= most * (newest - oldest) * (1 + 1e-9)
        joules = after


steps = st.lists(st.tuples(st.floats(0.1, 60), st.floats(0, 100)), min_size=1, max_size=20)


@given(steps)
@settings(max_examples=100, deadline=None)
def test_a_total_is_the_sum_of_trapezoids(taken):
    """Of moments in order each pair that is near enough adds the mean of both rates times the time between them."""
    total = Total(Series(SIGNALS["odometer_meters_total"], ("r1",), ""))
    at, expected, before = 100.0, 0.0, None
    for passed, rate in taken:
        last, at = at, at + passed
        if before is not None and at - last <= LONGEST:
            expected += (before + rate) / 2 * (at - last)
        total.add(at, rate, at, LONGEST)
        before = rate
    assert total.series.value == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=10))
@settings(max_examples=100, deadline=None)
def test_an_own_odometer_is_shown_as_it_is(said):
    """Whatever speeds come with it, a robot that has told its odometer has the value that it told last."""
    one, last = readings(), None
    for stamp, (meters, tells) in enumerate(said, 1):
        one.apply({"speed": 5.0, **({"odometer": meters} if tells else {})}, float(stamp), live=True)
        last = meters if tells else last
        assert last is None or shown(one, WAY) == last


async def test_energy_has_what_is_derived():
    """Power and energy of a battery stand beside what robots tell themselves, under their rail."""
    fleet = Fleet(RobotsConfig(), {}, lambda *_: None)
    for stamp in (1.0, 2.0):
        fleet.robot("r1").readings.apply(draws(1), stamp, live=True)

    async def gather(only):
        raise UnknownCollectorError(*only)

    (robot,) = (await energy(fleet, gather, 3.0, 99.0)).robots
    assert (robot.power_watts, robot.energy_joules) == ({"battery": 20.0}, {"battery": 20.0})


async def test_derived_values_end_to_end(place):
    """What a robot's battery gives, and how far it has gone, is in the exposition and in what others ask;
    it leaves with the values that it was made of.
    """
    async with place(stale_after="10m", plain_reply="ack") as there, there.plain() as robot:
        for _ in range(3):
            there.clock.ahead += 300
            await robot.socket.send_json({"battery_voltage": 24, "battery_current": -5, "speed": 2})
            await robot.hear()
        assert there.value("robot_power_watts", robot="r1", rail="battery") == 120
        joules = there.value("robot_energy_joules_total", robot="r1", rail="battery")
        assert 72_000 <= joules < 72_000 + 120 * 120, "of six hundred seconds, and what the test took"
        assert 1200 <= there.value("robot_odometer_meters_total", robot="r1") < 1200 + 240
        _, found = await there.ask("/robots/r1/metrics")
        assert {"power", "power_watts", "odometer"}.isdisjoint(found), "the robot has not said it"
        assert [(each["value"], each["stale"]) for each in found["metrics"] if each["name"] == POWER[0]] == [
            (120, False)
        ]
        there.clock.ahead += 601
        await robot.socket.send_json({"cpu_usage": 77})
        await robot.hear()
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.77
        names = {family.name for family in there.families()}
        assert names.isdisjoint({POWER[0], ENERGY[0], WAY[0]})
