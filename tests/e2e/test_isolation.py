"""Plugins in processes of their own, in a whole agent: reload, events, what is told of them, and their end."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

COLLECTOR = '''
import os
from agentd.plugin import Collector, Config, Family, hookimpl

class Options(Config):
    """Options."""
    number: int = 1

class Plugin(Collector[Options]):
    """A plugin for a test."""

    name = "apart"

    def collect(self):
        sum(range(1_000_000))
        values = {{"pid": os.getpid(), "number": self.config.number, "code": {code}}}
        return [Family.gauge("apart", "What it has.", values, ("what",))]


@hookimpl
def agentd_collectors():
    return [Plugin]
'''

SECTION = "[collectors.apart]\nisolation = 'process'\n"


def told(agent):
    """Return what the plugin tells; None for each where it tells nothing."""
    answer = agent.get("/metrics")
    return {what: answer.value("apart", what=what) for what in ("pid", "number", "code")}


def alive(pid):
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid:.0f}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_reload_begins_a_process_anew_where_something_changed(start_agent):
    """What did not change keeps its process; another option and another file each bring a new one."""
    agent = start_agent(SECTION, plugins={"apart": COLLECTOR.format(code=1)})
    file, config = agent.folder / "plugins" / "apart.py", agent.folder / "agentd.toml"

    def reloaded():
        before = agent.log().count("reloaded in")
        agent.send(signal.SIGHUP)
        agent.until(lambda: agent.log().count("reloaded in") > before)

    first = told(agent)
    assert (first["number"], first["code"]) == (1, 1)
    reloaded()
    assert told(agent) == first
    config.write_text(f"{config.read_text()}number = 2\n")
    reloaded()
    second = told(agent)
    assert (second["number"], second["code"]) == (2, 1)
    file.write_text(COLLECTOR.format(code=22))
    reloaded()
    third = told(agent)
    assert (third["number"], third["code"]) == (2, 22)
    assert len({first["pid"], second["pid"], third["pid"]}) == 3
    agent.until(lambda: not alive(first["pid"]) and not alive(second["pid"]))


def test_reload_is_refused_where_the_plugin_refuses_its_options(start_agent):
    """A wrong option of a plugin that the agent does not import is an error with its line, and the process goes on."""
    agent = start_agent(SECTION, plugins={"apart": COLLECTOR.format(code=1)})
    before = told(agent)
    config = agent.folder / "agentd.toml"
    config.write_text(f"{config.read_text()}nubmer = 2\n")
    agent.send(signal.SIGHUP)
    agent.until(lambda: "the configuration is refused" in agent.log())
    assert 'collectors.apart.nubmer: no such option. Did you mean "number"?' in agent.log()
    assert told(agent) == before


def test_what_is_told_of_a_process(start_agent):
    """Memory, restarts and CPU time are metrics, and the status says that, and why, a process is begun again."""
    agent = start_agent(SECTION, plugins={"apart": COLLECTOR.format(code=1)})
    plugin = "collectors.apart"

    def metric(name):
        return agent.get("/metrics").value(f"agentd_plugin_{name}", plugin=plugin)

    pid = told(agent)["pid"]
    assert metric("process_resident_memory_bytes") > 1e6
    assert metric("process_restarts_total") == 0
    agent.until(lambda: metric("cpu_seconds_total") > 0.1)
    spent = metric("cpu_seconds_total")
    os.kill(int(pid), signal.SIGSEGV)

    def restarting():
        plugins = json.loads(agent.get("/api/v1/status").text)["plugins"]
        return next(each["restarting"] for each in plugins if each["plugin"] == plugin)

    seen = []
    agent.until(lambda: seen.append(restarting()) or any(seen))
    assert "it is started again in" in seen[-1]
    assert "its process has ended: ended by SIGSEGV" in seen[-1]
    agent.until(lambda: metric("process_restarts_total") == 1 and told(agent)["pid"])
    assert not restarting()
    assert metric("cpu_seconds_total") >= spent
    assert told(agent)["pid"] != pid


def test_processes_end_with_the_agent(start_agent):
    """None is left behind by an agent that is stopped, or killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        agent = start_agent(SECTION, plugins={"apart": COLLECTOR.format(code=1)})
        pid = told(agent)["pid"]
        assert alive(pid)
        agent.stop(number)
        end = time.monotonic() + 60
        while alive(pid):
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize("python", ["", f"python = '{sys.executable}'\n"])
def test_signal_to_the_whole_unit_ends_all_well(start_agent, python):
    """Where all processes get SIGTERM at once, as systemd does it, plugins still stop in order, without a word."""
    agent = start_agent(SECTION + python, plugins={"apart": COLLECTOR.format(code=1)})
    pid = int(told(agent)["pid"])
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for each in (pid, parent):
        os.kill(each, signal.SIGTERM)
    assert told(agent)["pid"] == pid
    assert agent.stop() == 0
    assert "its process has ended" not in agent.log()


