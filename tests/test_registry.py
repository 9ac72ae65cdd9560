"""The registry: every plugin is found and loaded on its own, and a broken one is named and left out."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from agentd.events.bus import Bus
from agentd.metrics.family import Family
from agentd.plugin import Collector, Config, Event, Exporter
from agentd.registry import PluginError, Registry
from agentd.store.identity import Identity

HEAD = "from agentd.plugin import Collector, Config, Exporter, Family, hookimpl\n"
COLLECTOR = (
    HEAD
    + """
class Options(Config):
    speed: int = 1

class Mine(Collector[Options]):
    name = "{name}"
    def collect(self):
        return [Family.gauge("mine", "Mine.", 1.0)]

@hookimpl
def agentd_collectors():
    return [Mine]
"""
)
RETURNS = HEAD + "class A({base}[Config]):\n    {body}\n@hookimpl\ndef agentd_collectors():\n    return {value}\n"
HOOK = HEAD + "@hookimpl\ndef agentd_{}:\n    {}\n"
BROKEN = {
    "syntax": ("def broken(:\n", ["SyntaxError"]),
    "missing": ("import a_library_that_is_not_there\n", ["ModuleNotFoundError", "a_library_that_is_not_there"]),
    "leaving": ("raise SystemExit(3)\n", ["SystemExit: 3", "leaving.py:1"]),
    "raising": (HOOK.format("collectors()", "raise KeyError('x')"), ["KeyError", "raising.py:4"]),
    "misspelt": (HOOK.format("colectors()", "return []"), ["agentd_colectors"]),
    "arguments": (HOOK.format("collectors(config)", "return []"), ["agentd_collectors", "config"]),
    "nothing": ("x = 1\n", ["hook"]),
    "nameless": (RETURNS.format(base="Collector", body="pass", value="[A]"), ["A has no name"]),
    "noclass": (RETURNS.format(base="Collector", body="name = 'a'", value="[A, 5]"), ["5", "Collector"]),
    "otherkind": (RETURNS.format(base="Exporter", body="name = 'a'", value="[A]"), ["A", "Collector"]),
    "none": (RETURNS.format(base="Collector", body="name = 'a'", value="None"), ["agentd_collectors", "None"]),
    "class": (RETURNS.format(base="Collector", body="name = 'a'", value="A"), ["agentd_collectors", "list of classes"]),
}
"""By name, plugins that cannot be loaded, and what must be said of each."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs modules as a package that announces plugins; they are forgotten at the end."""
    before = set(sys.modules)

    def install(name, modules, **points):
        folder = tmp_path / name
        for module, source in modules.items():
            file = folder / f"{module}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "".join(
                f"[agentd.{kind}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
                for kind, entries in points.items()
            )
        )
        monkeypatch.syspath_prepend(str(folder))

    yield install
    for module in set(sys.modules) - before:
        if module.startswith("fake_"):
            del sys.modules[module]


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder of plugins, and returns its path."""

    def write(files, name="plugins"):
        for file, source in files.items():
            path = tmp_path / name / f"{file}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return str(tmp_path / name)

    return write


def errors(caplog):
    """Return what was logged as an error or a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_bundled_plugins_are_listed_without_importing_them():
    """What a configuration does not enable costs no import, that of its libraries included."""
    program = """
import json, sys
from agentd.registry import Registry
registry = Registry()
names = {kind: list(registry.names(kind)) for kind in ("collectors", "exporters")}
print(json.dumps([names, sorted(name for name in sys.modules if name.startswith("agentd_plugins."))]))
registry.plugin_class("collectors", "loadavg")
print(json.dumps(sorted(name for name in sys.modules if name.startswith("agentd_plugins.") and "loadavg" not in name)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (names, imported), parents = map(json.loads, done.stdout.splitlines())
    assert {"cpu", "loadavg"} <= set(names["collectors"])
    assert {"prometheus", "textfile"} <= set(names["exporters"])
    assert not any(name.startswith("_") for kind in names.values() for name in kind)
    assert imported == []
    assert not any(name.rpartition(".")[2][0] != "_" for name in parents[2:])  # readers that it shares with others
    assert parents[:2] == ["agentd_plugins.collectors", "agentd_plugins.collectors.host"]


def test_every_bundled_plugin_can_be_loaded_under_the_name_of_its_file():
    """All that is listed is there, is of its kind, and what is on by default is among it."""
    registry = Registry()
    for kind, base in (("collectors", Collector), ("exporters", Exporter)):
        assert set(registry.defaults(kind)) <= set(registry.names(kind))
        for name in registry.names(kind):
            cls = registry.plugin_class(kind, name)
            assert issubclass(cls, base)
            assert cls.name == name
            assert issubclass(registry.config_type(kind, name), Config)
            assert registry.origin(kind, name) == "bundled"


def test_a_name_that_nobody_has_is_a_keyerror():
    """The configuration has asked before whether there is one."""
    with pytest.raises(KeyError):
        Registry().plugin_class("collectors", "nobody")


def test_installed_packages_bring_plugins(package):
    """The entry's name is the plugin's, its value a module, which is imported when it is asked for."""
    package("fake-one", {"fake_one": COLLECTOR.format(name="mine")}, collectors={"mine": "fake_one"})
    registry = Registry()
    assert "mine" in registry.names("collectors")
    assert "mine" not in registry.defaults("collectors")
    assert registry.origin("collectors", "mine") == "package fake-one"
    assert "fake_one" not in sys.modules
    assert registry.plugin_class("collectors", "mine").__module__ == "fake_one"
    assert registry.config_type("collectors", "mine").__name__ == "Options"


def test_one_module_may_bring_several(package):
    """Each of its plugins has an entry; it is imported once, and an entry without a class is named."""
    source = (
        COLLECTOR.format(name="one")
        + """
