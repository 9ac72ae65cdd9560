"""Metrics of one's own from events: of the agent's journal, or of streams of Redis (redis.io/docs, Streams)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agentd.plugin import Backoff, Collector, Context, Family, counter, hookimpl
from agentd_plugins.collectors._streams.ledger import Ledger, Restored
from agentd_plugins.collectors._streams.link import COUNT, Failure, Link
from agentd_plugins.collectors._streams.position import number
from agentd_plugins.collectors._streams.reader import KEY, Reader
from agentd_plugins.collectors.event_rules.envelope import Envelope, of_entry, of_json
from agentd_plugins.collectors.event_rules.options import EventRulesConfig
from agentd_plugins.collectors.event_rules.rule import OUTCOMES, Rule

JOURNAL = "journal"
"""The key of the state that says up to which number of the journal events were counted."""

FAR = 10_000
"""Events that no rule wants after which it is written down all the same up to where the journal was read."""

WAIT = 5.0
"""Seconds that Redis is asked to wait for an entry."""

RETRY = (0.5, 30.0)
"""Seconds between two attempts to reach Redis: at first, and at last."""


class EventRules(Collector[EventRulesConfig]):
    """Turns events into counters, gauges and histograms, by rules of the configuration."""

    name = "event_rules"
    exclusive = True  # it has a place in the journal, and in its streams
    blocking = False  # tasks of its own read
    events = counter("event_rule_events_total", "Events that fit a rule, by what became of them.", ("rule", "outcome"))
    lost = counter("event_rule_stream_lost_entries_total", "Entries that were gone before they were read.", ("stream",))

    def __init__(self, config: EventRulesConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._link = Link(self.config, self.harmless)
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False
        self._begin()

    def _begin(self) -> None:
        """Go on from what was saved."""
        self._ledger = Ledger(self)
        self._rules = [Rule(config, self.state) for config in self.config.rules]
        self._at: int | None = self.state.get(JOURNAL)
        self._of_journal = [rule for rule in self._rules if rule.stream is None]
        streams = list(dict.fromkeys(rule.stream for rule in self._rules if rule.stream is not None))
        self._reader = Reader(self._link, streams, self.state, beginning=self.config.start == "beginning")
        self._streams = {name: [rule for rule in self._rules if rule.stream == name] for name in streams}

    async def start(self) -> None:
        """Begin to read. That Redis is away is no reason not to."""
        if self._streams:
            self._link.load()
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run())]

    async def stop(self) -> None:
        """Stop reading. What was read and not written down is read again after the next start."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._link.close()

    async def probe(self) -> str:
        """Ask Redis whether it is there, where a rule reads a stream."""
        return await self._link.probe() if self._streams else "there is nothing to try: it reads the journal alone"

    def collect(self) -> list[Family]:
        """Return the metrics of all rules."""
        now = self.clock.time()
        outcomes = {
            (rule.config.name, outcome): float(number_)
            for rule in self._rules
            for outcome, number_ in zip(OUTCOMES, rule.outcomes, strict=True)
        }
        families = [rule.family(now) for rule in self._rules]
        if self._streams:
            families.append(self.lost({name: each.lost for name, each in self._reader.positions.items()}))
        return [*families, self.events(outcomes)]

    async def _run(self) -> None:
        while True:
            ways: list[Callable[[], Awaitable[None]]] = [self._follow_journal] if self._of_journal else []
            ways += [self._follow_streams] if self._streams else []
            try:
                await self._forget()
                async with asyncio.TaskGroup() as group:
                    for way in ways:
                        group.create_task(self._insist(way))
            except* Restored as reasons:
                self.log.warning("%s", reasons.exceptions[0])
                await self._link.close()
                self._begin()
            else:
                return

    async def _insist(self, way: Callable[[], Awaitable[None]]) -> None:
        """Read one way, and again after it failed."""
        backoff, began = Backoff(*RETRY), 0.0
        while True:
            try:
                began = self.clock.monotonic()
                await way()
            except Restored:
                raise
            except Failure as failure:
                if not self._away:
                    self.log.warning("%s; what was counted stays, and it is tried again", failure)
                self._away = True
                await self._link.close()
            except Exception:
                self.log.exception("events cannot be counted; it is tried again")
            if self.clock.monotonic() - began > RETRY[1]:  # it had worked, and this is another failure
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _forget(self) -> None:
        """Remove what was saved of rules that there are no longer, or that were defined otherwise."""
        places = {JOURNAL, *(KEY + name for name in self._streams)}
        old = [key for key in self.state if key not in places and not any(rule.owns(key) for rule in self._rules)]
        if old:
            await self._ledger.save(dict.fromkeys(old))

    async def _follow_journal(self) -> None:
        rules, at = self._of_journal, self._at
        types = [pattern for rule in rules for pattern in rule.config.when]
        after = 0 if at is None and self.config.start == "beginning" else at
        async for reached, records in self.follow(types, after=after):
            for record in records:
                envelope = of_json(record.json)
                if envelope is not None:
                    stamp = envelope.get("timestamp")
                    when = float(stamp) if isinstance(stamp, int | float) else self.clock.time()
                    self._count(rules, envelope, when, record.type, record.source)
            if records or at is None or reached - at >= FAR:
                await self._save(rules, {JOURNAL: reached}, lambda: None)
                at = reached
            self._at = reached
            if len(records) < COUNT:
                await asyncio.sleep(self.config.pause)

    async def _follow_streams(self) -> None:
        reader = self._reader
        await reader.open()
        if self._away:
            self._away = False
            self.log.info("%s answers again", self._link.where)
        rules = [rule for rules in self._streams.values() for rule in rules]
        while True:
            found = await reader.read(WAIT)
            for stream, entries in found.items():
                for id_, fields in entries:
                    envelope = of_entry(fields) if fields else None
                    if envelope is not None:
                        type_, source = (envelope.get(name) for name in ("type", "source"))
                        names = (each if isinstance(each, str) else "" for each in (type_, source))
                        self._count(self._streams[stream], envelope, number(id_)[0] / 1000, *names)
            more = any(len(entries) >= self._link.count for entries in found.values())
            if not more:
                await reader.look()
            await self._save(rules, reader.changes(), reader.saved)
            if not more:
                await asyncio.sleep(self.config.pause)

    def _count(self, rules: Sequence[Rule], envelope: Envelope, when: float, type: str, source: str) -> None:
        when = min(when, self.clock.time())  # a clock that is ahead must not keep a value for ever
        for rule in rules:
            if rule.wants(type, source):
                rule.count(envelope, when)

    async def _save(self, rules: Sequence[Rule], places: dict[str, Any], saved: Callable[[], None]) -> None:
        now = self.clock.time()
        for rule in rules:
            rule.expire(now)
        changes = places | {key: value for rule in rules for key, value in rule.changes().items()}
        if changes and await self._ledger.save(changes) is None:
            saved()
            for rule in rules:
                rule.saved()


@hookimpl
def agentd_collectors() -> list[type[EventRules]]:
    """Register the collector."""
    return [EventRules]
