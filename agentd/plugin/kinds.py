"""The three kinds of plugins: what gathers metrics, what carries them out, and what carries events out."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from agentd.events.envelope import Record
from agentd.metrics.family import Family, Snapshot
from agentd.plugin.base import C, Plugin

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as ClientMetric

Collected = Iterable["Family | ClientMetric"]


class Collector(Plugin[C]):
    """Gathers families when asked."""

    blocking: bool = True
    """Whether a plain ``collect`` may wait for a disk, a device or a network: it then runs in a worker thread. One that
    reads kernel memory only sets False, and is called where the agent's other work is done: it must not wait at all,
    but may return something to await where it finds that it has to."""
    foreign: ClassVar[bool] = False
    """Whether it tells what others have written: where that clashes with what agentd finds itself, it is left out."""
    interval: ClassVar[float | str | None] = None
    """Time between two collections on a schedule, in seconds or as ``"15s"``, which makes them seconds; None: at each
    scrape. The configuration may override it."""
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
    """Carries metrics out of the agent: by ``export``, at an interval, or by routes that it answers."""

    interval: ClassVar[float | str] = 15.0
    """Time between two calls of ``export``, in seconds or as ``"15s"``, which makes them seconds. The configuration may
    override it."""

    def export(self, snapshot: Snapshot) -> Awaitable[None] | None:
        """Carry out what all collectors say now, after this exporter's ``rules``.

        May be ``async``; one that is not is called in a worker thread, so that it may wait for a disk or a network. The
        first call comes when all plugins have started, the next at the interval, never two at once. Whatever is raised
        is logged and counted, and the next call comes as if nothing had been.
        """
        raise NotImplementedError(f"{type(self).__name__} has no export()")

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

    def send(self, events: Sequence[Record]) -> Awaitable[None] | None:
        """Deliver events, in their order, and return when their receiver has acknowledged all.

        May be ``async``; one that is not is called in a worker thread, so that it may wait for a disk or a network.
        Raises ``Retry`` where it could not be done now (anything else that is raised counts as that), and ``Reject`` to
        name those that can never be delivered, when all others have been. Never called twice at once; may be cancelled
        where it takes longer than the section's ``timeout``, which a thread cannot be: that is waited for before the
        next call. The same events may come again: their ``id`` tells.
        """
        raise NotImplementedError(f"{type(self).__name__} has no send()")

    async def reopen(self) -> None:
        """Open files anew: somebody has moved them away (SIGHUP, from logrotate say)."""


def exports(cls: type[Plugin[Any]]) -> bool:
    """Say whether a class is that of an exporter that carries metrics out by itself: it has an ``export`` to call."""
    return issubclass(cls, Exporter) and cls.export is not Exporter.export
