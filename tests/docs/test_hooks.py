"""Every hook is documented, and its example is one."""

import inspect
import re
import runpy
from pathlib import Path

import click
import pytest

from agentd import hookspecs
from agentd.metrics.family import Family
from agentd.plugin import Context, Event, Host, HostPaths
from agentd.registry import Registry

ROOT = Path(__file__).parents[2]
PAGE = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
HOOKS = {hook.name: hook for hook in PAGE["hooks"]()}


def test_these_are_all_hooks():
    """The page has every hook that pluggy knows, and no other."""
    names = {name for name, value in vars(hookspecs).items() if inspect.isfunction(value)}
    assert set(HOOKS) == names
    page = (ROOT / "docs/hooks.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_says_what_there_is_to_know(hook):
    """Its docstring says what it is for, when it is called, what every argument is, and what may be returned."""
    assert hook.summary.endswith(".")
    assert hook.called.endswith(".")
    assert bool(hook.returns) == (hook.result != "None")
    for argument in hook.arguments:
        if argument != "commands":  # the group, said in words
            assert f"`{argument}`" in hook.called + hook.returns or argument in hook.summary, argument
    assert f"def {hook.name}(" in hook.example


@pytest.fixture
def loaded(tmp_path):
    """Loads the example of a hook from a plugin folder, as the agent would."""

    def load(name):
        (tmp_path / "example.py").write_text(f"{PAGE['IMPORTS']}\n\n{HOOKS[name].example}")
        registry = Registry([str(tmp_path)])
        assert registry.broken_files == {}
        assert registry.implemented(name)
        return registry

    return load


async def test_the_example_of_a_collector(loaded, tmp_path):
    """It tells whether the door is open."""
    cls = loaded("agentd_collectors").plugin_class("collectors", "door")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/door").write_text("1\n")
    collector = cls(context=Context(host=Host(HostPaths(rootfs=str(tmp_path)))))
    assert collector.collect() == [Family.gauge("door_open", "Whether the door is open (1) or closed (0).", 1.0)]


async def test_the_example_of_an_exporter(loaded):
    """It answers what the agent renders."""
    cls = loaded("agentd_exporters").plugin_class("exporters", "plain")

    async def gather():
        return "snapshot"

    async def render(snapshot, format):
        return f"{snapshot} as {format}".encode()

    [route] = cls(context=Context(gather=gather, render=render)).routes()
    answer = await route.handler(None)
    assert (route.path, answer.body) == ("/plain", b"snapshot as text")


async def test_the_example_of_a_sink(loaded, capsys):
    """It prints each event as JSON."""
    cls = loaded("agentd_sinks").plugin_class("sinks", "printer")

    class Record:
        json = b'{"type": "a"}'

    await cls().send([Record()])
    assert capsys.readouterr().out == '{"type": "a"}\n'


def test_the_example_that_changes_events(loaded):
    """It drops an event and changes all others."""
    registry = loaded("agentd_event")
    dropped = Event(type="door.opened", source="x", payload={"by": "test"})
    kept = Event(type="door.opened", source="x", payload={"by": "key 3"})
    assert registry.changed(dropped, lambda event: None) is None
    assert registry.changed(kept, lambda event: None).meta["hall"] == "3"


def test_the_example_that_changes_families(loaded):
    """It leaves out families of one collector, and nothing of others."""
    registry = loaded("agentd_families")
    families = [Family.gauge("a_multicast_total", "", 1.0), Family.gauge("b", "", 1.0)]
    assert registry.transform("collectors.netdev", families) == families[1:]
    assert registry.transform("collectors.cpu", families) == families


def test_the_example_that_adds_a_command(loaded):
    """It adds a command to the group that it is given."""
    group = click.Group()
    list(loaded("agentd_commands").call("agentd_commands", commands=group))
    assert list(group.commands) == ["door"]


@pytest.mark.parametrize("name", ["agentd_started", "agentd_stopping"])
def test_the_examples_of_beginning_and_end(loaded, name):
    """They take no argument, as they are called with none."""
    implementations = loaded(name)._implementations(name)
    assert [implementation.argnames for implementation in implementations] == [()]


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_has_a_test_that_uses_it(name):
    """Somewhere in the tests, beside the example above, a plugin implements the hook."""
    tests = [file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__)]
    assert any(re.search(rf"^\s*def {name}\(", file.read_text(), re.MULTILINE) for file in tests)
