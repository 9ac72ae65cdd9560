"""The metrics that a class declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentd.metrics.family import Metric


def declared_metrics(plugin: type[Any]) -> list[Metric]:
    """Return the metrics that a class declares, of a plugin say, alone or in tuples and mappings, by name."""
    found: dict[str, Metric] = {}
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        found |= {metric.name: metric for metric in values if isinstance(metric, Metric)}
    return [found[name] for name in sorted(found)]