class Other(Collector[Config]):
    name = "two"
class Out(Exporter[Config]):
    name = "out"
@hookimpl(specname="agentd_collectors")
def more():
    return [Other]
@hookimpl
def agentd_exporters():
    return [Out]
"""
    )
    entries = {"absent": "fake_two", "one": "fake_two", "two": "fake_two"}
    package("fake-two", {"fake_two": source}, collectors=entries, exporters={"out": "fake_two"})
    registry = Registry()
    for _ in range(2):
        assert registry.plugin_class("collectors", "one").name == "one"
        with pytest.raises(PluginError, match="fake_two registers no collector named absent"):
            registry.plugin_class("collectors", "absent")
    assert registry.plugin_class("collectors", "two").name == "two"
    assert registry.plugin_class("exporters", "out").name == "out"


def test_an_installed_plugin_takes_no_bundled_ones_place(package, caplog):
    """Neither by an entry of that name, which is named in the log, nor by a class that no entry announces."""
    package("fake-three", {"fake_three": COLLECTOR.format(name="loadavg")},
            collectors={"loadavg": "fake_three", "other": "fake_three"})  # fmt: skip
    registry = Registry()
    assert len(errors(caplog)) == 1
    assert "collectors.loadavg of package fake-three is left out" in errors(caplog)[0]
    with pytest.raises(PluginError, match="registers no collector named other"):
        registry.plugin_class("collectors", "other")
    assert registry.plugin_class("collectors", "loadavg").__module__.startswith("agentd_plugins.")


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_package_is_named_and_alone(package, name):
    """Whatever is wrong with it, it is an error of that plugin, said with its cause each time it is asked for."""
    source, words = BROKEN[name]
    module = f"fake_{name}"
    package("fake-broken", {module: source, "fake_good": COLLECTOR.format(name="good")},
            collectors={name: module, "good": "fake_good"})  # fmt: skip
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            registry.plugin_class("collectors", name)
        for word in words:
            assert word.replace(f"{name}.py", f"{module}.py") in str(caught.value)
        assert registry.config_type("collectors", name) is None
    registry.load_installed()
    assert registry.plugin_class("collectors", "good").name == "good"


def test_an_entry_that_is_no_module_is_named_and_alone(package):
    """A hyphen in the module's name, say, is an error of that plugin when it is asked for."""
    package("fake-four", {}, collectors={"odd": "not-a-module"})
    registry = Registry()
    with pytest.raises(PluginError, match="not-a-module"):
        registry.plugin_class("collectors", "odd")


