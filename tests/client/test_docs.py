"""The client of docs/robots.md works as it stands."""

import asyncio
import re
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "robots.md").read_text()


async def test_the_example_works_when_pasted(agent, tmp_path):
    """The program of the page ends well, and the agent has got all that it says, in order."""
    section = PAGE[PAGE.index("## A client in Python") :]
    program = re.search(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)[1]
    assert len(program.split("async def main")[1].splitlines()) <= 20
    (tmp_path / "robot.py").write_text(program.replace("http://127.0.0.1:9797", agent.url))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "robot.py", cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, told) == (0, b"")
    (connection,) = agent.connections
    assert connection.headers["Authorization"] == "Bearer a-secret"
    assert connection.seqs == [1, 2, 3, 4, 5]
    assert [event["type"] for said in connection.data for event in said.get("events", [])] == [
        "mission.started",
        "mission.completed",
    ]
    assert connection.got[-1]["seq"] == 5
    assert {"battery_level": 78, "cpu_usage": 45.2} in [said["metrics"] for said in connection.got]
