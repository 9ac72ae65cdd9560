"""The Agent: wires the rooms of the house together, starts them in order and stops them in reverse."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentd import __version__, directories, instances, systemd
from agentd.config import ExporterKeys, Instance, Settings, SinkKeys
from agentd.errors import text_of
from agentd.events.flow import Flow
from agentd.events.metrics import EventMetrics
from agentd.host import Host
from agentd.instances import About, Running
from agentd.metrics.frame import Frame
from agentd.metrics.gather import Gatherer
from agentd.metrics.outlet import Outlet
from agentd.metrics.rules import Rules
from agentd.metrics.selfmetrics import SelfMetrics
from agentd.metrics.workers import Workers
from agentd.pauses import Pauses
from agentd.plugin import Clock, Context, Sink
from agentd.registry import Registry
from agentd.routes import Route
from agentd.status import PluginStatus, Status
from agentd.web import events, health, openapi
from agentd.web.listeners import spelled
from agentd.web.server import WebServer
from agentd.web.tokens import Tokens

log = logging.getLogger(__name__)


class StateDirectoryError(Exception):
    """The folder for what must survive the agent cannot be used."""


class Agent:
    """One agent, from its settings."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings = settings
        self.state_directory = directories.state_directory()
        self.ready = False
        self._registry = registry
        self._started_at = time.time()
        self._clock = Clock()
        self._host = Host(settings.host)
        self._workers = Workers()
        self._self = SelfMetrics()
        self._runnings: list[Running] = []
        self._gatherer = Gatherer()
        hook = registry.changed if registry.implemented("agentd_event") else None
        self._flow = Flow(settings.journal, self.state_directory, settings.agent.labels, hook)
        self._tokens = Tokens.of(settings.web)
        self._web = WebServer(settings.web, directories.socket_path(), self._tokens, self._workers.run)
        self._pauses = Pauses()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set. Raises where the agent as a whole cannot run."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        starting = loop.create_task(self.start())
        waiting = loop.create_task(stopping.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await waiting
        finally:
            starting.cancel()
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await starting
            await self.stop()

    async def start(self) -> None:
        """Start everything, collect once, and say so. Raises where the agent as a whole cannot run."""
        _prepare(self.state_directory)
        self._self.configured_at = time.time()
        self._flow.open(self.settings.host.procfs)
        if self.settings.web.tokens_file:
            await self._workers.run(self._tokens.look)
        self._runnings = instances.build(self.settings.instances, self._registry, self._context)
        collectors, exporters, sinks = map(self._of_kind, ("collectors", "exporters", "sinks"))
        self._flow.deliver(
            (running.plugin, running.instance.keys, running.instance.plugin)
            for running in sinks
            if isinstance(running.plugin, Sink) and isinstance(running.instance.keys, SinkKeys)
        )
        await asyncio.gather(*map(instances.start, collectors))
        self._gatherer.start(
            filter(
                None,
                (instances.slot_for(each, self._registry, self._workers, self._flow.say) for each in collectors),
            )
        )
        await asyncio.gather(*map(instances.start, exporters))
        for running in self._runnings:
            if running.error:
                self._flow.say("plugin.failed", plugin=running.instance.key, error=running.error)
        about = EventMetrics(self._flow).families
        self._gatherer.sources = [
            self._about_agent,
            self._web.families,
            about,
            *map(About, filter(instances.tells, self._runnings)),
        ]
        self._web.set_routes(self._routes())
        await self._web.start()
        self._tasks.add(asyncio.create_task(self._self.measure_lag()))
        self._tasks.add(asyncio.create_task(self._web.watch()))
        await self._gatherer.gather()
        self.ready = True
        self._pauses.begin()
        self._announce()
        self._flow.say("agent.started", version=__version__, collectors=len(collectors), sinks=len(sinks))
        list(self._registry.call("agentd_started"))

    async def stop(self) -> None:
        """Stop everything in reverse order; whatever fails or hangs is left behind."""
        self._pauses.end()
        if self.ready:
            systemd.notify(STOPPING="1")
            log.info("stopping")
            list(self._registry.call("agentd_stopping"))
            self._flow.say("agent.stopping", uptime_seconds=time.time() - self._started_at)
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*map(instances.leave, self._runnings))
        await self._web.stop()
        # Exporters first: the last thing that one which pushes does may be to gather once more.
        await asyncio.gather(*map(instances.stop, reversed(self._of_kind("exporters"))))
        await self._gatherer.stop()
        await asyncio.gather(*map(instances.stop, reversed(self._of_kind("collectors"))))
        # Sinks last: what all others have said in stopping is still written down, and sent after the next start.
        await self._flow.close(instances.STOP_WITHIN)
        self._workers.close()
        self._host.close()

    def status(self) -> Status:
        """Return how the agent is now."""
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime_seconds=time.time() - self._started_at,
            ready=self.ready,
            listen=[spelled(address) for address in self._web.bound],
            config_files=[str(file) for file in self.settings.document.files],
            state_directory=str(self.state_directory),
            plugins=[_plugin_status(running) for running in self._runnings],
            disabled=dict(self.settings.disabled),
            journal=self._flow.status(),
            sinks=self._flow.sinks(),
            tokens_error=self._tokens.error,
            tls_error=self._web.tls_error,
        )

    def _context(self, instance: Instance) -> Context:
        context = Context(
            name=instance.key,
            host=self._host,
            clock=self._clock,
            labels=self.settings.agent.labels,
            in_worker=self._workers.run,
            emit=self._flow.bus.emit,
            commit=self._flow.commit_for(instance.key),
            follow=self._flow.follow,
            state=self._flow.journal.state(instance.key),
            authenticate=self._web.authenticate,
        )
        rules = instance.keys.rules if isinstance(instance.keys, ExporterKeys) else []
        outlet = Outlet(self._gatherer, Rules(rules))
        context.gather, context.render = outlet.gather, outlet.render
        return context

    def _of_kind(self, kind: str) -> list[Running]:
        return [running for running in self._runnings if running.instance.kind == kind]

    def _routes(self) -> Iterator[Route]:
        taken: set[tuple[str, str]] = set()
        for route in (
            *health.routes(self.status),
            *events.routes(self._flow),
            *openapi.routes(lambda: self._web.routes, __version__),
        ):
            taken.add((route.method, route.path))
            yield route
        for running in self._runnings:
            if running.up and running.plugin is not None:
                try:
                    asked = list(running.plugin.routes())
                    routes = [route for route in asked if (route.method, route.path) not in taken]
                    if asked and not routes:
                        raise ValueError(f"{asked[0].method} {asked[0].path} is answered by another plugin already")
                    taken.update((route.method, route.path) for route in routes)
                    for route in asked:
                        if route not in routes:
                            log.info(
                                "%s: %s %s is answered by another plugin",
                                running.instance.key,
                                route.method,
                                route.path,
                            )
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
                    running.fail("cannot be reached", text_of(error))
                    continue
                running.routes = routes
                yield from routes

    def _about_agent(self) -> Frame:
        self._self.up = {running.instance.key: running.up for running in self._runnings}
        self._self.up |= {name: delivery.started for name, delivery in self._flow.deliveries.items()}
        self._self.up |= dict.fromkeys(self._registry.broken_files, False)
        self._self.worker_threads = self._workers.threads
        return self._self.families()

    def _announce(self) -> None:
        collectors = [r.instance.name for r in self._runnings if r.up and r.instance.kind == "collectors"]
        down = [running.instance.key for running in self._runnings if not running.up]
        systemd.notify(READY="1", STATUS=f"{len(collectors)} collectors, {len(down)} plugins down")
        log.info("collectors: %s", " ".join(collectors) or "none")
        sinks = [running.instance.name for running in self._runnings if running.instance.kind == "sinks"]
        if sinks:
            log.info("sinks: %s", " ".join(sinks))
        if down:
            log.warning("not running: %s", " ".join(down))
        for url in self._web.urls:
            for running in self._runnings:
                for route in running.routes:
                    if running.instance.kind == "exporters" and route.path != "/":
                        log.info("%s: %s%s", running.instance.name, url, route.path)
        log.info("state directory: %s", self.state_directory)

    def _hung_up(self) -> None:
        # Who moves a log file away says so by this signal.
        task = asyncio.get_running_loop().create_task(self._flow.reopen())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        log.warning("SIGHUP: files of sinks are opened anew; this version cannot reload its configuration: restart it")


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirectoryError(
            f"cannot make the state directory {directory}: {(error.strerror or str(error)).lower()}; "
            "set STATE_DIRECTORY to a folder that can be written to"
        ) from error


def _plugin_status(running: Running) -> PluginStatus:
    status = partial(PluginStatus, plugin=running.instance.key, reason=running.instance.reason, up=running.up)
    slot = running.slot
    if slot is None or not running.up:
        return status(error=running.error)
    last = slot.last
    if last is None:
        return status(last_run="never")
    return status(
        last_run=last.status,
        error=last.error,
        duration_seconds=last.duration,
        series=last.series,
        timeouts=slot.timeouts,
    )
