"""The metrics that a class declares."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from agentd.metrics.family import Metric


def declared_metrics(plugin: type[Any]) -> list[Metric]:
    """Return the metrics that a class declares, of a plugin say, alone or in tuples and mappings, by name."""
    attributes: dict[str, Any] = {}
    for base in reversed(plugin.__mro__):  # without getattr(): attributes may be such as to compute something
        attributes |= vars(base)
    found: dict[str, Metric] = {}
    for _, value in sorted(attributes.items(), key=itemgetter(0)):
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        found |= {metric.name: metric for metric in values if isinstance(metric, Metric)}
    return [found[name] for name in sorted(found)]
