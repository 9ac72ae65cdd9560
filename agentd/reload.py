"""Goes over from one configuration to the next while the agent runs: whole, or not at all."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from agentd import directories, logs, systemd
from agentd.changes import Changes, compare
from agentd.config import ConfigError, Settings, keep
from agentd.events.bus import Hook
from agentd.events.flow import Flow
from agentd.metrics.selfmetrics import SelfMetrics
from agentd.registry import Registry
from agentd.roster import CannotRunError, Roster
from agentd.web.server import ListenError, WebServer

log = logging.getLogger(__name__)

Load = Callable[[Registry | None], tuple[Settings, Registry]]
"""Reads the configuration: given the plugins that were known before -> settings, and the plugins that there are."""

GIVE_WAY = 0.0001
"""Seconds that the thread which reads a configuration goes on where another could."""

InWorker = Callable[..., Awaitable[Any]]
"""Calls a function in a thread that does not wait for others, names that nobody answers for say."""


class ReloadError(Exception):
    """A configuration that the agent cannot go over to; it goes on as it was. The text has a line for each problem."""


class Reloader:
    """What is configured now, and the way to what is to be."""

    def __init__(
        self, settings: Settings, registry: Registry, load: Load | None, refused: str = "", *, in_worker: InWorker
    ) -> None:
        """``load`` reads the configuration anew, in a thread of its own; without it, there is no reload. ``refused``
        says why an earlier configuration is used in the place of that in the files.
        """
        self.settings = settings
        self.registry = registry
        self.error = refused
        """Why the configuration in the files is not used; empty where it is."""
        self.degraded = bool(refused)
        """Whether the agent was started with an earlier configuration than that in the files."""
        self._load = load
        self._in_worker = in_worker
        self._lock = asyncio.Lock()

    async def changes(self) -> Changes:
        """Return what a reload would change. Raises ``ReloadError`` where it would fail at once."""
        settings, registry = await self._read()
        return self._compared(settings, registry)

    async def reload(self, roster: Roster, web: WebServer, flow: Flow, metrics: SelfMetrics) -> Changes:
        """Read the configuration and go over to it: only what changed is begun anew, and all else goes on.

        Returns what changed. Raises ``ReloadError`` where it cannot be done: then all is as it was.
        """
        async with self._lock:
            systemd.reloading()
            began = time.monotonic()
            try:
                settings, registry = await self._read()
                changes = self._compared(settings, registry)
                await self._go_over(settings, registry, changes, roster, web)
            except ReloadError as error:
                self.error = str(error)
                metrics.configuration_accepted = False
                log.error("the configuration is refused, and all goes on as it was: %s", error)
                self.say_refused(flow)
                raise
            finally:
                systemd.ready()
            self.error, self.degraded = "", False
            await self.keep()
            metrics.configuration_accepted, metrics.configured_at = True, time.time()
            flow.adapt(settings.agent.labels, hook_of(registry))
            logs.configure(settings.agent.log_level, settings.agent.log_format)
            log.info("reloaded in %.0f ms: %s", (time.monotonic() - began) * 1000, changes)
            if changes.later:
                sections = ", ".join(f"[{name}]" for name in changes.later)
                log.warning("what changed in %s is NOT in effect before the agent is started again", sections)
            flow.say("agent.config_reloaded", **changes.told())
            return changes

    def paths(self) -> Mapping[str, str]:
        """Return the paths that plugins answer, of those that there are now: see ``Registry.paths``."""
        return self.registry.paths()

    async def keep(self) -> None:
        """Keep this configuration for a start at which that of the files cannot be used."""
        if self._load is not None and self.settings.document.files and not self.degraded:
            try:
                await self._in_worker(keep, self.settings.document, directories.configuration_file())
            except OSError as error:
                log.warning("the configuration cannot be kept for a start at which it has errors: %s", error)

    def say_refused(self, flow: Flow) -> None:
        """Tell that the configuration in the files is not used."""
        flow.say("agent.config_refused", errors=self.error.splitlines())

    async def _read(self) -> tuple[Settings, Registry]:
        if self._load is None:
            raise ReloadError("this agent was given its configuration; there is none to be read again")
        try:
            settings, registry = await self._in_worker(_yielding, self._load, self.registry)
        except ConfigError as error:
            raise ReloadError("\n".join(map(str, error.problems))) from error
        known = self.registry.broken_files
        broken = {name: why for name, why in registry.broken_files.items() if name not in known}
        if broken:
            raise ReloadError("\n".join(f"{name} cannot be loaded: {why}" for name, why in broken.items()))
        return settings, registry

    def _compared(self, settings: Settings, registry: Registry) -> Changes:
        def same_code(kind: str, plugin: str) -> bool:
            return self.registry.code(kind, plugin) == registry.code(kind, plugin)

        return compare(self.settings, settings, lambda instance: same_code(instance.kind, instance.plugin))

    async def _go_over(
        self, settings: Settings, registry: Registry, changes: Changes, roster: Roster, web: WebServer
    ) -> None:
        before = self.settings
        # New plugins are made by these. The journal goes on as it was begun: each further reload says so again.
        self.settings = replace(settings, journal=before.journal)
        try:
            await roster.change(settings.instances, changes.fresh, registry, lambda: web.apply(settings.web))
        except (CannotRunError, ListenError) as error:
            self.settings = before
            raise ReloadError(str(error)) from error
        except BaseException:
            self.settings = before
            raise
        self.registry = registry


def _yielding(load: Load, registry: Registry) -> tuple[Settings, Registry]:
    """Read the configuration in this thread, which gives way to the others sooner than threads of Python usually do:
    a scrape reads dozens of files, and after each would wait 5 ms for its turn.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY)
    try:
        return load(registry)
    finally:
        sys.setswitchinterval(usual)


def hook_of(registry: Registry) -> Hook | None:
    """Return what changes events, where a plugin does."""
    return registry.changed if registry.implemented("agentd_event") else None
