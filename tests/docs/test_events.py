"""docs/events.md says what is true: its plugins, its configuration and its commands work together as they stand."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from agentd.events.envelope import Event, cloud_event, decode

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


def blocks(language):
    """Return the blocks of code in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of what the page's gate and sink read and write."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def agent(standing, folder):
    """An agent with the plugins and the configuration of the page."""
    gate, lines = blocks("python")
    sinks, journal = blocks("toml")
    (folder / "gate").write_text("ann\nbob\n")
    first, plugin_dirs, rest = sinks.partition('plugin_dirs = ["/etc/agentd/plugins"]\n')
    assert (first, bool(plugin_dirs)) == ("[agent]\n", True)
    configuration = f"{rest}\n{journal}\n[collectors.gate]\npath = '{folder}/gate'\n"
    configuration = configuration.replace("/var/lib/agentd/", f"{folder}/")
    return standing.agent(configuration, plugins={"gate": gate, "lines": lines})


def commands():
    """Return all commands of the page, in its order."""
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


def test_every_command_works(agent):
    """Each command of the page ends well, one after the other; the stream, which has no end, tells something."""
    shell = f'agentd() {{ {shlex.quote(sys.executable)} -m agentd "$@"; }}\n'
    environment = {**os.environ, **agent.environment}
    for command in commands():
        line = command.replace("127.0.0.1:9797", f"127.0.0.1:{agent.port}").replace("-sfN", "-sfN --max-time 1")
        result = subprocess.run(
            ["/bin/sh", "-c", shell + line], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert result.returncode == (28 if "-sfN" in line else 0), f"{command}: {result.stderr}"
        if "/stream" in line:
            assert "event: door.opened\ndata: {" in result.stdout
    assert len(commands()) > 12


def test_the_gate_tells_of_each_passage_once(agent, folder):
    """The collector of the page commits an event for each line, and the sink of the page writes it down."""

    def who():
        found = json.loads(agent.get("/api/v1/events?type=gate.passed").text)["events"]
        return [event["payload"]["who"] for event in reversed(found)]

    agent.until(lambda: who() == ["ann", "bob"])
    with (folder / "gate").open("a") as file:
        file.write("eve\n")
    agent.until(lambda: who() == ["ann", "bob", "eve"])
    agent.until(lambda: '"who":"eve"' in (folder / "events.jsonl").read_text())
    assert '"site":"hall-3"' in (folder / "events.jsonl").read_text()


def test_the_example_is_an_event(agent):
    """The envelope of the page is one, has the fields of its tables, and is as the agent makes them."""
    (text,) = blocks("json")
    event = decode(text.encode())
    for name in (*Event.__struct_fields__, *event.meta):
        assert f"| `{name}` |" in PAGE
    real = json.loads(agent.get("/api/v1/events?limit=1").text)["events"][0]
    assert real.keys() == json.loads(text).keys()
    assert real["meta"].keys() <= event.meta.keys() | {"condensed"}
    known = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("| CloudEvents |") : PAGE.index("## Events of the agent")]))
    assert cloud_event(event).keys() - {"site"} <= known


def test_the_events_of_the_agent_are_all_described(agent):
    """Each type that the agent says itself has its row, with the fields that it has."""
    found = json.loads(agent.get("/api/v1/events?source=agentd,sinks.*&limit=1000").text)["events"]
    assert {"agent.started", "sink.connected"} <= {event["type"] for event in found}
    for event in found:
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{event['type']}` |")]
        assert all(f"`{name}`" in row for name in event["payload"])
    sources = (Path(__import__("agentd").__file__).parent).rglob("*.py")
    said = {type_ for file in sources for type_ in re.findall(r'(?:say\(|type=|kind = )"(\w+\.\w+)"', file.read_text())}
    assert said >= {"agent.started", "journal.dropped"}
    assert all(f"| `{type_}` |" in PAGE for type_ in said), said


def test_the_metrics_of_the_agent_are_all_described(agent):
    """Each metric that the agent tells of itself, its journal and its sinks has its row in the reference."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"^# TYPE (agentd_\w+)", agent.get("/metrics").text, flags=re.MULTILINE))
    assert {"agentd_sink_lag_seconds", "agentd_journal_size_bytes"} <= told
    assert not {name for name in told if f"| `{name}` |" not in page}


def test_the_gate_tells_once_that_it_is_missing(agent, folder):
    """The collector of the page says that its file has gone, and does not say so at each collection."""

    def number():
        return len(json.loads(agent.get("/api/v1/events?type=gate.missing").text)["events"])

    before = number()
    (folder / "gate").unlink()
    agent.until(lambda: number() == before + 1)
    time.sleep(0.7)  # some collections
    assert number() == before + 1


def test_the_schema_knows_what_the_check_knows():
    """The schema names every field with a description, and its pattern of types is that of the check."""
    schema = json.loads((Path(__file__).parents[2] / "docs" / "event.schema.json").read_text())
    assert list(schema["properties"]) == [field.name for field in msgspec.structs.fields(Event)]
    assert all(field["description"] for field in schema["properties"].values())
    pattern = re.compile(schema["properties"]["type"]["pattern"])
    assert pattern.search("mission.finished")
    assert not pattern.search("two words")
    assert schema["required"] == ["type"]
