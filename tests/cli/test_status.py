"""The screen of ``agentd status``: what stands where, on terminals of any size."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.screen import folded, lines
from agentd.cli.status import Robots
from agentd.status import JournalStatus, PluginStatus, SinkStatus, Status, wrong

LONG = "no route to host; " * 12


def plugin(name, **fields):
    """Return a collector that is well."""
    return PluginStatus(
        **{
            "plugin": f"collectors.{name}",
            "up": True,
            "reason": "default",
            "last_run": "ok",
            "duration_seconds": 0.0012,
            "series": 12,
            "timeouts": 0,
            **fields,
        }
    )


def sink(name, **fields):
    """Return a sink that is well."""
    counts = {"cursor": 1, "lag_events": 0, "lag_seconds": 0.0, "sent": 1, "retried": 0, "rejected": 0, "dropped": 0}
    given = {"sink": f"sinks.{name}", "plugin": "redis", "state": "connected", "healthy": True, **counts, **fields}
    return SinkStatus(**given)


def status(**fields):
    """Return the status of an agent that is well."""
    base = {"version": "1.2", "pid": 4711, "started_at": time.time(), "uptime_seconds": 7300.0, "ready": True}
    base |= {"listen": ["127.0.0.1:9797"], "config_files": ["/etc/agentd/agentd.toml"], "state_directory": "/var/x"}
    base |= {"plugins": [plugin(f"number{number:02}") for number in range(50)], "disabled": {"collectors.xfs": "off"}}
    base |= {"journal": JournalStatus(durable=True, last=7, size_bytes=1 << 20, dropped=0, damaged=0)}
    return Status(**{**base, "resident_bytes": 42 << 20, **fields})


def shown(found, robots=None, trouble=(), columns=80, height=0):
    """Return the lines of a screen."""
    return list(lines(found, robots, trouble, columns=columns, height=height))


def test_an_agent_that_is_well_fits_a_terminal():
    """On 80 columns and 24 lines the screen is whole, says in its first line that all is well, and how to see more."""
    found = shown(status(sinks=[sink("fleet")]), Robots(48, 50, 2), height=23)
    assert found[0] == "agentd 1.2 is well, and ready"
    assert len(found) <= 23
    assert max(map(len, found)) <= 80
    assert "robots: 50 known, 48 connected, 2 stale" in found
    assert any(", 42.0 MiB of memory" in line for line in found)
    assert any(line.startswith("sinks.fleet  connected  yes") for line in found)
    assert sum(line.startswith("collectors.number") for line in found) >= 8
    assert found[-1].endswith("more, with which nothing is wrong (--all shows them)")


def test_without_a_limit_everything_is_shown():
    """Without a terminal, or with --all, every plugin has its line, and what is switched off as well."""
    found = shown(status(), height=0)
    assert sum(line.startswith("collectors.number") for line in found) == 50
    assert "collectors.xfs: off" in found


def test_what_is_wrong_comes_first_and_is_never_left_out():
    """However small the terminal is, plugins that fail, sinks that are unhealthy and the last errors are there."""
    bad = [plugin(f"bad{number}", last_run="failed", error=LONG) for number in range(9)]
    bad += [plugin("down", up=False, last_run="", error="cannot start: no"), plugin("late", last_run="timed out")]
    found = status(plugins=[*status().plugins, *bad], sinks=[sink("fine"), sink("dead", healthy=False, error=LONG)])
    screen = shown(found, None, ["2026-11-21 08:20:11.000  plugin.failed  agentd  plugin=collectors.bad1"], height=10)
    assert screen[0] == "agentd 1.2 is NOT WELL: 1 plugin does not run, 10 collectors fail, 1 sink is"
    assert screen[1] == "    unhealthy"
    assert max(map(len, screen)) <= 80
    for number in range(9):
        assert any(line.startswith(f"collectors.bad{number}: no route") for line in screen)
    order = [line.split()[0] for line in screen if line.startswith("collectors.") and ":" not in line.split()[0]]
    assert set(order[:11]) == {each.plugin for each in bad}
    sinks = [line.split()[0] for line in screen if line.startswith("sinks.") and ":" not in line.split()[0]]
    assert sinks == ["sinks.dead", "sinks.fine"]
    assert screen[-2] == "the last errors (agentd events shows more):"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"ready": False}, ["it is not ready"]),
        ({"plugins": [plugin("a", up=False, paused_until=1.0)]}, []),
        ({"plugins": [plugin("a", last_run="no data")]}, []),
        ({"plugins": [plugin("a", up=False), plugin("b", up=False)]}, ["2 plugins do not run"]),
        ({"plugins": [plugin("a", last_run="timed out")]}, ["1 collector fails"]),
        ({"tokens_error": "gone"}, ["the file of tokens cannot be used"]),
        ({"config_error": "line 1"}, ["the configuration is refused"]),
        ({"config_error": "line 1", "degraded": True}, ["it runs with an earlier configuration"]),
        ({"sinks": [sink("a", healthy=False), sink("b")]}, ["1 sink is unhealthy"]),
    ],
)
def test_what_counts_as_wrong(fields, told):
    """What is wrong with an agent is said in a few words; a plugin that somebody paused is not wrong."""
    assert wrong(status(**fields)) == told
    assert ("NOT WELL" in shown(status(**fields))[0]) == bool(told)


def test_a_journal_that_cannot_be_written():
    """That nothing can be written down is wrong, and stands with its reason in the journal's line."""
    journal = JournalStatus(durable=False, last=7, size_bytes=0, dropped=3, damaged=0, error="disk full\x1b[31m")
    found = shown(status(journal=journal), columns=120)
    assert "events cannot be written down" in found[0]
    assert any("CAN BE WRITTEN DOWN: disk full" in line and "3 lost" in line for line in found)
    assert not any("\x1b" in line for line in found)


@given(st.text(), st.integers(20, 200))
@settings(max_examples=100, deadline=None)
def test_folding_keeps_words_and_width(text, columns):
    """Whatever a text holds, its lines fit, and nothing but blanks is lost."""
    found = folded(text, columns)
    if text.isprintable() and len(text) == len(text.lstrip()):
        assert all(len(line) <= columns for line in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_terminal_of_80_columns(command, start_agent):
    """The real command prints a running agent's screen within 80 columns, its memory and its journal included."""
    agent = start_agent()
    environment = {"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"], "COLUMNS": "80", "LINES": "24"}
    result = command("status", environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    found = result.stdout.splitlines()
    assert found[0].endswith(" is well, and ready")
    assert "MiB of memory" in result.stdout
    assert [line for line in found if len(line) > 80] == []
    assert len(found) <= 24
    assert len(command("status", "--all", environment=environment).stdout.splitlines()) > 50
