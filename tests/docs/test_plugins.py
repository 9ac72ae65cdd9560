"""Each way in that docs/plugins.md shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/plugins.md"


def section(title):
    """Return the text below a heading of the page, up to the next one of its rank."""
    return PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(title, language):
    """Return the blocks of code in a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def agentd(tmp_path):
    """Runs agentd in a folder of its own."""

    def run(*arguments, configuration=""):
        (tmp_path / "agentd.toml").write_text(configuration)
        command = [sys.executable, "-m", "agentd", *arguments, "--config", str(tmp_path / "agentd.toml")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_the_quickest_start_is_as_shown(tmp_path):
    """The command of the page says what the page says that it says."""
    shown = blocks("The quickest start", "console")[0]
    command, _, said = shown.partition("\n")
    arguments = command.removeprefix("$ agentd ").split()
    done = subprocess.run(
        [sys.executable, "-m", "agentd", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == said


def test_the_function_works_when_pasted(agentd, tmp_path):
    """The function, saved in a plugin folder, tells the gate, and has its options."""
    (tmp_path / "gate.py").write_text(blocks("A function", "python")[0])
    (tmp_path / "gate").write_text("3 0\n")
    configuration = f'[agent]\nplugin_dirs = ["{tmp_path}"]\n[collectors.gate]\npath = "{tmp_path}/gate"\n'
    result = agentd("collect", "gate", configuration=configuration)
    assert result.returncode == 0, result.stderr
    assert "\ngate_opened_total 3.0\n" in result.stdout
    assert "\ngate_open 0.0\n" in result.stdout
    shown = agentd("plugins", "gate", configuration=configuration).stdout
    assert "The gate of the yard." in shown
    assert 'default "/run/gate")' in shown
    assert "gate_opened_total (counter)" in shown


def test_what_is_of_prometheus_client_works_when_pasted(agentd, tmp_path, monkeypatch):
    """The module of the page, installed, is told by the section beside it, and by the class that it names as well."""
    title = "What was written for prometheus_client"
    (tmp_path / "hall").mkdir()
    (tmp_path / "hall/metrics.py").write_text(blocks(title, "python")[0])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    configuration = blocks(title, "toml")[0]
    assert "hall.metrics:Doors" in configuration
    for name in ("REGISTRY", "Doors"):
        result = agentd("collect", "doors", configuration=configuration.replace(":REGISTRY", f":{name}"))
        assert result.returncode == 0, result.stderr
        assert '\ndoor_open{door="gate"} 1.0\n' in result.stdout


def test_the_program_works_when_pasted(agentd, tmp_path):
    """The script of the page, run as the section beside it says, tells the door; without one it says why not."""
    door, program = tmp_path / "door", tmp_path / "read-door"
    program.write_text(blocks("Any program", "sh")[0].replace("/run/door", str(door)))
    program.chmod(0o755)
    configuration = blocks("Any program", "toml")[0].replace("/usr/local/bin/read-door", str(program))
    configuration = configuration.replace('"3s"', '"30s"')  # a machine may be busy
    door.write_text("3 1\n")
    result = agentd("collect", "door", configuration=configuration)
    assert result.returncode == 0, result.stderr
    assert "# HELP door_open Whether the door is open (1) or closed (0).\n# TYPE door_open gauge\n" in result.stdout
    assert '\ndoor_open{door="server room"} 1.0\n' in result.stdout
    door.unlink()
    result = agentd("collect", "door", configuration=configuration)
    assert result.returncode == 1
    assert "ended with status 1; it last said: no door here" in result.stderr
    tried = agentd("check", "--probe", configuration=configuration)
    assert f"collectors.door: would run {program} for each collection, as " in tried.stdout


def test_the_shell_works_when_pasted(agentd):
    """The section of the page that wants a shell has one."""
    configuration = blocks("Any program", "toml")[1] + 'timeout = "30s"\n'
    result = agentd("collect", "users", configuration=configuration)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^users_logged_in [0-9]+\.0$", result.stdout, re.MULTILINE)


UPS = """
import sys
for _ in sys.stdin:
    print(ANSWER)
    print()
"""


def test_the_stream_works_when_pasted(agentd, tmp_path):
    """A program that answers with the page's JSON lines, run as the section beside it says, tells both samples."""
    lines = blocks("Any program", "json")[0]
    (tmp_path / "read-ups").write_text(UPS.replace("ANSWER", repr(lines.rstrip())))
    configuration = blocks("Any program", "toml")[2].replace("/usr/local/bin/read-ups", str(tmp_path / "read-ups"))
    configuration = configuration.replace('"python3"', f'"{sys.executable}"') + 'timeout = "30s"\n'
    result = agentd("collect", "ups", configuration=configuration)
    assert result.returncode == 0, result.stderr
    assert "# HELP ups_charge_ratio How full the battery is.\n# TYPE ups_charge_ratio gauge\n" in result.stdout
    assert '\nups_charge_ratio{ups="rack-1"} 0.93\n' in result.stdout
    assert '\nups_transfers_total{ups="rack-1"} 7.0\n' in result.stdout


def test_every_key_of_a_json_line_is_explained():
    """The tables have each key, and no other."""
    from agentd_plugins.collectors.exec.formats import Sample, Told

    of_sample, _, of_event = section("Any program").partition("| of a sample |")[2].partition("| of an event |")
    for table, line in ((of_sample, Sample), (of_event, Told)):
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(line.__struct_fields__)
