"""A plugin that runs without an agent: built with its options, started, and stopped at the end."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from agentd.config import ConfigError, Document, Problem
from agentd.config.convert import to_struct
from agentd.metrics.workers import Workers
from agentd.plugin import Clock, Collector, Config, Context, Exporter, Host, HostPaths, Plugin, Sink
from agentd.testing.hosts import Files, Root, machine
from agentd.testing.recorder import Recorder

__tracebackhide__ = True

P = TypeVar("P", bound=Plugin[Any])
G = TypeVar("G")

Options = Config | Mapping[str, Any]
"""Options of a plugin: its ``Config``, or a table of them as it stands in the configuration, ``{"timeout": "15s"}``."""

Given = Options | Callable[[G], Options] | None
"""The same, or a function that makes them of what is known only when the test runs; None: all as by default."""


def require_class(plugin: object) -> None:
    """Raise ``TypeError`` for what is no class of a plugin, such as a function that ``@collector`` decorates."""
    if not (isinstance(plugin, type) and issubclass(plugin, Collector | Exporter | Sink)):
        meant = getattr(plugin, "plugin", None)
        hint = f"; that of this function is {plugin.__name__}.plugin" if isinstance(meant, type) else ""  # type: ignore[attr-defined]  # a function of @collector has a name
        raise TypeError(f"expected a class of Collector, Exporter or Sink; found {plugin!r}{hint}")


def kind_of(plugin: type[Plugin[Any]]) -> Literal["collectors", "exporters", "sinks"]:
    """Return the kind of a plugin, which is the section of the configuration that it belongs to."""
    return "collectors" if issubclass(plugin, Collector) else "exporters" if issubclass(plugin, Exporter) else "sinks"


def options_of(plugin: type[Plugin[Any]], given: Given[G], of: G) -> Config:
    """Return the options of a plugin, checked as the agent checks them. Raises ``ConfigError``."""
    require_class(plugin)
    if callable(given) and not isinstance(given, Config):
        given = given(of)
    if isinstance(given, Config):
        return given
    path = (kind_of(plugin), getattr(plugin, "name", plugin.__name__))
    table = _plain(given or {})
    problems: list[Problem] = []
    made = to_struct(plugin.config_type, table, path, Document({path[0]: {path[1]: table}}), problems)
    if made is None:
        raise ConfigError(problems)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def build(
    plugin: type[P],
    options: Config,
    *,
    host: Host,
    workers: Workers,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
) -> P:
    """Return an instance of a plugin that was not started."""
    clock = clock or Clock()
    recorder = recorder or Recorder(clock=clock)
    context = Context(
        name=f"{kind_of(plugin)}.{getattr(plugin, 'name', plugin.__name__)}",
        host=host,
        clock=clock,
        in_worker=workers.run,
        emit=recorder.emit,
        commit=recorder.commit,
        follow=recorder.follow,
        state=recorder.state,
    )
    return plugin(options, context)


@asynccontextmanager
async def running(
    plugin: type[P],
    *,
    config: Given[Host] = None,
    proc: Files | None = None,
    sys: Files | None = None,
    files: Files | None = None,
    root: Root | None = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
) -> AsyncIterator[P]:
    """Give a plugin that is started, and stop it at the end; for asynchronous tests that do more with it than once.

    ``config`` may be a function of the ``Host``. The machine is one with these files alone; see ``machine``. What it
    emits and commits goes to the ``recorder``.
    """
    with machine(proc=proc, sys=sys, files=files, root=root) as paths:
        async with on_machine(plugin, paths, config, clock, recorder) as started:
            yield started


@asynccontextmanager
async def on_machine(
    plugin: type[P],
    host: HostPaths | Host,
    config: Given[Host] = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
) -> AsyncIterator[P]:
    """Give a plugin that is started on a machine, and stop it at the end, even where it could not be started."""
    host = host if isinstance(host, Host) else Host(host)
    workers = Workers()
    try:
        made = build(
            plugin, options_of(plugin, config, host), host=host, workers=workers, clock=clock, recorder=recorder
        )
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
    finally:
        workers.close()
        host.close()
