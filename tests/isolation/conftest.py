"""Plugins in processes, without an agent around them."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config import CollectorKeys, SinkKeys
from agentd.isolation.describe import described_class
from agentd.isolation.launcher import Launcher
from agentd.isolation.proxy import Isolated, isolated
from agentd.isolation.source import Source
from agentd.plugin import Context

HEAD = """
import asyncio, os, signal, sys, time
from agentd.plugin import Collector, Config, Event, Family, Histogram, NoData, Refused, Reject, Retry
from agentd.plugin import Sink, gauge, hookimpl

class Options(Config):
    number: int = 3

"""

COLLECTOR = """
class Plugin(Collector[Options]):
    name = "mine"
    def collect(self):
        {}

@hookimpl
def agentd_collectors():
    return [Plugin]
"""


def interpreters() -> dict[str, str]:
    """Return Pythons of this machine in which there is no agentd, by their versions: the system's, the oldest that will
    do, and the newest.
    """
    found = {}
    for file in Path.home().glob(".pyenv/versions/3.*/bin/python"):
        version = tuple(map(int, file.parents[1].name.split(".")[:2]))
        if version >= (3, 8):
            found[version] = str(file)
    chosen = {".".join(map(str, version)): found[version] for version in {*sorted(found)[:1], *sorted(found)[-1:]}}
    return chosen | ({"system": "/usr/bin/python3"} if shutil.which("/usr/bin/python3") else {})


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """Begins children, which end with the test."""
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    """Writes a plugin's file, and says where it is."""

    def write(code: str, kind: str = "collectors", python: str | None = None) -> Source:
        file = tmp_path / "mine.py"
        file.write_text(HEAD + code)
        return Source(kind, "mine", "agentd_plugin_dirs.test.mine", str(file), python)

    return write


@pytest.fixture
async def standing(launcher: Launcher, source: Callable[..., Source]) -> Any:
    """Makes what stands for a plugin, and keeps what it emits and commits."""
    made: list[Isolated] = []
    kept = SimpleNamespace(events=[], commits=[], state={})

    async def commit(events: Any, state: Any) -> None:
        kept.commits.append((list(events), dict(state)))
        kept.state.update(state)

    def make(code: str, kind: str = "collectors", *, options: dict[str, Any] | None = None, **keys: Any) -> Isolated:
        place = source(code, kind, keys.get("python"))
        cls = described_class(launcher, place)
        context = Context(name=f"{kind}.mine", emit=kept.events.append, commit=commit, state=kept.state)
        type_ = CollectorKeys if kind == "collectors" else SinkKeys
        config = cls.config_type(**(options or {}))
        plugin = isolated(cls, place, launcher, config=config, context=context, keys=type_(isolation="process", **keys))
        made.append(plugin)
        return plugin

    make.kept = kept  # type: ignore[attr-defined]  # for the tests to look at
    yield make
    await asyncio.gather(*(plugin.stop() for plugin in made))
    await until(lambda: all(plugin.keeper.process is None for plugin in made))
    await asyncio.sleep(0.1)  # the event loop closes sockets in its next turn


async def until(so: Callable[[], object]) -> None:
    """Wait until something is so; machines may be busy."""
    async with asyncio.timeout(60):
        while not so():  # noqa: ASYNC110  # there is nothing to be told by
            await asyncio.sleep(0.01)
