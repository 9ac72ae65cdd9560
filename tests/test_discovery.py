"""Discovery: which files are plugins, told without importing one."""

import json
import os
import subprocess
import sys

import pytest

from agentd.discovery import Found, in_folders

HOOK = "1 / 0\nfrom agentd.plugin import hookimpl\n@hookimpl\ndef agentd_collectors():\n    return []\n"

TREE = {
    "__init__.py": "",
    "collectors/__init__.py": "",
    "collectors/plain.py": "1 / 0",
    "collectors/_private.py": "1 / 0",
    "collectors/not-a-name.py": "1 / 0",
    "collectors/notes.txt": "",
    "collectors/group/__init__.py": '"""Only a group."""',
    "collectors/group/member.py": "1 / 0",
    "collectors/group/deeper/inner.py": "1 / 0",
    "collectors/group/_shared/part.py": "1 / 0",
    "collectors/whole/__init__.py": HOOK,
    "collectors/whole/part.py": "1 / 0",
    "collectors/__pycache__/old.py": "",
    "exporters/out.py": "1 / 0",
    "elsewhere/thing.py": "1 / 0",
}


def test_bundled_plugins_are_the_files_of_two_folders(tmp_path):
    """A package that registers something is one plugin, any other folder a group, and what begins with _ is none."""
    for name, source in TREE.items():
        file = tmp_path / "agentd_plugins" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    program = "import json; from agentd.discovery import bundled; print(json.dumps([(f.kind, f.name, f.module) for f in bundled()]))"  # noqa: E501  # one program
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert sorted(map(tuple, json.loads(done.stdout))) == [
        ("collectors", "inner", "agentd_plugins.collectors.group.deeper.inner"),
        ("collectors", "member", "agentd_plugins.collectors.group.member"),
        ("collectors", "plain", "agentd_plugins.collectors.plain"),
        ("collectors", "whole", "agentd_plugins.collectors.whole"),
        ("exporters", "out", "agentd_plugins.exporters.out"),
    ]


def test_folders_are_read_in_order_of_name(tmp_path, monkeypatch):
    """Only ``*.py`` files that do not begin with _ count, and a folder may be given from one's home."""
    for name in ("b.py", "a.py", "_c.py", "d.txt", "e.pyc"):
        (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text("1 / 0")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [found.name for found in in_folders([str(tmp_path / "mine")])] == ["a", "b"]
    assert [found.file for found in in_folders(["~/mine"])] == [tmp_path / "mine/a.py", tmp_path / "mine/b.py"]
    assert list(in_folders([str(tmp_path / "nowhere"), "~nobody_of_this_name/mine"])) == []


@pytest.fixture
def found(tmp_path):
    """Makes a plugin file of this source; its module is forgotten at the end."""

    def make(source):
        (tmp_path / "mine.py").write_text(source)
        return next(in_folders([str(tmp_path)]))

    before = set(sys.modules)
    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_a_module_that_python_can_find_again(found):
    """Dataclasses and pickling look up a class's module by its name."""
    module = found("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int'\n").load()
    assert sys.modules[module.A.__module__] is module
    assert module.A(3).x == 3


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_file_that_fails_leaves_nothing_behind(found, error):
    """Half a module would be taken for a whole one the next time."""
    before = set(sys.modules)
    with pytest.raises(BaseException, match="x") as caught:
        found(f"raise {error}('x')\n").load()
    assert caught.type.__name__ == error
    assert set(sys.modules) == before


def test_what_is_no_file_cannot_be_loaded(tmp_path):
    """A file that went away after it was found is an ordinary error."""
    with pytest.raises(FileNotFoundError):
        Found("a", None, "agentd_plugin_dirs.x.a", tmp_path / "a.py").load()
