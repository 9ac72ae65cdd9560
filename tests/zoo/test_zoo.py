"""What becomes of each animal of the zoo, and that all else goes on as the table says."""

import contextlib
import http.client
import os
import signal
import time
from pathlib import Path

import pytest

from tests.zoo.animals import (
    ANIMALS,
    AT_LIMIT,
    COMES_BACK,
    COPIED,
    CUT,
    DEAF,
    DIES,
    ENDED,
    FAILS,
    GIVEN_UP,
    GROWS,
    HANGS,
    HEAD,
    LEFT_OUT,
    REPLACED,
    WORKS,
)  # fmt: skip

LEVELS = ("inline", "thread", "process")

TABLE = [
    (name, level, getattr(animal, level))
    for name, animal in ANIMALS.items()
    for level in ("inline", "thread", "process")
]

HARMLESS = (WORKS, FAILS, LEFT_OUT, CUT)
"""What changes nothing else, so that all these live in one agent."""

BUNDLED = ("cpu", "loadavg", "meminfo", "netdev", "stat", "time", "uname", "vmstat")

NEIGHBOUR = f'''{HEAD}
class Neighbour(Collector[Config]):
    """A good one, which runs where the animals run."""

    name = "neighbour"

    def collect(self):
        return [Family.gauge("of_neighbour", "Good.", {{"pid": float(os.getpid())}}, ("what",))]

@hookimpl
def agentd_collectors():
    return [Neighbour]
'''


def section(name, level):
    """Return the configuration of an animal."""
    timeout = "1s" if name in ("blocks", "spins") else "30s"
    lines = [f"[collectors.{name}]", f"isolation = '{level}'", f"timeout = '{timeout}'", "max_series = 50"]
    return "\n".join([*lines, *(["memory_limit = '64MiB'"] if level == "process" else [])])


def live(start, names, level):
    """Start an agent with some animals, and a neighbour where they run."""
    plugins = {name: ANIMALS[name].source for name in names} | {"neighbour": NEIGHBOUR}
    # A section for a plugin that cannot be loaded is an error, but for one that is loaded by a process.
    told = [name for name in plugins if level == "process" or name not in ANIMALS or is_loaded(name, level)]
    config = "labels = { site = 'kept' }\n" + "\n".join(section(name, level) for name in told)
    return start(config, plugins=plugins)


def is_loaded(name, level):
    """Say whether an animal can be loaded."""
    return getattr(ANIMALS[name], level) != LEFT_OUT


def assert_rest_is_served(answer):
    """Fail where anything is missing that no animal tells."""
    assert answer.status == 200
    got = {name: answer.value("node_scrape_collector_success", collector=name) for name in (*BUNDLED, "neighbour")}
    assert got == dict.fromkeys(got, 1.0)
    assert answer.value("of_neighbour", what="pid") is not None


def is_as_told(answer, name, outcome):
    """Say whether a scrape tells of an animal what the table does."""
    plugin = f"collectors.{name}"
    success = answer.value("agentd_collector_success", plugin=plugin)
    if outcome == LEFT_OUT:
        up = [answer.value("agentd_plugin_up", plugin=each) for each in (plugin, f"plugin_dirs.{name}")]
        return success is None and 0.0 in up
    if outcome == CUT:
        return answer.value("agentd_collector_series", plugin=plugin) == 50
    return success == (outcome == WORKS) and (outcome != WORKS or answer.value(f"of_{name}") == 1)


@pytest.fixture(scope="module")
def cages(standing):
    """An agent for each level, in which all animals live that change nothing else there."""
    started = {}

    def cage(level):
        if level not in started:
            names = [name for name, animal in ANIMALS.items() if getattr(animal, level) in HARMLESS]
            started[level] = live(standing.agent, names, level)
        return started[level]

    return cage


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] in HARMLESS])
def test_harmless(cages, name, level):
    """What an animal does is its own matter: its answer is as the table says, and all others answer."""
    agent = cages(level)
    for _ in range(2):
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
        assert is_as_told(answer, name, getattr(ANIMALS[name], level))


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] in (COMES_BACK, ENDED, AT_LIMIT)])
def test_process_ends_and_comes_back(start_agent, name, level):
    """The process of an animal ends, and another begins; the agent, and a neighbour's process, notice nothing."""
    agent = live(start_agent, [name], level)
    plugin = f"collectors.{name}"
    first = agent.get("/metrics")
    neighbour = first.value("of_neighbour", what="pid")
    size = agent.resident()

    def restarted():
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
        return answer.value("agentd_plugin_process_restarts_total", plugin=plugin) >= 1

    agent.until(restarted)
    answer = agent.get("/metrics")
    assert answer.value("of_neighbour", what="pid") == neighbour
    assert answer.value("agentd_plugin_process_restarts_total", plugin="collectors.neighbour") == 0
    assert answer.value("agentd_plugin_up", plugin=plugin) == 1
    assert answer.value("agentd_plugin_process_resident_memory_bytes", plugin="collectors.neighbour") > 0
    assert agent.resident() < size + (20 << 20)
    assert f"{plugin}: its process has ended" in agent.log()
    assert agent.stop() == 0


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == GIVEN_UP])
def test_thread_hangs(start_agent, name, level):
    """An animal that blocks in a thread is given up, and all others answer; the thread stays."""
    agent = live(start_agent, [name], level)
    for _ in range(2):
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
        assert is_as_told(answer, name, FAILS)
    assert answer.value("agentd_collector_timeouts_total", plugin=f"collectors.{name}") >= 1
    assert answer.value("agentd_worker_threads") >= 2
    assert agent.stop() == 0


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == DIES])
def test_agent_ends(processes, name, level):
    """What ends the process of the agent ends the agent: nothing prevents that but a process of its own."""
    plugins = {name: ANIMALS[name].source}
    agent = processes.agent(section(name, level), plugins=plugins, ready=False)
    assert agent.process.wait(60) in (-signal.SIGSEGV, 5)  # it is asked once before the agent is ready


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == HANGS])
def test_agent_hangs(processes, name, level):
    """What holds the event loop, or the interpreter, holds the agent: nobody answers at its port."""
    agent = processes.agent(section(name, level), plugins={name: ANIMALS[name].source}, ready=False)
    agent.until(lambda: is_open(agent))
    for _ in range(5):
        assert not answers_soon(agent)
    agent.stop(signal.SIGKILL)


