"""The options of the collector of event rules."""

import re
from collections.abc import Mapping
from math import inf
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agentd.plugin import Config, Duration, Url
from agentd_plugins import _redis

Name = Annotated[str, Meta(min_length=1)]
BUCKETS = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0]


class RuleConfig(Config):
    """One rule: which events become which metric."""

    name: Annotated[str, Meta(examples=["pallets_moved_total"])]
    """The metric's name; that of a counter ends in ``_total``."""
    kind: Literal["counter", "gauge", "histogram"] = "counter"
    """What the metric is: a counter adds, a gauge has the last value, a histogram sorts values into buckets."""
    help: str = ""
    """What the metric tells; left out, which events it was made from."""
    when: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["*"])
    """Which events count: patterns of their types, ``pallet.*`` say."""
    sources: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["*"])
    """Whose events count: patterns of their sources."""
    stream: Name | None = None
    """The key of the Redis stream whose entries count; left out, the agent's own events do."""
    labels: dict[str, str] = {}
    """Labels, and where in the event their values are: ``{ hall = "payload.hall", robot = "target" }`` say."""
    value: str | None = None
    """Where in the event its value is, ``payload.weight`` say; a counter adds 1 where it is left out."""
    buckets: Annotated[list[float], Meta(min_length=1, max_length=100)] = msgspec.field(default_factory=BUCKETS.copy)
    """The upper bounds of a histogram."""
    max_values: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """How many values a label may have; a further one is counted as ``other``."""
    max_series: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """How many combinations of label values there may be; in a further one, each of them is ``other``."""
    dedupe_key: str | None = None
    """Where in the event that is by which a repeat is known, ``id`` say; left out, each event counts."""
    dedupe_memory: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    """By how many of the last such keys a repeat is known."""
    stale_after: Duration | None = None
    """After how long without an event a gauge's series goes away; left out, it stays."""

    def __post_init__(self) -> None:
        wrong = []
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", self.name) or self.name.startswith(("node_", "agentd_")):
            wrong.append("name: expected letters, digits and _, no digit first, and neither node_ nor agentd_ first")
        if self.name == "up" or self.name.startswith("scrape_"):
            wrong.append(f"name: {self.name} is what Prometheus itself tells of each scrape: choose another name")
        if self.name.endswith("_total") != (self.kind == "counter"):
            wrong.append("name: expected one that ends in _total for a counter, and only for that")
        wrong += [
            f"labels: expected names of letters, digits and _, and not le; found {label!r}"
            for label in self.labels
            if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", label) or label == "le"
        ]
        if self.value is None and self.kind != "counter":
            wrong.append(f"a {self.kind} needs value")
        if sorted(set(self.buckets)) != self.buckets or not all(-inf < bound < inf for bound in self.buckets):
            wrong.append("buckets: expected numbers that grow")
        if self.stale_after is not None and (self.kind != "gauge" or not self.stale_after > 0):
            wrong.append("stale_after is for gauges, and must be longer than 0s")
        if wrong:
            raise ValueError("; ".join(wrong))


class EventRulesConfig(_redis.RedisServer):
    """Options of the collector of event rules."""

    url: Url = Url("redis://localhost:6379/0")
    """The server of those rules that name a stream: redis://HOST:PORT/DATABASE, rediss:// with TLS, or
    unix:///PATH?db=DATABASE."""
    rules: list[RuleConfig] = []
    """The rules, each a table of its own in the file: ``[[collectors.event_rules.rules]]``."""
    start: Literal["now", "beginning"] = "now"
    """Where to begin the first time, in the journal and in each stream: with what happens from now on, or with all that
    is kept."""
    pause: Duration = Duration(1)
    """The shortest time between two times at which counts are written down."""

    def metric_names(self) -> Mapping[tuple[str, ...], str]:
        """Return the names of the rules' metrics."""
        return {("rules", str(number), "name"): rule.name for number, rule in enumerate(self.rules)}

    def __post_init__(self) -> None:
        wrong = _redis.check(self)
        names = [rule.name for rule in self.rules]
        wrong += [f"rules: {name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        if not self.pause > 0:
            wrong.append("pause must be longer than 0s")
        if wrong:
            raise ValueError("; ".join(wrong))
