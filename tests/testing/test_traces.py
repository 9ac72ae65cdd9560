"""A failing test of a plugin shows the lines of its author, and not those of the kit and the agent between them."""

import os
import re
import subprocess
import sys

import pytest

TESTS = '''
from agentd.plugin import Collector, Config, Exporter, Family, Sink
from agentd.testing import *

class Door(Collector[Config]):
    """A door."""
    name = "door"
    def collect(self):
        return self.read()
    def read(self):
        raise ValueError("the door is broken")

class Inline(Door):
    blocking = False

class Waits(Door):
    async def collect(self):
        return await self.in_worker(self.read)

class Bad(Door):
    def collect(self):
        return [Family.gauge("a-b", "A.", 1.0)]

class Odd(Door):
    def collect(self):
        number = self.host.proc("door")
        return [Family.gauge("door_number", "A number.", float(number))]

class Hangs(Door):
    def collect(self):
        import time
        time.sleep(20)

class Out(Exporter[Config]):
    """Goes out."""
    name = "out"
    def export(self, snapshot):
        raise ValueError("the way out is broken")

class Full(Sink[Config]):
    """Is full."""
    name = "full"
    async def stop(self):
        raise ValueError("the sink is broken")
    async def send(self, events):
        pass

def test_door():
    run_collector(Door)
def test_inline():
    run_collector(Inline)
def test_waits():
    run_collector(Waits)
def test_bad():
    run_collector(Bad)
def test_hangs():
    run_collector(Hangs, deadline=1)
def test_options():
    run_collector(Door, config={"path": "/run/door"})
def test_out():
    run_exporter(Out)
def test_full():
    run_sink(Full, ["door.open"])
def test_contract():
    check_plugin(Door)
def test_waived():
    check_plugin(Door, waive={"nothing": "why"})
def test_odd():
    fuzz_collector(Odd, proc={"door": "1"})
def test_metrics():
    assert_metrics([], {"door_open": 1.0})
def test_golden(golden):
    golden("a 1")
'''


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What pytest shows of each failure, by the name of its test."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "agentd.testing.fixtures"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    parts = re.split(r"^_{5,} (test_\w+) _{5,}$", done.stdout.partition("= short test summary")[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("test", "says", "frames"),
    [
        ("door", "ValueError: the door is broken", ["in collect", "ValueError"]),
        ("inline", "ValueError: the door is broken", ["in collect", "ValueError"]),
        ("waits", "ValueError: the door is broken", ["in collect", "ValueError"]),
        ("bad", "LeftOut: the agent would leave out", ["LeftOut"]),
        ("hangs", "time.sleep(20)", ["Hang"]),
        ("options", "collectors.door.path: no such option", ["ConfigError"]),
        ("out", "ValueError: the way out is broken", ["ValueError"]),
        ("full", "ValueError: the sink is broken", ["ValueError"]),
        ("contract", "Broken: Door breaks the contract", ["Broken"]),
        ("waived", "there is no rule 'nothing'", ["ValueError"]),
        ("odd", "the error does not name the file", ["AssertionError"]),
        ("metrics", "door_open: is not there", ["AssertionError"]),
        ("golden", "make it with pytest --update-golden", ["AssertionError"]),
    ],
)
def test_only_the_authors_lines_are_shown(shown, test, says, frames):
    """The test's line, the plugin's lines, and the message; not one line of agentd or of asyncio."""
    text = shown[f"test_{test}"]
    assert says in text
    places = re.findall(r"^(\S+\.py):\d+: ?(.*)$", text, re.MULTILINE)
    assert {file for file, _ in places} == {"test_mine.py"}, text
    assert [what for _, what in places if what] == frames, text
    assert "asyncio" not in text
    assert "/agentd/" not in text, text


def test_a_mistake_of_agentds_own_keeps_its_frames():
    """Where no plugin is on the way, whoever mends agentd sees all of it."""
    from agentd.metrics.exposition import Renderer
    from agentd.testing.within import within

    async def broken():
        Renderer().render([None])

    with pytest.raises(AttributeError) as error:
        within(60, "rendering", broken)
    assert [entry.name for entry in error.traceback][-1] != "broken"
