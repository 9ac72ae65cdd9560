"""Asks the collectors and returns a Snapshot: what all of them say now, without those that do not answer in time."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from operator import attrgetter

from agentd.memory import Pressure
from agentd.metrics.assembly import Rejection, are_apart, assemble
from agentd.metrics.family import Family, Labels, Metric, Snapshot, counter, gauge
from agentd.metrics.frame import EMPTY, Frame, Layout
from agentd.metrics.recent import Recent
from agentd.metrics.rules import Rules
from agentd.metrics.slot import Outcome, Slot
from agentd.plugin import UnknownCollectorError

log = logging.getLogger(__name__)

STALE_AFTER = 3
"""Intervals for which the last good answer of a scheduled collector is shown."""

UNITED = 16
"""Unions of layouts that are remembered: scrapes may ask for parts."""

NAMED = 100
"""Problems that are named in the log at most."""

OWN = "the agent's own metrics"
"""From where that comes which is told beside the collectors."""

SLICE = 0.005
"""Seconds of collecting on the event loop after which other tasks get their turn."""

_turn = attrgetter("threaded", "inline")

Source = Callable[[], Frame]

Column = tuple[list[Labels], list[float]]
"""Label values of the samples of a family, and their values."""


class Gatherer:
    """The collectors of the agent, in their order. Readers pull: nothing is collected that nobody asks for, but for
    collectors with an interval, which run on a schedule of their own and of which readers get the last good answer.
    """

    METRICS: dict[str, Metric] = {
        "node_duration": gauge(
            "node_scrape_collector_duration_seconds", "Seconds that the last run of a collector took.", ("collector",)
        ),
        "node_success": gauge(
            "node_scrape_collector_success",
            "Whether the last run of a collector brought data (1) or not.",
            ("collector",),
        ),
        "duration": gauge(
            "agentd_collector_duration_seconds", "Seconds that the last run of a collector took.", ("plugin",)
        ),
        "success": gauge(
            "agentd_collector_success",
            "Whether the last run of a collector worked (1) or failed (0); absent where there is nothing to collect.",
            ("plugin",),
        ),
        "series": gauge("agentd_collector_series", "Series that the last run of a collector brought.", ("plugin",)),
        "age": gauge(
            "agentd_collector_age_seconds", "Age of what is shown of a collector that has an interval.", ("plugin",)
        ),
        "timeouts": counter(
            "agentd_collector_timeouts_total", "How often a collector's answer did not come in time.", ("plugin",)
        ),
        "resting": gauge(
            "agentd_collectors_resting",
            "Collectors that have failed again and again, and are asked at growing intervals only.",
        ),
        "rejected": counter(
            "agentd_collector_rejected_total",
            "Families and samples of a collector that were left out because they would have made the output invalid.",
            ("plugin", "reason"),
        ),
        "undeclared": gauge(
            "agentd_collector_undeclared_families",
            "Families that a collector has told since it began and that its class does not declare; absent where there "
            "are none.",
            ("plugin",),
        ),
    }

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self._order: list[Slot] = []
        self.sources: list[Source] = []
        """What is told beside the collectors: the metrics of the agent and its plugins about themselves."""
        self._schedules: dict[Slot, asyncio.Task[None]] = {}
        self._own: Recent[tuple[str, ...], tuple[dict[str, list[Labels]], Layout]] = Recent(UNITED, UNITED)
        """By who was asked."""
        self._united: Recent[tuple[Layout, ...], Layout] = Recent(UNITED, UNITED)  # no two families of one name
        self._named: set[tuple[str, str]] = set()

    def take(self, slots: Iterable[Slot]) -> None:
        """Let these be the collectors, and begin the schedules of those that have an interval; those that were there
        before go on. Whoever takes one away stops it.
        """
        self.slots = {slot.name: slot for slot in slots}
        # Those that wait for a network begin first, and go on while others are asked here. Workers come last: they
        # would take turns with this thread, and cost more by that than they gain.
        self._order = sorted(self.slots.values(), key=_turn)
        scheduled = {slot: slot.interval for slot in self.slots.values() if slot.interval is not None}
        for slot in self._schedules.keys() - scheduled.keys():
            self._schedules.pop(slot).cancel()
        for slot, interval in scheduled.items():
            if slot not in self._schedules:
                self._schedules[slot] = asyncio.get_running_loop().create_task(self._schedule(slot, interval))

    async def stop(self) -> None:
        """End schedules and runs."""
        schedules = self._schedules.values()
        for task in schedules:
            task.cancel()
        await asyncio.gather(*schedules, *(slot.stop() for slot in self.slots.values()), return_exceptions=True)
        self._schedules.clear()

    def shed(self, pressure: Pressure) -> None:
        """Forget how answers are put together, which is found again at the next scrape."""
        if pressure:
            self._own.clear()
            self._united.clear()

    async def gather(
        self,
        *,
        only: Collection[str] | None = None,
        exclude: Collection[str] = (),
        deadline: float = 10.0,
        rules: Rules | None = None,
    ) -> Snapshot:
        """Return what the collectors say, of all or ``only`` of some, after at most ``deadline`` seconds.

        Raises ``UnknownCollectorError`` for a name in ``only`` that is not running. What is to be left out because two
        plugins claim the same series is counted against the later one.
        """
        slots = self._selected(only, exclude)
        outcomes = await self._outcomes(slots, deadline)
        # Of two that claim one series, the first wins: collectors, then the agent, then what others have written.
        parts = [(slot.key, outcome.frame) for slot, outcome in outcomes if outcome is not None and not slot.foreign]
        parts += [(OWN, frame) for frame in self._told(outcomes)]
        parts += [(slot.key, outcome.frame) for slot, outcome in outcomes if outcome is not None and slot.foreign]
        families = self._unite(parts)
        if not rules:
            return Snapshot(families, time.time())
        ruled: list[Family] = []
        turn = time.monotonic()
        for family in families:
            ruled += rules.apply((family,))
            if time.monotonic() - turn > SLICE:
                await asyncio.sleep(0)
                turn = time.monotonic()
        ruled, clashes = assemble([("", ruled)])
        self._reject(clashes)
        return Snapshot(ruled, time.time())

    def _unite(self, parts: Sequence[tuple[str, Frame]]) -> Sequence[Family]:
        layouts = tuple([frame.layout for _, frame in parts])
        united = self._united.get(layouts)
        if united is not None:
            return united.fill(list(chain.from_iterable([frame.values for _, frame in parts])))
        if are_apart([(name, kind) for layout in layouts for (name, kind, *_), _ in layout.parts()]):
            united = self._united.put(layouts, Layout.joined(layouts))
            return united.fill(list(chain.from_iterable([frame.values for _, frame in parts])))
        families, rejections = assemble(parts)
        self._reject(rejections)
        return families

    def _told(self, outcomes: Sequence[tuple[Slot, Outcome | None]]) -> list[Frame]:
        """Return what the agent and its plugins say about themselves."""
        columns = self._about(outcomes)
        asked = tuple([slot.name for slot, _ in outcomes])
        keys = {name: keys for name, (keys, _) in columns.items()}
        known, layout = self._own.get(asked) or ({}, EMPTY.layout)
        if keys != known:
            layout = Layout(self.METRICS[name](dict.fromkeys(keys[name], 0.0)) for name in keys if keys[name])
            self._own.put(asked, (keys, layout))
        about = layout.fill(list(chain.from_iterable([values for _, values in columns.values()])))
        return [about, *(source() for source in self.sources)]

    def _reject(self, rejections: Sequence[tuple[str, Rejection]]) -> None:
        slots = {slot.key: slot for slot in self.slots.values()} if rejections else {}
        for key, rejection in rejections:
            if key in slots:
                slots[key].reject([rejection])
            elif (rejection.reason, rejection.subject) not in self._named and len(self._named) < NAMED:
                self._named.add((rejection.reason, rejection.subject))
                log.warning("left out (%s): %s", rejection.reason, rejection.what)

    def _selected(self, only: Collection[str] | None, exclude: Collection[str]) -> list[Slot]:
        if only is not None:
            for name in only:
                if name not in self.slots:
                    raise UnknownCollectorError(name)
        return [slot for name, slot in self.slots.items() if (only is None or name in only) and name not in exclude]

    async def _outcomes(self, slots: Sequence[Slot], deadline: float) -> list[tuple[Slot, Outcome | None]]:
        begun = time.monotonic()
        due = begun + deadline
        waiting: dict[Slot, asyncio.Future[None]] = {}
        turn = begun
        asked = self._order if len(slots) == len(self._order) else sorted(slots, key=_turn)
        for slot in asked:
            if slot.interval is None:
                settled = slot.begin(due)
                if settled is not None:
                    waiting[slot] = settled
                elif time.monotonic() - turn > SLICE:
                    await asyncio.sleep(0)
                    turn = time.monotonic()
        if waiting:
            await asyncio.wait(waiting.values(), timeout=max(0.0, due - time.monotonic()))
        missing = {slot for slot, settled in waiting.items() if not settled.done()}
        for slot in waiting.keys() - missing:
            slot.came()
        return [(slot, slot.miss(time.monotonic() - begun) if slot in missing else self._shown(slot)) for slot in slots]

    def _shown(self, slot: Slot) -> Outcome | None:
        if slot.interval is None or slot.good is None:
            return slot.last
        if time.monotonic() - slot.good.at > STALE_AFTER * slot.interval:
            return slot.last if slot.last is not slot.good else None
        return slot.good

    def _about(self, outcomes: Sequence[tuple[Slot, Outcome | None]]) -> dict[str, Column]:
        now = time.monotonic()
        asked = [(slot, slot.last if slot.interval is not None else shown, shown) for slot, shown in outcomes]
        ran = [(slot, last, shown) for slot, last, shown in asked if last is not None]
        durations = [last.duration for _, last, _ in ran]
        tried = [(slot, last) for slot, last, _ in ran if last.status != "no data"]
        failed = [(slot, last) for slot, last in tried if last.status != "ok"]
        shows = [(slot, shown) for slot, _, shown in ran if shown is not None]
        aged = [(slot, shown) for slot, shown in shows if slot.interval is not None and shown.status == "ok"]
        rejected = [(slot, reason, count) for slot, _ in outcomes for reason, count in slot.rejected.items()]
        undeclared = [slot for slot, _ in outcomes if slot.undeclared.names]
        return {
            "node_duration": ([slot.as_collector for slot, _, _ in ran], durations),
            "node_success": (
                [slot.as_collector for slot, _, _ in ran],
                [1.0 if last.status == "ok" else 0.0 for _, last, _ in ran],
            ),
            "duration": ([slot.as_plugin for slot, _, _ in ran], durations),
            "success": (
                [slot.as_plugin for slot, _ in tried],
                [1.0 if last.status == "ok" else 0.0 for _, last in tried],
            ),
            "series": ([slot.as_plugin for slot, _ in shows], [float(shown.series) for _, shown in shows]),
            "age": ([slot.as_plugin for slot, _ in aged], [now - shown.at for _, shown in aged]),
            "timeouts": ([slot.as_plugin for slot, _ in outcomes], [float(slot.timeouts) for slot, _ in outcomes]),
            "resting": ([()] * bool(outcomes), [float(sum(slot.rests_for > 0 for slot, _ in failed))] * bool(outcomes)),
            "rejected": (
                [(slot.key, reason) for slot, reason, _ in rejected],
                [float(count) for _, _, count in rejected],
            ),
            "undeclared": (
                [slot.as_plugin for slot in undeclared],
                [float(len(slot.undeclared.names)) for slot in undeclared],
            ),
        }

    async def _schedule(self, slot: Slot, interval: float) -> None:
        if slot.last is None:
            slot.begin(time.monotonic() + slot.timeout)
        # All hosts of a fleet start together after a power cut: the first wait spreads them over the interval.
        await asyncio.sleep(random.uniform(0, interval))
        while True:
            slot.begin(time.monotonic() + slot.timeout)
            await asyncio.sleep(interval)
