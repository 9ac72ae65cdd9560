"""What a configuration comes to: the core's own sections, the plugin instances that are to run, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from agentd.config.source import Document
from agentd.config.web import WebSettings
from agentd.host import HostPaths
from agentd.metrics.rules import Rule
from agentd.options import Config, Duration, Size

Kind = Literal["collectors", "exporters", "sinks"]


LEAST_MEMORY = Size(32 << 20)
"""What a process may be limited to: it begins with 15 MiB of the agent's modules, which it shares."""


class AgentSettings(Config, frozen=True):
    """The agent as a whole."""

    labels: dict[str, str] = {}
    """Labels on everything that is pushed and in ``meta`` of every event, ``{ site = "hall-3" }`` say; what Prometheus
    scrapes has its own."""
    plugin_dirs: list[str] = []
    """Folders whose ``*.py`` files are plugins, each named as its file."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are logged."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """One line of text or one JSON object for each message; ``auto`` picks text for people and for the journal."""
    memory_limit: Size | None = None
    """Resident memory above which the agent gives up, step by step, what it can do without: caches, live streams, new
    robots; ``"0B"`` for no limit. Left out, 90 % of the unit's ``MemoryHigh=``, if it has one."""

    def __post_init__(self) -> None:
        if self.memory_limit and self.memory_limit < 32 << 20:
            raise ValueError('memory_limit must be at least 32MiB, or "0B" for no limit')


class Switches(Config, frozen=True):
    """Which plugins of one kind run."""

    enable: list[str] = []
    """Names that run beside those that do so by default. Lists of several files unite."""
    disable: list[str] = []
    """Names that do not run, whatever else says that they do. Lists of several files unite."""


class CollectorKeys(Config, frozen=True):
    """The keys that every collector's section may have beside its own options."""

    plugin: str | None = None
    """The plugin that this section configures; left out, it is the one of the section's name."""
    enabled: bool = True
    """Whether it runs."""
    interval: Duration | None = None
    """Time between two collections on a schedule; left out, it is the collector's own choice, mostly at each scrape."""
    timeout: Duration | None = None
    """How long a collection may take before the rest is answered without it; left out, ``5s``."""
    isolation: Literal["inline", "thread", "process"] | None = None
    """Where it runs: between the agent's other work, in a worker thread, or in a process of its own. Left out, the
    collector's own choice of the first two."""
    python: str | None = None
    """The interpreter that runs it in a process, ``"/usr/bin/python3"`` say; left out, the agent's own."""
    memory_limit: Size | None = None
    """How much memory its process may have for its data; left out ``256MiB``, and ``"0B"`` for no limit."""
    cpu_limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """How many seconds of CPU time its process may use in a second, on average: ``0.1`` is a tenth of one CPU. Left
    out, there is no limit but the ``timeout``."""
    max_series: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The most series that it may expose; what is beyond is cut off, named and counted. Left out, the collector's own
    choice, mostly 20,000."""

    def __post_init__(self) -> None:
        _check_process(self)
        for name, value in (("interval", self.interval), ("timeout", self.timeout)):
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be longer than 0s")


class ExporterKeys(Config, frozen=True):
    """The keys that every exporter's section may have beside its own options."""

    plugin: str | None = None
    """The plugin that this section configures; left out, it is the one of the section's name."""
    enabled: bool = True
    """Whether it runs."""
    interval: Duration | None = None
    """Time between two exports of one that carries metrics out by itself; left out, the exporter's own choice, mostly
    ``15s``."""
    rules: list[Rule] = []
    """Rules that keep, drop or rename metrics, applied in this order, such as
    ``{ action = "drop", name = "node_arp_.*" }``."""

    def __post_init__(self) -> None:
        if self.interval is not None and not 1 <= self.interval < float("inf"):
            raise ValueError(f"interval must be at least 1s; found {self.interval}")


class JournalSettings(Config, frozen=True):
    """The journal, in which events are written down before they are sent."""

    enabled: bool = True
    """Whether events are kept on disk. Without, as many as ``memory`` allows are kept there, and lost when the agent
    ends."""
    max_size: Size | None = None
    """How large the journal's file may grow before the oldest events are dropped; left out, 5 % of the disk, at most
    ``256MiB``."""
    max_age: Duration = Duration(7 * 86400)
    """How long events are kept. While the clock is not synchronised, none is dropped for its age."""
    memory: Size = Size(16 << 20)
    """How much may wait in memory to be written down, while a disk is slow or full say; what is beyond is dropped."""

    def __post_init__(self) -> None:
        if self.max_size is not None and self.max_size < 1 << 20:
            raise ValueError("max_size must be at least 1MiB")
        if self.memory < 1 << 16:
            raise ValueError("memory must be at least 64KiB")
        if not self.max_age > 0:
            raise ValueError("max_age must be longer than 0s")


