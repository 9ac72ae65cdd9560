"""One worker for each sink: reads the journal from where the sink was, and goes on when its receiver has all of it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from agentd.config import SinkKeys
from agentd.errors import described
from agentd.events.attempts import FIRST_WAIT, LONGEST_WAIT, Attempts
from agentd.events.bounded import Bounded, guarded
from agentd.events.condense import Condenser
from agentd.events.dead import DeadLetters
from agentd.events.envelope import Event, Record
from agentd.events.wanted import wants
from agentd.leaving import leave_behind
from agentd.metrics.spending import on_behalf_of
from agentd.plugin import Sink
from agentd.status import SinkStatus
from agentd.store.journal import Journal

FINISH_WITHIN = 5.0
"""Seconds at most for which one waits for a batch that is being sent before its sink is replaced."""


class Delivery:
    """Delivers to one sink, until it is stopped. Whatever the sink does, nothing else notices."""

    def __init__(
        self,
        sink: Sink[Any],
        keys: SinkKeys,
        journal: Journal,
        *,
        plugin: str,
        emit: Callable[[Event], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = sink.context.name
        self.dropped = 0
        self._sink = sink
        self._keys = keys
        self._journal = journal
        self._plugin = plugin
        self._now = now
        self._wanted = wants(keys.events, keys.sources, self.name)
        self._condenser = self._new_condenser()
        self._at = 0
        self._oldest = 0.0
        self._progress = now()
        self._busy = False
        self._jump: int | None = None
        self._replaying = False
        self._finishing = False
        self._between = asyncio.Event()  # batches: nothing is being sent whose end would not be noted
        self._between.set()
        calls = self._calls = Bounded(keys.timeout)
        self._attempts = Attempts(sink, keys, calls, emit, now)
        self._dead = DeadLetters(sink, journal, calls)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where the sink was the last time; a new one where its section says."""
        cursor = self._journal.cursor(self.name)
        if cursor is None:
            cursor = self._journal.last if self._keys.start == "now" else 0
            self._journal.move(self.name, cursor)
        self._at = cursor
        self._journal.watch(self.name, self._wanted)
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=self.name, context=on_behalf_of(self.name)
        )

    async def finish(self) -> None:
        """Begin to send nothing more, and wait until what is being sent has arrived, so that whoever goes on from here
        does not send it again: for the section's ``timeout``, and ``FINISH_WITHIN`` at most.
        """
        self._finishing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._keys.timeout, FINISH_WITHIN)):
                await self._between.wait()

    async def stop(self, within: float) -> None:
        """End; what was not delivered is so after the next start. A sink that takes longer ends by itself."""
        self._journal.watch(self.name, None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=within)
        await self._calls.over(within)  # a thread that sends cannot be cancelled, and needs what `stop` closes
        await leave_behind(asyncio.create_task(guarded(self._sink.stop())), within)

    async def reopen(self) -> None:
        """Let the sink open its files anew."""
        try:
            failure = await asyncio.wait_for(guarded(self._sink.reopen()), self._keys.timeout)
        except Exception as error:  # noqa: BLE001  # a plugin's failure is its own
            failure = error
        if failure is not None:
            self._sink.log.warning("cannot open anew: %s", described(failure))

    async def skip(self) -> int:
        """Give up all that waits, and go on with what comes; return how many events that are of those it wants."""
        got, last = self._got, self._journal.last
        self._go(last)
        lost = await self._journal.count(got, last, self._wanted)
        self.dropped += lost
        return lost

    def rewind(self, seq: int) -> None:
        """Deliver again all behind a number; one that the sink has not got to yet changes nothing."""
        self._go(min(seq, self._got))

    def replay(self) -> None:
        """Deliver dead letters once more: their receiver may have changed its mind."""
        self._replaying = True
        self._wake.set()

    def status(self, dead_letters: int = 0) -> SinkStatus:
        """Return how it is now."""
        waits = self._busy or (not self.started and self._oldest > 0)
        attempts, lag = self._attempts, self._journal.last - self._at
        return SinkStatus(
            sink=self.name,
            plugin=self._plugin,
            state="stopped" if self._task is None or self._task.done() else attempts.state,
            healthy=self.healthy,
            cursor=self._got,
            lag_events=max(1 if self._busy else 0, lag),
            lag_seconds=max(0.0, time.time() - self._oldest) if waits and self._oldest else 0.0,
            sent=attempts.sent,
            retried=attempts.retried,
            rejected=attempts.rejected,
            dropped=self.dropped,
            dead_letters=dead_letters,
            error=attempts.error,
        )

    @property
    def started(self) -> bool:
        """Whether its sink has started."""
        return self._attempts.started

    @property
    def _got(self) -> int:
        """The number up to which it has got all, or given it up."""
        return self._journal.cursor(self.name) or 0

    @property
    def healthy(self) -> bool:
        """Whether it delivers, or has nothing to deliver, or has not for longer than it may."""
        waits = self._busy or not self.started
        return not waits or self._now() - self._progress <= self._keys.unhealthy_after

    async def _run(self) -> None:
        while (wait := await self._attempts.start()) is not None:
            await self._look()
            await self._sleep(wait)
        while True:
            try:
                if self._replaying:
                    self._replaying = False
                    await self._begin_to_send()
                    self._attempts.sent += await self._dead.replay(self._keys.batch.events)
                records, reached = await self._next()
                if records:
                    await self._deliver(records)
                if self._jump is not None:
                    self._at, self._jump = self._jump, None
                    self._condenser = self._new_condenser()  # what it held back was given up, or comes again
                    self._journal.move(self.name, self._at)
                else:
                    self._at = reached
                    self._settle()
            except Exception as error:  # noqa: BLE001  # a bug here must not end the sink for good
                self._between.set()
                self._sink.log.error("delivery failed: %s", described(error))
                await self._sleep(LONGEST_WAIT)

    async def _look(self) -> None:
        """Note since when something waits for a sink that has not started yet."""
        while True:
            found = await self._journal.read(self._at, wanted=self._wanted, events=1)
            if found.records or found.reached <= self._at:
                break
            self._at = found.reached
        self._oldest = found.records[0].event.timestamp if found.records and found.records[0].sound else 0.0

    async def _next(self) -> tuple[Sequence[Record], int]:
        """Return the next events to deliver, and up to where the journal was read for them."""
        self._busy = False
        self._between.set()
        batch = self._keys.batch
        while self._jump is None and not self._replaying:
            if self._condenser is not None and (ended := self._condenser.ended(self._now())):
                return self._begin(ended), self._at
            found = await self._journal.read(self._at, wanted=self._wanted, events=batch.events, size=batch.bytes)
            if found.records and batch.age and len(found.records) < batch.events:
                await self._sleep(batch.age)  # more may come, for which one message is enough
                found = await self._journal.read(self._at, wanted=self._wanted, events=batch.events, size=batch.bytes)
            records = found.records
            if records and self._condenser is not None:
                records = self._condenser.take(records, self._now())
            if records:
                return self._begin(records), found.reached
            if found.reached > self._at:
                self._at = found.reached
                self._settle()
            else:
                await self._until(self._at)
        return (), self._at

    def _begin(self, records: Sequence[Record]) -> Sequence[Record]:
        self._busy = True
        self._progress = self._now()
        self._oldest = records[0].event.timestamp if records[0].sound else 0.0
        return records

    async def _until(self, after: int) -> None:
        """Wait until there is something to read, or to fold together, or somebody wants something."""
        due = self._condenser.due if self._condenser is not None else None
        timeout = None if due is None else max(0.0, due - self._now())
        new = asyncio.ensure_future(self._journal.wait(after))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({new, woken}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            new.cancel()
            woken.cancel()
        self._wake.clear()

    async def _deliver(self, records: Sequence[Record]) -> None:
        """Deliver all of these, however long it takes."""
        left = list(records)
        while left and self._jump is None:
            sending, wait = self._attempts.portion(left)
            if wait:
                await self._sleep(wait)
            if not sending:
                continue
            await self._begin_to_send()
            outcome = await self._attempts.send(sending)
            if outcome.arrived or outcome.rejected:
                self._progress = self._now()
            if outcome.rejected:
                await self._bury(outcome.rejected, outcome.reason)
                gone = set(map(id, (*outcome.arrived, *outcome.rejected)))
                left = [record for record in left if id(record) not in gone]
            elif outcome.arrived:
                if self._condenser is None:
                    self._journal.move(self.name, max(outcome.arrived[-1].seq, self._got))
                del left[: len(outcome.arrived)]
            if outcome.wait is not None:
                self._between.set()
                await self._sleep(outcome.wait)

    async def _begin_to_send(self) -> None:
        if self._finishing:
            self._between.set()
            await asyncio.get_running_loop().create_future()  # until it is stopped
        self._between.clear()

    async def _bury(self, rejected: Sequence[Record], reason: str) -> None:
        """Set aside what the receiver will never accept; wait until that is written down."""
        while self._jump is None and not await self._dead.bury(rejected, reason):
            await self._sleep(FIRST_WAIT)

    def _settle(self) -> None:
        """Note how far the sink has come: not beyond what is held back to be folded."""
        held = self._condenser.oldest if self._condenser is not None else None
        seq = self._at if held is None else min(self._at, held - 1)
        if seq != self._journal.cursor(self.name):
            self._journal.move(self.name, seq)

    def _new_condenser(self) -> Condenser | None:
        condense = self._keys.condense
        return Condenser(condense.key, condense.window) if condense is not None else None

    def _go(self, seq: int) -> None:
        self._journal.move(self.name, seq)  # at once: the worker may hang, or the agent end before the sink has started
        self._jump = seq
        if not self.started:
            self._at, self._oldest = seq, 0.0
        self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Wait, but for what somebody wants."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may lose a cancellation that comes with what is waited for
                await self._wake.wait()
        self._wake.clear()
