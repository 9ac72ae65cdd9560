"""``agentd sinks``, and what ``agentd status`` tells of them and of the journal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def broken(here):
    """The agent while its sink's receiver is down, with something that waits for it; all is well again at the end."""
    down = Path(f"{here.out}.down")
    down.touch()
    assert here.run("emit", "test.waiting").returncode == 0
    here.server.until(lambda: not sink(here)["healthy"])
    yield here
    down.unlink()
    here.server.until(lambda: sink(here)["healthy"] and not sink(here)["lag_events"])


def sink(here):
    """Return how the sink is."""
    (only,) = json.loads(here.server.get("/api/v1/sinks").text)
    return only


def arrived(here):
    """Return the types of what the sink has delivered."""
    return [json.loads(line)["type"] for line in here.out.read_bytes().split(b"\n")[:-1]] if here.out.exists() else []


def test_a_sink_that_is_well(here):
    """A sink that delivers is a row of the table, and the exit status is 0; so it is in JSON, and in the status."""
    assert here.run("emit", "test.arrives").returncode == 0
    here.server.until(lambda: "test.arrives" in arrived(here) and not sink(here)["lag_events"])
    result = here.run("sinks")
    assert (result.returncode, result.stderr) == (0, "")
    head, row = (line.split() for line in result.stdout.splitlines())
    assert dict(zip(head[:5], row[:5], strict=True)) == {
        "sink": "sinks.tiny",
        "plugin": "tiny",
        "state": "connected",
        "healthy": "yes",
        "lag": "0",
    }
    assert json.loads(here.run("sinks", "--json").stdout)[0]["sent"] >= 1
    status = here.run("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert "journal: on disk, last event " in status.stdout
    assert "UNHEALTHY" not in status.stdout


def test_a_sink_that_is_not(broken):
    """A sink that does not deliver is said to be unhealthy, and why, by both commands; exit status 1."""
    result = broken.run("sinks")
    assert result.returncode == 1
    assert result.stdout.splitlines()[1].split()[-8] != "0"
    assert "NO" in result.stdout.split()
    assert r"sinks.tiny: OSError: the receiver is \x1b[31mdown" in result.stdout
    status = broken.run("status")
    assert status.returncode == 1
    assert r"sinks.tiny: UNHEALTHY, " in status.stdout
    assert "\x1b" not in status.stdout + result.stdout


def test_skip(broken):
    """What waits for a sink is given up, and counted as dropped; in a script it takes --yes."""
    assert broken.run("emit", "test.skipped").returncode == 0
    before = sink(broken)["dropped"]
    refused = broken.run("sinks", "skip", "tiny")
    assert (refused.returncode, "say --yes" in refused.stderr) == (2, True)
    assert sink(broken)["dropped"] == before
    result = broken.run("sinks", "skip", "tiny", "--yes")
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout.split()[0]) >= 1
    broken.server.until(lambda: not sink(broken)["lag_events"])
    assert sink(broken)["dropped"] > before