def is_open(agent):
    """Say whether the agent has come so far that its port is open, behind which it collects for the first time."""
    return any(f":{agent.port:04X} " in line for line in Path("/proc/net/tcp").read_text().splitlines())


def answers_soon(agent):
    """Say whether an agent answers within a fifth of a second."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=0.2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == GROWS])
def test_agent_grows(start_agent, name, level):
    """What a plugin keeps in the agent's process is the agent's memory."""
    agent = live(start_agent, [name], level)
    size = agent.resident()
    for _ in range(6):
        assert_rest_is_served(agent.get("/metrics"))
    assert agent.resident() > size + 50_000_000


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == COPIED])
def test_agent_is_copied(processes, name, level):
    """A fork copies the agent, with all that it has open, and the copy runs on."""
    agent = processes.agent(section(name, level), plugins={name: ANIMALS[name].source}, ready=False)

    def copies():
        found = []
        for task in Path(f"/proc/{agent.pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
        return [pid for pid in found if b"agentd" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    agent.until(copies)
    pids = copies()
    ours = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
    assert {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids} == {ours}
    agent.stop(signal.SIGKILL)
    for pid in pids:
        kill(pid)


def kill(pid):
    """End a process that this test has started, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == DEAF])
def test_agent_is_deaf(start_agent, name, level):
    """A handler that a plugin has changed inline is the agent's."""
    agent = live(start_agent, [name], level)
    assert_rest_is_served(agent.get("/metrics"))
    ignored = next(line for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines() if "SigIgn" in line)
    assert int(ignored.split()[1], 16) & 1 << (signal.SIGTERM - 1)


@pytest.mark.parametrize(("name", "level"), [row[:2] for row in TABLE if row[2] == REPLACED])
def test_module_is_replaced(start_agent, name, level):
    """A module that a plugin puts in the place of another is what others import, another plugin say."""
    victim = NEIGHBOUR.replace("neighbour", "victim").replace("os.getpid()", "hasattr(colorsys, 'rgb_to_hsv')")
    plugins = {name: ANIMALS[name].source, "victim": victim.replace("import ", "import colorsys, ", 1)}
    agent = start_agent("\n".join(section(each, level) for each in plugins), plugins=plugins)
    assert agent.get("/metrics").value("of_victim", what="pid") == 0


def test_module_is_not_replaced_by_a_process(start_agent):
    """The same in a process changes nothing for others."""
    victim = NEIGHBOUR.replace("neighbour", "victim").replace("os.getpid()", "hasattr(colorsys, 'rgb_to_hsv')")
    plugins = {"shadows": ANIMALS["shadows"].source, "victim": victim.replace("import ", "import colorsys, ", 1)}
    agent = start_agent(section("shadows", "process"), plugins=plugins)
    answer = agent.get("/metrics")
    assert (answer.value("of_victim", what="pid"), answer.value("of_shadows")) == (1, 1)


def test_labels_are_not_changed_for_others(cages):
    """What an animal does to the labels it was given, it does to its own."""
    for level in ("inline", "thread", "process"):
        agent = cages(level)
        agent.get("/metrics")
        other = agent.get("/api/v1/events?type=agent.started").text
        assert "kept" in other
        assert "changed" not in other


def test_what_it_prints_is_in_the_log(cages):
    """What an animal in a process prints is a line of the log under its name, once though it comes again."""
    agent = cages("process")
    for _ in range(3):
        agent.get("/metrics")
    agent.until(lambda: "collectors.prints: and another" in agent.log())
    assert agent.log().count("collectors.prints: a line of the plugin") == 1


def test_table_in_the_documentation():
    """What docs/isolation.md promises for each level is what is tried here."""
    page = Path(__file__).parents[2] / "docs" / "isolation.md"
    rows = [f"| {each.does} | {each.inline} | {each.thread} | {each.process} |" for each in ANIMALS.values()]
    assert "\n".join(rows) in page.read_text()


def test_command_line_survives_a_crash_at_import(processes, command, tmp_path):
    """``agentd check`` names a plugin that crashes its process, and is not ended by it."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "crashes_at_import.py").write_text(ANIMALS["crashes_at_import"].source)
    config = f"[agent]\nplugin_dirs = ['{tmp_path / 'plugins'}']\n{section('crashes_at_import', 'process')}\n"
    (tmp_path / "agentd.toml").write_text(config)
    result = command("check", "--config", "agentd.toml")
    assert result.returncode == 1
    assert "collectors.crashes_at_import: cannot be loaded: its process has ended, by SIGSEGV" in result.stderr


def test_agent_with_all_of_them_in_processes(start_agent):
    """All animals at once, each in a process: whatever they do again and again, the rest is served."""
    agent = live(start_agent, list(ANIMALS), "process")
    end = time.monotonic() + 8
    while time.monotonic() < end:
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
    up = {name for name in ANIMALS if answer.value("agentd_plugin_up", plugin=f"collectors.{name}") == 0}
    assert up == {name for name, animal in ANIMALS.items() if animal.process == LEFT_OUT}
    assert agent.stop() == 0
