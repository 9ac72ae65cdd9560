"""From what robots say to series: the vocabulary, its scales, sentinels and limits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import TERMS, Override, meaning, overridden
from agentd_plugins.collectors.robots.readings import DEEPEST, STATES, Readings, flattened
from agentd_plugins.collectors.robots.signals import SIGNALS
from agentd_plugins.collectors.robots.vocabulary import SAYINGS


class Notes(list):
    """Remembers which fields were left out or suspect, and why."""

    def __call__(self, rule, field):
        self.append((rule, field))

    def of(self, rule):
        return [field for noted, field in self if noted == rule]


def readings(budget=200, means=meaning):
    notes = Notes()
    return Readings("r1", budget, Lexicon(means), notes, lambda: None), notes


def shown(one):
    """Return the values that are known, by metric and labels."""
    return {key: series.value for key, series in one.series.items() if series.stamp}


def said(**metrics):
    one, _ = readings()
    one.apply(metrics, 1.0, live=True)
    return {(name.removeprefix("robot_"), *labels): round(value, 9) for (name, labels), value in shown(one).items()}


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({"battery_level": 80}, {("battery_charge_ratio", None): 0.8}),
        ({"batteryState": {"batteryCharge": 55}}, {("battery_charge_ratio", None): 0.55}),
        ({"powerSupply": {"stateOfCharge": 55}}, {("battery_charge_ratio", None): 0.55}),
        ({"SYS_STATUS": {"battery_remaining": -1, "load": 500}}, {("cpu_utilization_ratio",): 0.5}),
        ({"SYS_STATUS": {"voltage_battery": 65535}}, {}),
        ({"SYS_STATUS": {"voltage_battery": 24100}}, {("battery_voltage_volts", None): 24.1}),
        ({"BATTERY_STATUS": {"current_battery": 500}}, {("battery_current_amperes", None): -5.0}),
        ({"BATTERY_STATUS": {"temperature": 32767, "time_remaining": 0, "energy_consumed": 2}},
         {("energy_joules_total", None): 200.0}),
        ({"network_latency_ms": 12.5}, {("reported_network_latency_seconds",): 0.0125}),
        ({"network": {"latency_ms": 12, "eth0": {"rx_bytes": 7}}},
         {("reported_network_latency_seconds",): 0.012, ("network_receive_bytes_total", "eth0"): 7.0}),
        ({"agvPosition": {"x": 1, "y": 2, "theta": 3, "positionInitialized": True}},
         {("position_meters", "x", None): 1.0, ("position_meters", "y", None): 2.0, ("heading_radians", None): 3.0,
          ("localized",): 1.0}),
        ({"joints": {"Elbow.L": {"position": 1.5}}}, {("custom_value", "joints.Elbow.L.position"): 1.5}),
        ({"joints": {"Elbow_L": {"position": 1.5}}}, {("joint_position_radians", "Elbow_L"): 1.5}),
        (
            {"eStop": "AUTOACK"},
            {("estop_active", "AUTOACK"): 1.0, ("estop_active", "MANUAL"): 0.0, ("estop_active", "REMOTE"): 0.0},
        ),
        ({"operatingMode": "AUTOMATIC"}, {("operating_mode", "AUTOMATIC"): 1.0}),
        ({"energy": {"total": 5, "pair": -1, "joules": 9}},
         {("energy_joules_total", None): 9.0, ("agentd_energy_term_value", "total"): 5.0,
          ("agentd_energy_term_value", "pair"): -1.0}),
        ({"BatteryState": {"power_supply_status": 1}}, {("battery_charging", None): 1.0}),
        ({"BatteryState": {"power_supply_status": 4}}, {("battery_charging", None): 0.0}),
        ({"BatteryState": {"power_supply_status": 0}}, {}),
        ({"BATTERY_STATUS": {"charge_state": 7}}, {("battery_charging", None): 1.0}),
        ({"BATTERY_STATUS": {"charge_state": 3}}, {("battery_charging", None): 0.0}),
        ({"BATTERY_INFO": {"cycle_count": 65535, "state_of_health": 93}}, {("battery_health_ratio", None): 0.93}),
        ({"MISSION_CURRENT": {"mission_state": 3}}, {("mission_active",): 1.0}),
        ({"MISSION_CURRENT": {"mission_state": 5}}, {("mission_active",): 0.0}),
        ({"ONBOARD_COMPUTER_STATUS": {"ram_usage": 2, "temperature_board": 127}},
         {("memory_used_bytes",): 2.0 * 1024**2}),
        ({"LOCAL_POSITION_NED": {"x": 3}}, {("position_meters", "x", "local_ned"): 3.0}),
        ({"network": {"wlan0": {"rssi_dbm": -61}}}, {("link_rssi_dbm", "wlan0"): -61.0}),
        ({"topics": {"/scan": {"age_ms": 40, "latency_ms": 12, "messages": 9}}},
         {("topic_age_seconds", "/scan"): 0.04, ("topic_latency_seconds", "/scan"): 0.012,
          ("topic_messages_total", "/scan"): 9.0}),
        ({"topics": {"/scan": {"latency": 0.25}}}, {("topic_latency_seconds", "/scan"): 0.25}),
        ({"clock": {"synchronized": True}}, {("clock_synchronized",): 1.0}),
        ({"NTPSynchronized": False}, {("clock_synchronized",): 0.0}),
        ({"diagnostics": [{"name": "/arm/motor", "hardware_id": "m-7", "level": 2}, {"name": "imu", "level": "OK"}]},
         {("diagnostic_level", "/arm/motor", "m-7"): 2.0, ("diagnostic_level", "imu", None): 0.0}),
        ({"foo_total": 1, "up": 2}, {("custom_value", "foo_total"): 1.0, ("custom_value", "up"): 2.0}),
        ({"cpu_usage": None, "name": "Anna", "list": [1]}, {}),
        ({"CPU_Usage": 50}, {("cpu_utilization_ratio",): 0.5}),
        ({"robot_power_watts": 7, "memory_used_bytes": 8}, {("power_watts", None): 7.0, ("memory_used_bytes",): 8.0}),
    ],
)  # fmt: skip
def test_what_robots_say_and_what_it_is_called_here(metrics, wanted):
    """Fields of the field's own standards become the canonical metrics, in their units; sentinels become nothing."""
    assert said(**metrics) == wanted


