"""One rule at work: what it has counted, and what of that changed."""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Mapping
from fnmatch import translate
from itertools import accumulate
from typing import Any

from agentd.plugin import Family, Histogram, Value
from agentd_plugins.collectors.event_rules.envelope import Envelope, at, number, text
from agentd_plugins.collectors.event_rules.options import RuleConfig

OTHER = "other"
"""The label value for which there was no room."""

OUTCOMES = ("counted", "no value", "repeat", "crowded", "late")
"""What may become of an event: counted; no number where its value should be; counted before; counted as ``other``;
older than what a gauge has.
"""

Labels = tuple[str | None, ...]


class Rule:
    """Makes a metric of events. ``changes`` has to be saved together with the place up to which events were shown."""

    def __init__(self, config: RuleConfig, state: Mapping[str, Any]) -> None:
        self.config = config
        self.stream = config.stream
        self._types = re.compile("|".join(map(translate, config.when)))
        self._sources = re.compile("|".join(map(translate, config.sources)))
        shape = [config.kind, list(config.labels), config.buckets if config.kind == "histogram" else []]
        digest = hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:8]
        self._keys = {what: f"{what}/{config.name}/{digest}" for what in ("series", "seen", "outcomes")}
        self._state = state
        self._series: dict[Labels, Any] = {}
        self._values: list[set[str]] = [set() for _ in config.labels]
        self._seen: dict[str, int] = {}
        self.outcomes = [0] * len(OUTCOMES)
        self._changed: set[str] = set()
        self._load()

    def _load(self) -> None:
        series, seen = self._keys["series"] + "/", self._keys["seen"] + "/"
        known: list[tuple[int, str]] = []
        for key, value in self._state.items():
            if key.startswith(series):
                self._series[self._admitted(tuple(json.loads(key.removeprefix(series))))] = value
            elif key.startswith(seen):
                known.append((value, key.removeprefix(seen)))
        self._seen = {key: count for count, key in sorted(known)}
        self.outcomes[:] = self._state.get(self._keys["outcomes"], self.outcomes)

    def owns(self, key: str) -> bool:
        """Say whether a key of the state is this rule's, as it is defined now."""
        return any(key == own or key.startswith(own + "/") for own in self._keys.values())

    def wants(self, type: str, source: str) -> bool:
        """Say whether such events count."""
        return bool(self._types.match(type) and self._sources.match(source))

    def count(self, envelope: Envelope, now: float) -> None:
        """Count an event; ``now`` is when it happened, in seconds since 1970."""
        config = self.config
        value = 1.0 if config.value is None else number(at(envelope, config.value))
        if value is None or (config.kind == "counter" and value < 0):
            self._note("no value")
        elif not self._repeats(envelope):
            given = [text(at(envelope, path)) for path in config.labels.values()]
            labels = self._admitted(tuple(given))
            if config.kind == "gauge" and labels in self._series and self._series[labels][1] > now:
                self._note("late")
            else:
                self._add(labels, value, now)
                self._note("counted" if labels == tuple(given) else "crowded")

    def _note(self, outcome: str) -> None:
        self.outcomes[OUTCOMES.index(outcome)] += 1
        self._changed.add(self._keys["outcomes"])

    def _repeats(self, envelope: Envelope) -> bool:
        config = self.config
        key = None if config.dedupe_key is None else at(envelope, config.dedupe_key)
        if key is None:
            return False
        name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
        if name in self._seen:
            self._note("repeat")
            return True
        self._seen[name] = next(reversed(self._seen.values()), 0) + 1
        self._changed.add(f"{self._keys['seen']}/{name}")
        if len(self._seen) > config.dedupe_memory:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._changed.add(f"{self._keys['seen']}/{oldest}")
        return False

    def _admitted(self, given: Labels) -> Labels:
        """Return label values for which there is room."""
        if given in self._series:
            return given
        labels = []
        for known, value in zip(self._values, given, strict=True):
            if value is not None and value not in known and value != OTHER:
                if len(known) >= self.config.max_values:
                    value = OTHER  # noqa: PLW2901  # this is the value from here on
                else:
                    known.add(value)
            labels.append(value)
        if tuple(labels) not in self._series and len(self._series) >= self.config.max_series:
            return (OTHER,) * len(labels)
        return tuple(labels)

    def _add(self, labels: Labels, value: float, now: float) -> None:
        kind, series = self.config.kind, self._series
        if kind == "counter":
            series[labels] = series.get(labels, 0.0) + value
        elif kind == "gauge":
            series[labels] = [value, now]
        else:
            counts, total = series.get(labels) or ([0] * (len(self.config.buckets) + 1), 0.0)
            counts = list(counts)  # what is in the state stays as it was written
            counts[bisect_left(self.config.buckets, value)] += 1
            series[labels] = [counts, total + value]
        self._changed.add(f"{self._keys['series']}/{json.dumps(labels)}")

    def expire(self, now: float) -> None:
        """Let those series of a gauge go of which nothing was heard for long."""
        after = self.config.stale_after
        old = [] if after is None else [labels for labels, (_, when) in self._series.items() if now - when > after]
        for labels in old:
            del self._series[labels]
            self._changed.add(f"{self._keys['series']}/{json.dumps(labels)}")
        if old:
            columns = zip(*self._series, strict=True) if self._series else [()] * len(self._values)
            self._values = [{value for value in column if value is not None} for column in columns]

    def changes(self) -> dict[str, Any]:
        """Return what has changed since ``saved``."""
        return {key: value for key in self._changed if (value := self._value(key)) is not None or key in self._state}

    def saved(self) -> None:
        """Note that ``changes`` were saved."""
        self._changed.clear()

    def _value(self, key: str) -> Any:
        if key == self._keys["outcomes"]:
            return list(self.outcomes)
        what, _, rest = key.partition("/")
        rest = rest.partition("/")[2].partition("/")[2]
        return self._seen.get(rest) if what == "seen" else self._series.get(tuple(json.loads(rest)))

    def family(self, now: float) -> Family:
        """Return the metric."""
        config = self.config
        help_ = config.help or f"Made from events of the types {', '.join(config.when)}."
        samples: dict[Labels, Value] = {}
        for labels, value in self._series.items():
            if config.kind == "counter":
                samples[labels] = value
            elif config.kind == "gauge":
                if config.stale_after is None or now - value[1] <= config.stale_after:
                    samples[labels] = value[0]
            else:
                counts = list(accumulate(value[0]))
                samples[labels] = Histogram(tuple(zip(config.buckets, counts, strict=False)), counts[-1], value[1])
        if not config.labels and not samples and config.kind == "counter":
            samples[()] = 0.0
        return Family(config.name, config.kind, help_, tuple(config.labels), samples)
