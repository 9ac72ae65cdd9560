"""Metrics of prometheus_client -> families, so that any collector written for that library is a plugin as it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as ClientMetric

from agentd.metrics.family import Family, Histogram, Kind, Labels, Summary, Value

_KINDS: dict[str, Kind] = {"counter": "counter", "gauge": "gauge", "info": "gauge", "stateset": "gauge"}
_WITH_CREATED = ("counter", "histogram", "gaugehistogram", "summary")


def is_client(item: object) -> TypeGuard[ClientMetric]:
    """Say whether something is a metric of prometheus_client.

    That library costs a megabyte: where no plugin has imported it, nothing can be one.
    """
    core = sys.modules.get("prometheus_client.metrics_core")
    return core is not None and isinstance(item, core.Metric)


def from_client(metric: ClientMetric) -> Iterator[Family]:
    """Yield what a metric says; ``_created`` series, timestamps and exemplars are left out.

    A histogram or summary that does not tell all that belongs to one becomes families of unknown kind, as does whatever
    else has no counterpart here. Raises the errors of whoever put nonsense into its samples.
    """
    created = f"{metric.name}_created" if metric.type in _WITH_CREATED else ""
    samples = [sample for sample in metric.samples if sample.name != created]
    distribution = _distribution(metric, samples) if metric.type in ("histogram", "summary") else None
    if distribution is not None:
        yield distribution
        return
    by_name: dict[str, list[Any]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    for name, named in by_name.items():
        labels = tuple(dict.fromkeys(label for sample in named for label in sample.labels))
        first: dict[Labels, Value] = {}
        again: dict[Labels, Value] = {}  # a family of their own, so that they are found to be there twice, and named
        for sample in named:
            key = tuple(map(sample.labels.get, labels))
            (again if key in first else first)[key] = sample.value
        for each in filter(None, (first, again)):
            yield Family(name, _KINDS.get(metric.type, "unknown"), metric.documentation, labels, each)


def _distribution(metric: ClientMetric, samples: list[Any]) -> Family | None:
    """Return a histogram or summary as one family, or None where a bound is no number, or a sum or count is missing."""
    make, kind, bound_label = _MAKES[metric.type]
    names = tuple(dict.fromkeys(name for sample in samples for name in sample.labels if name != bound_label))
    bounds: dict[Labels, list[tuple[float, float]]] = {}
    totals: dict[Labels, dict[str, float]] = {}
    for sample in samples:
        key = tuple(map(sample.labels.get, names))
        if bound_label in sample.labels:
            try:
                bound = float(sample.labels[bound_label])
            except ValueError:
                return None
            bounds.setdefault(key, []).append((bound, sample.value))
        else:
            totals.setdefault(key, {})[sample.name.removeprefix(metric.name)] = sample.value
    if bounds.keys() - totals.keys() or any(total.keys() != {"_sum", "_count"} for total in totals.values()):
        return None
    values: dict[Labels, Value] = {
        key: make(tuple(bounds.get(key, ())), total["_count"], total["_sum"]) for key, total in totals.items()
    }
    return Family(metric.name, kind, metric.documentation, names, values)


_MAKES: dict[str, tuple[type[Histogram] | type[Summary], Kind, str]] = {
    "histogram": (Histogram, "histogram", "le"),
    "summary": (Summary, "summary", "quantile"),
}
