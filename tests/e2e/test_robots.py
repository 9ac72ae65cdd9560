"""Robots that connect to a running agent."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest

from agentd.testing.agent import AgentProcess
from agentd.testing.robots import RobotTrial

FLEET = int(os.environ.get("AGENTD_FLEET", "2000"))
ROUNDS = 3


async def test_each_acknowledged_event_of_a_robot_is_there_once(tmp_path):
    """Whatever is killed and cut, all events that robots sent are in the journal once, in order, and none is asked for
    again that was acknowledged.
    """
    agent = AgentProcess(tmp_path, "[collectors.robots]\nrate_limit = 100000\n")
    trial = RobotTrial(agent, seed=1)
    result = await trial.run(kills=4)
    assert result.right, result
    assert result.repeats == 0, result
    assert result.acknowledged > 500, result
    assert [stream.backwards for stream in trial.streams] == [[]] * len(trial.streams)
    assert all(not stream.consumed for stream in trial.streams)
    assert sum(stream.connections for stream in trial.streams) > 4 * len(trial.streams), "some were cut as well"


async def test_at_its_end_the_agent_sends_robots_away_with_a_time(tmp_path):
    """On SIGTERM a robot hears when to come again, and its connection is closed with 1012."""
    agent = AgentProcess(tmp_path, "[collectors.robots]\n")
    async with aiohttp.ClientSession() as session:
        await agent.start(session)
        url = f"http://127.0.0.1:{agent.port}/api/telemetry/ws/r1"
        async with session.ws_connect(url, protocols=["agentd.telemetry.v1"]) as robot:
            await robot.send_json({"type": "hello", "stream_id": "s"})
            assert (await robot.receive_json(timeout=60))["type"] == "welcome"
            agent.send(signal.SIGTERM)
            error = await robot.receive_json(timeout=60)
            assert (error["type"], error["reason"], error["fatal"]) == ("error", "restart", True)
            assert 0 <= error["retry_after_ms"] <= 60_000
            assert (await robot.receive(timeout=60)).data == 1012
        await agent.stop()


def test_metrics_and_events_of_a_robot(start_agent):
    """What a robot sends is on /metrics, in /api/v1/events and in the API of telemetry, and survives nothing wrong."""
    agent = start_agent("[collectors.robots]\n")
    with robot(agent.port, "r1") as one:
        one.sendall(
            framed({"cpu_usage": 45.2, "memory_usage": 62.8, "battery_level": 80, "network": {"latency_ms": 12}})
        )
        agent.until(lambda: agent.get("/metrics").value("robot_up", robot="r1") == 1)
        page = agent.get("/metrics")
        assert page.value("robot_cpu_utilization_ratio", robot="r1") == 0.452
        assert page.value("robot_memory_utilization_ratio", robot="r1") == 0.628
        assert page.value("robot_battery_charge_ratio", robot="r1") == 0.8
        assert page.value("robot_reported_network_latency_seconds", robot="r1") == 0.012
        assert page.value("robot_connected", robot="r1", transport="websocket") == 1
        told = json.loads(agent.get("/api/telemetry/robots/r1/metrics").body)
        assert (told["cpu_usage"], told["network"]["latency_ms"]) == (45.2, 12)
    agent.until(lambda: agent.get("/metrics").value("robot_connected", robot="r1", transport="websocket") == 0)

    def told():
        return json.loads(agent.get("/api/v1/events?type=telemetry.*").body)["events"]

    agent.until(lambda: len(told()) >= 2)  # soon after the metrics
    events = told()
    assert [event["type"] for event in events] == [
        "telemetry.connection_closed",
        "telemetry.connection_established",
    ]
    assert {event["source"] for event in events} == {"telemetry_service"}


def test_a_robot_beyond_its_budget_is_named(start_agent):
    """A robot that sends ever new fields has its 200 series, is counted, and is named once in the log."""
    agent = start_agent("[collectors.robots]\n")
    with robot(agent.port, "chatty") as one:
        for n in range(30):
            one.sendall(framed({f"field_{n}_{k}": k for k in range(20)}))
        refused = {"robot": "chatty", "reason": "budget"}
        agent.until(lambda: agent.get("/metrics").value("robot_telemetry_refused_total", **refused) == 400)
    page = agent.get("/metrics")
    assert sum(name == "robot_custom_value" for name, _ in page.samples) == 200
    assert agent.log().count("chatty") == 1, agent.log()


def test_a_fleet_that_comes_speaks_and_vanishes_leaves_nothing(start_agent, tmp_path):
    """Thousands of connections, silent at first, then all at once, then killed: three rounds leave no descriptors,
    and no more memory than one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FLEET + 500:
        pytest.skip(f"only {hard} descriptors are allowed")
    agent = start_agent(
        "[collectors.robots]\nconnects_per_second = 100000\ndata_received_every = '0s'\n",
        shell='ulimit -n $(ulimit -H -n); exec "$@"',
    )
    (tmp_path / "fleet.py").write_text(CLIENT)
    agent.get("/metrics")
    before = agent.descriptors()
    resident = []
    for _ in range(ROUNDS):
        fleet = subprocess.Popen(
            [sys.executable, str(tmp_path / "fleet.py"), str(agent.port), str(FLEET)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert fleet.stdout.readline() == b"connected\n"
            agent.until(lambda: sum_of(agent, "robot_connected") == FLEET)
            fleet.stdin.write(b"speak\n")
            fleet.stdin.flush()
            assert fleet.stdout.readline() == b"spoken\n"
            agent.until(lambda: sum_of(agent, "robot_custom_value") == FLEET)
        finally:
            fleet.kill()
            fleet.wait()
            fleet.stdin.close()
            fleet.stdout.close()
        agent.until(lambda: sum_of(agent, "robot_connected") == 0)
        agent.until(lambda: agent.descriptors() <= before + 5)
        resident.append(agent.resident())
    print("descriptors", before, agent.descriptors(), "resident", [f"{size >> 20} MiB" for size in resident])
    assert resident[-1] < 1.15 * resident[0]


CLIENT = """
import base64, json, os, resource, socket, struct, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
port, number = map(int, sys.argv[1:])
robots = []
for n in range(number):
    robot = socket.create_connection(("127.0.0.1", port), timeout=60)
    robot.sendall(
        f"GET /api/telemetry/ws/r{n} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nConnection: Upgrade\\r\\n"
        "Upgrade: websocket\\r\\n"
        "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n".encode()
    )
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        part = robot.recv(4096)
        assert part, head
        head += part
    assert b" 101 " in head, head
    robots.append(robot)
print("connected", flush=True)
sys.stdin.readline()
text = json.dumps({"speaks": 1}).encode()
for robot in robots:
    robot.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + bytes(4) + text)
print("spoken", flush=True)
sys.stdin.readline()
"""


def sum_of(agent, name):
    """Return the sum over all series of a name."""
    text = agent.get("/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.startswith(name + "{"))


@contextlib.contextmanager
def robot(port, name):
    """Connect a robot that says what it likes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        lines = [f"GET /api/telemetry/ws/{name} HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in connection.recv(4096)
        yield connection


def framed(message):
    """Return a message as a text frame, masked with zeros."""
    text = json.dumps(message).encode()
    length = len(text)
    head = bytes([0x81, 0x80 | length]) if length < 126 else bytes([0x81, 0xFE]) + length.to_bytes(2, "big")
    return head + bytes(4) + text