def test_files_in_plugin_folders_are_plugins(folder):
    """They are loaded at once, run by default if they collect, and never come onto the path."""
    exporter = (
        HEAD + "class Out(Exporter[Config]):\n    name = 'out'\n@hookimpl\ndef agentd_exporters():\n    return [Out]\n"
    )
    one = folder({"mine": COLLECTOR.format(name="mine"), "out": exporter, "_helper": "1 / 0", "__init__": "1 / 0"})
    path = list(sys.path)
    registry = Registry([one])
    assert sys.path == path
    assert "mine" not in sys.modules
    assert registry.plugin_class("collectors", "mine").name == "mine"
    assert registry.plugin_class("exporters", "out").name == "out"
    assert registry.defaults("collectors")["mine"] == "in a plugin folder"
    assert registry.defaults("collectors")["cpu"] == "default"
    assert "out" not in registry.defaults("exporters")
    assert registry.origin("collectors", "mine") == f"{one}/mine.py"
    assert registry.broken_files == {}


def test_folders_may_have_files_of_one_name(folder, caplog):
    """Each is a module of its own; of plugins of one name the first wins, and the second is named."""
    one = folder({"mine": COLLECTOR.format(name="mine"), "again": COLLECTOR.format(name="mine")}, "one")
    two = folder({"mine": COLLECTOR.format(name="other"), "cpu": COLLECTOR.format(name="cpu")}, "two")
    registry = Registry([one, two])
    assert registry.origin("collectors", "mine") == f"{one}/again.py"
    assert registry.origin("collectors", "other") == f"{two}/mine.py"
    assert registry.origin("collectors", "cpu") == "bundled"
    assert [message.split(" is left out")[0] for message in errors(caplog)] == [
        f"plugin collectors.mine of {one}/mine.py",
        f"plugin collectors.cpu of {two}/cpu.py",
    ]


def test_a_file_that_names_two_classes_alike_has_one_plugin(folder, caplog):
    """The first is taken, and the second named."""
    source = (
        COLLECTOR.format(name="mine") + "@hookimpl(specname='agentd_collectors')\ndef again():\n    return [Mine]\n"
    )
    registry = Registry([folder({"mine": source})])
    assert list(registry.names("collectors")).count("mine") == 1
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_is_named_and_alone(folder, name, caplog):
    """The log says what is wrong and where, the agent's own metric can tell it, and the file beside it is loaded."""
    source, words = BROKEN[name]
    registry = Registry([folder({name: source, "zgood": COLLECTOR.format(name="good")})])
    assert list(registry.broken_files) == [f"plugin_dirs.{name}"]
    (message,) = errors(caplog)
    for word in (f"{name}.py", *words):
        assert word in message
    assert registry.plugin_class("collectors", "good").name == "good"


@pytest.mark.parametrize("place", ["plugins", "plugins/mine.py"])
def test_what_everybody_can_write_is_not_run(folder, tmp_path, caplog, place):
    """Every user of the machine would be the agent; the log says what to do, and once that is done it runs."""
    folders = [folder({"mine": COLLECTOR.format(name="mine")})]
    (tmp_path / place).chmod(0o777)
    registry = Registry(folders)
    assert list(registry.broken_files) == ["plugin_dirs.mine"]
    assert "mine" not in registry.names("collectors")
    (message,) = errors(caplog)
    assert f"everybody can write {tmp_path / place}: chmod o-w {tmp_path / place}" in message
    (tmp_path / place).chmod(0o775)
    assert "mine" in Registry(folders).names("collectors")


def test_a_folder_that_is_not_there_is_named(tmp_path, caplog):
    """A mistyped name is not a folder without plugins."""
    Registry([str(tmp_path / "nowhere")])
    assert [str(tmp_path / "nowhere") in message for message in errors(caplog)] == [True]


def test_a_broken_plugin_leaves_no_hook_behind(folder):
    """What it registered before it failed is not called."""
    hook = "@hookimpl\ndef agentd_families(plugin, families):\n    return []\n"
    registry = Registry([folder({
        "one": HEAD + hook + "@hookimpl\ndef agentd_colectors():\n    pass\n",
        "two": HEAD + hook + "@hookimpl\ndef agentd_started(no_such_argument):\n    pass\n",
        "three": HEAD + hook + "@hookimpl\ndef agentd_collectors():\n    1 / 0\n",
    })])  # fmt: skip
    assert len(registry.broken_files) == 3
    assert not registry.implemented("agentd_families")


FAMILIES = [Family.gauge("a", "", 1.0)]


def hooks(**bodies):
    """Return, by name, the sources of plugins that change families."""
    return {
        name: f"{HEAD}@hookimpl\ndef agentd_families(plugin, families):\n    {body}\n" for name, body in bodies.items()
    }


