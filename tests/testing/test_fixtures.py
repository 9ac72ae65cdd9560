"""The pytest plugin, as a stranger's pytest loads it."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

import agentd.testing

TESTS = """
import asyncio
from agentd.plugin import Family
from agentd.testing import Recorder

def test_golden(golden):
    golden([Family.gauge("a", "A.", 1.0)])

def test_clock(clock, recorder):
    clock.advance(5)
    asyncio.run(recorder.commit([], {"at": clock.time()}))
    assert recorder.state == {"at": clock.time()}
"""


LOADED = ("-p", "agentd.testing.fixtures")


def run_pytest(folder, *arguments, loads="PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
    """Run the tests of a stranger; no plugin is loaded that is not named."""
    (folder / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, loads: "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return run.returncode, run.stdout + run.stderr


def test_golden_files_are_made_by_an_option(tmp_path):
    """Without the file the test fails and says how to make it; then it is there, and passes."""
    status, said = run_pytest(tmp_path, *LOADED)
    assert (status, "1 failed, 1 passed" in said, "--update-golden" in said) == (1, True, True)
    assert run_pytest(tmp_path, *LOADED, "--update-golden")[0] == 0
    assert (tmp_path / "golden" / "test_golden.prom").read_text() == "# HELP a A.\n# TYPE a gauge\na 1.0\n"
    assert run_pytest(tmp_path, *LOADED)[0] == 0


def test_pytest_is_told_of_the_plugin_under_the_name_of_its_module():
    """The entry point has the module's name, so that ``-p`` finds the same plugin and not a second one."""
    found = [
        (point.name, point.value)
        for point in importlib.metadata.entry_points(group="pytest11")
        if point.value.startswith("agentd")
    ]
    assert found in ([], [("agentd.testing.fixtures",) * 2])  # a checkout need not be installed


@pytest.mark.parametrize("named", [(), LOADED])
def test_the_entry_point_is_loaded_once(named, tmp_path, monkeypatch):
    """A package that announces the fixtures has them loaded, and no second time where they are asked for by ``-p``."""
    if not importlib.metadata.entry_points(group="pytest11", name="agentd.testing.fixtures"):
        announced = tmp_path / "announced" / "kit-1.dist-info"
        announced.mkdir(parents=True)
        (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: kit\nVersion: 1\n")
        (announced / "entry_points.txt").write_text(f"[pytest11]\n{LOADED[1]} = {LOADED[1]}\n")
        path = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(announced.parent), path))))
    others = [
        argument
        for point in importlib.metadata.entry_points(group="pytest11")
        if not point.value.startswith("agentd")
        for argument in ("-p", f"no:{point.name}")
    ]
    status, said = run_pytest(tmp_path, *others, *named, "--update-golden", loads="NOTHING")
    assert status == 0, said
    assert "2 passed" in said


def imported(names):
    """Return what modules of these names a fresh interpreter has after importing the kit, and after its fixtures."""
    seen = f"print(sorted(name for name in sys.modules if name.split('.')[0] in {names}))"
    for program in ("agentd.testing", "pytest, agentd.testing.fixtures"):
        command = [sys.executable, "-c", f"import sys, {program}; {seen}"]
        yield subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_to_import_the_kit_costs_nothing():
    """Neither the kit nor its fixtures import pytest, aiohttp or their own modules before they are asked for."""
    kit, fixtures = imported({"agentd", "pytest", "aiohttp", "msgspec"})
    assert kit == "['agentd', 'agentd.testing']"
    kit, fixtures = imported({"agentd", "aiohttp", "msgspec"})
    assert fixtures == "['agentd', 'agentd.testing', 'agentd.testing.fixtures']"


def test_the_kit_works_without_pytest():
    """Where pytest is not installed, everything but the fixtures can be imported, and a collector be run."""
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "import agentd.testing\n"
        "for name in agentd.testing.__all__: getattr(agentd.testing, name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_all_that_is_listed_is_there():
    """Each name of the interface leads to something, has a docstring, and is listed once."""
    assert len(set(agentd.testing.__all__)) == len(agentd.testing.__all__)
    for name in agentd.testing.__all__:
        assert getattr(agentd.testing, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(agentd.testing, "no_such_name")  # noqa: B009  # it is to be looked up