class Batch(Config, frozen=True):
    """How many events go at once."""

    events: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 500
    """The most events in a batch."""
    bytes: Size = Size(1 << 20)
    """The most bytes in a batch, its events being JSON; one that is larger goes alone."""
    age: Duration = Duration(0)
    """How long the first event of a batch may wait for others."""


class Condense(Config, frozen=True):
    """How repeats are folded: the first goes at once, those that follow within the window become one, with a count."""

    key: list[str] = msgspec.field(default_factory=lambda: ["type", "source", "target"])
    """What is the same in events that repeat each other: names of fields, ``payload.plugin`` say."""
    window: Duration = Duration(60)
    """How long events are folded into one."""

    def __post_init__(self) -> None:
        if not 0 < self.window <= 86400:
            raise ValueError('window must be longer than "0s", and not longer than "1d"')


class SinkKeys(Config, frozen=True):
    """The keys that every sink's section may have beside its own options."""

    plugin: str | None = None
    """The plugin that this section configures; left out, it is the one of the section's name."""
    enabled: bool = True
    """Whether it runs."""
    events: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Which events it gets: patterns of their types, ``telemetry.*`` say."""
    sources: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Whose events it gets: patterns of their sources, ``collectors.*`` say."""
    start: Literal["now", "beginning"] = "now"
    """Where a sink begins that was not there before: with what happens from now on, or with all that is kept."""
    unhealthy_after: Duration = Duration(300)
    """How long it may have something to deliver, and deliver nothing, before the agent says that it is unhealthy."""
    timeout: Duration = Duration(30)
    """How long a batch may take before it is given up and tried again."""
    isolation: Literal["inline", "process"] | None = None
    """Where it runs: between the agent's other work, as it does where this is left out, or in a process of its own."""
    python: str | None = None
    """The interpreter that runs it in a process, ``"/usr/bin/python3"`` say; left out, the agent's own."""
    memory_limit: Size | None = None
    """How much memory its process may have for its data; left out ``256MiB``, and ``"0B"`` for no limit."""
    cpu_limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """How many seconds of CPU time its process may use in a second, on average: ``0.1`` is a tenth of one CPU. Left
    out, there is no limit but the ``timeout``."""
    rate_limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The most events a second, on average; left out, as many as there are."""
    batch: Batch = Batch()
    """How many events go at once, such as ``{ events = 100, bytes = "256KiB", age = "1s" }``."""
    condense: Condense | None = None
    """How repeats are folded into one event with a count, ``{ key = ["type", "payload.plugin"], window = "60s" }`` say;
    left out, each goes as it is."""

    def __post_init__(self) -> None:
        _check_process(self)
        for name, value in (("timeout", self.timeout), ("unhealthy_after", self.unhealthy_after)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be longer than 0s")


def _check_process(keys: CollectorKeys | SinkKeys) -> None:
    """Raise ``ValueError`` where something is asked of a process that there is not, or that could not begin."""
    if keys.isolation != "process":
        for name in ("python", "memory_limit", "cpu_limit"):
            if getattr(keys, name) is not None:
                raise ValueError(f'{name} needs isolation = "process"')
    if keys.memory_limit and keys.memory_limit < LEAST_MEMORY:
        raise ValueError(f'memory_limit must be at least {LEAST_MEMORY}, or "0B" for no limit')


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "agent": AgentSettings,
    "web": WebSettings,
    "host": HostPaths,
    "journal": JournalSettings,
}
"""The core's own sections."""


@dataclass(frozen=True, slots=True, repr=False)
class Instance:
    """A plugin with its settings. Two are equal when nothing about them changed: why they run does not count."""

    kind: Kind
    name: str
    plugin: str
    keys: CollectorKeys | ExporterKeys | SinkKeys
    config: Config | None
    """Its options; None where the plugin could not be loaded, so that nobody knows what they are."""
    reason: str = field(default="default", compare=False)
    """Why it runs: ``default``, ``enabled in FILE:LINE`` or ``[collectors.NAME] in FILE:LINE``."""

    @property
    def key(self) -> str:
        """The instance's name with its kind: ``collectors.cpu``."""
        return f"{self.kind}.{self.name}"

    def __repr__(self) -> str:  # options may hold what came from { env } or { file }
        return f"Instance({self.key}, plugin={self.plugin!r}, reason={self.reason!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """A configuration that was checked whole."""

    agent: AgentSettings
    web: WebSettings
    host: HostPaths
    journal: JournalSettings
    instances: tuple[Instance, ...]
    """What is to run: those of the defaults first, then in the order of the configuration."""
    disabled: Mapping[str, str]
    """What was switched off, ``collectors.cpu`` say, and where."""
    document: Document = field(compare=False)
    """What it was made from, with the origin of each value."""

    def __repr__(self) -> str:  # see Instance
        return f"Settings({len(self.instances)} instances from {self.document!r})"
