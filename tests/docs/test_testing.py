"""docs/testing.md does what it says: each of its blocks of code is a file, and is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import agentd.testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path):
    """A folder with all the files of the page."""
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(f"# {name}\n{text}")
    return tmp_path


def run(folder, *command):
    """Run Python in that folder; return its status and all that it says."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = (sys.executable, *command)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_every_test_of_the_page_passes(folder):
    """All test files at once, as a stranger's pytest runs them; golden files are made first, then compared."""
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "agentd.testing.fixtures")
    status, said = run(folder, *command, "--update-golden")
    assert status == 0, said
    assert (folder / "golden" / "test_door.prom").read_text().count("\n") == 6
    status, said = run(folder, *command)
    assert status == 0, said
    tests = sum(text.count("\ndef test_") for text in BLOCKS.values())
    assert f"{tests} passed" in said


@pytest.mark.parametrize("name", ["misses.py", "hurry.py"])
def test_what_is_shown_is_what_is_said(folder, name):
    """The error of a program of the page is the text that the page shows behind it."""
    status, said = run(folder, name)
    shown = re.search(rf"# {name}\n.*?^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    assert status == 1
    assert shown in said.replace(f"{folder}/", ""), said


def test_each_block_is_run():
    """No block of code stands in the page that is neither a test nor a program of these."""
    assert PAGE.count("```python") == len(BLOCKS)
    assert {name for name in BLOCKS if not name.startswith("test_")} == {"door.py", "misses.py", "hurry.py"}


def test_each_name_of_the_kit_is_in_the_documents():
    """All that ``agentd.testing`` offers is named in docs/testing.md or docs/plugins.md, but for parts of answers."""
    pages = PAGE + (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    parts = {"Account", "Attempt", "Commit", "Delivery", "Finding", "Fuzzed", "Golden", "Request", "account", "machine"}
    assert [name for name in agentd.testing.__all__ if name not in parts and not re.search(rf"\b{name}\b", pages)] == []
