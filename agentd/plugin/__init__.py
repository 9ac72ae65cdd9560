"""All that a plugin may import from agentd: base classes, the hook marker, families, options, routes and errors.

What is listed in ``__all__`` is the public interface, and ``API_VERSION`` is its version. A plugin reaches the world
only through what its base class gives it (``host``, ``clock``, ``log`` …), so that a test can give it something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from agentd.context import Clock, Context, NotDurable
from agentd.events.envelope import Event, EventError, Record, cloud_event
from agentd.events.envelope import decode as event_from_json
from agentd.host import Host, HostPaths
from agentd.memory import Pressure
from agentd.metrics.family import (
    Family,
    Histogram,
    Kind,
    Labels,
    Metric,
    Sample,
    Samples,
    Snapshot,
    Summary,
    Value,
    counter,
    gauge,
    unknown,
)
from agentd.metrics.frame import Frame, Layout
from agentd.options import Config, Duration, Regex, Secret, Size, Url
from agentd.plugin import deprecated as _deprecated
from agentd.plugin.base import Plugin
from agentd.plugin.errors import NoData, Refused, Reject, Retry, UnknownCollectorError
from agentd.plugin.functions import collector
from agentd.plugin.kinds import Collector, Exporter, Sink
from agentd.resilience import Backoff
from agentd.routes import Answer, Parameter, Principal, Route, Scope

__all__ = [
    "API_VERSION",
    "Answer",
    "Backoff",
    "Clock",
    "Collector",
    "Config",
    "Context",
    "Duration",
    "Event",
    "EventError",
    "Exporter",
    "Family",
    "Frame",
    "Histogram",
    "Host",
    "HostPaths",
    "Kind",
    "Labels",
    "Layout",
    "Metric",
    "NoData",
    "NotDurable",
    "Parameter",
    "Plugin",
    "Pressure",
    "Principal",
    "Record",
    "Refused",
    "Regex",
    "Reject",
    "Retry",
    "Route",
    "Sample",
    "Samples",
    "Scope",
    "Secret",
    "Sink",
    "Size",
    "Snapshot",
    "Summary",
    "UnknownCollectorError",
    "Url",
    "Value",
    "cloud_event",
    "collector",
    "counter",
    "event_from_json",
    "gauge",
    "hookimpl",
    "unknown",
]

hookimpl = pluggy.HookimplMarker("agentd")
"""Marks a function as the implementation of one of the hooks in ``agentd.hookspecs``."""

API_VERSION = (1, 0)
"""The version of this interface. The second number grows with what is added, the first with what is taken away."""


if not TYPE_CHECKING:  # or no type checker would mind a name that there is not

    def __getattr__(name: str) -> Any:
        return _deprecated.lookup(name, _deprecated.NAMES, globals())
