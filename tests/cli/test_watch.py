"""``agentd collect ./file.py``, and ``--watch``, which collects again at each save."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.watch import counted, difference, samples, settled, stamped

PATIENCE = 90.0
"""Seconds after which a test gives up; no measurement."""

DOOR = '''
from agentd.plugin import collector, gauge

@collector(gauge("door_open", "Whether the door is open.", ("door",)))
def door():
    """The door."""
    return {"a": 1}
'''


SINK = """
from agentd.plugin import Config, Sink, hookimpl

class A(Sink[Config]):
    name = "a"

@hookimpl
def agentd_sinks():
    return [A]
"""


@pytest.fixture
def door(tmp_path):
    """A file with a collector, in no folder of plugins."""
    file = tmp_path / "door.py"
    file.write_text(DOOR)
    return file


def test_a_file_is_collected_without_any_configuration(command, door):
    """A collector need not be in a folder of plugins to be tried: its file is named, from where one stands."""
    for name in ("./door.py", "door.py", str(door)):
        result = command("collect", name)
        assert result.returncode == 0, result.stderr
        assert '\ndoor_open{door="a"} 1.0\n' in result.stdout
    assert not (door.parent / "__pycache__").exists()


def test_a_file_is_collected_with_its_section(command, door, tmp_path):
    """The configuration is used as far as there is one, also where the file is in a folder of plugins besides."""
    door.write_text(
        "from agentd.plugin import Config, collector, gauge\nclass Options(Config):\n    speed: float\n"
        "@collector(gauge('door_speed', 'How quick.'))\ndef door(config: Options):\n    return config.speed\n"
    )
    file = tmp_path / "agentd.toml"
    file.write_text(f"[agent]\nplugin_dirs = ['{tmp_path}']\n[collectors.door]\nspeed = 3\n")
    result = command("collect", "./door.py", "--config", str(file))
    assert "\ndoor_speed 3.0\n" in result.stdout, result.stderr
    assert result.stderr == ""
    lacking = command("collect", "./door.py")
    assert lacking.returncode == 1
    assert "door (needs speed in [collectors.door])" in lacking.stderr


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = (\n", ["SyntaxError", "(door.py, line 1)", "./door.py cannot be loaded"]),
        ("import nowhere_at_all\n", ["nowhere_at_all", "door.py:1)", "./door.py cannot be loaded"]),
        ("x = 1\n", ["@collector", "./door.py cannot be loaded"]),
        (DOOR.replace('{"a": 1}', "open('/nowhere/at/all')"), ["/nowhere/at/all", "door.py:7)"]),
        (DOOR.replace('{"a": 1}', "__import__('pathlib').Path('/nowhere').read_text()"), ["/nowhere", "door.py:7)"]),
        (
            SINK,
            ["./door.py has no collector"],
        ),
        (DOOR.replace("def door", "def cpu"), ["plugin collectors.cpu", "is left out", "./door.py has no collector"]),
    ],
)
def test_an_error_in_a_file_names_its_line(command, door, source, says):
    """What is wrong is said with the line of the file itself, though Python's library may have raised it."""
    door.write_text(source)
    result = command("collect", "./door.py")
    assert result.returncode == 1
    for text in says:
        assert text in result.stderr
    assert "Traceback" not in result.stderr


EMITS = """
from agentd.plugin import Collector, Config, collector, gauge

@collector(gauge("door_open", "Whether the door is open."))
def door(plugin: Collector[Config]):
    plugin.emit("door.opened", {"by": "ann"}, target="gate")
    plugin.emit("door opened")
    plugin.emit("door.opened", {"by": object()})
    plugin.emit("door.opened", 7)
    return 1
"""


def test_events_are_shown(command, door):
    """What a collector emits is shown beside its metrics, and so is why something is no event."""
    door.write_text(EMITS)
    result = command("collect", "./door.py")
    assert result.returncode == 0
    first, *others = result.stderr.splitlines()
    assert first.startswith("event: ")
    assert first.endswith("  door.opened  collectors.door → gate  by=ann")
    left_out = [line.partition(" is left out: ")[0] for line in others]
    assert left_out == ["event: 'door opened'", "event: 'door.opened'", "event: 'door.opened'"]
    assert command("collect", "cpu").stderr == ""


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("import ctypes\nctypes.string_at(0)\n", 'door.py", line 2 in <module>'),
        (DOOR.replace('{"a": 1}', "__import__('ctypes').string_at(0)"), 'door.py", line 7 in door'),
    ],
)
def test_a_crash_names_its_line(command, door, source, line):
    """What ends the program, as a library in C may, is said with the line of the file that called it."""
    door.write_text(source)
    result = command("collect", "./door.py")
    assert result.returncode == -signal.SIGSEGV
    assert line in result.stderr


def test_a_file_that_is_not_there(command):
    """It is said, and not taken for the name of a collector."""
    result = command("collect", "./nowhere.py")
    assert (result.returncode, result.stderr) == (2, "agentd: there is no file ./nowhere.py\n")
    assert "--watch needs the name" in command("collect", "--watch").stderr


