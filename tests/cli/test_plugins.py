"""``agentd plugins`` beside an agent: plugins are found by whatever one calls them, and are as they are there."""

import json
import sys

import pytest

CONFIG = """
[collectors]
disable = ["uname"]
[collectors.prometheus]
plugin = "loadavg"
"""


@pytest.fixture(scope="module")
def agent(beside, standing):
    """An agent of which two plugins have one name, and the command line beside it."""
    return beside(standing.agent(CONFIG))


@pytest.mark.parametrize("name", ["meminfo", "collectors.meminfo"])
def test_a_plugin_is_found_by_its_name(agent, name):
    """With its kind or without, the only instance of a name is paused, and resumed."""
    done = agent.run("plugins", "pause", name, "--for", "2h")
    assert (done.returncode, done.stdout) == (0, "collectors.meminfo is paused for 2h\n")
    plugins = json.loads(agent.run("status", "--json").stdout)["plugins"]
    assert [plugin["plugin"] for plugin in plugins if plugin["paused_until"]] == ["collectors.meminfo"]
    assert agent.run("plugins", "resume", name).returncode == 0
    plugins = json.loads(agent.run("status", "--json").stdout)["plugins"]
    assert [plugin["plugin"] for plugin in plugins if plugin.get("paused_until")] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("prometheus", '"prometheus" may be collectors.prometheus or exporters.prometheus'),
        ("memifo", 'no plugin "memifo" is configured. Did you mean "meminfo"?'),
        ("collector.meminfo", 'no plugin "collector.meminfo" is configured. Did you mean "collectors.meminfo"?'),
        ("uname", 'no plugin "uname" is configured; collectors.uname is switched off: '),
        ("//..", 'no plugin "//.." is configured: agentd status lists them'),
    ],
)
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_plugin_that_is_not_found(agent, command, name, says):
    """The error says what may have been meant, and names no path of the API."""
    done = agent.run("plugins", command, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"agentd: {says}")
    assert "/api/" not in done.stderr


def test_a_length_that_is_none(agent):
    """A length of time without a unit is refused as an option that is wrong, with what would be right."""
    done = agent.run("plugins", "pause", "meminfo", "--for", "3")
    assert done.returncode == 2
    assert "Invalid value for '--for': expected a duration with its unit, such as \"250ms\"" in done.stderr
    assert "found '3'" in done.stderr


def test_what_the_agent_has_switched_off(agent):
    """Without --config, whether a plugin is enabled is told by the configuration of the agent that runs."""
    first = agent.run("plugins", "uname").stdout.splitlines()[0]
    assert first.startswith("collectors.uname, bundled: disabled in ")
    both = agent.run("plugins", "loadavg").stdout
    assert "enabled as prometheus ([collectors.prometheus] in " in both


def test_a_plugin_by_the_name_of_its_section(command, tmp_path):
    """A section whose name is no plugin's leads to the plugin that it configures."""
    (tmp_path / "a.toml").write_text('[exporters.for_backup]\nplugin = "textfile"\npath = "/x.prom"\n')
    for name in ("for_backup", "exporters.for_backup"):
        done = command("plugins", name, "--config", str(tmp_path / "a.toml"))
        assert done.stdout.startswith("exporters.textfile, bundled: enabled as for_backup (")


def test_how_options_are_shown(command):
    """No option, and an option that is not set, are said in words; marks of the source are left out."""
    assert "\nOptions of [collectors.loadavg]: none of its own\n" in command("plugins", "loadavg").stdout
    shown = command("plugins", "filesystem").stdout
    assert "  mount_points_include (regular expression, not set)\n" in shown
    assert "``" not in shown
    assert "None" not in shown


APART = '''
import no_module_of_the_agent
from agentd.plugin import Collector, Config, hookimpl

class Options(Config):
    """Options."""

    speed: float = 1.0
    """Metres a second above which ``it`` is too fast."""

class Wheel(Collector[Options]):
    """A wheel."""

    name = "wheel"

@hookimpl
def agentd_collectors():
    return [Wheel]
'''


def test_options_of_a_plugin_that_another_interpreter_runs(command, tmp_path):
    """What the agent does not import, and could not, is described with the texts of its options all the same."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "wheel.py").write_text(APART)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "no_module_of_the_agent.py").touch()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/modules exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "a.toml").write_text(
        f'[agent]\nplugin_dirs = ["{tmp_path}/plugins"]\n'
        f'[collectors.wheel]\nisolation = "process"\npython = "{python}"\n'
    )
    done = command("plugins", "wheel", "--config", str(tmp_path / "a.toml"))
    assert "\nA wheel.\n" in done.stdout, done.stderr
    assert "  speed (number, default 1.0)\n      Metres a second above which it is too fast.\n" in done.stdout
