"""The hooks of agentd: the functions that a plugin module may implement, marked with ``agentd.plugin.hookimpl``.

A hook that nobody implements costs nothing. Each implementation is called on its own: one that raises is named in the
log, and all others are called nevertheless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from agentd.metrics.family import Family
from agentd.plugin import Collector, Event, Exporter, Sink

if TYPE_CHECKING:
    import click

hookspec = pluggy.HookspecMarker("agentd")


@hookspec
def agentd_collectors() -> Sequence[type[Collector[Any]]]:  # type: ignore[empty-body]
    """Return the collector classes of this module. Called once, when the module is loaded."""


@hookspec
def agentd_exporters() -> Sequence[type[Exporter[Any]]]:  # type: ignore[empty-body]
    """Return the exporter classes of this module. Called once, when the module is loaded."""


@hookspec
def agentd_sinks() -> Sequence[type[Sink[Any]]]:  # type: ignore[empty-body]
    """Return the sink classes of this module. Called once, when the module is loaded."""


@hookspec
def agentd_event(event: Event) -> Event | bool | None:
    """Change or drop an event before it is written down.

    Return another event to take its place, False to drop it, or None to leave it as it is (``event`` itself may be
    changed). Where what comes of it is no event, or the hook raises, all that it changed is undone. Called for each
    event in the thread that emits it, so it must be quick.
    """


@hookspec
def agentd_started() -> None:
    """The agent answers: every plugin is started and the first collection is done. Must not block."""


@hookspec
def agentd_stopping() -> None:
    """The agent is about to stop its plugins. Must not block."""


@hookspec
def agentd_families(plugin: str, families: Sequence[Family]) -> Sequence[Family] | None:
    """Change, drop or add families that a collector has just returned, before they are checked.

    ``plugin`` is the collector instance (``collectors.cpu``). Return the families to use in their place, or None to
    leave them as they are. Called after each collection on the agent's event loop, so it must be quick.
    """


@hookspec
def agentd_commands(commands: click.Group) -> None:
    """Add commands to the ``agentd`` command line. Bundled plugins are not asked."""
