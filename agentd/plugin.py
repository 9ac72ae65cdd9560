"""All that a plugin may import from agentd: base classes, the hook marker, families, options, routes and errors.

What is listed in ``__all__`` is the public interface. A plugin reaches the world only through what its base class
gives it (``host``, ``clock``, ``log`` …), so that a test can give it something else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

import pluggy

from agentd.context import Clock, Context, NotDurable
from agentd.events.envelope import Event, EventError, Record, cloud_event, decode
from agentd.host import Host, HostPaths
from agentd.metrics.family import (
    Family,
    Histogram,
    Kind,
    Labels,
    Metric,
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
from agentd.resilience import Backoff
from agentd.routes import Answer, Parameter, Principal, Route, Scope

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as ClientMetric

__all__ = [
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
    "Principal",
    "Record",
    "Refused",
    "Regex",
    "Reject",
    "Retry",
    "Route",
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
    "counter",
    "event_from_json",
    "gauge",
    "hookimpl",
    "unknown",
]

event_from_json = decode

hookimpl = pluggy.HookimplMarker("agentd")
"""Marks a function as the implementation of one of the hooks in ``agentd.hookspecs``."""

CANNOT_BE_TRIED = "cannot be tried: the plugin has no probe()"

C = TypeVar("C", bound=Config)
T = TypeVar("T")


class NoData(Exception):
    """Raised by a collector for whose subject this machine simply lacks the thing (no such device, kernel too old)."""


class Refused(NoData):
    """Raised where the machine has the thing, but this process may not ask for it. Said once in the log: the text names
    what grants it.
    """


class UnknownCollectorError(LookupError):
    """Raised by ``gather`` where an exporter asks for a collector that does not run; its text is the name."""


class Retry(Exception):
    """Raised by a sink that could not deliver all now: it is given the rest again.

    ``accepted`` is how many of the first of the batch have arrived, ``after`` how many seconds to wait; left out, the
    agent waits longer each time.
    """

    def __init__(self, why: str = "", *, after: float | None = None, accepted: int = 0) -> None:
        super().__init__(why)
        self.after = after
        self.accepted = accepted


class Reject(Exception):
    """Raised by a sink that delivered all but these: their receiver will never accept them. They are set aside."""

    def __init__(self, ids: Iterable[str], why: str) -> None:
        super().__init__(why)
        self.ids = frozenset(ids)


class Plugin(Generic[C]):
    """What collectors and exporters have in common: a name, options, and a beginning and an end."""

    name: ClassVar[str]
    """The plugin's name: that of its file. An instance of it may have another."""
    config_type: ClassVar[type[Config]] = Config
    """The class of its options, taken from the brackets: ``class LoadAvg(Collector[Options])``."""
    extra: ClassVar[str] = ""
    """The extra of agentd's package that has the libraries which a bundled plugin needs; empty where it needs none."""
    exclusive: ClassVar[bool] = False
    """Whether two of the same section cannot run at once, because they have a port or a position in a stream, say. When
    its options change, a reload begins the new one beside the old and gives that up only when the new one runs; one
    that is exclusive is begun when the old one has ended. Sinks need not say so."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Config):
                    cls.config_type = argument

    def __init__(self, config: C | None = None, context: Context | None = None) -> None:
        self.config: C = config if config is not None else self.config_type()  # type: ignore[assignment]
        self.context = context or Context(name=getattr(type(self), "name", type(self).__name__))
        self.log = logging.getLogger(f"agentd.{self.context.name}")

    @property
    def host(self) -> Host:
        """The machine's own files."""
        return self.context.host

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.context.clock

    async def start(self) -> None:
        """Open what the plugin needs; called once before its first use. Raising says that the plugin cannot run."""

    async def leave(self) -> None:
        """Say good-bye to whoever holds a connection. Called first when the agent stops: its web server cuts them."""

    async def stop(self) -> None:
        """Close what ``start`` opened. Called at the end even where ``start`` failed, and may be called twice."""

    def routes(self) -> Iterable[Route]:
        """Return the paths that this plugin answers on the agent's web server."""
        return ()

    async def probe(self) -> str:
        """Return in a line what answers where this plugin sends to or asks, or raise what is wrong there.

        ``agentd check --probe`` calls it of an instance of its own, which was not started and is stopped afterwards,
        while the agent may run with the same options: it changes nothing, and takes no name that the agent has.
        """
        return CANNOT_BE_TRIED

    def about(self) -> Iterable[Family]:
        """Return what the plugin tells about itself: counters of its own work, shown with the agent's own metrics."""
        return ()

    def event(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> Event:
        """Return an event of this plugin's, of now."""
        now = self.clock.time()
        return Event(type=type, source=self.context.name, target=target, timestamp=now, payload=dict(payload or {}))

    def emit(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> None:
        """Say that something happened. Takes microseconds, from any thread, and never fails: what cannot be kept is
        counted as dropped.
        """
        try:
            event = self.event(type, payload, target=target)
        except Exception:  # noqa: BLE001  # no mapping: whoever takes events refuses it, and says so
            event = Event(type=type, source=self.context.name, target=target, payload=payload)  # type: ignore[arg-type]
        self.context.emit(event)

    async def commit(self, events: Iterable[Event] = (), state: Mapping[str, Any] | None = None) -> None:
        """Write events and state down in one transaction; return when both are on disk, or raise ``NotDurable``.

        ``state`` holds the keys that change, with values that are JSON; None removes one. ``self.state`` has them all.
        """
        await self.context.commit(list(events), state or {})

    def follow(
        self, types: Sequence[str] = ("*",), sources: Sequence[str] = ("*",), *, after: int | None = None
    ) -> AsyncIterator[tuple[int, list[Record]]]:
        """Follow the agent's journal: yield, again and again, the number up to which it was looked, and the events
        found up to there whose type and source fit one of the patterns, at most 1,000, in order; there may be none.

        Only what is written down is shown. Begins behind the number ``after``; without one, with what happens from now
        on, and at first yields the number for "now". Whoever commits the number together with what it made of the
        events takes account of each exactly once, whatever happens to the agent.
        """
        return self.context.follow(types, sources, after)

    @property
    def state(self) -> Mapping[str, Any]:
        """What this plugin has committed as its state, in this life of the agent and before."""
        return self.context.state

    def authenticate(self, token: str) -> Principal | None:
        """Return who has this token, which came in a message; None where nobody has, or it has expired. One in the
        header has been judged before a handler is called.
        """
        return self.context.authenticate(token)

    async def in_worker(self, function: Callable[..., T], *args: object) -> T:
        """Run a function that may block in one of the agent's worker threads, and return what it returned.

        The thread goes on if the caller stops waiting: a plugin sees to it that a call that hangs is not made again.
        """
        result: T = await self.context.in_worker(function, *args)
        return result


Collected = Iterable["Family | ClientMetric"]


class Collector(Plugin[C]):
    """Gathers families when asked."""

    blocking: bool = True
    """Whether a plain ``collect`` may wait for a disk, a device or a network: it then runs in a worker thread. One that
    reads kernel memory only sets False, and is called where the agent's other work is done: it must not wait at all,
    but may return something to await where it finds that it has to."""
    foreign: ClassVar[bool] = False
    """Whether it tells what others have written: where that clashes with what agentd finds itself, it is left out."""
    interval: ClassVar[float | None] = None
    """Seconds between two collections on a schedule; None: at each scrape. The configuration may override it."""
    max_series: ClassVar[int] = 20_000
    """Series that it may expose. One that has budgets of its own may need more. The configuration may override it."""

    def collect(self) -> Collected | Awaitable[Collected]:
        """Return what is to be told now: ``Family`` objects, or metrics of prometheus_client.

        May be ``async``. Raises ``NoData`` where the machine lacks the thing; anything else that is raised is a failure
        of this collector alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no collect()")

    def waits(self) -> bool:
        """Say whether a collection may have to wait now, of a ``blocking`` collector: where it sees at once that this
        machine has nothing to ask, no worker is needed to find that out.
        """
        return True

    def time_left(self) -> float:
        """Return how many seconds the present collection may still take."""
        if self.context.deadline is None:
            return float("inf")
        return max(0.0, self.context.deadline - self.clock.monotonic())


class Exporter(Plugin[C]):
    """Carries metrics out of the agent: by routes that it answers, or by a task of its own begun in ``start``."""

    async def gather(self, **keywords: Any) -> Snapshot:
        """Ask every collector now and return what they say, after this exporter's ``rules``.

        ``only`` and ``exclude`` are sets of collector names; ``deadline`` is the number of seconds after which the rest
        is answered without those that are not done (10 where it is left out).
        """
        return await self.context.gather(**keywords)

    async def render(self, snapshot: Snapshot, **keywords: Any) -> bytes:
        """Return a snapshot as an exposition. ``format``: ``"text"`` (0.0.4) or ``"openmetrics"`` (1.0); ``labels`` are
        added to each sample; ``gzip=True`` compresses it.
        """
        return await self.context.render(snapshot, **keywords)


class Sink(Plugin[C]):
    """Carries events to where they belong. Each sink has a place of its own in the journal: one that is slow, dead or
    wrong holds up no other.

    ``start`` connects; where it raises, it is called again later. A connection that is lost later is the sink's own to
    make anew, in the next ``send``.
    """

    async def send(self, events: Sequence[Record]) -> None:
        """Deliver events, in their order, and return when their receiver has acknowledged all.

        Raises ``Retry`` where it could not be done now (anything else that is raised counts as that), and ``Reject`` to
        name those that can never be delivered, when all others have been. Never called twice at once; may be cancelled
        where it takes longer than the section's ``timeout``. The same events may come again: their ``id`` tells.
        """
        raise NotImplementedError(f"{type(self).__name__} has no send()")

    async def reopen(self) -> None:
        """Open files anew: somebody has moved them away (SIGHUP, from logrotate say)."""


def declared_metrics(plugin: type[Any]) -> list[Metric]:
    """Return the metrics that a class declares, of a plugin say, alone or in tuples and mappings, by name."""
    found: dict[str, Metric] = {}
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        found |= {metric.name: metric for metric in values if isinstance(metric, Metric)}
    return [found[name] for name in sorted(found)]