def test_every_saying_has_its_metric_and_as_many_labels():
    """The table names metrics that there are, and gives each open part of a field one label."""
    for name, labels, _scale, _meant, fields in SAYINGS:
        assert name in SIGNALS
        for field in fields.split():
            assert field.count("*") == list(labels).count("*"), field
            assert len(labels) <= len(SIGNALS[name].metric.labels) - 1
    for term in TERMS.values():
        assert len(term.labels) == len(term.signal.metric.labels) - 1


@pytest.mark.parametrize("value", [-5, 5000, 106])
def test_a_value_against_its_scale_is_suspect_and_shown_as_it_was_said(value):
    """What contradicts the declared scale is counted, and neither repaired nor hidden."""
    one, notes = readings()
    one.apply({"cpu_usage": value}, 1.0, live=True)
    assert notes == [("range", "cpu_usage")]
    assert shown(one) == {("robot_cpu_utilization_ratio", ()): value * 0.01}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_what_is_not_finite_is_not_known(value):
    """NaN, infinities and integers beyond a double are never shown, and take away what was known."""
    one, notes = readings()
    one.apply({"cpu_usage": 1, "x": 1}, 1.0, live=True)
    one.apply({"cpu_usage": value, "x": value}, 2.0, live=True)
    assert notes.of("range") == ["cpu_usage", "x"]
    assert shown(one) == {}


def test_overrides_of_scale_sign_sentinel_and_metric():
    """A source may mean another scale or sign, values for "not known", and another metric, also of its own fields."""
    for override, raw, wanted in (
        (Override("cpu_usage", scale=1.0), 0.5, ("robot_cpu_utilization_ratio", 0.5)),
        (Override("battery_current", scale=-1.0), 3, ("robot_battery_current_amperes", -3.0)),
        (Override("soc", metric="battery_charge_ratio", scale=0.001), 800, ("robot_battery_charge_ratio", 0.8)),
        (Override("depth", metric="custom_value", scale=0.1), 20, ("robot_custom_value", 2.0)),
        (Override("battery_voltage", absent=[65.535]), 65.535, None),
    ):
        one, _ = readings(means=lambda field, o=override: overridden(meaning(field), o))
        one.apply({override.field: raw}, 1.0, live=True)
        found = [(name, value) for (name, _), value in shown(one).items()]
        assert found == ([] if wanted is None else [(wanted[0], pytest.approx(wanted[1]))])
    with pytest.raises(ValueError, match="there is no metric 'love'"):
        overridden(None, Override("x", metric="love"))