def test_families_pass_through_all_hooks(folder):
    """Each sees what the one before has made of them; who returns None leaves them as they are."""
    registry = Registry([folder(hooks(
        a_first="return [*families, Family.gauge(plugin.replace('.', '_'), '', 2.0)]",
        b_second="assert len(families) in (1, 2)",
        c_third="return (family for family in families)",
    ))])  # fmt: skip
    assert registry.implemented("agentd_families")
    names = [family.name for family in registry.transform("collectors.cpu", FAMILIES)]
    assert names == ["a", "collectors_cpu"]


@pytest.mark.parametrize("body", ["raise ValueError('x')", "raise SystemExit", "return 5", "yield 1; raise ValueError"])
def test_a_hook_that_fails_is_named_once_and_skipped(folder, body, caplog):
    """The families stay as they were, and the other hooks are called."""
    registry = Registry([folder(hooks(bad=body, good="return [Family.gauge('b', '', 1.0), *families]"))])
    for _ in range(3):
        assert [family.name for family in registry.transform("collectors.cpu", FAMILIES)] == ["b", "a"]
    (message,) = errors(caplog)
    assert "bad" in message
    assert "agentd_families" in message


@pytest.mark.parametrize(
    "body",
    [
        "event.type = 5", "event.id = object()", "event.payload['x'] = '\\ud800'", "event.source = 5",
        "event.meta = 'x'", "event.payload['n'].append(event.payload)", "return [event]", "event.timestamp = math.nan",
        "event.target = b'x'", "event.payload = [1]", "event.payload['x'] = 'y' * 2_000_000",
        "return Event(type='a b')",
        "event.payload.clear(); raise ValueError", "event.payload['n'][0] = object()", "event.source = ['a']",
        "del event.type", "event.payload['n'] = msgspec.Raw(b'{')",
    ],
)  # fmt: skip
def test_an_event_that_a_hook_spoils_is_as_it_was(folder, body, caplog):
    """The hook is named once, its changes are undone, other hooks are called, and nobody else is blamed."""
    source = (
        f"import math\nimport msgspec\n{HEAD}from agentd.plugin import Event\n@hookimpl\ndef agentd_event(event):\n    "
    )
    registry = Registry([folder({
        "a_good": source + "event.payload['seen'] = True",
        "b_bad": source + body,
        "c_other": source + "event.meta['seen'] = True\n    return event",
    })])  # fmt: skip
    taken = []
    bus = Bus(SimpleNamespace(append=lambda *event: taken.append(event)), Identity("me"), hook=registry.changed)
    for _ in range(3):
        bus.emit(Event(type="a.b", id="one", source="s", target="t", timestamp=5.0, payload={"n": [1, 2]}))
    assert bus.refused == 0
    assert len(taken) == 3
    for type_, given_source, head in taken:
        assert (type_, given_source) == ("a.b", "s")
        found = msgspec.json.decode(head + b"1}}")
        assert found["meta"].pop("seen")
        del found["meta"]
        assert found == {
            "id": "one", "type": "a.b", "source": "s", "target": "t", "timestamp": 5.0,
            "payload": {"n": [1, 2], "seen": True},
        }  # fmt: skip
    (message,) = errors(caplog)
    assert "b_bad" in message
    assert "agentd_event" in message


def test_a_hook_is_not_blamed_for_what_it_was_given(folder, caplog):
    """What was no event before is refused with what is wrong with it, and no hook sees it."""
    body = HEAD + "@hookimpl\ndef agentd_event(event):\n    1 / 0\n"
    registry = Registry([folder({"a": body})])
    bus = Bus(SimpleNamespace(append=None), Identity("me"), hook=registry.changed)
    bus.emit(Event(type="a b"))
    assert bus.refused == 1
    (message,) = errors(caplog)
    assert message.startswith("an event a b")
    assert "hook" not in message


@pytest.mark.parametrize(("procfs", "runs"), [(True, "cpu"), (False, "psutil")])
def test_what_runs_by_default_depends_on_procfs(monkeypatch, procfs, runs):
    """Where there is no /proc, psutil serves what the collectors of the kernel's files would, and never both do."""
    monkeypatch.setattr(Path, "exists", lambda path: procfs if str(path) == "/proc/stat" else os.path.exists(path))  # noqa: PTH110
    names = Registry().defaults("collectors")
    assert runs in names
    assert ("psutil" in names) != ("meminfo" in names)
    assert set(names) <= set(Registry().names("collectors"))
