"""``agentd plugins new``: what it writes works at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.scaffold import KINDS, files, wrong

PATIENCE = 60.0
"""Seconds after which a test gives up; no measurement."""


def configuration(said):
    """Return the configuration that was shown."""
    return said.partition("Put this into the configuration:\n\n")[2].partition("\nNext:")[0]


def until(so):
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("group", ["plugins", "plugin"])
def test_a_collector_works_at_once(command, tmp_path, group):
    """The file collects as it is, by the command that is said next; the group has a second name."""
    result = command(group, "new", "door")
    assert result.stdout == "wrote door.py\n\nNext:\n  agentd collect door.py --watch\n", result.stderr
    collected = command("collect", "door.py")
    assert collected.returncode == 0, collected.stderr
    assert "\ndoor_files " in collected.stdout
    file = tmp_path / "agentd.toml"
    file.write_text(f'[agent]\nplugin_dirs = ["{tmp_path}"]\n[collectors.door]\nfolder = "/nowhere/at/all"\n')
    assert "/nowhere/at/all" in command("collect", "door", "--config", str(file)).stderr


def test_a_sink_works_at_once(command, start_agent, tmp_path):
    """With the configuration that is shown, it is found sound, and an agent delivers to it."""
    said = command("plugins", "new", "mine", "--kind", "sink").stdout
    shown = configuration(said).replace("/tmp/mine.jsonl", str(tmp_path / "out"))
    assert "agentd check --probe" in said
    (tmp_path / "agentd.toml").write_text(shown)
    tried = command("check", "--probe", "--config", str(tmp_path / "agentd.toml"))
    assert tried.returncode == 0, tried.stderr
    assert f"sinks.mine: {tmp_path}/out can be written" in tried.stdout
    agent = start_agent(shown.partition("\n\n")[2], plugins={"mine": (tmp_path / "mine.py").read_text()})
    answer = agent.get("/api/v1/events", method="POST", body=b'{"type":"door.opened"}')
    assert answer.status == 201, answer
    until(lambda: (tmp_path / "out").exists() and b'"door.opened"' in (tmp_path / "out").read_bytes())


def test_an_exporter_works_at_once(command, start_agent, tmp_path):
    """With the configuration that is shown, an agent writes its metrics by it."""
    shown = configuration(command("plugins", "new", "mine", "--kind", "exporter").stdout)
    shown = shown.replace("/tmp/mine.csv", str(tmp_path / "out"))
    (tmp_path / "agentd.toml").write_text(shown)
    assert command("check", "--config", str(tmp_path / "agentd.toml")).returncode == 0
    start_agent(shown.partition("\n\n")[2], plugins={"mine": (tmp_path / "mine.py").read_text()})
    until(lambda: (tmp_path / "out").exists() and "\nnode_load1,," in (tmp_path / "out").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_tests_that_pass(command, tmp_path, kind):
    """Its tests pass, and its entry point leads to the plugin."""
    result = command("plugins", "new", "my_door", "--kind", kind, "--package", "--folder", "here")
    assert result.returncode == 0, result.stderr
    root = tmp_path / "here" / "agentd-my-door"
    assert f"{sys.executable} -m pip install -e here/agentd-my-door" in result.stdout
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(tests, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    project = tomli.loads((root / "pyproject.toml").read_text())["project"]
    (group,) = project["entry-points"]
    info = root / "src" / "fake-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][group].items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{points}")
    environment = {"PYTHONPATH": os.pathsep.join([str(root / "src"), *filter(None, sys.path)])}
    shown = command("plugins", f"{kind}s.my_door", environment=environment)
    assert f"{kind}s.my_door, package agentd-my-door" in shown.stdout, shown.stderr
    if kind == "collector":
        assert "\nmy_door_files " in command("collect", "my_door", environment=environment).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_sound_python(kind):
    """Every file compiles, its lines are of the usual length, and nothing of the template is left."""
    for package in (False, True):
        for path, text in files("my_door", kind, package=package).items():
            assert "$" not in text, path
            assert max(map(len, text.splitlines())) <= 120, path
            if path.suffix == ".py":
                compile(text, str(path), "exec")


@pytest.mark.parametrize("arguments", [[], ["--package"]])
def test_nothing_is_overwritten(command, tmp_path, arguments):
    """What is there already stays as it is, and is named."""
    for _ in range(2):
        result = command("plugins", "new", "door", *arguments)
    assert result.returncode == 1
    assert result.stderr.endswith(" is there already\n")
    written = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert command("plugins", "new", "door", *arguments, "--kind", "sink").returncode == 1
    assert written == {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert written


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my-door", 'such as "my_door"'),
        ("Door", 'such as "door"'),
        ("class", "no word of Python"),
        ("../door", 'such as "door"'),
        ("cpu", "a plugin (bundled) has that name already"),
        ("redis", "has that name already"),
        ("show", "the command `agentd plugins show` has that name already"),
        ("1door", "a letter first"),
    ],
)
def test_a_name_that_cannot_be_is_refused(command, tmp_path, name, says):
    """A name is one of Python's, and that of no other plugin; nothing is written."""
    before = set(tmp_path.rglob("*"))
    result = command("plugins", "new", name)
    assert result.returncode == 2
    assert says in result.stderr
    assert set(tmp_path.rglob("*.py")) <= before


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_name_is_sound_or_refused(name):
    """Whatever is not refused is a name of Python and of a file, and what is suggested instead is not refused."""
    why = wrong(name, ())
    if not why:
        assert name.isidentifier()
        assert Path(f"{name}.py").name == f"{name}.py"
    elif '"' in why:
        assert not wrong(why.split('"')[1], ())
