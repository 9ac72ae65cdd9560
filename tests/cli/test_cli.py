"""The command line, as a user types it."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from click.testing import CliRunner
from jsonschema import Draft7Validator
from prometheus_client.parser import text_string_to_metric_families

from agentd.cli import COMMANDS, group, main

PLUGIN = '''
import asyncio, sys, time
import click
from agentd.plugin import Collector, Config, Duration, Family, NoData, Secret, counter, hookimpl

class Options(Config):
    """Options of a test."""

    password: Secret = Secret("of the default")
    """What nobody may see."""
    mode: str = "good"
    """How to behave."""

class Local(Collector[Options]):
    """Counts what this test needs.

    More about it.
    """

    name = "local"
    things = counter("local_things_total", "Things that were counted.", ("kind",))

    def collect(self):
        if self.config.mode == "fails":
            raise OSError("no luck at all")
        if self.config.mode == "hangs":
            time.sleep(3600)
        if self.config.mode == "clings":
            return self.cling()
        if self.config.mode == "lacks":
            raise NoData("no such thing here")
        return [self.things({"a": 1.0})]

@hookimpl
def agentd_collectors():
    return [Local]

@hookimpl
def agentd_commands(commands):
    @commands.command()
    def never():
        """Is not asked for: only installed packages add commands."""
'''

CLINGING = '''
import asyncio, time
from agentd.plugin import Collector, Config, Family, hookimpl

class Clinging(Collector[Config]):
    """Does not want to end."""

    name = "clinging"

    async def collect(self):
        self.task = asyncio.create_task(self.cling())
        self.other = asyncio.create_task(asyncio.to_thread(time.sleep, 3600))
        await asyncio.sleep(0.05)
        return [Family.gauge("clinging", "Clings.", 1.0)]

    async def cling(self):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

@hookimpl
def agentd_collectors():
    return [Clinging]
'''


@pytest.fixture
def configured(tmp_path):
    """Writes a configuration with a plugin of its own, and returns its path."""

    def write(text="", plugins=None):
        folder = tmp_path / "plugins"
        folder.mkdir(exist_ok=True)
        for name, source in (plugins or {"local": PLUGIN}).items():
            (folder / f"{name}.py").write_text(source)
        file = tmp_path / "agentd.toml"
        file.write_text(f"[agent]\nplugin_dirs = ['{folder}']\n{text}\n")
        return str(file)

    return write


@pytest.fixture
def command(command):
    """Runs ``agentd`` with arguments to its end, which has to come without a traceback."""

    def run(*arguments, **keywords):
        result = command(*arguments, **keywords)
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


def test_help_lists_the_commands():
    """The help tells of each command in a line, and each command has a help of its own."""
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    for name, what in COMMANDS.items():
        assert name in result.output
        assert what.split()[0] in result.output
        own = CliRunner().invoke(group, [name, "--help"])
        assert own.exit_code == 0
        assert "Usage: " in own.output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("config", "completion", "migrate")])
def test_common_options_are_everywhere(name):
    """Every command knows --config, --log-level and --log-format."""
    output = CliRunner().invoke(group, [name, "--help"]).output
    assert all(option in output for option in ("--config", "--log-level", "--log-format"))


def test_version(command):
    """The version is told in one line."""
    result = command("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("agentd, version ")


@pytest.mark.parametrize("arguments", [["colect"], ["run", "--nonsense"], ["config", "x"]])
def test_what_there_is_not(command, arguments):
    """A command or option that there is not is a usage error: exit status 2, and a line that names it."""
    result = command(*arguments)
    assert result.returncode == 2
    assert arguments[-1] in result.stderr


def test_check_of_a_good_configuration(command, configured):
    """A good configuration is said to be good, and from which files it comes."""
    file = configured("[collectors.local]")
    result = command("check", "--config", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("ok: ")
    assert file in result.stdout


def test_check_without_a_configuration(command):
    """Without any file the defaults are checked, and are good."""
    result = command("check")
    assert (result.returncode, result.stderr) == (0, "")
    assert "no file" in result.stdout


def test_check_prints_every_error(command, configured):
    """All errors are printed, each with file, line and key, and the exit status is 1."""
    file = configured(
        "colour = 'red'\n[collectors.loadavg]\nnonsense = 1\n[collectors.filesystem]\nmount_timeout = 5\n"
        "[collectors.locl]\n[web]\nlisten = ['nowhere']\n[exporter]"
    )
    result = command("check", "--config", file)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    for part in ("colour", "nonsense", "mount_timeout", "locl", "nowhere", "exporter"):
        assert [line for line in lines if part in line and line.startswith(f"{file}:")], part
    assert 'Did you mean "local"?' in result.stderr
    assert lines[-1] == "agentd: 6 errors in the configuration"


def test_check_refuses_a_rule_with_the_name_of_a_metric_that_there_is(command, configured):
    """A rule cannot make a metric of another plugin that runs, nor one of another instance of its own; the error has
    the line of the rule and says whose the metric is. Where that plugin does not run, the name is free.
    """
    rule = "[[collectors.event_rules.rules]]\nname = 'robot_up'\nkind = 'gauge'\nvalue = 'payload.up'\n"
    file = configured(f"[collectors.robots]\n{rule}")
    result = command("check", "--config", file)
    assert result.returncode == 1
    line = Path(file).read_text().splitlines().index("name = 'robot_up'") + 1
    wanted = '"robot_up" is a metric of collectors.robots: choose another name'
    assert result.stderr.splitlines()[0] == f"{file}:{line}: collectors.event_rules.rules[0].name: {wanted}"
    again = rule.replace("event_rules", "others")
    result = command("check", "--config", configured(f"{rule}[collectors.others]\nplugin = 'event_rules'\n{again}"))
    assert 'others.rules[0].name: "robot_up" is a metric of collectors.event_rules' in result.stderr
    assert command("check", "--config", configured(rule)).returncode == 0


def test_check_names_plugins_that_cannot_be_loaded(command, configured):
    """A plugin that cannot be loaded is named with the reason, and the exit status is 1."""
    file = configured(plugins={"broken": "import no_such_module"})
    result = command("check", "--config", file)
    assert result.returncode == 1
    assert (
        "plugin_dirs.broken: cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'" in result.stderr
    )


def samples(text):
    """Return the names of the samples of an exposition."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_collect_all(command, configured):
    """Without names all enabled collectors are asked once, and nothing but metrics is printed."""
    result = command("collect", "--config", configured())
    assert (result.returncode, result.stderr) == (0, "")
    names = samples(result.stdout)
    assert {"node_load1", "node_memory_MemTotal_bytes", "local_things_total", "node_scrape_collector_success"} <= names


