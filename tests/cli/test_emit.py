"""``agentd emit``: events from a shell."""

import json
import subprocess
import sys
import threading
import time

import pytest


def last(here):
    """Return the envelope of the last event of somebody else than the agent."""
    return json.loads(here.run("events", "--json", "--limit", "1", "--source", "[!as]*").stdout)


def test_an_event_is_on_disk_when_its_id_is_printed(here):
    """The id that is printed is that of an event which the journal has at once, with the time at which it was said."""
    before = time.time()
    result = here.run("emit", "backup.finished", "--target", "db1")
    assert (result.returncode, result.stderr) == (0, "")
    event = last(here)
    assert event["id"] == result.stdout.strip()
    assert (event["type"], event["source"], event["target"]) == ("backup.finished", "cli", "db1")
    assert event["payload"] == {}
    assert before <= event["timestamp"] <= time.time()


def test_values(here):
    """What is behind = is a text, what is behind := JSON; a dot leads into an object."""
    given = ["text=1", "empty=", "equal=a=b", "number:=1.5", "list:=[1,null]", "disk.name=sda", "disk.size:=7", "a:b=c"]
    assert here.run("emit", "test.values", "--source", "me", *given).returncode == 0
    event = last(here)
    assert event["source"] == "me"
    assert event["payload"] == {
        "text": "1",
        "empty": "",
        "equal": "a=b",
        "number": 1.5,
        "list": [1, None],
        "disk": {"name": "sda", "size": 7},
        "a:b": "c",
    }


def test_a_whole_payload(here):
    """A payload is given as JSON or read, and values are put into it."""
    assert here.run("emit", "test.payload", "b.c=1", "--payload", '{"a":[1],"b":{"d":2}}').returncode == 0
    assert last(here)["payload"] == {"a": [1], "b": {"d": 2, "c": "1"}}
    assert here.run("emit", "test.payload", "--payload", "-", input='{"ä": "\\n"}').returncode == 0
    assert last(here)["payload"] == {"ä": "\n"}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["=x"], "KEY=VALUE"),
        (["word"], "'word'"),
        (["a:=x"], "a: expected JSON"),
        (["a=1", "a=2"], "a is given twice"),
        (["a=1", "a.b=2"], "a.b: a is no object"),
        (["--payload", "[1]"], "--payload: expected an object as JSON"),
        (["--payload", "{"], "--payload: expected an object as JSON"),
        (["--wait", "5"], "expected a duration"),
        (["a=\udcff"], "expected UTF-8"),
    ],
)
def test_what_is_no_payload(here, arguments, what):
    """A value that cannot be understood is a usage error that names it, and nothing is sent."""
    result = here.run("emit", "test.wrong", *arguments)
    assert result.returncode == 2
    assert what in result.stderr
    assert "test.wrong" not in here.run("events", "--limit", "1").stdout


def test_what_the_agent_refuses(here):
    """An event that the agent refuses is an error in the agent's own words: exit status 1."""
    result = here.run("emit", "two words")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("agentd: type: expected words of letters")
    assert len(result.stderr.splitlines()) == 1


def test_where_nothing_can_be_written_down(start_here):
    """Without a journal on disk nothing is promised: exit status 75, after having tried for as long as was asked."""
    here = start_here("enabled = false")
    begun = time.monotonic()
    result = here.run("emit", "test.lost", "--wait", "1s")
    assert (result.returncode, result.stdout) == (75, "")
    assert "nothing can be written down now" in result.stderr
    assert time.monotonic() - begun > 1


def test_without_an_agent(command):
    """Where no agent answers, that is said with where it was looked for: exit status 2."""
    for arguments in (
        ["emit", "test.nobody"],
        ["events"],
        ["events", "-f"],
        ["sinks"],
        ["sinks", "skip", "x", "--yes"],
    ):
        result = command(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("agentd: no agent answers at ")
        assert "agentd.sock" in result.stderr


def test_an_agent_that_is_still_to_come(start_here, command, tmp_path):
    """With --wait an agent that starts meanwhile gets the event."""
    places = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
    results = []
    emitting = threading.Thread(
        target=lambda: results.append(command("emit", "test.patient", "--wait", "30s", environment=places))
    )
    emitting.start()
    here = start_here()
    emitting.join()
    assert results[0].returncode == 0
    assert last(here)["id"] == results[0].stdout.strip()


def test_emit_starts_quickly(command):
    """A command that scripts call often loads neither the web server's library, nor the configuration, nor plugins."""
    script = "import sys, agentd.cli.emit; print(*(m for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncio", "rich", "pluggy", "tomli", "prometheus_client", "agentd.config"} & set(loaded)
