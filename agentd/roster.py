"""The plugin instances of an agent while it runs: begun, exchanged one for another, paused, and tried again."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from agentd import instances
from agentd.config import Instance, SinkKeys
from agentd.events.flow import Flow
from agentd.instances import About, Running
from agentd.memory import Pressure
from agentd.metrics.gather import Gatherer
from agentd.metrics.slot import Slot
from agentd.plugin import Context, Sink
from agentd.registry import Registry
from agentd.resilience import Backoff
from agentd.resting import REASON

log = logging.getLogger(__name__)

AGAIN = (10.0, 300.0)
"""Seconds until a plugin that could not start is tried again: the longest first wait, and the longest of all."""


ENDS_WITHIN = 5.0
"""Seconds that one gets to stop at a reload before what takes its place may begin. Nothing else waits for it."""


class CannotRunError(Exception):
    """A plugin that a new configuration asks for does not run; all is as it was before."""


class Roster:
    """What runs. One change at a time; whatever is not concerned by it goes on and notices nothing."""

    def __init__(
        self,
        gatherer: Gatherer,
        flow: Flow,
        place: Callable[[Running, Registry], Slot | None],
        context: Callable[[Instance], Context],
        show: Callable[[Sequence[Running]], None],
    ) -> None:
        """``place`` gives a collector its slot, and ``context`` makes what a plugin is given. ``show`` makes routes of
        what is to be seen; it may let an instance fail, and is called before what is gone is stopped.
        """
        self.runnings: list[Running] = []
        """All instances that are configured, in the order of the configuration."""
        self._gatherer = gatherer
        self._flow = flow
        self._place = place
        self._context = context
        self._show = show
        self._registry: Registry | None = None
        self._lock = asyncio.Lock()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waits: dict[str, Backoff] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of_kind(self, kind: str) -> list[Running]:
        """Return the instances of a kind."""
        return [running for running in self.runnings if running.instance.kind == kind]

    async def begin(
        self, wanted: Sequence[Instance], registry: Registry, resting: Mapping[str, float] | None = None
    ) -> None:
        """Start what is configured. What cannot start is named, and tried again later; what is ``resting`` is begun
        only after so many seconds.
        """
        self._registry = registry
        rests = {key: seconds for key, seconds in (resting or {}).items() if key in {each.key for each in wanted}}
        built = iter(instances.build((each for each in wanted if each.key not in rests), registry, self._context))
        runnings = [self._rest(each, rests[each.key]) if each.key in rests else next(built) for each in wanted]
        self._deliver(runnings)  # first, so that what others say when they start is on its way
        await self._start(runnings, registry)
        self.runnings = runnings
        self._put()
        self._push()
        for running in runnings:
            if running.paused_until is not None:
                self._flow.say("plugin.rests", plugin=running.instance.key, until=running.paused_until)
            elif running.error:
                self._flow.say("plugin.failed", plugin=running.instance.key, error=running.error)
                self._later(running)

    async def change(
        self,
        wanted: Sequence[Instance],
        fresh: Collection[str],
        registry: Registry,
        last: Callable[[], Awaitable[None]],
    ) -> None:
        """Run what is wanted: those that are ``fresh`` are begun anew, beside the old ones where that is possible.

        Before these are given up, ``last`` is called. Where anything fails, all stays as it is: raises
        ``CannotRunError``, or what ``last`` raises.
        """
        async with self._lock:
            before = {running.instance.key: running for running in self.runnings}
            paused = {key for key in fresh if key in before and before[key].paused_until}
            begun = instances.build(
                (each for each in wanted if each.key in fresh and each.key not in paused), registry, self._context
            )
            stopped: list[Running] = []
            try:
                _insist(begun)
                alone = [each for each in begun if each.exclusive and before.get(each.instance.key)]
                await self._start([each for each in begun if each not in alone], registry)
                _insist(begun)
                stopped = [before[each.instance.key] for each in alone]
                await self._end(stopped)
                await self._start(alone, registry)
                _insist(begun)
                new = {running.instance.key: running for running in begun}
                for instance in wanted:
                    if instance.key not in new:
                        kept = before[instance.key]
                        kept.instance = instance  # equal, but for why it runs; or paused
                        new[instance.key] = kept
                runnings = [new[instance.key] for instance in wanted]
                self._show(runnings)
                _insist(begun)
                await self._ask(begun)
                await last()
            except BaseException:
                self._show(self.runnings)
                await self._stop(begun)
                await self._bring_back(stopped)
                raise
            self._registry = registry
            for running in runnings:
                if running.slot is not None:
                    running.slot.transform = instances.transform_of(registry)
            await self._exchange(runnings, stopped)

    async def pause(self, key: str, seconds: float) -> float:
        """Stop an instance for a while; return until when. Raises ``KeyError`` where there is none."""
        async with self._lock:
            running = self._find(key)
            until = time.time() + seconds
            rest = Running(running.instance, paused_until=until)
            await self._exchange([rest if each is running else each for each in self.runnings])
            self._resume_in(seconds, key)
            log.info("%s is paused for %.0f s", key, seconds)
            return until

    async def resume(self, key: str) -> None:
        """Start an instance that was paused, or could not start; ask one that rests again. Raises ``KeyError`` where
        there is none.
        """
        async with self._lock:
            running = self._find(key)
            if running.slot is not None:
                running.slot.rouse()
            await self._try(running)

    def shed(self, pressure: Pressure) -> None:
        """Have every plugin give up what it can do without."""
        for running in self.runnings:
            instances.shed(running, pressure)

    async def leave(self) -> None:
        """Let every plugin say good-bye to its clients, and change nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*map(instances.leave, self.runnings))

    async def stop(self, kind: str) -> None:
        """Stop all instances of a kind, the last first."""
        await asyncio.gather(*map(instances.stop, reversed(self.of_kind(kind))))

    def _find(self, key: str) -> Running:
        for running in self.runnings:
            if running.instance.key == key:
                return running
        raise KeyError(key)

    async def _start(self, runnings: Sequence[Running], registry: Registry) -> None:
        """Start collectors, and then exporters, which may ask them."""
        await asyncio.gather(*(instances.start(each) for each in runnings if each.instance.kind == "collectors"))
        for running in runnings:
            self._place(running, registry)
        await asyncio.gather(*(instances.start(each) for each in runnings if each.instance.kind == "exporters"))
        for running in runnings:
            instances.pushing_for(running)
            if instances.tells(running):
                running.about = About(running)

    async def _ask(self, begun: Sequence[Running]) -> None:
        """Have those with a schedule of their own answer once, so that no scrape misses them."""
        slots = [running.slot for running in begun if running.slot is not None]
        await asyncio.gather(*(slot.first() for slot in slots if slot.interval is not None))

    async def _end(self, gone: Sequence[Running]) -> None:
        """Stop what ran, deliveries and attempts to start included."""
        for running in gone:
            if timer := self._timers.pop(running.instance.key, None):
                timer.cancel()
        await self._stop(gone, [each.instance.key for each in gone if each.instance.kind == "sinks"])

    async def _stop(self, gone: Sequence[Running], sinks: Iterable[str] = ()) -> None:
        """Stop plugins, and deliveries to some sinks: one that was only built has none, but its name may have one."""
        await asyncio.gather(*map(instances.leave, gone))
        await asyncio.gather(*(running.slot.stop() for running in gone if running.slot is not None))
        await self._flow.retire(sinks, ENDS_WITHIN)
        await asyncio.gather(*(instances.stop(each, ENDS_WITHIN) for each in gone if each.instance.kind != "sinks"))

    async def _exchange(self, runnings: list[Running], stopped: Iterable[Running] = ()) -> None:
        """Let these be what runs, and stop what no longer does and is not ``stopped`` yet."""
        kept, known = set(map(id, (*runnings, *stopped))), set(map(id, self.runnings))
        gone = [running for running in self.runnings if id(running) not in kept]
        self.runnings = runnings
        self._put()
        await self._end(gone)
        self._push()
        self._deliver(running for running in runnings if id(running) not in known)

    def _put(self) -> None:
        self._gatherer.take(running.slot for running in self.runnings if running.slot is not None)
        self._show(self.runnings)

    def _push(self) -> None:
        for running in self.runnings:
            if running.pushing is not None and running.up:
                running.pushing.begin()

    def _deliver(self, runnings: Iterable[Running]) -> None:
        self._flow.deliver(
            (running.plugin, running.instance.keys, running.instance.plugin)
            for running in runnings
            if isinstance(running.plugin, Sink) and isinstance(running.instance.keys, SinkKeys)
        )

    async def _bring_back(self, stopped: Sequence[Running]) -> None:
        if self._registry is None or not stopped:
            return
        again = instances.build((running.instance for running in stopped), self._registry, self._context)
        await self._start(again, self._registry)
        by_key = {running.instance.key: running for running in again}
        self.runnings = [by_key.get(running.instance.key, running) for running in self.runnings]
        self._put()
        self._push()
        for running in again:
            self._later(running)

    async def _try(self, running: Running) -> None:
        key = running.instance.key
        if self._registry is None or running.up:
            return
        (fresh,) = instances.build((running.instance,), self._registry, self._context)
        await self._start([fresh], self._registry)
        await self._ask([fresh])
        await self._exchange([fresh if each is running else each for each in self.runnings])
        if fresh.up:
            self._waits.pop(key, None)
            log.info("%s runs again", key)
            if running.error:
                self._flow.say("plugin.recovered", plugin=key)
        else:
            self._later(fresh)

    def _later(self, running: Running) -> None:
        """Try one that could not start again: what it needs may come."""
        if running.error and running.plugin is not None:
            key = running.instance.key
            self._resume_in(AGAIN[0] / 2 + self._waits.setdefault(key, Backoff(*AGAIN)).next(), key)

    def _rest(self, instance: Instance, seconds: float) -> Running:
        key = instance.key
        log.error(
            "%s is left out for %.0f s: %s; agentd plugins resume %s begins it at once", key, seconds, REASON, key
        )
        self._resume_in(seconds, key)
        return Running(instance, error=f"is left out for a while: {REASON}", paused_until=time.time() + seconds)

    def _resume_in(self, seconds: float, key: str) -> None:
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, lambda: self._spawn(self.resume(key)))

    def _spawn(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            with contextlib.suppress(KeyError):  # it has been removed meanwhile
                await work

        task = asyncio.get_running_loop().create_task(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _insist(begun: Iterable[Running]) -> None:
    """Raise where one of them does not run. A sink's own start comes later, and is tried again and again."""
    if failed := [f"{running.instance.key} {running.error}" for running in begun if running.error]:
        raise CannotRunError("; ".join(failed))