def test_a_robot_has_its_budget_and_no_more():
    """Ever new fields, and ever new spellings of one field, take a limited number of series."""
    one, notes = readings(budget=10)
    for n in range(100):
        one.apply({f"f{n}": n}, 1.0, live=True)
    assert len(one.series) == 10
    assert len(notes.of("budget")) == 90
    one, notes = readings(budget=10)
    spelled = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate("cpu_usage")) for n in range(200)]
    for field in spelled:
        one.apply({field: 1}, 1.0, live=True)
        one.apply({field.replace("cpu_usage", "state"): "x"}, 1.0, live=True)
    assert len(one.series) == 2
    for n in range(200):
        one.apply({"".join(c.upper() if n >> i & 1 else c for i, c in enumerate("operatingmode")): "A"}, 1.0, live=True)
    assert len(one._texts) == 2


def test_one_state_is_1_and_the_others_0():
    """Of texts that exclude each other the last one is 1; too many of them are left out and counted."""
    one, notes = readings()
    one.apply({"state": "idle"}, 1.0, live=True)
    one.apply({"status": "driving"}, 2.0, live=True)
    assert shown(one) == {("robot_state", ("idle",)): 0.0, ("robot_state", ("driving",)): 1.0}
    for n in range(STATES):
        one.apply({"state": f"s{n}"}, 3.0, live=True)
    assert len(notes.of("states")) == 2
    one.apply({"state": None}, 4.0, live=True)
    assert shown(one) == {}


def test_an_emergency_stop_ends():
    """A stop that is no more is 0, and not left at 1."""
    one, _ = readings()
    one.apply({"estop": "MANUAL"}, 1.0, live=True)
    one.apply({"estop": "none"}, 2.0, live=True)
    assert shown(one)["robot_estop_active", ("MANUAL",)] == 0.0


def test_the_same_shape_again_and_a_changed_one():
    """A frame with the fields of the one before goes a shorter way to the same values; changes of it are seen."""
    one, notes = readings()
    for n, frame in enumerate(
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"b": 5, "a": 6}, {"a": 7}, {"a": None, "b": 8}, {"a": 9, "b": "x"}], 1
    ):
        one.apply(frame, float(n), live=True)
    assert [series.value for series in one.series.values()] == [9.0, 8.0]
    assert notes == [("text", "b")]


def test_what_has_no_number_is_ordered_by_its_time():
    """Of frames that were posted the one that was measured last counts, whichever came last."""
    one, _ = readings()
    assert not one.apply({"a": 2}, 20.0, live=False, numbered=False)
    assert one.apply({"a": 1}, 10.0, live=False, numbered=False)
    assert not one.apply({"a": 3}, 20.0, live=False, numbered=False)
    assert shown(one) == {("robot_custom_value", ("a",)): 3.0}


frames = st.dictionaries(
    st.sampled_from(["a", "b", "cpu_usage", "state"]),
    st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=3)),
    max_size=4,
)


@given(st.lists(st.tuples(frames, st.floats(1, 100), st.booleans()), max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_late_frame_never_replaces_what_a_live_one_said(told):
    """Whatever the order, a series that a live frame has told is never older than that; and all values are finite."""
    one, _ = readings()
    live = {}
    clock = 0.0
    for metrics, measured, is_live in told:
        clock += 10.0 * is_live
        stamp = clock if is_live else measured
        one.apply(metrics, stamp, live=is_live)
        if is_live:
            live |= {key: stamp for key, series in one.series.items() if series.live == stamp}
        for key, series in one.series.items():
            assert math.isfinite(series.value)
            assert not series.stamp or series.stamp >= live.get(key, 0.0)


def test_deeper_than_eight_levels_is_one_value():
    """Nested objects become names with dots, down to eight levels; what lies deeper comes as it is."""
    nested = {"v": 1}
    for _ in range(DEEPEST):
        nested = {"n": nested}
    assert list(flattened({"a": {"b": 1, "c": {"d": 2}}})) == [("a.b", 1), ("a.c.d", 2)]
    assert list(flattened(nested)) == [(".".join("n" * DEEPEST), {"v": 1})]
