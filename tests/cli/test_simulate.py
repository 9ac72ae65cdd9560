"""``agentd simulate``: a fleet that there is not."""

import json
import math
import os
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.fleet import HALL, SPEED, SimulatedRobot


@pytest.fixture(scope="module")
def agent(standing):
    """An agent that takes robots."""
    return standing.agent("[collectors]\ndisable = ['hwmon']\n[collectors.robots]\n")


def lives(seed, steps, seconds, number=1):
    """Return all that a robot measures and says in so many steps."""
    robot = SimulatedRobot(number, seed)
    return [robot.step(seconds) for _ in range(steps)]


@settings(max_examples=50, deadline=None)
@given(st.integers(), st.sampled_from((0.1, 0.5, 2.0)), st.integers(1, 100))
def test_what_robots_measure_is_possible(seed, seconds, number):
    """Whatever the seed: robots stay in the hall, keep to their speed, have a battery, and run in no number that JSON
    lacks; the odometer never goes back.
    """
    before = None
    for metrics, _ in lives(seed, 300, seconds, number):
        json.dumps(metrics, allow_nan=False)
        place, battery = metrics["position"], metrics["battery"]
        assert 0 <= place["x"] <= HALL[0]
        assert 0 <= place["y"] <= HALL[1]
        assert 0 < battery["level"] <= 100
        assert 20 < battery["voltage"] < 30
        assert (battery["current"] > 0) == battery["charging"]
        assert 0 <= metrics["velocity"]["vx"] <= SPEED + 0.001
        assert 0 < metrics["cpu_usage"] < 100
        if before is not None:
            went = math.dist(*((each["position"]["x"], each["position"]["y"]) for each in (before, metrics)))
            assert went <= SPEED * seconds + 0.03
            assert metrics["odometer"] >= before["odometer"]
        before = metrics


def test_missions_begin_and_end():
    """In an hour each mission begins once and ends at most once after that, completed or failed, and robots charge."""
    open_, ended, states = set(), [], set()
    for metrics, events in lives(7, 36_000, 0.5):
        states.add(metrics["state"])
        for event in events:
            assert event["payload"]["simulated"] is True
            assert event["payload"]["robot_id"] == event["target"] == "sim-001"
            mission = event["payload"].get("mission_id")
            if event["type"] == "mission.started":
                assert mission not in open_
                open_.add(mission)
            elif event["type"].startswith("mission."):
                open_.remove(mission)
                ended.append((event["type"], mission))
    assert states == {"idle", "driving", "charging", "failed"}
    assert {type_ for type_, _ in ended} == {"mission.completed", "mission.failed"}
    assert len({mission for _, mission in ended}) == len(ended) > 50
    assert len(open_) <= 1


def test_the_same_again():
    """The same seed makes the same robot, another seed and another number another one."""
    assert lives(1, 100, 0.5) == lives(1, 100, 0.5)
    assert lives(1, 100, 0.5) != lives(2, 100, 0.5)
    assert lives(1, 100, 0.5, 1) != lives(1, 100, 0.5, 2)


def test_a_fleet_is_seen(agent, command):
    """After two seconds the agent knows all robots with their metrics and events, all of which say that they are not
    real, and the last line says how many were sent and acknowledged.
    """
    result = command("simulate", "--robots", "20", "--rate", "5", "--url", agent.url, "--duration", "2s", "--seed", "1")
    assert (result.returncode, result.stderr) == (0, f"20 robots send to {agent.url}; Ctrl-C ends it\n")
    line = r"20 robots, [2-9] s: (\d+) frames of live values, (\d+) events, all acknowledged\n"
    frames, events = map(int, re.fullmatch(line, result.stdout).groups())
    assert 20 <= frames <= 300
    answer = agent.get("/metrics")
    for number in range(1, 21):
        assert 0 < answer.value("robot_battery_charge_ratio", robot=f"sim-{number:03d}") <= 1
        assert answer.value("robot_velocity_meters_per_second", robot=f"sim-{number:03d}", axis="x") is not None
        assert answer.value("robot_position_meters", robot=f"sim-{number:03d}", axis="y") is not None
    assert not [name for name, _ in answer.samples if name in ("robot_custom_value", "robot_telemetry_suspect_total")]
    found = json.loads(agent.get("/api/v1/events?source=sim-*&limit=1000").text)["events"]
    assert len(found) == events > 0
    assert all(event["payload"]["simulated"] is True for event in found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c(agent, number):
    """A signal ends it in order: with the last line, and without a traceback."""
    arguments = [sys.executable, "-m", "agentd", "simulate", "--robots", "3", "--url", agent.url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "3 robots send to" in process.stderr.readline()
        agent.until(lambda: agent.get("/metrics").value("robot_connected", robot="sim-003", transport="websocket"))
        process.send_signal(number)
        told, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert re.fullmatch(r"3 robots, \d+ s: .*\n", told)


def test_no_agent(command, free_port):
    """Without an agent it ends with 2 and says where it looked."""
    result = command("simulate", "--url", f"http://127.0.0.1:{free_port}")
    assert result.returncode == 2
    assert re.fullmatch(rf"agentd: ws://127.0.0.1:{free_port}/.* Is the agent running\?\n", result.stderr)


def test_an_agent_without_robots(standing_agent, command):
    """An agent whose robots are not enabled is told from one that is not there, with what to add."""
    result = command("simulate", "--url", standing_agent.url)
    assert result.returncode == 1
    assert result.stderr.startswith("agentd: ws://")
    assert "add [collectors.robots] to its configuration (HTTP 404)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--url", "127.0.0.1:9797"], "--url: expected the agent's address"),
        (["--duration", "5"], "--duration: expected a duration with its unit"),
        (["--robots", "0"], "--robots"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_wrong_arguments(command, arguments, what):
    """Arguments that make no sense are refused by name."""
    result = command("simulate", *arguments)
    assert result.returncode == 2
    assert what in result.stderr


def test_a_token(start_agent, command, tmp_path):
    """Where the agent asks for tokens, one is needed and taken from the option or the environment."""
    secret = "a-secret-of-at-least-sixteen"
    agent = start_agent(
        "[collectors]\ndisable = ['hwmon']\n[collectors.robots]\n"
        f"[web.tokens.fleet]\ntoken = '{secret}'\nscopes = ['robots:write']\nrobots = ['sim-*']\n"
    )
    given = ("simulate", "--robots", "2", "--url", agent.url, "--duration", "1s")
    refused = command(*given, "--token", "wrong-wrong-wrong-wrong")
    assert refused.returncode == 1
    assert "token is missing, wrong or expired" in refused.stderr
    assert command(*given, "--token", secret).returncode == 0
    assert command(*given, environment={"AGENTD_TOKEN": secret, "PATH": os.environ["PATH"]}).returncode == 0