@pytest.mark.parametrize(("given", "arguments", "status"), [(b"n\n", [], 1), (b"y\n", [], 0), (b"", ["--yes"], 0)])
def test_skip_asks_on_a_terminal(broken, given, arguments, status):
    """Whoever sits at a terminal is told how many events it is about, and asked, unless --yes says so already."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "agentd", "sinks", "skip", "sinks.tiny", *arguments]
    process = subprocess.Popen(command, env=broken.environment, stdin=slave, stdout=-1, stderr=-1, encoding="utf-8")
    os.write(master, given)
    out, _ = process.communicate(timeout=60)
    os.close(slave)
    os.close(master)
    assert process.returncode == status
    assert ("will not get what it wants of the " in out) == (not arguments)


def test_dead_letters(here):
    """What the receiver refuses for good is shown with the reason, and delivered when it has changed its mind."""
    assert here.run("emit", "test.bad", "a=1").returncode == 0
    here.server.until(lambda: sink(here)["dead_letters"])
    result = here.run("sinks", "dead", "tiny")
    assert (result.returncode, result.stderr) == (0, "")
    event, reason = result.stdout.splitlines()
    assert event.endswith("test.bad  cli  a=1")
    assert reason.endswith(r"it is \x07bad")
    (letter,) = map(json.loads, here.run("sinks", "dead", "tiny", "--json").stdout.splitlines())
    assert (letter["event"]["type"], letter["reason"]) == ("test.bad", "it is \x07bad")
    Path(f"{here.out}.kind").touch()
    result = here.run("sinks", "replay", "tiny")
    assert (result.returncode, result.stderr) == (0, "")
    here.server.until(lambda: "test.bad" in arrived(here) and not sink(here)["dead_letters"])
    assert here.run("sinks", "dead", "tiny").stdout == ""


def test_replay_from_a_number(here):
    """With --after all that the journal has behind a number is delivered once more."""
    assert here.run("emit", "test.twice").returncode == 0
    here.server.until(lambda: "test.twice" in arrived(here) and not sink(here)["lag_events"])
    number = json.loads(here.run("events", "--json", "--limit", "1").stdout)["meta"]["seq"]
    count = arrived(here).count("test.twice")
    assert here.run("sinks", "replay", "tiny", "--after", str(number - 1)).returncode == 0
    here.server.until(lambda: arrived(here).count("test.twice") == count + 1)


@pytest.mark.parametrize("action", ["dead", "replay", "skip"])
def test_a_sink_that_there_is_not(here, action):
    """A name that no sink has is an error that names those that there are."""
    result = here.run("sinks", action, "no such?", *(["--yes"] if action == "skip" else []))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "agentd: there is no sink sinks.no such?; there are: sinks.tiny\n"


def test_an_agent_without_sinks_and_disk(start_agent, command):
    """Without a sink that is said; a journal in memory is no error of the agent's."""
    agent = start_agent("[journal]\nenabled = false")
    environment = {"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"]}
    result = command("sinks", environment=environment)
    assert (result.returncode, result.stdout) == (0, "no sink is configured\n")
    result = command("status", environment=environment)
    assert result.returncode == 0
    assert re.search(r"journal: in memory only, last event \d{16}, ", result.stdout)


LONG = "no route to host; " * 20


def test_sinks_on_a_narrow_terminal(monkeypatch, capsys):
    """Where the table is too wide, each sink's counts have a line of their own, and an error is whole below."""
    from agentd.cli.sinks import show
    from agentd.status import SinkStatus

    counts = {"sent": 12345, "retried": 7, "rejected": 1, "dropped": 0, "dead_letters": 1}
    one = SinkStatus(sink="sinks.fleet", plugin="redis", state="half open", healthy=False, cursor=1, lag_events=1234567,
                     lag_seconds=60.0, error=LONG, **counts)  # fmt: skip
    told = ["sinks.fleet  redis   half open  NO       1234567    60 s"]
    for columns, lines in ((80, [*told, "    sent 12345, retried 7, rejected 1, dropped 0, dead 1"]),
                           (100, [f"{told[0]}  12345        7         1        0     1"])):  # fmt: skip
        monkeypatch.setenv("COLUMNS", str(columns))
        show([one])
        assert capsys.readouterr().out.splitlines()[1:] == [*lines, f"sinks.fleet: {LONG}"]


def test_plugins_on_a_narrow_terminal():
    """Why a plugin runs stands in its row, or as a whole on a line of its own where that is too narrow; what is wrong
    comes first.
    """
    from agentd.cli.screen import of_plugins
    from agentd.status import PluginStatus

    reason = "[collectors.filesystem] in /etc/agentd/conf.d/20-\x1bfleet.toml:12"
    plugins = [
        PluginStatus(
            plugin="collectors.cpu", up=True, reason="default", last_run="ok", duration_seconds=5e-4, series=20
        ),
        PluginStatus(plugin="collectors.filesystem", up=False, reason=reason, timeouts=3),
    ]
    rows = [
        "plugin                 up   last run    ms  series  timeouts  why",
        "collectors.filesystem  NO                                  3",
        "collectors.cpu         yes  ok        0.50      20            default",
    ]
    why = reason.replace("\x1b", r"\x1b")
    assert list(of_plugins(plugins, 80, None)) == [*rows[:2], f"    {why}", rows[2]]
    assert list(of_plugins(plugins, 80, 9)) == rows
    assert list(of_plugins(plugins, 200, None)) == [rows[0], f"{rows[1]}  {why}", rows[2]]


def test_a_journal_that_cannot_be_written():
    """Why nothing can be written down, and what was lost for it, is in the journal's line of the status."""
    from agentd.cli.screen import told
    from agentd.status import JournalStatus

    journal = JournalStatus(durable=False, last=7, size_bytes=3 << 20, dropped=2, damaged=1, error="disk full")
    assert told(journal) == "NOTHING CAN BE WRITTEN DOWN: disk full, last event 7, 3.0 MiB, 2 lost, 1 damaged"
