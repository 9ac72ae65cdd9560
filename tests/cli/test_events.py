"""``agentd events``: what has happened, and what happens."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest


def emit(here, type_, *values):
    """Emit an event."""
    result = here.run("emit", type_, *values)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def story(here):
    """An agent with some events in its journal."""
    for number in range(3):
        emit(here, "story.told", f"number:={number}", "--target", "robot-7")
    emit(here, "story.x", "--source", "somebody", "bad=\x1b[31mred\u202e", 'said=two "words"', "deep.er:=[1]")
    return here


@pytest.fixture
def following():
    """Starts a command whose lines of output are read with a limit to patience; it ends with the test."""
    started = []

    def follow(here, *arguments):
        process = here.popen("events", "--follow", *arguments)
        started.append(process)
        timer = threading.Timer(30, process.kill)  # a line that does not come fails the test
        timer.daemon = True
        timer.start()
        started.append(timer)
        return process

    yield follow
    for each in started:
        if isinstance(each, threading.Timer):
            each.cancel()
        else:
            each.kill()
            each.communicate()


def test_lines_are_aligned_the_oldest_first(story):
    """Each event is a line: local time, type, source → target, payload; the columns stand under each other."""
    result = story.run("events", "--type", "story.*")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    for number in range(3):
        assert re.fullmatch(rf"{time}  story\.told  cli → robot-7  number={number}", lines[number])
    assert re.match(rf"{time}  story\.x     somebody       ", lines[3])


def test_nothing_that_a_terminal_would_obey_is_printed(story):
    """Control characters and what turns writing round are shown as escape sequences; texts with spaces are quoted."""
    line = story.run("events", "--type", "story.x").stdout
    assert line.rstrip("\n").isprintable()
    assert r'bad="\u001b[31mred\u202e" said="two \"words\"" deep={"er":[1]}' in line


def test_envelopes(story):
    """With --json each line is a whole envelope."""
    result = story.run("events", "--json", "--type", "story.told")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["payload"]["number"] for event in events] == [0, 1, 2]
    assert sorted(events[0]) == ["id", "meta", "payload", "source", "target", "timestamp", "type"]
    assert [event["meta"]["seq"] for event in events] == sorted(event["meta"]["seq"] for event in events)


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--limit", "2"], [1, 2]),
        (["--limit", "0"], []),
        (["--since", "10m"], [0, 1, 2]),
        (["--since", "1000000000", "--limit", "1"], [2]),
        (["--since", "99999999999"], []),
        (["--source", "cl*"], [0, 1, 2]),
        (["--source", "nobody", "--source", "c?i"], [0, 1, 2]),
        (["--source", "nobody"], []),
    ],
)
def test_what_is_wanted(story, arguments, numbers):
    """Types, sources, an age and a number choose among the events, the last ones."""
    result = story.run("events", "--json", "--type", "none.*", "--type", "story.t*", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert [json.loads(line)["payload"]["number"] for line in result.stdout.splitlines()] == numbers


def test_what_the_agent_does_not_understand(story):
    """What the agent refuses is an error in its own words."""
    result = story.run("events", "--since", "yesterday")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("agentd: since: expected seconds since 1970, or how long ago")


@pytest.mark.parametrize("arguments", [("events", "--since"), ("events", "--type"), ("sinks", "dead")])
def test_bytes_that_are_no_text(story, arguments):
    """An argument that is no UTF-8 is refused as such."""
    result = story.run(*arguments, "\udcff")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "agentd: expected UTF-8; found '\\udcff'\n"


def test_more_than_a_page(start_here):
    """More events than the agent tells at once are asked for page by page: none is missing, none is twice."""
    here = start_here()
    many = json.dumps([{"type": "test.many", "payload": {"number": number}} for number in range(1000)]).encode()
    for _ in range(2):
        request = urllib.request.Request(f"{here.server.url}/api/v1/events", data=many)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201
    for arguments, expected in ((["--since", "1h"], 2000), (["--limit", "1500"], 1500)):
        result = here.run("events", "--json", "--type", "test.many", *arguments)
        numbers = [json.loads(line)["payload"]["number"] for line in result.stdout.splitlines()]
        assert numbers == (list(range(1000)) * 2)[-expected:]


def test_follow_shows_the_last_and_what_comes(story, following):
    """Following begins with the last events, and goes on with each that is emitted, until Ctrl-C: exit status 0."""
    process = following(story, "--type", "story.*", "--limit", "1")
    assert "story.x " in process.stdout.readline()
    emit(story, "other.thing")
    emit(story, "story.new", "a=b")
    assert "a=b" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_follow_ends_when_nobody_reads(story, following):
    """Where the reader of the output has gone, as with `| head`, it ends without an event having to come, silently."""
    process = following(story, "--type", "story.*")
    assert "story.told" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""


@pytest.mark.parametrize("journal", ["", "enabled = false"])
def test_follow_over_a_restart(start_here, following, journal):
    """An agent that is restarted is waited for, which is said once; no event is missing or shown twice, even where its
    journal was in memory and the numbers begin anew.
    """
    here = start_here(journal)
    process = following(here, "--json", "--type", "agent.*", "--type", "test.*")
    seen = [json.loads(process.stdout.readline())]
    assert here.server.stop() == 0
    assert process.stderr.readline() == "agentd: the agent has gone; waiting until it is back\n"
    here = start_here(journal)
    while seen[-1]["type"] != "agent.started" or len(seen) == 1:
        seen.append(json.loads(process.stdout.readline()))
    if not journal:
        emit(here, "test.after")
        seen.append(json.loads(process.stdout.readline()))
    expected = ["agent.started", "agent.stopping", "agent.started", "test.after"]
    types = [event["type"] for event in seen]
    assert types == expected if not journal else [t for t in types if t != "agent.stopping"] == expected[::2]
    assert len({event["id"] for event in seen}) == len(seen)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")


def test_colours_are_for_terminals(story):
    """On a terminal types are coloured, unless NO_COLOR asks for none."""
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "agentd", "events", "--limit", "1", "--type", "story.*"]
        subprocess.run(command, env={**story.environment, **environment}, stdout=slave, check=True, timeout=60)
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        assert (b"\x1b[36m" in shown) == coloured
        assert b"\x1b[31mred" not in shown
