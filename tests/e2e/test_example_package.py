"""The package in ``examples/``, installed by pip in a virtual environment of its own, as somebody else's would be.

The libraries that agentd takes are those of the suite; only hatchling is fetched, where it is missing.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import venv
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "agentd-door"


class Stranger:
    """Somebody who has installed agentd and the package, and has a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        places = {"HOME": folder, "STATE_DIRECTORY": folder / "state", "RUNTIME_DIRECTORY": folder / "run"}
        self.environment = kept | {name: str(place) for name, place in places.items()} | {"COLUMNS": "250"}

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program, and return what it said."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    def agentd(self, *arguments: str, configuration: str = "") -> str:
        """Run agentd with a configuration, and return what it said; an error fails the test."""
        file = self.folder / "agentd.toml"
        file.write_text(configuration)
        done = self.run(self.python, "-m", "agentd", *arguments, "--config", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An environment in which the package and agentd are installed, the latter from the checkout where there is one."""
    stranger = Stranger(tmp_path_factory.mktemp("stranger"))
    pip_is_here = find_spec("pip") is not None
    venv.create(stranger.folder / "venv", with_pip=not pip_is_here)
    (site,) = stranger.folder.glob("venv/lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("".join(f"{path}\n" for path in libraries))
    from_the_checkout = [ROOT] if (ROOT / "agentd").is_dir() else []
    how = ["--no-build-isolation", "--no-index"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--python", stranger.python] if pip_is_here else [stranger.python, "-m", "pip"]
    how += ["--quiet", "--ignore-installed", "--no-deps", "--no-compile"]
    done = stranger.run(*pip, "install", *how, *from_the_checkout, EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    for module in ["agentd_door", *(["agentd", "agentd_plugins"] if from_the_checkout else [])]:
        said = stranger.run(stranger.python, "-c", f"import {module}; print({module}.__file__)").stdout
        assert said.startswith(str(site)), f"{module} is {said!r}, not what pip has installed"
    (stranger.folder / "doors").mkdir()
    (stranger.folder / "doors" / "gate").write_text("3 0\n")
    (stranger.folder / "doors" / "test-1").write_text("9 1\n")
    return stranger


@pytest.fixture
def configuration(stranger):
    """The configuration of the package's README, with the folders of this test."""
    (text,) = re.findall(r"^```toml\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return text.replace("/run/doors", f"{stranger.folder}/doors").replace("/var/lib/agentd", str(stranger.folder))


def test_it_is_listed(stranger):
    """``agentd plugins`` has both, off before they have a section, with their package and each of their options, which
    are in the README as the metrics are.
    """
    listed, readme = stranger.agentd("plugins"), (EXAMPLE / "README.md").read_text()
    for name, options in (("door", {"folder", "ignore", "open_at_most"}), ("logbook", {"path", "keep"})):
        assert re.search(rf"^{name} .* off \(", listed, re.MULTILINE), listed
        told = stranger.agentd("plugins", name)
        assert "package agentd-door" in told
        for option in options:
            assert re.search(rf"^ *{option}\b", told, re.MULTILINE), told
            assert re.search(rf"^{option} = ", readme, re.MULTILINE), option
        for metric in re.findall(r"^ *(door_\w+) \(", told, re.MULTILINE):
            assert f"| `{metric}{{" in readme


def test_installing_it_is_as_shown(stranger):
    """What docs/plugins.md shows behind its two commands is what comes of them."""
    page = (ROOT / "docs" / "plugins.md").read_text()
    _, install, command, line = re.search(r"(```console\n)\$ (.* -m pip .*)\n\$ agentd (.*)\n(.*)\n…\n", page).groups()
    assert (ROOT / install.rpartition(" ")[2]) == EXAMPLE
    (points,) = re.findall(r"^```toml\n(\[project\..*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert points in (EXAMPLE / "pyproject.toml").read_text()
    assert stranger.agentd(*command.split()).startswith(f"{line}\n")


@pytest.mark.skipif(not find_spec("hatchling"), reason="hatchling, of the group test, is not installed")
def test_what_is_published_is_built_as_shown(stranger):
    """Both files have the names that docs/plugins.md shows; the wheel has the modules and their types, and no tests."""
    shown = re.search(
        r"^\$ python (-m hatchling build)\n(.*?)^\$", (ROOT / "docs/plugins.md").read_text(), re.MULTILINE | re.DOTALL
    )
    shutil.copytree(EXAMPLE, stranger.folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "NO_COLOR": "1"}
    command = [sys.executable, *shown[1].split()]
    done = subprocess.run(
        command, cwd=stranger.folder / "source", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = shown[2].splitlines()
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("dist/")] == built
    names = zipfile.ZipFile(stranger.folder / "source" / built[1]).namelist()
    of_the_package = [name for name in names if "dist-info" not in name]
    assert set(of_the_package) == {
        f"agentd_door/{name}" for name in ("__init__.py", "door.py", "logbook.py", "py.typed")
    }


def test_it_collects(stranger, configuration):
    """The README's configuration is sound; ``agentd collect`` tells the doors, but for the one that is left out."""
    assert "logbook.db can be written" in stranger.agentd("check", "--probe", configuration=configuration)
    told = stranger.agentd("collect", "door", configuration=configuration)
    assert '\ndoor_opened_total{door="gate"} 3.0\n' in told
    assert '\ndoor_open{door="gate"} 0.0\n' in told
    assert "test-1" not in told


def test_its_own_tests_pass(stranger):
    """They run beside the installed package, without its source."""
    shutil.copytree(EXAMPLE, stranger.folder / "own", ignore=shutil.ignore_patterns("src", "__pycache__"))
    stranger.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of the libraries' plugins a stranger has none
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "agentd.testing.fixtures"]
    done = stranger.run(stranger.python, *pytest, "--rootdir", "own", "own/tests")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(file.read_text().count("\ndef test_") for file in (EXAMPLE / "tests").glob("*.py"))
    assert f"{tests} passed" in done.stdout


def test_an_agent_runs_it(stranger, configuration, processes, free_port, tmp_path):
    """An agent of that environment serves the collector's metrics, and its event arrives in the sink's database."""
    (stranger.folder / "doors" / "gate").write_text("4 1\n")
    file, book = tmp_path / "agentd.toml", stranger.folder / "logbook.db"
    file.write_text(configuration.replace('"5m"', '"1s"').replace("[sinks.", 'interval = "300ms"\n\n[sinks.'))
    command = [str(stranger.python), "-m", "agentd", "run", "--config", str(file), "--listen", f"127.0.0.1:{free_port}"]
    agent = processes.server(command, free_port, tmp_path, stranger.environment, ready="/readyz")
    agent.until(lambda: agent.get("/metrics").value("door_opened_total", door="gate") == 4.0)
    agent.until(lambda: rows(book))
    assert rows(book)[0] == ("door.left_open", "gate")
    assert agent.stop() == 0


def rows(book: Path) -> list[tuple[str, str]]:
    """Return the type and the target of each event in the sink's database; none while there is no such table."""
    if not book.exists():
        return []
    with closing(sqlite3.connect(book)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            return []
        return database.execute("SELECT type, target FROM events ORDER BY time").fetchall()
