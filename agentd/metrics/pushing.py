"""Has an exporter carry out a snapshot at its interval, and keeps what came of it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from agentd.calling import called
from agentd.errors import described
from agentd.metrics.family import Family, Labels, Snapshot, counter, gauge
from agentd.metrics.frame import Frame, Layout, again
from agentd.metrics.spending import on_behalf_of
from agentd.plugin import Exporter

WITHIN = 10.0
"""Seconds that collectors get to answer, or the interval where that is shorter; and seconds that an export may take, or
the interval where that is longer."""

CANCELLED_WITHIN = 1.0
"""Seconds that an export gets to end that took too long."""

SAID_EVERY = 300.0
"""Seconds between two lines in the log about one that fails for another reason each time."""


class Pushing:
    """An exporter that carries metrics out by itself: ``export`` is called again and again, never twice at once."""

    def __init__(self, exporter: Exporter[Any], interval: float) -> None:
        self.key = exporter.context.name
        self.error = ""
        """Why the last attempt failed; empty where it did not."""
        self.last: float | None = None
        """Seconds since 1970 of the snapshot that was last carried out."""
        self.exported = 0
        self.failed = 0
        self._exporter = exporter
        self._interval = interval
        self._said = 0.0
        self._task: asyncio.Task[None] | None = None
        self._export: asyncio.Task[None] | None = None
        self._stopping = False

    def begin(self) -> None:
        """Export now, and at the interval, until ``stop``."""
        if self._task is None and not self._stopping:
            self._task = self._begun(self._run())

    async def stop(self) -> None:
        """End it, and come back when an export that is under way has ended: one in a thread cannot be cancelled."""
        self._stopping = True
        for task in (self._task, self._export):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _begun(self, work: Any) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(work, name=self.key, context=on_behalf_of(self.key))

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        while True:
            await self._once(clock())
            if self._stopping:  # its cancellation has ended the attempt
                return
            # What took longer than the interval is not made up for.
            await asyncio.sleep(self._interval - (clock() - begun) % self._interval)

    async def _once(self, now: float) -> None:
        log = self._exporter.log
        try:
            if self._export is not None and not self._export.done():
                raise TimeoutError("it has not come back from the last export yet")
            snapshot = await self._exporter.gather(deadline=min(WITHIN, self._interval))
            await self._exported(snapshot)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # a plugin's failure is its own
            if self._stopping:
                return
            self.failed += 1
            text = self._exporter.harmless(str(error) if type(error) is TimeoutError else described(error))
            if not self.error or (text != self.error and now - self._said >= SAID_EVERY):
                self._said = now
                log.error("cannot export: %s", text)
            self.error = text
        else:
            if self.error:
                log.info("exports again")
            self.exported, self.last, self.error = self.exported + 1, snapshot.timestamp, ""

    async def _exported(self, snapshot: Snapshot) -> None:
        within = max(WITHIN, self._interval)
        self._export = self._begun(self._called(snapshot))
        await asyncio.wait({self._export}, timeout=within)
        if not self._export.done():
            self._export.cancel()
            await asyncio.wait({self._export}, timeout=CANCELLED_WITHIN)
            raise TimeoutError(f"it was not done within {within:g} s")
        self._export.result()

    async def _called(self, snapshot: Snapshot) -> None:
        try:
            await called(self._exporter.export, self._exporter.in_worker, snapshot)
        except (SystemExit, KeyboardInterrupt) as error:  # a task that raises these would end the event loop
            raise RuntimeError(described(error)) from error


class Pushed:
    """What is told of exporters that carry metrics out by themselves."""

    exports = counter("agentd_exporter_exports_total", "Snapshots that were carried out.", ("plugin",))
    failures = counter("agentd_exporter_failures_total", "Snapshots that could not be carried out.", ("plugin",))
    latest = gauge(
        "agentd_exporter_last_export_timestamp_seconds", "When a snapshot was last carried out.", ("plugin",)
    )

    def __init__(self, pushings: Iterable[Pushing]) -> None:
        self._pushings = tuple(pushings)
        self._layout = Layout()

    def families(self) -> Frame:
        """Return how often each has exported, how often in vain, and when last."""
        told: list[Family] = []
        if self._pushings:
            exports: dict[Labels, float] = {(each.key,): float(each.exported) for each in self._pushings}
            told = [self.exports(exports), self.failures({(each.key,): float(each.failed) for each in self._pushings})]
        if latest := {(each.key,): each.last for each in self._pushings if each.last is not None}:
            told.append(self.latest(latest))
        self._layout, values = again(self._layout, told)
        return self._layout.fill(values)
