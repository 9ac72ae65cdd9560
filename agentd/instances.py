"""Settings -> running plugins. Each is built, started and stopped on its own: one that cannot takes no other down."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, Literal, TypeGuard

from agentd.config import CollectorKeys, ExporterKeys, Instance
from agentd.errors import described
from agentd.isolation.children import restarting
from agentd.leaving import leave_behind
from agentd.memory import Pressure
from agentd.metrics.admission import Admission
from agentd.metrics.frame import EMPTY, Frame
from agentd.metrics.pushing import Pushing
from agentd.metrics.slot import ENDS, NAMED, Slot, Tell, Transform
from agentd.metrics.spending import Spending, on_behalf_of
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Context, Exporter, Plugin
from agentd.plugin.kinds import exports
from agentd.registry import PluginError, Registry
from agentd.routes import Route
from agentd.status import PluginStatus

log = logging.getLogger(__name__)

COLLECTOR_TIMEOUT = 5.0
"""Seconds that a collection may take where neither the configuration nor the plugin says otherwise."""

START_WITHIN = 10.0
"""Seconds that a plugin gets to start; the agent is not ready before all have, or have been given up."""

STOP_WITHIN = 0.4
"""Seconds that a plugin gets to stop when the agent stops."""

ABOUT_SERIES = 1000
"""Series that a plugin may tell about itself."""


@dataclass(slots=True)
class Running:
    """A plugin instance: what is configured, the object if it could be built, and why it is not up if it is not."""

    instance: Instance
    plugin: Plugin[Any] | None = None
    slot: Slot | None = None
    pushing: Pushing | None = None
    routes: list[Route] = field(default_factory=list)
    about: "About | None" = None
    error: str = ""
    paused_until: float | None = None
    """Until when it is paused, in seconds since 1970; where nobody has asked for that, ``error`` says why."""

    @property
    def up(self) -> bool:
        """Whether it was built and started."""
        return self.plugin is not None and not self.error

    @property
    def exclusive(self) -> bool:
        """Whether it can only be begun when the one before it has ended."""
        return self.plugin is not None and self.plugin.exclusive

    def fail(self, what: str, why: str) -> None:
        """Note that this instance does not run, and say so."""
        self.error = f"{what}: {why}"
        log.error("%s %s; everything else runs", self.instance.key, self.error)


def build(instances: Iterable[Instance], registry: Registry, context: Callable[[Instance], Context]) -> list[Running]:
    """Make the plugin objects of the enabled instances, in their order."""
    built = []
    for instance in instances:
        running = Running(instance)
        built.append(running)
        try:
            cls = registry.plugin_class(instance.kind, instance.plugin)
            if instance.config is None:  # it could not be loaded when the configuration was read
                raise PluginError("its options were not read: start the agent again")
            running.plugin = _made(cls, instance, registry, context(instance))
        except PluginError as error:
            running.fail("cannot be loaded", str(error))
        except ENDS as error:  # a plugin's failure is its own
            running.fail("cannot be set up", described(error))
    return built


def _made(cls: type[Plugin[Any]], instance: Instance, registry: Registry, context: Context) -> Plugin[Any]:
    """Return a plugin, or what stands for one that runs in a process of its own."""
    keys = instance.keys
    if isinstance(keys, ExporterKeys) or keys.isolation != "process":
        return cls(instance.config, context)
    from agentd.isolation.proxy import isolated

    source = registry.source(instance.kind, instance.plugin, keys.python)
    return isolated(cls, source, registry.launcher, config=instance.config, context=context, keys=keys)


def slot_for(
    running: Running, registry: Registry, workers: Workers, tell: Tell | None = None, spending: Spending | None = None
) -> Slot | None:
    """Return the slot in which a collector that is up runs, or None for anything else."""
    plugin, keys = running.plugin, running.instance.keys
    if not running.up or not isinstance(plugin, Collector) or not isinstance(keys, CollectorKeys):
        return None
    try:
        interval = plugin.interval if keys.interval is None else keys.interval
        if interval is not None and not _is_time(interval):
            raise ValueError(f"its interval is {interval!r}: expected seconds, or None for each scrape")
        running.slot = Slot(
            plugin,
            name=running.instance.name,
            workers=workers,
            timeout=COLLECTOR_TIMEOUT if keys.timeout is None else keys.timeout,
            max_series=plugin.max_series if keys.max_series is None else keys.max_series,
            interval=interval,
            threaded=None if keys.isolation is None else keys.isolation == "thread",
            transform=transform_of(registry),
            tell=tell,
            spending=spending,
        )
    except ENDS as error:  # one that has not called the constructor of its base class, say, has no context
        running.fail("cannot be set up", described(error))
    return running.slot


def pushing_for(running: Running) -> Pushing | None:
    """Return what has an exporter that is up carry out metrics at its interval, or None for anything else."""
    plugin, keys = running.plugin, running.instance.keys
    if not running.up or not isinstance(plugin, Exporter) or not isinstance(keys, ExporterKeys):
        return None
    try:
        if exports(type(plugin)):
            interval = plugin.interval if keys.interval is None else keys.interval
            if not _is_time(interval):
                raise ValueError(f"its interval is {interval!r}: expected seconds")
            running.pushing = Pushing(plugin, interval)
    except ENDS as error:  # as above
        running.fail("cannot be set up", described(error))
    return running.pushing


def _is_time(interval: object) -> TypeGuard[float]:
    return isinstance(interval, int | float) and 0 < interval < inf


def transform_of(registry: Registry) -> Transform | None:
    """Return what changes the families of collectors, where a plugin does."""
    return registry.transform if registry.implemented("agentd_families") else None


async def start(running: Running) -> None:
    """Start a plugin that was built. One that cannot start is stopped, and named."""
    if running.plugin is None:
        return
    if why := await _failure(running.plugin.start, START_WITHIN, running.instance.key):
        running.fail("cannot start", why)
        await stop(running)


async def leave(running: Running) -> None:
    """Let a plugin say good-bye to its clients; what it raises is only told."""
    if running.plugin is not None and (why := await _failure(running.plugin.leave, STOP_WITHIN, running.instance.key)):
        log.warning("%s did not leave cleanly: %s", running.instance.key, why)


async def stop(running: Running, within: float | None = None) -> None:
    """Stop a plugin; what it raises is only told. What a collection that hangs still uses is not taken from it.

    Waits for ``within`` seconds (``STOP_WITHIN`` where it is left out); one that takes longer goes on by itself.
    """
    plugin = running.plugin
    if plugin is None or (running.slot is not None and running.slot.running):
        return

    async def ended() -> None:
        if running.pushing is not None:
            await running.pushing.stop()
        await plugin.stop()

    within = STOP_WITHIN if within is None else within
    if why := await _failure(ended, within, running.instance.key, alone=True):
        log.warning("%s did not stop cleanly: %s", running.instance.key, why)


async def _failure(function: Callable[[], Awaitable[None]], within: float, key: str, *, alone: bool = False) -> str:
    """Call a plugin, and return why that came to no good end, or nothing where it did. Waits no longer than it may;
    then the call is cancelled, or goes on ``alone``.
    """

    async def guarded() -> str:
        try:
            await function()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
            return described(error)
        return ""

    task = asyncio.create_task(guarded(), context=on_behalf_of(key))
    if alone:
        await leave_behind(task, within)
    else:
        try:
            await asyncio.wait({task}, timeout=within)
        finally:
            task.cancel()
    if not task.done():
        return f"it is not done after {within:g} s"
    return "it cancelled itself" if task.cancelled() else task.result()


def shed(running: Running, pressure: Pressure) -> None:
    """Have a plugin that is up give up what it can do without; what it raises is only told."""
    if running.plugin is not None and running.up:
        try:
            running.plugin.shed(pressure)
        except ENDS as error:  # a plugin's failure is its own
            log.warning("%s gives nothing up: %s", running.instance.key, described(error))


def status_of(running: Running) -> PluginStatus:
    """Return how an instance is, and what came of a collector's last run."""
    status = partial(
        PluginStatus,
        plugin=running.instance.key,
        reason=running.instance.reason,
        up=running.up,
        paused_until=running.paused_until,
        restarting=restarting(running.plugin),
    )
    slot, pushing = running.slot, running.pushing
    if running.up and pushing is not None:
        last_run: Literal["failed", "ok", "never"] = "failed" if pushing.error else "ok" if pushing.last else "never"
        return status(last_run=last_run, last_run_at=pushing.last, error=pushing.error)
    if slot is None or not running.up:
        return status(error=running.error)
    last = slot.last
    if last is None:
        return status(last_run="never")
    return status(
        last_run=last.status,
        last_run_at=time.time() - max(0.0, time.monotonic() - last.at),
        refused=last.refused,
        error=last.error,
        duration_seconds=last.duration,
        series=last.series,
        timeouts=slot.timeouts,
        asked_again_in=slot.rests_for or None,
    )


def tells(running: Running) -> bool:
    """Say whether a plugin that is up has something to tell about itself."""
    return running.up and running.plugin is not None and type(running.plugin).about is not Plugin.about


class About:
    """What a plugin tells about itself, as safe to show as what collectors return."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._admission = Admission(ABOUT_SERIES)
        self._named: set[tuple[str, str]] = set()

    def __call__(self) -> Frame:
        """Return the plugin's own families; none where it fails to tell them."""
        if self._running.plugin is None:
            return EMPTY
        try:
            frame, rejections = self._admission.admit(self._running.plugin.about())
        except ENDS as error:  # a plugin's failure is its own
            self._say("failed", "", described(error))
            return EMPTY
        for rejection in rejections:
            self._say(rejection.reason, rejection.subject, f"left out ({rejection.reason}): {rejection.what}")
        return frame

    def _say(self, problem: str, subject: str, text: str) -> None:
        if (problem, subject) not in self._named and len(self._named) < NAMED:
            self._named.add((problem, subject))
            log.error("%s: about(): %s", self._running.instance.key, text)
