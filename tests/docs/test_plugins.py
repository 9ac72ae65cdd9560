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


def test_the_function_works_when_pasted(agentd, tmp_path):
    """The function, saved in a plugin folder, tells what the class of the page tells, and has its options."""
    (tmp_path / "door.py").write_text(blocks("A function", "python")[0])
    (tmp_path / "door").write_text("3 0\n")
    configuration = f'[agent]\nplugin_dirs = ["{tmp_path}"]\n[collectors.door]\npath = "{tmp_path}/door"\n'
    result = agentd("collect", "door", configuration=configuration)
    assert result.returncode == 0, result.stderr
    assert "\ndoor_opened_total 3.0\n" in result.stdout
    assert "\ndoor_open 0.0\n" in result.stdout
    shown = agentd("plugins", "door", configuration=configuration).stdout
    assert "The door of the server room." in shown
    assert 'default "/run/door")' in shown
    assert "door_opened_total (counter)" in shown
