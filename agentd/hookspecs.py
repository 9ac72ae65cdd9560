"""The hooks of agentd: the functions that a plugin module may implement, marked with ``agentd.plugin.hookimpl``.

A hook that nobody implements costs nothing. Each implementation is called on its own: one that raises is named in the
log, and all others are called nevertheless. An implementation may leave out arguments that it does not need. A function
that is marked and is none of these is an error: its plugin is not loaded.

docs/hooks.md is made of what stands here. Each docstring says when its hook is called (``Called …``), what is done with
what it returns (``Returns …``), and ends with an example that a test loads.
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
    """Register the collectors of this module.

    Called once, when the module is loaded.

    Returns the classes. One whose name another plugin of this kind has already is left out, and named in the log.

    Example::

        class Door(Collector[Config]):
            name = "door"
            is_open = gauge("door_open", "Whether the door is open (1) or closed (0).")

            def collect(self):
                return [self.is_open(float(self.host.path("/run/door").read_text()))]


        @hookimpl
        def agentd_collectors():
            return [Door]
    """


@hookspec
def agentd_exporters() -> Sequence[type[Exporter[Any]]]:  # type: ignore[empty-body]
    """Register the exporters of this module.

    Called once, when the module is loaded.

    Returns the classes. One whose name another plugin of this kind has already is left out, and named in the log.

    Example::

        class Plain(Exporter[Config]):
            name = "plain"

            def routes(self):
                return [Route("GET", "/plain", self.show, Scope.METRICS_READ, "all metrics")]

            async def show(self, request):
                return web.Response(body=await self.render(await self.gather(), format="text"))


        @hookimpl
        def agentd_exporters():
            return [Plain]
    """


@hookspec
def agentd_sinks() -> Sequence[type[Sink[Any]]]:  # type: ignore[empty-body]
    """Register the sinks of this module.

    Called once, when the module is loaded.

    Returns the classes. One whose name another plugin of this kind has already is left out, and named in the log.

    Example::

        class Printer(Sink[Config]):
            name = "printer"

            async def send(self, events):
                for record in events:
                    print(record.json.decode())


        @hookimpl
        def agentd_sinks():
            return [Printer]
    """


@hookspec
def agentd_event(event: Event) -> Event | bool | None:
    """Change or drop an event before it is written down.

    Called for each event, in the thread that emits it, so it must be quick. Several are called one after the other,
    each with what the one before made of it.

    Returns another event to take its place, False to drop it, or None to leave it as it is; ``event`` itself may be
    changed. Where what comes of it is no event, or the hook raises, all that it changed is undone.

    Example::

        @hookimpl
        def agentd_event(event):
            if event.type == "door.opened" and event.payload.get("by") == "test":
                return False
            event.meta["hall"] = "3"
    """


@hookspec
def agentd_started() -> None:
    """Learn that the agent runs.

    Called once, when it answers: every plugin is started and the first collection is done. On the event loop, so it
    must not block.

    Example::

        @hookimpl
        def agentd_started():
            Path("/run/agentd/answers").touch()
    """


@hookspec
def agentd_stopping() -> None:
    """Learn that the agent is about to stop its plugins.

    Called once, before the first of them is stopped. On the event loop, so it must not block.

    Example::

        @hookimpl
        def agentd_stopping():
            Path("/run/agentd/answers").unlink(missing_ok=True)
    """


@hookspec
def agentd_families(plugin: str, families: Sequence[Family]) -> Sequence[Family] | None:
    """Change, drop or add families that a collector has just returned, before they are checked.

    Called after each collection, with the collector instance (``collectors.cpu``) as ``plugin``. On the event loop, so
    it must be quick. Several are called one after the other, each with what the one before returned.

    Returns the families to use in the place of those that were given, or None to leave them as they are.

    Example::

        @hookimpl
        def agentd_families(plugin, families):
            if plugin == "collectors.netdev":
                return [family for family in families if not family.name.endswith("_multicast_total")]
    """


@hookspec
def agentd_commands(commands: click.Group) -> None:
    """Add commands to the ``agentd`` command line.

    Called when the command line finds no command of that name, or lists all, with the group to which they belong.
    Bundled plugins are not asked. A name that agentd has itself stays agentd's.

    Example::

        @hookimpl
        def agentd_commands(commands):
            @commands.command("door", help="Say whether the door is open.")
            def door():
                click.echo(Path("/run/door").read_text())
    """