SINK = """
from agentd.plugin import Config, Sink, hookimpl

class Options(Config):
    path: str

class Plugin(Sink[Options]):
    name = "writer"

    async def send(self, events):
        with open(self.config.path, "a") as file:
            for each in events:
                print(each.event.payload["n"], file=file)

@hookimpl
def agentd_sinks():
    return [Plugin]
"""


def test_sink_in_a_process_loses_nothing(start_agent, tmp_path):
    """While its process is killed again and again, each event arrives, in order but for repeats."""
    got = tmp_path / "got"
    section = f"[sinks.writer]\nisolation = 'process'\npath = '{got}'\nevents = ['test.*']\nbatch = {{ events = 7 }}"
    agent = start_agent(section, plugins={"writer": SINK})

    def numbers():
        text = got.read_text() if got.exists() else ""
        return list(map(int, text[: text.rfind("\n") + 1].split()))

    def children():
        found = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        template = next(pid for pid in found if b"isolation.template" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return Path(f"/proc/{template}/task/{template}/children").read_text().split()

    for start in range(0, 300, 100):
        for n in range(start, start + 100):
            body = json.dumps({"type": "test.counted", "payload": {"n": n}}).encode()
            assert agent.get("/api/v1/events", {"Content-Type": "application/json"}, "POST", body).status < 300
        for pid in children():
            os.kill(int(pid), signal.SIGKILL)
    agent.until(lambda: set(range(300)) <= set(numbers()))
    firsts = list(dict.fromkeys(numbers()))
    assert firsts == sorted(firsts)


def test_plugin_with_what_only_another_python_has(start_agent, tmp_path):
    """A script that sets an environment runs the plugin, as ROS 2 needs it; the agent never imports the file."""
    only = tmp_path / "only"
    only.mkdir()
    (only / "only_there.py").write_text("ANSWER = 42\n")
    script = tmp_path / "python-with-more"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={only} exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    source = "import only_there\n" + COLLECTOR.format(code="only_there.ANSWER")
    agent = start_agent(f"{SECTION}python = '{script}'\nnumber = 5\n", plugins={"apart": source})
    found = told(agent)
    assert (found["number"], found["code"]) == (5, 42)
    assert "cannot be loaded" not in agent.log()


def test_check_names_an_interpreter_that_is_not_there(command, tmp_path):
    """``agentd check`` says which plugin cannot run, and why."""
    (tmp_path / "apart.py").write_text(COLLECTOR.format(code=1))
    config = tmp_path / "agentd.toml"
    config.write_text(f"[agent]\nplugin_dirs = ['{tmp_path}']\n{SECTION}python = '/no/python'\n")
    result = command("check", "--config", str(config))
    assert result.returncode == 1
    assert "collectors.apart: cannot be loaded: its process has ended, exit status 127: /no/python" in result.stderr
