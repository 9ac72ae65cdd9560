"""Lists that robots send whole each time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.robots.fleet import Fleet
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.lists import FIELDS, MOST, Lists
from agentd_plugins.collectors.robots.meaning import meaning
from agentd_plugins.collectors.robots.readings import Readings
from agentd_plugins.collectors.robots.settings import RobotsConfig
from agentd_plugins.collectors.robots.signals import SIGNALS


def told(lists, field, entries):
    """Return what a list says, by metric and labels."""
    return {(name, labels): (value, adds) for name, labels, value, adds in lists.take(field, entries)}


def error(kind, level="WARNING"):
    """Return an error as VDA 5050 has it."""
    return {"errorType": kind, "errorLevel": level, "errorDescription": "anything"}


def test_an_error_is_counted_when_it_appears():
    """One that stays is counted once, one that goes and comes again twice; how many there are now is told by level."""
    lists = Lists()
    first = told(lists, "errors", [error("battery"), error("path", "FATAL")])
    assert first["errors_active", ("warning",)] == (1.0, False)
    assert first["errors_active", ("fatal",)] == (1.0, False)
    assert first["errors_total", ("battery", "warning")] == (1.0, True)
    second = told(lists, "errors", [error("battery")])
    assert second == {("errors_active", ("warning",)): (1.0, False), ("errors_active", ("fatal",)): (0.0, False)}
    assert told(lists, "errors", [])["errors_active", ("warning",)] == (0.0, False)
    assert told(lists, "errors", [error("battery")])["errors_total", ("battery", "warning")] == (1.0, True)


def test_an_action_is_counted_when_it_ends():
    """While it runs, and after its end, nothing is counted."""
    lists = Lists()
    action = {"actionId": "a", "actionType": "pick", "actionStatus": "RUNNING"}
    assert told(lists, "actionstates", [action]) == {}
    action["actionStatus"] = "FAILED"
    assert told(lists, "actionstates", [action]) == {("actions_total", ("pick", "failed")): (1.0, True)}
    assert told(lists, "actionstates", [action]) == {}


def test_loads_and_nodes():
    """Whether there are any is what is told."""
    lists = Lists()
    assert told(lists, "loads", [{}]) == {("load_present", ()): (1.0, False)}
    assert told(lists, "nodestates", []) == {("mission_active", ()): (0.0, False)}


def test_cells():
    """Voltages of cells are numbered; what is no voltage is left out."""
    found = told(Lists(), "cell_voltages", [3.7, None, float("nan"), 3])
    assert found == {
        ("battery_cell_voltage_volts", (None, "0")): (3.7, False),
        ("battery_cell_voltage_volts", (None, "3")): (3.0, False),
    }


def test_an_emergency_stop_that_is_not_active_is_told():
    """Where a robot says that none is active, each kind is 0; the one that is active is 1."""
    readings = Readings("r", 200, Lexicon(meaning), lambda *_: None, lambda: None)
    readings.apply({"safetyState": {"eStop": "NONE"}}, 5.0, live=True)
    stops = {labels: one.value for (name, labels), one in readings.series.items() if name == "robot_estop_active"}
    assert stops == {("AUTOACK",): 0.0, ("MANUAL",): 0.0, ("REMOTE",): 0.0}
    readings.apply({"safetyState": {"eStop": "MANUAL"}}, 6.0, live=True)
    assert readings.series["robot_estop_active", ("MANUAL",)].value == 1.0
    assert readings.series["robot_estop_active", ("REMOTE",)].value == 0.0


def test_diagnostics():
    """Each part of a DiagnosticArray is told at its level, by number or name; levels that there are not, and parts that
    nobody wants, are left out. The array may be sent as it is.
    """
    array = [
        {"name": "/arm", "hardware_id": "arm-1", "level": 2, "message": "hot", "values": []},
        {"name": "/imu", "hardware_id": "", "level": 0},
        {"name": "/gps", "level": "WARN"},
        {"name": "/lidar", "level": "Stale"},
        {"name": "/x", "level": 4},
        {"name": "/y", "level": True},
        {"name": "/z"},
        "rubbish",
    ]
    found = told(Lists(), "diagnosticarray.status", array)
    assert found == {
        ("diagnostic_level", ("/arm", "arm-1")): (2.0, False),
        ("diagnostic_level", ("/imu", None)): (0.0, False),
        ("diagnostic_level", ("/gps", None)): (1.0, False),
        ("diagnostic_level", ("/lidar", None)): (3.0, False),
    }
    assert [labels for _, labels in told(Lists(lambda name: name == "/gps"), "status", array)] == [("/gps", None)]
    robot = Fleet(RobotsConfig(diagnostics=["/g*", "/arm"]), {}, lambda *_: None).robot("r")
    robot.readings.apply({"header": {"frame_id": None}, "status": array}, 1.0, live=True)
    assert {labels[0] for _, labels in robot.readings.series} == {"/arm", "/gps"}
    nobody = Fleet(RobotsConfig(diagnostics=[]), {}, lambda *_: None).robot("r")
    nobody.readings.apply({"status": array, "driving": True}, 1.0, live=True)
    assert list(nobody.readings.series) == [("robot_driving", ())]


def test_rows_of_numbers():
    """Millivolts of cells and their sum, motors by their numbers, joints by their names; what is unknown is not."""
    assert told(Lists(), "battery_status.voltages", [4100, 4000, 65535, 65535]) == {
        ("battery_cell_voltage_volts", (None, "0")): (4.1, False),
        ("battery_cell_voltage_volts", (None, "1")): (4.0, False),
        ("battery_voltage_volts", (None,)): (8.1, False),
    }
    assert told(Lists(), "battery_status.voltages", [65535] * 10) == {}
    assert told(Lists(), "esc_telemetry_5_to_8.temperature", [40, None]) == {
        ("motor_temperature_celsius", ("5",)): (40.0, False)
    }
    ((motor, (turns, _)),) = told(Lists(), "esc_telemetry_1_to_4.rpm", [600]).items()
    assert motor == ("motor_angular_velocity_radians_per_second", ("1",))
    assert round(turns, 3) == 62.832
    readings = Readings("r", 200, Lexicon(meaning), lambda *_: None, lambda: None)
    readings.apply({"JointState": {"name": ["hip", "knee"], "position": [0.5, -1], "effort": [2]}}, 5.0, live=True)
    assert {(name, *labels): one.value for (name, labels), one in readings.series.items()} == {
        ("robot_joint_position_radians", "hip"): 0.5,
        ("robot_joint_position_radians", "knee"): -1.0,
        ("robot_joint_effort_newton_meters", "hip"): 2.0,
    }


KEYS = ["errorType", "errorLevel", "actionId", "actionType", "actionStatus", "name", "hardware_id", "level"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(0, 4) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.lists(ANYTHING, max_size=5)), max_size=5))
def test_whatever_is_in_a_list(frames):
    """Rubbish in a list harms nobody: each thing that is told is of the vocabulary, with all of its labels."""
    lists = Lists()
    for field, entries in frames:
        for name, labels, value, _ in lists.take(field, entries):
            assert len(labels) == len(SIGNALS[name].metric.labels) - 1
            assert value >= 0 or name.startswith(("battery_", "joint_", "motor_"))
            assert all(label is None or (isinstance(label, str) and label) for label in labels)


def test_little_is_remembered():
    """However many actions and levels a robot makes up, what is remembered of them is bounded."""
    lists = Lists()
    for number in range(10 * MOST):
        list(lists.take("actionstates", [{"actionId": str(number)}]))
        list(lists.take("errors", [error("x", str(number))]))
    assert len(lists._actions) <= MOST
    assert len(lists._levels) <= MOST


def test_lists_become_series_of_a_robot():
    """They stand beside numbers in one frame; counters stay when other values have grown old."""
    readings = Readings("r", 200, Lexicon(meaning), lambda *_: None, lambda: None)
    for _ in range(2):
        readings.apply({"errors": [error("path")], "loads": [], "driving": True}, 5.0, live=True)
    series = readings.series
    assert series["robot_errors_total", ("path", "warning")].value == 1.0
    assert series["robot_errors_total", ("path", "warning")].stamp == float("inf")
    assert series["robot_load_present", ()].value == 0.0
    assert series["robot_driving", ()].value == 1.0
