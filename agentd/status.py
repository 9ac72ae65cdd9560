"""The agent's status: what ``/api/v1/status`` answers and ``agentd status`` shows."""

from typing import Literal

import msgspec


class PluginStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin instance."""

    plugin: str
    """Its kind and name, ``collectors.cpu``."""
    up: bool
    """Whether it was loaded and started."""
    reason: str
    """Why it is enabled."""
    error: str = ""
    """Why it is not up, or how its last run failed."""
    paused_until: float | None = None
    """Until when somebody has paused it, or it is left out because it held up the agent (then ``error`` says so); in
    seconds since 1970."""
    restarting: str = ""
    """Why the process in which it runs is being started again, and when; empty where it runs, or has none."""
    last_run: Literal["ok", "no data", "failed", "timed out", "never", ""] = ""
    """What came of a collector's last run; empty for other kinds."""
    asked_again_in: float | None = None
    """Seconds until a collector is asked again that has failed again and again."""
    last_run_at: float | None = None
    """When that run ended, in seconds since 1970."""
    refused: bool = False
    """Whether the machine has what it is about, but the agent may not ask for it: ``error`` says what grants it."""
    duration_seconds: float | None = None
    series: int | None = None
    timeouts: int | None = None

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with it; somebody may have paused it."""
        return ((self.up and not self.restarting) or self.paused) and self.last_run not in ("failed", "timed out")

    @property
    def paused(self) -> bool:
        """Whether somebody has paused it."""
        return self.paused_until is not None and not self.error


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole agent."""

    version: str
    pid: int
    started_at: float
    """Seconds since 1970, as the clock said then."""
    uptime_seconds: float
    """Whatever the clock has been set to since."""
    ready: bool
    listen: list[str]
    config_files: list[str]
    state_directory: str
    plugins: list[PluginStatus]
    disabled: dict[str, str]
    """Plugins that are switched off by the configuration, and where."""
    journal: "JournalStatus | None" = None
    sinks: "list[SinkStatus]" = []
    tokens_error: str = ""
    """Why the file of tokens cannot be used as it is; those known before still count."""
    tls_error: str = ""
    """Why the certificates cannot be used as they are; those before are shown still."""
    config_error: str = ""
    """Why the configuration in the files is not the one that is used."""
    degraded: bool = False
    """Whether it was started with the last configuration that could be used, as that in the files cannot."""
    memory_pressure: str = "none"
    """How far the agent has gone in giving up what it can do without, to save memory: none, caches, streams, intake."""
    resident_bytes: int | None = None
    """Memory of the process that lies in RAM; absent where that is not known."""


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The journal of events."""

    durable: bool
    """Whether what is committed now is on a disk."""
    last: int
    """The number of the last event."""
    size_bytes: int
    """Room in use in its file."""
    dropped: int
    """Events that were lost because nothing could be written down, and memory was full."""
    damaged: int
    """Events that were found damaged."""
    error: str = ""
    """Why nothing can be written down."""


SinkState = Literal["starting", "connected", "retrying", "open", "half open", "stopped"]


class SinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a sink is, as the API tells it."""

    sink: str
    """The instance's name with its kind, ``sinks.fleet``."""
    plugin: str
    state: SinkState
    healthy: bool
    cursor: int
    """The number up to which it has got its events."""
    lag_events: int
    """Events behind that, wanted or not."""
    lag_seconds: float
    """Age of the oldest event that it waits for."""
    sent: int
    retried: int
    rejected: int
    dropped: int
    dead_letters: int = 0
    error: str = ""
    """Why the last attempt failed; empty where it did not."""


def line(status: Status) -> str:
    """Return the status on one line, as ``systemctl status`` shows it."""
    collectors = [plugin for plugin in status.plugins if plugin.up and plugin.plugin.startswith("collectors.")]
    series = sum(plugin.series or 0 for plugin in collectors)
    parts = [f"{len(collectors)} collectors, {series} series"]
    if status.journal is not None:
        parts.append(f"{status.journal.last} events" + (", NOT WRITTEN DOWN" if status.journal.error else ""))
    if status.sinks:
        parts.append(f"{len(status.sinks)} {'sink' if len(status.sinks) == 1 else 'sinks'}")
    if unhealthy := [sink.sink for sink in status.sinks if not sink.healthy]:
        parts.append(f"not healthy: {' '.join(unhealthy)}")
    if down := [plugin.plugin for plugin in status.plugins if not plugin.up and not plugin.paused]:
        parts.append(f"down: {' '.join(down)}")
    if paused := [plugin.plugin for plugin in status.plugins if plugin.paused]:
        parts.append(f"paused: {' '.join(paused)}")
    if status.config_error:
        parts.append("THE CONFIGURATION HAS ERRORS" + (", an earlier one runs" if status.degraded else ""))
    return "; ".join(parts)


def wrong(status: Status) -> list[str]:
    """Return what is wrong with an agent, each in a few words; nothing where all is well."""
    journal, found = status.journal, []
    if not status.ready:
        found.append("it is not ready")
    if status.config_error:
        found.append("it runs with an earlier configuration" if status.degraded else "the configuration is refused")
    down = sum(not plugin.well and not plugin.up for plugin in status.plugins)
    failing = sum(not plugin.well and plugin.up for plugin in status.plugins)
    unhealthy = sum(not sink.healthy for sink in status.sinks)
    if down:
        found.append(f"{down} plugin{'s do' if down > 1 else ' does'} not run")
    if failing:
        found.append(f"{failing} collector{'s fail' if failing > 1 else ' fails'}")
    if unhealthy:
        found.append(f"{unhealthy} sink{'s are' if unhealthy > 1 else ' is'} unhealthy")
    if journal is not None and journal.error:
        found.append("events cannot be written down")
    if status.memory_pressure in ("streams", "intake"):
        found.append("it is short of memory, and turns some away")
    if status.tokens_error:
        found.append("the file of tokens cannot be used")
    if status.tls_error:
        found.append("the certificates cannot be used")
    return found
