"""The second flow as a whole: journal, bus and deliveries, started and stopped together, and what they tell."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agentd import timesync
from agentd.config import JournalSettings, SinkKeys
from agentd.events.bus import Bus, Hook
from agentd.events.delivery import Delivery
from agentd.events.envelope import Event, Record
from agentd.events.wanted import wants
from agentd.memory import Pressure
from agentd.plugin import NotDurable, Sink
from agentd.status import JournalStatus, SinkStatus
from agentd.store import database, identity
from agentd.store.journal import Journal
from agentd.store.retention import Limits, default_size

log = logging.getLogger(__name__)

WATCH_EVERY = 5.0
"""Seconds between two looks at what was lost, to say so."""

READ = 1000
"""Events that a plugin is shown at once."""

AGENT = "agentd"
"""The source of the agent's own events."""


class Flow:
    """The events of one agent."""

    def __init__(
        self, settings: JournalSettings, directory: Path, labels: Mapping[str, str], hook: Hook | None
    ) -> None:
        self.deliveries: dict[str, Delivery] = {}
        """By the names of the sinks' instances, ``sinks.fleet``."""
        self.streaming = True
        """Whether those who only listen may follow what happens; not while memory is short."""
        self._settings = settings
        self._directory = directory
        self._labels = labels
        self._hook = hook
        self._lock: int | None = None
        self._journal: Journal | None = None
        self._bus: Bus | None = None
        self._synchronised: bool | None = None
        self._dead: dict[str, int] = {}
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def journal(self) -> Journal:
        """The journal, of a flow that was opened."""
        assert self._journal is not None  # noqa: S101  # open comes first
        return self._journal

    @property
    def bus(self) -> Bus:
        """Where events enter, of a flow that was opened."""
        assert self._bus is not None  # noqa: S101  # open comes first
        return self._bus

    def open(self, procfs: str = "/proc") -> None:
        """Take the state directory and open the journal in it.

        Raises ``StoreBusyError`` where another agent has it. Where nothing can be written there, events wait in memory.
        """
        settings = self._settings
        size: int = settings.max_size or settings.memory
        try:
            self._lock = database.lock(self._directory)
            size = settings.max_size or default_size(self._directory)
            who = identity.load(self._directory, identity.machine_id())
        except OSError as error:
            log.error("the state directory %s cannot be written to: %s", self._directory, error)
            who = identity.read(self._directory) or identity.Identity(str(uuid.uuid4()))
        limits = Limits(int(size), settings.max_age, settings.memory)
        self._synchronised = timesync.synchronised()
        self._journal = Journal(
            self._directory if settings.enabled else None,
            limits,
            who=who,
            synchronised=lambda: self._synchronised,
            settle=self._settle,
        )
        self._journal.open()
        self._bus = Bus(
            self._journal,
            who,
            boot_id=identity.boot_id(procfs),
            labels=self._labels,
            synchronised=lambda: self._synchronised,
            hook=self._hook,
        )
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def deliver(self, sinks: Iterable[tuple[Sink[Any], SinkKeys, str]]) -> None:
        """Begin to deliver to sinks: each with its keys, and the name of its plugin."""
        for sink, keys, plugin in sinks:
            delivery = Delivery(sink, keys, self.journal, plugin=plugin, emit=self.bus.emit)
            self.deliveries[delivery.name] = delivery
            delivery.start()

    async def retire(self, sinks: Iterable[str], within: float) -> None:
        """Stop the deliveries to some sinks, given by their names, when the batch that each is sending has arrived;
        their places in the journal are kept. Waits no longer than twice ``within`` seconds for one to stop then.
        """
        gone = [self.deliveries[name] for name in sinks if name in self.deliveries]
        await asyncio.gather(*(delivery.finish() for delivery in gone))
        for delivery in gone:
            del self.deliveries[delivery.name]
        await asyncio.gather(*(delivery.stop(within) for delivery in gone))

    async def close(self, within: float) -> None:
        """Stop all deliveries, write down what there is, and let the state directory go."""
        await asyncio.gather(*(delivery.stop(within) for delivery in self.deliveries.values()))
        if self._task is not None:
            self._task.cancel()
        if self._journal is not None:
            self._tell_dropped(self._journal)  # there is no later look
            await self._journal.close(within)
        if self._lock is not None:
            database.unlock(self._lock)

    def adapt(self, labels: Mapping[str, str], hook: Hook | None) -> None:
        """Give events other labels, and have another hook change them, from now on."""
        self._labels, self._hook = labels, hook
        if self._bus is not None:
            self._bus.adapt(labels, hook)

    def shed(self, pressure: Pressure) -> None:
        """Give up what is remembered, or those who only listen, until there is no pressure any more."""
        if pressure:
            self.bus.forget()
        if pressure is not Pressure.CACHES:
            self.streaming = not pressure

    async def reopen(self) -> None:
        """Let every sink open its files anew."""
        await asyncio.gather(*(delivery.reopen() for delivery in self.deliveries.values()))

    def say(self, type: str, **payload: object) -> None:
        """Emit one of the agent's own events."""
        if self._bus is not None:
            self._bus.emit(Event(type=type, source=AGENT, payload=payload))

    def commit_for(self, plugin: str) -> Callable[[Sequence[Event], Mapping[str, Any]], Awaitable[None]]:
        """Return the ``commit`` of a plugin, which keeps its state apart from that of others."""
        return partial(self._commit, plugin)

    async def _commit(self, plugin: str, events: Sequence[Event], state: Mapping[str, Any]) -> None:
        if self._bus is None:
            raise NotDurable("the agent is not ready")
        await self._bus.commit(events, state, plugin=plugin)

    async def follow(
        self, types: Sequence[str], sources: Sequence[str], after: int | None
    ) -> AsyncIterator[tuple[int, list[Record]]]:
        """Yield the events that fit, as they are written down: see ``Plugin.follow``."""
        journal, wanted = self.journal, wants(types, sources)
        at = after
        if at is None:
            at = journal.written
            yield at, []
        while True:
            await journal.wait(at, written=True)
            top = journal.written
            found = await journal.read(at, wanted=wanted, events=READ)
            if found.reached > at:
                # What was read from memory, because the disk refuses, may get another number when it is written.
                at = min(found.reached, top)
                yield at, [record for record in found.records if record.seq <= top]
            else:
                await asyncio.sleep(WATCH_EVERY)  # what was there cannot be read now

    def sinks(self) -> list[SinkStatus]:
        """Return how each sink is."""
        return [delivery.status(self._dead.get(name, 0)) for name, delivery in self.deliveries.items()]

    def status(self) -> JournalStatus:
        """Return how the journal is."""
        journal = self.journal
        return JournalStatus(
            durable=journal.durable and not journal.problem,
            last=journal.last,
            size_bytes=journal.size,
            dropped=journal.dropped,
            damaged=journal.damaged,
            error=journal.problem,
        )

    def _settle(self) -> None:
        """Take the state directory again, which somebody may have removed. Called in the journal's thread."""
        if self._lock is None or not database.holds(self._lock, self._directory):
            lock = database.lock(self._directory)
            if self._lock is not None:
                database.unlock(self._lock)
            self._lock = lock
        if identity.read(self._directory) is None:
            identity.save(self._directory, self.journal.who)

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("cannot look after the journal")
            await asyncio.sleep(WATCH_EVERY)

    async def _look(self) -> None:
        """Count what was lost, and tell it as events."""
        self._synchronised = timesync.synchronised()
        journal = self.journal
        for aside in journal.asides():
            file = aside.path and aside.path.name
            if aside.salvaged is None:
                self.say("journal.restored", file=file, reason=aside.reason)
                continue
            counts = {name: len(rows) for name, rows in aside.salvaged.rows.items()}
            self.say("journal.set_aside", file=file, reason=aside.reason, salvaged=counts)
        for sink, number in journal.losses().items():
            if sink in self.deliveries:
                self.deliveries[sink].dropped += number
            log.warning(
                "%s lost %d events that it had not got: the journal is full, or they were too old", sink, number
            )
            self.say("journal.dropped", reason="retention", plugin=sink, events=number)
        if not journal.problem:  # else it is told when that is over
            self._tell_dropped(journal)
        if self.deliveries:
            self._dead = await journal.count_dead()

    def _tell_dropped(self, journal: Journal) -> None:
        dropped, self._dropped = journal.dropped - self._dropped, journal.dropped
        if dropped:
            log.warning("%d events were lost: there was no room for them in memory", dropped)
            self.say("journal.dropped", reason="memory", events=dropped)
