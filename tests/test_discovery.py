"""Discovery: which files are plugins, told without importing one."""

import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.discovery import Found, entry_points, in_folders, installed

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


LINES = st.sampled_from(
    [
        "[agentd.collectors]",
        "[console_scripts]",
        "[]",
        "a = b",
        "a=b:c",
        " a = b [extra] ",
        "# a = b",
        "",
        "a = b = c",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES))
def test_entry_points_are_read_as_the_standard_library_reads_them(lines):
    """Whatever stands in an ``entry_points.txt``, it comes to the same."""
    text = "\n".join(["[agentd.sinks]", *lines])
    theirs = importlib.metadata.EntryPoints._from_text_for(text, None)
    assert list(entry_points(text)) == [(each.group, each.name, each.value) for each in theirs]


def test_a_line_that_says_nothing_is_no_end():
    """A line without a value, at which the standard library fails, is an entry without a module: it is not loaded."""
    [_, (group, name, value)] = entry_points("[agentd.sinks]\na = b\nmistake\n")
    assert (group, name, value) == ("agentd.sinks", "mistake", "")
    with pytest.raises(ValueError, match="Empty module name"):
        Found(name, "sinks", value).load()


def announce(folder, name, module, about="dist-info", title=None):
    """Put into a folder what tells that a package announces a plugin."""
    path = folder / f"{name}-1.0.{about}"
    path.mkdir(parents=True)
    (path / ("METADATA" if about == "dist-info" else "PKG-INFO")).write_text(
        f"Metadata-Version: 2.1\nName: {title or name}\nVersion: 1.0\n\nName: of something else\n"
    )
    (path / "entry_points.txt").write_text(
        f"[console_scripts]\nx = y\n[agentd.sinks]\n{module} = {module}:thing [more]\n"
    )


def found_on(monkeypatch, *path):
    """Return which modules are found on this path, and where they come from."""
    monkeypatch.setattr(sys, "path", [str(each) for each in path])
    return [(found.kind, found.name, found.module, found.origin) for found in installed()]


def test_packages_are_found_wherever_python_looks_for_them(monkeypatch, tmp_path):
    """In folders and in archives, of wheels and of eggs, with the name that the package has; others are no matter."""
    announce(tmp_path / "site", "my_door", "door", title="my-door")
    announce(tmp_path / "site", "old", "old", about="egg-info")
    (tmp_path / "site" / "plain-1.0.dist-info").mkdir()
    (tmp_path / "site" / "file.dist-info").write_text("")
    announce(tmp_path / "packed", "zipped", "zipped")
    with zipfile.ZipFile(tmp_path / "packed.egg", "w") as archive:
        for file in (tmp_path / "packed").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "packed"))
    path = tmp_path / "site", tmp_path / "nowhere", tmp_path / "site" / "file.dist-info", tmp_path / "packed.egg"
    assert found_on(monkeypatch, *path) == [
        ("sinks", "door", "door", "package my-door"),
        ("sinks", "old", "old", "package old"),
        ("sinks", "zipped", "zipped", "package zipped"),
    ]


def test_of_two_versions_of_a_package_the_first_counts(monkeypatch, tmp_path):
    """One that lies behind another on the path is not imported, and so brings no plugin; a folder counts once."""
    announce(tmp_path / "first", "My_Door", "new")
    announce(tmp_path / "second", "my_door", "old")
    (tmp_path / "third" / "my_door-0.1.dist-info").mkdir(parents=True)
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert [found[1] for found in found_on(monkeypatch, first, second, first)] == ["new"]
    assert [found[1] for found in found_on(monkeypatch, second, first)] == ["old"]
    assert found_on(monkeypatch, third, second) == []


def test_the_present_folder_is_one_like_others(monkeypatch, tmp_path):
    """An empty entry of the path is the folder in which the program runs."""
    announce(tmp_path, "here", "here")
    monkeypatch.chdir(tmp_path)
    assert [found[1] for found in found_on(monkeypatch, "")] == ["here"]


def test_a_file_is_named_itself(tmp_path):
    """A file may stand in the place of a folder, whatever its name; in a folder beside it, it is not found again."""
    for name in ("a.py", "_b.py"):
        (tmp_path / name).write_text("x = 1")
    named = [str(tmp_path / "_b.py"), str(tmp_path / "a.py"), str(tmp_path)]
    assert [found.file.name for found in in_folders(named)] == ["_b.py", "a.py"]


def test_tests_may_stand_beside_what_they_test(tmp_path):
    """In a folder, what pytest runs is no plugin; it is one where it is named itself."""
    for name in ("door.py", "test_door.py", "conftest.py", "testbench.py"):
        (tmp_path / name).write_text("x = 1")
    assert [found.name for found in in_folders([str(tmp_path)])] == ["door", "testbench"]
    assert [found.name for found in in_folders([str(tmp_path / "test_door.py")])] == ["test_door"]


def test_what_was_saved_twice_within_a_second_is_loaded_as_it_is(tmp_path):
    """Files of plugin folders are compiled each time: by size and second, one would be taken for the one before."""
    file = tmp_path / "twice.py"
    for number in (1, 2):
        file.write_text(f"x = {number}")
        os.utime(file, (5, 5))
        found = Found("twice", None, "fake_twice", file)
        assert found.load().x == number
    del sys.modules["fake_twice"]
    assert list(tmp_path.iterdir()) == [file]
