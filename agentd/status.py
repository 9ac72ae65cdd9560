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
    last_run: Literal["ok", "no data", "failed", "timed out", "never", ""] = ""
    """What came of a collector's last run; empty for other kinds."""
    duration_seconds: float | None = None
    series: int | None = None
    timeouts: int | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole agent."""

    version: str
    pid: int
    started_at: float
    """Seconds since 1970."""
    uptime_seconds: float
    ready: bool
    listen: list[str]
    config_files: list[str]
    state_directory: str
    plugins: list[PluginStatus]
    disabled: dict[str, str]
    """Plugins that are switched off by the configuration, and where."""
