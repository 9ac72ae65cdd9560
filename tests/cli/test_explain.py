"""``agentd explain``: who tells a metric, what was read for it, and what it says now."""

import os
import re
import socket
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.declarations import Declaration, matching
from agentd.cli.explain import parsed
from agentd.cli.trace import folded
from agentd.metrics.family import Metric, counter, gauge, unknown

LOCAL = '''
import os
from pathlib import Path
from agentd.plugin import Collector, Config, Family, NoData, Secret, counter, gauge, hookimpl

class Options(Config):
    """Options of a test."""

    folder: str
    """Where to read."""
    password: Secret = Secret("")
    """What nobody may see."""

class Local(Collector[Options]):
    """Counts what this test needs."""

    name = "local"
    things = counter("local_things_total", "Things that were counted.", ("kind",))
    size = gauge("local_size_bytes", "Size of it all.")

    def collect(self):
        folder = Path(self.config.folder)
        (folder / "written").write_text("x")
        text = (folder / "thing").read_text()
        if text == "fail":
            raise OSError("no luck")
        for name in ("a", "b", "c", "d", "e"):
            (folder / name / "value").read_bytes()
        os.listdir(folder)
        return [self.things({"a": float(text)}), self.size(7.0), Family.gauge("local_odd", "Nobody declares it.", 1.0)]

@hookimpl
def agentd_collectors():
    return [Local]
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with what the collector reads."""
    for name in "abcde":
        (tmp_path / "things" / name).mkdir(parents=True)
        (tmp_path / "things" / name / "value").write_text("1")
    (tmp_path / "things" / "thing").write_text("3")
    return tmp_path / "things"


@pytest.fixture
def agent(start_agent, folder):
    """An agent with that collector."""
    return start_agent(f"[collectors.local]\nfolder='{folder}'\npassword='hunter2'", plugins={"local": LOCAL})


@pytest.fixture
def explain(command, request):
    """Explains, by the running agent where there is one; returns the lines, and fails where anything went wrong."""

    def run(metric, *arguments, agent=None):
        names = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")
        environment = {} if agent is None else {name: agent.environment[name] for name in names}
        result = command("explain", metric, *arguments, environment=environment)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        assert "hunter2" not in result.stdout
        return result.stdout.splitlines()

    return run


def test_with_an_agent(explain, agent, folder):
    """All is told: kind, help, labels, unit, plugin, the files that were read, when the agent read it, its samples."""
    agent.get("/metrics")
    lines = explain("local_things_total", agent=agent)
    assert lines[:3] == ["local_things_total (counter)", "    Things that were counted.", "labels: kind"]
    assert any(line.startswith("told by collectors.local, ") and "enabled" in line for line in lines)
    begin = lines.index("in one collection just now it has read:")
    expected = {f"    {folder}/*/value (5 files)", f"    {folder}", f"    {folder}/thing"}
    assert set(lines[begin + 1 : begin + 4]) == expected
    assert f"    {folder}/written" not in lines
    assert any(re.match(r"collectors.local was last read by the running agent at .*ms: ok", line) for line in lines)
    assert lines[-2:] == ["samples: 1", '    local_things_total{kind="a"} 3.0']
    assert "unit: bytes" in explain("local_size_bytes", agent=agent)


def test_one_that_nobody_declares(explain, agent):
    """A metric whose name is learned at run time is found in what the agent shows, with the collector that tells it."""
    lines = explain("local_odd", agent=agent)
    assert lines[:2] == ["local_odd (gauge)", "    Nobody declares it."]
    assert lines[2] == "told by collectors.local, which learns its name while it runs"
    assert lines[-1] == "    local_odd 1.0"


@pytest.mark.parametrize("name", ["agentd_loop_lag_seconds", "agentd_loop_lag_seconds_count", "agentd_build_info"])
def test_the_agents_own(explain, agent, name):
    """What the agent tells about itself is explained as well, a histogram also by the names of its series."""
    lines = explain(name, agent=agent)
    assert "told by the agent about itself" in lines
    assert any(line.startswith(f"    {name}") for line in lines)


def test_without_an_agent(explain):
    """Without an agent the samples are those of the one collection; the kernel's file is named."""
    lines = explain("node_load1")
    assert "    /proc/loadavg" in lines
    assert lines[-2] == "samples: 1"
    assert lines[-1].startswith("    node_load1 ")
    assert not any(line.endswith((".py", ".pyc", ".so")) for line in lines)


def test_a_pattern(explain):
    """A metric whose declaration has a pattern is explained under its own name."""
    lines = explain("node_vmstat_pgfault")
    assert lines[0] == "node_vmstat_pgfault (unknown)"
    assert "pgfault" in lines[1]
    assert "    /proc/vmstat" in lines


def test_one_that_is_off_or_fails(explain, command, folder, tmp_path):
    """Of a collector that is off nothing is run; why one brought nothing is told."""
    assert any("off (switch on:" in line for line in explain("node_interrupts_total"))
    (folder / "thing").write_text("fail")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "local.py").write_text(LOCAL)
    config = tmp_path / "agentd.toml"
    config.write_text(f"[agent]\nplugin_dirs=['{tmp_path}/plugins']\n[collectors.local]\nfolder='{folder}'\n")
    lines = explain("local_things_total", "--config", str(config))
    assert any("that collection brought nothing: OSError: no luck" in line for line in lines)
    assert lines[-1] == "samples: none now"


def test_one_that_there_is_not(command):
    """A name that nobody has is an error that suggests the right one."""
    result = command("explain", "node_laod1")
    assert result.returncode == 1
    assert result.stderr == 'agentd: no plugin declares a metric "node_laod1". Did you mean "node_load1"?\n'


KNOWN = [
    Declaration(counter("a_total", "A.")),
    Declaration(Metric("h_seconds", "histogram", "H.")),
    Declaration(Metric("s_seconds", "summary", "S.")),
    Declaration(unknown("v_*", "Field {}."), "collectors", "v"),
    Declaration(gauge("v_known", "Known."), "collectors", "w"),
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a_total", ["a_total"]),
        ("a_total_sum", []),
        ("h_seconds_bucket", ["h_seconds"]),
        ("s_seconds_bucket", []),
        ("s_seconds_count", ["s_seconds"]),
        ("v_known", ["v_known"]),
        ("v_other", ["v_other"]),
        ("V_other", []),
    ],
)
def test_names_are_matched(name, found):
    """A metric is found by its name, that of its series, or by a pattern where nobody has just that name."""
    assert [one.metric.name for one in matching(name, KNOWN)] == found


def test_a_pattern_says_what_it_stands_for():
    """The help of a pattern has what stands in the place of the star."""
    (one,) = matching("v_other", KNOWN)
    assert one.metric.help == "Field other."


def test_an_exposition_is_parsed():
    """Families are taken apart as they are written: kind, help and samples."""
    text = "# HELP a_total Says \\\\ x.\n# TYPE a_total counter\na_total 1.0\n# HELP b B.\n# TYPE b untyped\n"
    (first, second) = parsed(text)
    assert first == ("a_total", "counter", "Says \\\\ x.", ["a_total 1.0"])
    assert second == ("b", "unknown", "B.", [])


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "cd"]), min_size=1, max_size=5).map(lambda p: "/" + "/".join(p)),
        unique=True,
    )
)
@settings(max_examples=100, deadline=None)
def test_folding_loses_no_file(paths):
    """However paths are folded into lines, the numbers add up to all of them."""
    count = 0
    for line in folded(paths):
        match = re.search(r" \((\d+) files\)$", line)
        count += int(match[1]) if match else 1
    assert count == len(paths)


TRACE = """
import os, socket, sys, threading
from agentd.cli.trace import traced
def work():
    open(sys.argv[1] + "/read").close()
    open(sys.argv[1] + "/written", "w").close()
    thread = threading.Thread(target=os.listdir, args=(sys.argv[1],)); thread.start(); thread.join()
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))):
        import colorsys
    return 7
print(traced(work))
open(sys.argv[1] + "/read").close()
"""


def test_what_is_traced(tmp_path):
    """What is opened for reading in any thread, netlink and connections are seen; modules are not."""
    (tmp_path / "read").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-c", TRACE, str(tmp_path), str(port)]
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    netlink = "a netlink socket (protocol 0, netlink(7))"
    expected = [f"{tmp_path}/read", str(tmp_path), netlink, f"a connection to 127.0.0.1:{port}"]
    assert result.stdout == f"{(7, expected)}\n"
