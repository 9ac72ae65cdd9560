"""Who declares which metric: the agent itself, and every plugin that can be loaded."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from agentd.discovery import KINDS
from agentd.events.metrics import EventMetrics
from agentd.isolation.children import Children
from agentd.memory import Memory
from agentd.metrics.family import Metric
from agentd.metrics.gather import Gatherer
from agentd.metrics.pushing import Pushed
from agentd.metrics.selfmetrics import declared
from agentd.metrics.spending import Spending
from agentd.plugin import Plugin
from agentd.plugin.declared import declared_metrics
from agentd.registry import PluginError, Registry
from agentd.web.tls import Certificates
from agentd.web.tokens import Tokens

PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
"""What the names of series have behind that of their family."""


class Declaration(NamedTuple):
    """A metric and who declares it."""

    metric: Metric
    kind: str = ""
    """The kind of the plugin, ``collectors``; empty for the agent itself."""
    name: str = ""
    plugin: type[Plugin[Any]] | None = None


def own() -> list[Metric]:
    """Return what the agent tells about itself, by name."""
    metrics = [*declared(), *Gatherer.METRICS.values(), *EventMetrics.declared()]
    for owner in (Tokens, Certificates, Spending, Memory, Children, Pushed):
        metrics += declared_metrics(owner)
    return sorted(metrics, key=lambda metric: metric.name)


def declarations(registry: Registry) -> Iterator[Declaration]:
    """Yield all that is declared. Imports every plugin."""
    yield from map(Declaration, own())
    for kind in KINDS:
        for name in registry.names(kind):
            try:
                plugin = registry.plugin_class(kind, name)
            except PluginError:
                continue
            for metric in declared_metrics(plugin):
                yield Declaration(metric, kind, name, plugin)


def matching(name: str, known: Iterable[Declaration]) -> list[Declaration]:
    """Return those that a series or a family of this name may come from: exactly, or else by a pattern.

    Of a pattern, the metric is given the name that was asked for.
    """
    known = list(known)
    exact = [one for one in known if name in names(one.metric)]
    if exact:
        return exact
    found = []
    for one in known:
        for pattern in names(one.metric):
            if "*" in pattern and fnmatchcase(name, pattern):
                start, _, end = pattern.partition("*")
                found.append(one._replace(metric=one.metric.bound(name[len(start) : len(name) - len(end)])))
                break
    return found


def names(metric: Metric) -> list[str]:
    """Return the names of a family and of its series."""
    return [metric.name, *(metric.name + part for part in PARTS.get(metric.kind, ()))]