def test_collect_some(command, configured):
    """With names only those are asked."""
    result = command("collect", "loadavg", "local", "--config", configured())
    assert (result.returncode, result.stderr) == (0, "")
    names = samples(result.stdout)
    assert {"node_load1", "local_things_total"} <= names
    assert "node_memory_MemTotal_bytes" not in names


def test_collect_what_there_is_not(command):
    """A name that no collector has is an error that suggests the right one."""
    result = command("collect", "laodavg")
    assert result.returncode not in (0, 2)
    assert result.stdout == ""
    assert "laodavg" in result.stderr
    assert 'Did you mean "loadavg"?' in result.stderr


def test_collect_what_is_disabled(command, configured):
    """A collector that the configuration switches off is not asked, which is an error that says so."""
    result = command("collect", "loadavg", "--config", configured("[collectors]\ndisable = ['loadavg']"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "switched off by the configuration: loadavg" in result.stderr


@pytest.mark.parametrize("names", [[], ["local"], ["local", "loadavg"]])
def test_collect_one_that_fails(command, configured, names):
    """Where a collector fails the others are printed, it is named, and the exit status is 1."""
    result = command("collect", *names, "--config", configured("[collectors.local]\nmode = 'fails'"))
    assert result.returncode == 1
    assert "no luck at all" in result.stderr
    assert "agentd: failed: local" in result.stderr
    assert 'node_scrape_collector_success{collector="local"} 0' in result.stdout
    assert ("node_load1" in samples(result.stdout)) == (names != ["local"])


def test_collect_one_that_hangs(command, configured):
    """A collector that hangs is given up at the timeout, and the rest is printed."""
    file = configured("[collectors.local]\nmode = 'hangs'")
    result = command("collect", "--timeout", "1", "--config", file)
    assert result.returncode == 1
    assert "agentd: failed: local" in result.stderr
    assert "node_load1" in samples(result.stdout)


def test_collect_one_that_does_not_want_to_end(command, configured):
    """What a collector leaves running, in tasks and threads, does not keep the command from ending."""
    result = command("collect", "clinging", "--config", configured(plugins={"clinging": CLINGING}))
    assert result.returncode == 0
    assert "clinging" in samples(result.stdout)


def test_collect_where_the_machine_lacks_the_thing(command, configured):
    """That there is nothing to collect is no failure, and is said of a collector that was asked for by name."""
    configuration = configured("[collectors.local]\nmode = 'lacks'")
    result = command("collect", "local", "--config", configuration)
    assert (result.returncode, result.stderr) == (0, "agentd: local has nothing to tell: no such thing here\n")
    assert "local has nothing to tell" not in command("collect", "--config", configuration).stderr


def test_collect_takes_a_duration(command):
    """The timeout is a duration as everywhere, and a bare number of seconds."""
    for timeout in ("20s", "20", "0.5m"):
        assert command("collect", "loadavg", "--timeout", timeout).returncode == 0
    result = command("collect", "--timeout", "soon")
    assert result.returncode == 2
    assert "--timeout: expected a duration with its unit" in result.stderr


@pytest.mark.parametrize("arguments", ["collect", "plugins", "config default", "config schema", "plugins cpu"])
def test_reader_that_has_enough(tmp_path, arguments):
    """``agentd … | head -1`` prints one line and is silent about the rest."""
    script = f"{sys.executable} -m agentd {arguments} | head -1"
    result = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 1


def test_plugins_are_listed_with_the_reason(command, configured):
    """Each plugin is listed with what it does, whether it is enabled, and because of what."""
    copy = "[exporters.copy]\nplugin = 'prometheus'\npath = '/copy'"
    file = configured(f"[collectors]\ndisable = ['loadavg']\n[collectors.local]\n{copy}")
    result = command("plugins", "--config", file)
    assert (result.returncode, result.stderr) == (0, "")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "Counts what this test needs." in lines["local"]
    assert "enabled" in lines["local"]
    assert "enabled (default)" in lines["meminfo"]
    assert f"disabled in {file}:" in lines["loadavg"]
    assert 'off (switch on: [exporters] enable = ["textfile"] or [exporters.textfile])' in lines["textfile"]
    assert "enabled as copy ([exporters.copy] in" in lines["prometheus"]


def test_plugins_of_a_narrow_terminal_are_listed(command):
    """However narrow the terminal is, the list is printed."""
    result = command("plugins", environment={"COLUMNS": "40"})
    assert result.returncode == 0
    assert "loadavg" in result.stdout


def test_plugins_that_are_broken_are_listed(command, configured):
    """Files that cannot be loaded are listed with the reason."""
    result = command("plugins", "--config", configured(plugins={"broken": "import no_such_module"}))
    assert result.returncode == 0
    assert "plugin_dirs.broken: cannot be loaded: ModuleNotFoundError" in result.stdout


def test_one_plugin_is_described(command, configured):
    """A plugin is described with its origin, its options with their defaults, and its metrics with their labels."""
    result = command("plugins", "local", "--config", configured())
    assert (result.returncode, result.stderr) == (0, "")
    for part in (
        "collectors.local",
        "local.py",
        "Counts what this test needs.",
        "mode (string, default",
        "How to behave.",
        "local_things_total{kind} (counter)",
        "Things that were counted.",
    ):
        assert part in result.stdout
    assert "of the default" not in result.stdout


@pytest.mark.parametrize("name", ["collectors.textfile", "exporters.textfile"])
def test_plugin_of_one_kind_is_described(command, name):
    """Where two kinds have a name, the kind before it chooses one; without it both are described."""
    assert [line for line in command("plugins", name).stdout.splitlines() if line.startswith(name)]
    both = command("plugins", "textfile").stdout
    assert "collectors.textfile" in both
    assert "exporters.textfile" in both


def test_plugin_that_there_is_not(command):
    """A plugin that there is not is an error that suggests the right one."""
    result = command("plugins", "laodavg")
    assert result.returncode == 1
    assert result.stderr == 'agentd: there is no plugin "laodavg". Did you mean "loadavg"?\n'


def test_config_default_can_be_used_as_it_is(command, tmp_path):
    """The annotated defaults are a configuration that checks; with all comments taken off it still does."""
    result = command("config", "default")
    assert (result.returncode, result.stderr) == (0, "")
    file = tmp_path / "default.toml"
    file.write_text(result.stdout)
    tomli.loads(result.stdout)
    checked = command("check", "--config", str(file))
    assert (checked.returncode, checked.stderr) == (0, "")
    options = [
        line.removeprefix("#")
        for line in result.stdout.splitlines()
        if line[:1] != "#" or line[1:2].isalpha() or line[1:2] == "["
    ]
    file.write_text("\n".join(options))
    values = tomli.loads("\n".join(options))
    assert values["web"]["listen"] == ["127.0.0.1:9797"]
    assert "cpu" in values["collectors"]
    assert "rootfs" in values["host"]


def test_config_show_tells_origins_and_no_secrets(command, configured):
    """The effective settings are shown with where each comes from; a secret is not, whatever it came from."""
    file = configured("[collectors.local]\npassword = 'hunter2'\nmode = { env = 'MODE' }")
    environment = {"MODE": "good", "AGENTD_LISTEN": "127.0.0.1:1"}
    result = command("config", "show", "--config", file, "--log-level", "debug", environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert "hunter2" not in result.stdout
    lines = result.stdout.splitlines()
    assert [line for line in lines if "mode" in line and f"{file}:" in line]
    assert [line for line in lines if "127.0.0.1:1" in line and "AGENTD_LISTEN" in line]
    assert [line for line in lines if "log_level" in line and "--log-level" in line]


def test_config_schema_is_json(command):
    """The schema is JSON, and knows the options of plugins."""
    result = command("config", "schema")
    assert (result.returncode, result.stderr) == (0, "")
    schema = json.loads(result.stdout)
    assert {"agent", "web", "host", "collectors", "exporters"} <= set(schema["properties"])
    assert "mount_points_exclude" in result.stdout


def test_config_schema_knows_plugins_of_ones_own(command, tmp_path):
    """The options of a plugin in a plugin folder are in the schema, with their types, under its name and any other."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "door.py").write_text(
        """
from agentd.plugin import Collector, Config, Duration, hookimpl

class Options(Config):
    pause: Duration
    \"\"\"How long.\"\"\"

class Door(Collector[Options]):
    \"\"\"The door.\"\"\"
    name = "door"

@hookimpl
def agentd_collectors():
    return [Door]
"""
    )
    (tmp_path / "own.toml").write_text(f'[agent]\nplugin_dirs = ["{tmp_path}/own"]\n')
    result = command("config", "schema", "--config", tmp_path / "own.toml")
    assert (result.returncode, result.stderr) == (0, "")
    check = Draft7Validator(json.loads(result.stdout))
    assert check.is_valid({"collectors": {"door": {"pause": "5s"}, "gate": {"plugin": "door", "pause": "5s"}}})
    for wrong in ({"door": {"pause": 5}}, {"door": {}}, {"gate": {"plugin": "door", "paus": "5s"}}):
        assert not check.is_valid({"collectors": wrong})


@pytest.mark.parametrize("arguments", [["collect"], ["plugins"], ["plugins", "cpu"], ["config", "show"], ["run"]])
def test_errors_of_the_configuration_end_every_command(command, configured, arguments):
    """A configuration that cannot be used ends each command with exit status 78 and the reason."""
    result = command(*arguments, "--config", configured("[nonsense]"))
    assert result.returncode == 78
    assert result.stdout == ""
    assert "nonsense" in result.stderr


def test_status_for_people(command, start_agent):
    """The status tells how the agent and its plugins are, over its socket; all well: exit status 0."""
    agent = start_agent(port=None)
    agent.get("/metrics")
    environment = {"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"]}
    result = command("status", environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"process {agent.pid}" in result.stdout
    assert f"127.0.0.1:{agent.port}" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if line.startswith("collectors.loadavg ")]
    assert line.split()[1:3] == ["yes", "ok"]
    as_json = command("status", "--json", environment=environment)
    assert json.loads(as_json.stdout)["pid"] == agent.pid


def test_status_of_an_agent_that_is_not_well(command, start_agent):
    """Where a plugin is down or fails the status names it, and ends with exit status 1."""
    failing = PLUGIN.replace('self.config.mode == "fails"', "True").replace("no luck", "[red]no :skull: luck")
    agent = start_agent("[collectors]\ndisable = ['cpu']", plugins={"local": failing})
    environment = {"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"]}
    result = command("status", environment=environment)
    assert result.returncode == 1
    assert "[red]no :skull: luck at all" in result.stdout
    assert "collectors.cpu: disabled in" in result.stdout
    assert command("status", "--json", environment=environment).returncode == 1


def test_status_without_an_agent(command):
    """Where no agent answers, that is said, with where it was looked for; exit status 2."""
    result = command("status")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "agentd.sock" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(command, shell):
    """The script for a shell names the program, and the shell can read it."""
    result = command("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert "_AGENTD_COMPLETE" in result.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=result.stdout, capture_output=True, encoding="utf-8", check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_completion_completes(command):
    """What the script asks for, it gets: the commands that begin with what was typed."""
    environment = {"_AGENTD_COMPLETE": "bash_complete", "COMP_WORDS": "agentd co", "COMP_CWORD": "1"}
    result = command(environment=environment)
    words = {line.rpartition(",")[2] for line in result.stdout.split()}
    assert words == {"collect", "compare", "config", "completion"}


def test_unexpected_errors_are_one_line(monkeypatch, capsys, caplog):
    """An error that nobody expected is one line and exit status 1, and a traceback only where that is asked for."""

    def broken(**_):
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr("agentd.cli.group", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "agentd: RuntimeError: nobody expected this (--log-level debug shows where)\n"
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError):
        main()