class Watching:
    """A process that watches, and what it has printed."""

    def __init__(self, folder, *arguments):
        environment = {**os.environ, "HOME": str(folder), "STATE_DIRECTORY": str(folder / "state")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentd", "collect", "--watch", *arguments],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.lines = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, *texts):
        """Wait until lines with these texts have come, and forget all that has come so far."""
        end = time.monotonic() + PATIENCE
        while not all(any(text in line for line in self.lines) for text in texts):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < end, (texts, self.lines)
            time.sleep(0.02)
        self.lines.clear()

    def stop(self):
        """Interrupt it; return its exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        self.process.stdout.close()
        return status


@pytest.fixture
def watching(tmp_path):
    """Begins to watch; ended with the test."""
    begun = []

    def begin(*arguments):
        begun.append(Watching(tmp_path, *arguments))
        return begun[-1]

    yield begin
    for each in begun:
        if each.process.poll() is None:
            each.process.kill()
            each.stop()


def test_each_save_shows_what_it_changed(watching, door):
    """New series, gone ones and other values are shown; a mistake is, too, and does not end it, nor lose what was."""
    shown = watching("./door.py")
    shown.until(f"watching {door}", "1 series", '+ door_open{door="a"} 1.0')
    door.write_text(DOOR.replace('"a": 1', '"a": 2'))  # of the same size, and maybe within the same second
    shown.until("1 series: 0 added, 0 gone, 1 changed", '~ door_open{door="a"} 1.0 → 2.0')
    door.write_text(DOOR + "x = (\n")
    shown.until("failed", "(door.py, line 8)")
    door.write_text(DOOR.replace('{"a": 1}', "1 / 0"))
    shown.until("failed", "ZeroDivisionError: division by zero", "door.py:7)")
    door.write_text(DOOR.replace('{"a": 1}', "__import__('os')._exit(3)"))
    shown.until("failed")
    replaced = door.with_suffix(".new")
    replaced.write_text(DOOR.replace('"a": 1', '"a": 2, "b": 0'))
    replaced.rename(door)
    shown.until("2 series: 1 added, 0 gone, 0 changed", '+ door_open{door="b"} 0.0')
    door.write_text(DOOR.replace('"a": 1', '"b": 0'))
    shown.until("1 series: 0 added, 1 gone, 0 changed", '- door_open{door="a"} 2.0')
    assert shown.stop() == 0


def test_one_that_hangs_is_given_up_when_it_is_saved(watching, door):
    """What hangs, when it is loaded even, holds up nobody who mends it."""
    door.write_text("import time\ntime.sleep(1000)\n")
    shown = watching("./door.py")
    shown.until("watching")
    time.sleep(0.5)
    door.write_text(DOOR)
    shown.until("1 series")


def test_a_plugin_of_a_package_is_watched(watching, tmp_path, monkeypatch):
    """All files of a package count, and are loaded anew: each collection has a process of its own."""
    (tmp_path / "fake_doors").mkdir()
    (tmp_path / "fake_doors/__init__.py").write_text(
        "from agentd.plugin import collector, gauge\nfrom fake_doors.values import VALUE\n"
        "@collector(gauge('fake_door', 'A door.'))\ndef fakedoor():\n    return VALUE\n"
    )
    (tmp_path / "fake_doors/values.py").write_text("VALUE = 1\n")
    (tmp_path / "fake-1.dist-info").mkdir()
    (tmp_path / "fake-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1\n")
    (tmp_path / "fake-1.dist-info/entry_points.txt").write_text("[agentd.collectors]\nfakedoor = fake_doors\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    shown = watching("fakedoor")
    shown.until("+ fake_door 1.0")
    (tmp_path / "fake_doors/values.py").write_text("VALUE = 2\n")
    shown.until("~ fake_door 1.0 → 2.0")


# --- pure parts


SERIES = st.dictionaries(st.sampled_from(["a", "b", 'c{d="e"}']), st.sampled_from(["1.0", "2.0", "NaN"]))


@given(SERIES, SERIES)
@settings(max_examples=100, deadline=None)
def test_a_difference_leads_from_one_to_the_other(before, after):
    """What is shown is all that it takes to make the one of the other."""
    made = dict(before)
    for line in difference(before, after):
        sign, series, *values = line.split(" ")
        if sign == "-":
            assert made.pop(series) == values[0]
        else:
            assert (series in made) == (sign == "~")
            made[series] = values[-1]
    assert made == dict(after)
    numbers = [int(part.split()[0]) for part in counted(before, after).partition(": ")[2].split(", ")]
    assert sum(numbers) == len(list(difference(before, after)))


def test_samples_of_an_exposition():
    """Comments, and what tells of the collection itself, are no samples; label values may hold anything."""
    text = '# HELP a A.\na{b="c d # e"} 1.0\nf NaN\nagentd_collector_success{plugin="collectors.f"} 1.0\n'
    assert samples(text) == {'a{b="c d # e"}': "1.0", "f": "NaN"}


def test_files_are_waited_for(tmp_path):
    """One that is not there for a moment, while an editor replaces it, is waited for; all of a folder counts."""
    file = tmp_path / "deep" / "a.py"
    file.parent.mkdir()
    thread = threading.Timer(0.3, lambda: file.write_text("1"))
    thread.start()
    assert list(settled([tmp_path])) == [file]
    thread.join()
    before = stamped([file])
    file.write_text("2")
    os.utime(file, ns=(1, 1))
    assert stamped([file]) != before
