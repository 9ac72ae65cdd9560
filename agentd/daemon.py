"""The Agent: wires the rooms of the house together, starts them in order and stops them in reverse."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from agentd import __version__, directories, instances, logs, systemd
from agentd.changes import Changes
from agentd.config import ExporterKeys, Instance, Settings
from agentd.errors import text_of
from agentd.events.flow import Flow
from agentd.events.metrics import EventMetrics
from agentd.host import Host, HostPaths
from agentd.instances import STOP_WITHIN, Running
from agentd.isolation.children import Children
from agentd.memory import Memory, Pressure, limit_of
from agentd.metrics.frame import Frame
from agentd.metrics.gather import Gatherer
from agentd.metrics.outlet import Outlet
from agentd.metrics.pushing import Pushed
from agentd.metrics.rules import Rules
from agentd.metrics.selfmetrics import SelfMetrics
from agentd.metrics.slot import Slot
from agentd.metrics.spending import Spending
from agentd.metrics.workers import Workers
from agentd.pauses import Pauses
from agentd.plugin import Clock, Context
from agentd.registry import Registry
from agentd.reload import Load, Reloader, ReloadError, hook_of
from agentd.resting import Resting
from agentd.roster import Roster
from agentd.routes import Route
from agentd.status import Status, line
from agentd.store.identity import boot_id
from agentd.web import control, events, health, openapi
from agentd.web.handed import Handed
from agentd.web.listeners import spelled
from agentd.web.server import WebServer
from agentd.web.tokens import Tokens

log = logging.getLogger(__name__)


class StateDirectoryError(Exception):
    """The folder for what must survive the agent cannot be used."""


class Agent:
    """One agent, from its settings."""

    def __init__(self, settings: Settings, registry: Registry, load: Load | None = None, refused: str = "") -> None:
        """``load`` reads the configuration anew; ``refused``: see ``Reloader``."""
        self._workers = Workers()
        self._configured = Reloader(settings, registry, load, refused, in_worker=self._workers.run)
        self.state_directory = directories.state_directory()
        self.ready = False
        self._started_at, self._begun = time.time(), time.monotonic()
        self._clock = Clock()
        self._hosts: dict[HostPaths, Host] = {}
        self._self = SelfMetrics()
        self._children = Children(registry.launcher)
        self._spending = Spending(elsewhere=self._children.cpu_seconds)
        self._resting = Resting(directories.resting_file())
        self._gatherer = Gatherer()
        self._outlets: WeakSet[Outlet] = WeakSet()
        self._flow = Flow(settings.journal, self.state_directory, settings.agent.labels, hook_of(registry))
        self._roster = Roster(self._gatherer, self._flow, self._slot_for, self._context, self._show)
        self._tokens = Tokens.of(settings.web)
        self._handed = Handed(systemd.sockets())
        self._web = WebServer(
            settings.web,
            directories.socket_path(),
            self._tokens,
            self._workers.run,
            handed=self._handed,
            sections=self._configured.paths,
        )
        self._pauses = Pauses()
        self._memory = Memory(self._flow.say)
        self._memory.limit = limit_of(settings.agent.memory_limit)
        self._memory.shedders += [self._gatherer.shed, self._flow.shed, self._roster.shed, self._shed]
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
        asyncio.get_running_loop().set_task_factory(self._spending.make_task)
        _prepare(self.state_directory)
        self._self.configured_at = time.time()
        procfs = self._configured.settings.host.procfs
        self._flow.open(procfs)
        if self._configured.settings.web.tokens_file:
            await self._workers.run(self._tokens.look)
        held_up = self._spending.held.open(directories.held_file(), boot_id(procfs), systemd.watchdog())
        resting = self._resting.begin(held_up)
        await self._roster.begin(self._configured.settings.instances, self._configured.registry, resting)
        await self._web.start()
        self._tasks.add(asyncio.create_task(self._self.measure_lag(logs.look, self._memory.look)))
        self._tasks.add(asyncio.create_task(self._web.watch()))
        await self._gatherer.gather()
        self.ready = True
        self._pauses.begin()
        self._announce()
        self._tasks.add(asyncio.create_task(systemd.report(self._status_line)))
        collectors, sinks = len(self._roster.of_kind("collectors")), len(self._roster.of_kind("sinks"))
        self._flow.say("agent.started", version=__version__, collectors=collectors, sinks=sinks)
        list(self._configured.registry.call("agentd_started"))
        if self._configured.degraded:
            self._self.configuration_accepted = False
            self._configured.say_refused(self._flow)
        await self._configured.keep()

    async def reload(self) -> Changes:
        """Go over to the configuration as it is now in its files: see ``Reloader.reload``."""
        if not self.ready:
            raise ReloadError("the agent is starting, or stopping")
        changes = await self._configured.reload(self._roster, self._web, self._flow, self._self)
        self._memory.limit = limit_of(self._configured.settings.agent.memory_limit)
        if changes.fresh or changes.removed:
            self._pauses.renew()
        return changes

    async def stop(self) -> None:
        """Stop everything in reverse order; whatever fails or hangs is left behind."""
        self._pauses.end()
        self._spending.held.close()
        if self.ready:
            systemd.notify(STOPPING="1")
            log.info("stopping")
            list(self._configured.registry.call("agentd_stopping"))
            self._flow.say("agent.stopping", uptime_seconds=self._uptime())
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._roster.leave()
        await self._web.stop()
        # Exporters first: the last thing that one which pushes does may be to gather once more.
        await self._roster.stop("exporters")
        await self._gatherer.stop()
        await self._roster.stop("collectors")
        # Sinks last: what all others have said in stopping is still written down, and sent after the next start.
        await self._flow.close(STOP_WITHIN)
        self._workers.close()
        self._configured.registry.launcher.close()
        for host in self._hosts.values():
            host.close()
        self._handed.close()

    def status(self) -> Status:
        """Return how the agent is now."""
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime_seconds=self._uptime(),
            ready=self.ready,
            listen=[spelled(address) for address in self._web.bound],
            config_files=list(map(os.path.abspath, self._configured.settings.document.files)),
            state_directory=str(self.state_directory),
            plugins=[instances.status_of(running) for running in self._roster.runnings],
            disabled=dict(self._configured.settings.disabled),
            journal=self._flow.status(),
            sinks=self._flow.sinks(),
            tokens_error=self._tokens.error,
            tls_error=self._web.tls_error,
            config_error=self._configured.error,
            degraded=self._configured.degraded,
            memory_pressure=self._memory.pressure.name.lower(),
            resident_bytes=self._self.resident_bytes(),
        )

    async def _resume(self, key: str) -> None:
        await self._roster.resume(key)
        self._resting.forget(key)

    def _uptime(self) -> float:
        return time.monotonic() - self._begun  # the clock may be set meanwhile

    def _status_line(self) -> str:
        return line(self.status())

    def _context(self, instance: Instance) -> Context:
        paths = self._configured.settings.host
        context = Context(
            name=instance.key,
            host=self._hosts.setdefault(paths, Host(paths)),
            clock=self._clock,
            labels=dict(self._configured.settings.agent.labels),
            in_worker=partial(self._in_worker, instance.key),
            emit=self._flow.bus.emit,
            commit=self._flow.commit_for(instance.key),
            follow=self._flow.follow,
            state=self._flow.journal.state(instance.key),
            authenticate=self._web.authenticate,
        )
        rules = instance.keys.rules if isinstance(instance.keys, ExporterKeys) else []
        outlet = Outlet(self._gatherer, Rules(rules))
        self._outlets.add(outlet)
        context.gather, context.render = outlet.gather, outlet.render
        return context

    def _slot_for(self, running: Running, registry: Registry) -> Slot | None:
        return instances.slot_for(running, registry, self._workers, self._flow.say, self._spending)

    async def _in_worker(self, key: str, function: Callable[..., Any], *arguments: object) -> Any:
        return await self._workers.run(self._spending.working(key, function), *arguments)

    def _show(self, runnings: Sequence[Running]) -> None:
        """Answer the routes of these plugins, and tell what they tell about themselves."""
        self._web.set_routes(self._routes(runnings))
        self._gatherer.sources = [
            self._about_agent,
            *self._web.sources,
            self._children.families,
            self._spending.families,
            self._memory.families,
            EventMetrics(self._flow).families,
            Pushed(each.pushing for each in runnings if each.pushing is not None and each.up).families,
            *(
                partial(self._spending.step, running.instance.key, running.about)
                for running in runnings
                if running.about is not None and running.up
            ),
        ]

    def _routes(self, runnings: Iterable[Running]) -> Iterator[Route]:
        taken: set[tuple[str, str]] = set()
        for route in (
            *health.routes(self.status),
            *events.routes(self._flow),
            *control.routes(self._configured.changes, self.reload, self._roster.pause, self._resume, ReloadError),
            *openapi.routes(lambda: self._web.routes, __version__),
        ):
            taken.add((route.method, route.path))
            yield route
        for running in sorted(runnings, key=lambda each: not each.routes):  # who has a route already keeps it
            if not running.up or running.plugin is None:
                continue
            try:
                asked = list(self._spending.step(running.instance.key, running.plugin.routes))
                running.routes = [
                    replace(route, handler=self._spending.answering(running.instance.key, route.handler))
                    for route in asked
                    if (route.method, route.path) not in taken
                ]
                if asked and not running.routes:
                    raise ValueError(f"{asked[0].method} {asked[0].path} is answered by another plugin already")
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
                running.fail("cannot be reached", text_of(error))
                continue
            taken.update((route.method, route.path) for route in running.routes)
            for route in asked:
                if (route.method, route.path) not in {(each.method, each.path) for each in running.routes}:
                    log.info("%s: %s %s is answered by another plugin", running.instance.key, route.method, route.path)
            yield from running.routes

    def _about_agent(self) -> Frame:
        self._self.up = {running.instance.key: running.up for running in self._roster.runnings}
        self._self.up |= {name: delivery.started for name, delivery in self._flow.deliveries.items()}
        self._self.up |= dict.fromkeys(self._configured.registry.broken_files, False)
        self._self.worker_threads = self._workers.threads
        return self._self.families()

    def _shed(self, pressure: Pressure) -> None:
        for outlet in self._outlets:
            outlet.shed(pressure)
        if pressure:
            self._pauses.renew()

    def _announce(self) -> None:
        collectors = [r.instance.name for r in self._roster.runnings if r.up and r.instance.kind == "collectors"]
        down = [running.instance.key for running in self._roster.runnings if not running.up]
        systemd.ready(self._status_line())
        log.info("collectors: %s", " ".join(collectors) or "none")
        sinks = [running.instance.name for running in self._roster.runnings if running.instance.kind == "sinks"]
        if sinks:
            log.info("sinks: %s", " ".join(sinks))
        if down:
            log.warning("not running: %s", " ".join(down))
        for url in self._web.urls:
            for running in self._roster.runnings:
                for route in running.routes:
                    if running.instance.kind == "exporters" and route.path != "/":
                        log.info("%s: %s%s", running.instance.name, url, route.path)
        log.info("state directory: %s", self.state_directory)

    def _hung_up(self) -> None:
        # Who moves a log file away says so by this signal, and whoever has changed the configuration.
        self._spawn(self._renew())

    async def _renew(self) -> None:
        with contextlib.suppress(ReloadError):  # which was logged
            await self.reload()
        await self._flow.reopen()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirectoryError(
            f"cannot make the state directory {directory}: {(error.strerror or str(error)).lower()}; "
            "set STATE_DIRECTORY to a folder that can be written to"
        ) from error
