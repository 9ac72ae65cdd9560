"""The client of docs/robots.md works as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "robots.md").read_text()
SECTION = PAGE[PAGE.index("## A client in Python") :]


def test_the_example_works_when_pasted(start_agent, tmp_path):
    """The program of the page ends well with an agent that has nothing but the collector, which then has its metrics
    and its events, in order; the file of the queue has nothing more to send.
    """
    agent = start_agent("[collectors]\ndisable = ['hwmon']\n[collectors.robots]\n")
    program = re.search(r"^```python\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)[1]
    assert len(program.split("async def main")[1].splitlines()) <= 20
    (tmp_path / "robot.py").write_text(program.replace("http://127.0.0.1:9797", agent.url))
    for run in (1, 2):
        result = subprocess.run(
            [sys.executable, "robot.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        found = json.loads(agent.get("/api/v1/events?source=amr-7").text)["events"]
        assert [event["type"] for event in reversed(found)] == ["mission.started", "mission.completed"] * run
    answer = agent.get("/metrics")
    assert answer.value("robot_battery_charge_ratio", robot="amr-7") == 0.78
    assert answer.value("robot_odometer_meters_total", robot="amr-7") == 1200.5
    assert answer.value("robot_messages_lost_total", robot="amr-7", stream="data") is None


def test_the_simulated_fleet_says_what_is_shown(command):
    """The command of the page has the options that the page uses, and its help tells of them."""
    options = re.findall(r"(--\w+)", SECTION[SECTION.index("$ agentd simulate") :])
    told = command("simulate", "--help").stdout
    assert set(options) == {"--robots", "--rate", "--url", "--duration"}
    assert all(option in told for option in options)
