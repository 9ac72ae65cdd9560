"""Has an exporter carry out a snapshot at its interval, and keeps what came of it."""

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import Any

from agentd.errors import described
from agentd.metrics.family import Family, Snapshot, counter, gauge
from agentd.metrics.spending import on_behalf_of
from agentd.plugin import Exporter

ENDS = (Exception, SystemExit, asyncio.CancelledError)
"""What plugins may raise without ending more than their own attempt."""

GATHER_WITHIN = 10.0
"""Seconds that collectors get to answer, or the interval where that is shorter."""

SAID_EVERY = 300.0
"""Seconds between two lines in the log about one that fails for another reason each time."""

STOP_WITHIN = 0.1
"""Seconds that an export gets to end when it is cancelled."""


class Pushing:
    """An exporter that carries metrics out by itself: ``export`` is called again and again, never twice at once."""

    exports = counter("agentd_exporter_exports_total", "Snapshots that were carried out.", ("plugin",))
    failures = counter("agentd_exporter_failures_total", "Snapshots that could not be carried out.", ("plugin",))
    latest = gauge(
        "agentd_exporter_last_export_timestamp_seconds",
        "When a snapshot was last carried out.",
        ("plugin",),
    )

    def __init__(self, exporter: Exporter[Any], interval: float) -> None:
        self.error = ""
        """Why the last attempt failed; empty where it did not."""
        self.last: float | None = None
        """Seconds since 1970 of the snapshot that was last carried out."""
        self._exporter = exporter
        self._interval = interval
        self._key = exporter.context.name
        self._waits = inspect.iscoroutinefunction(exporter.export)
        self._said = 0.0
        self._exported = 0
        self._failed = 0
        self._task: asyncio.Task[None] | None = None
        self._in_thread = False

    @property
    def running(self) -> bool:
        """Whether an export is under way in a thread, which cannot be stopped."""
        return self._in_thread

    def begin(self) -> None:
        """Export now, and at the interval, until ``stop``."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name=self._key, context=on_behalf_of(self._key))

    async def stop(self) -> None:
        """End it, without waiting for an export that does not want to end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_WITHIN)

    def about(self) -> Iterator[Family]:
        """Yield how often it was exported, and how often in vain."""
        plugin = (self._key,)
        yield self.exports({plugin: float(self._exported)})
        yield self.failures({plugin: float(self._failed)})
        if self.last is not None:
            yield self.latest({plugin: self.last})

    async def _run(self) -> None:
        due = asyncio.get_running_loop().time()
        while True:
            await self._once()
            now = asyncio.get_running_loop().time()
            due = max(due + self._interval, now)  # what took longer than the interval is not made up for
            await asyncio.sleep(due - now)

    async def _once(self) -> None:
        log = self._exporter.log
        try:
            snapshot = await self._exporter.gather(deadline=min(GATHER_WITHIN, self._interval))
            await self._export(snapshot)
        except ENDS as error:  # a plugin's failure is its own, and whatever fails now may work the next time
            if self._task is not None and self._task.cancelling():
                raise
            self._failed += 1
            text = self._exporter.harmless(described(error))
            now = asyncio.get_running_loop().time()
            if not self.error or (text != self.error and now - self._said >= SAID_EVERY):
                self._said = now
                log.error("cannot export: %s", text, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
            self.error = text
        else:
            if self.error:
                log.info("exports again")
            self._exported, self.last, self.error = self._exported + 1, snapshot.timestamp, ""

    async def _export(self, snapshot: Snapshot) -> None:
        if self._waits:
            returned: Any = self._exporter.export(snapshot)
        else:
            returned = await self._exporter.in_worker(self._in_worker, snapshot)
        if inspect.isawaitable(returned):
            await returned

    def _in_worker(self, snapshot: Snapshot) -> Any:
        self._in_thread = True
        try:
            return self._exporter.export(snapshot)
        finally:
            self._in_thread = False
