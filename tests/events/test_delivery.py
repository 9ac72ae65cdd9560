"""Deliveries: what becomes of events when their sink is slow, dead, lying or picky."""

import asyncio
import gc
import logging
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from agentd.config import SinkKeys
from agentd.config.settings import Batch, Condense
from agentd.events import attempts, bounded, delivery
from agentd.events.bus import Bus
from agentd.events.delivery import Delivery
from agentd.options import Duration
from agentd.plugin import Config, Context, Event, Reject, Retry, Sink
from agentd.store import identity
from agentd.store.journal import Journal
from agentd.store.retention import Limits


class Scripted(Sink[Config]):
    """A sink that does what a test has written down, batch by batch, and accepts everything after that."""

    def __init__(self, *script, name="sinks.scripted"):
        super().__init__(None, Context(name=name))
        self.script = list(script)
        self.batches = []
        self.arrived = []
        self.starts = 0
        self.reopened = False
        self.busy = False

    async def start(self):
        self.starts += 1

    async def send(self, events):
        assert not self.busy, "it was called twice at once"
        self.busy = True
        try:
            self.batches.append([record.event.payload.get("n") for record in events])
            step = self.script.pop(0) if self.script else None
            if callable(step):
                step = await step(events)
            if isinstance(step, Retry):
                self.arrived += self.batches[-1][: max(0, step.accepted)]
            if isinstance(step, Reject):
                self.arrived += [record.event.payload["n"] for record in events if record.id not in step.ids]
            if isinstance(step, BaseException):
                raise step
            self.arrived += self.batches[-1]
        finally:
            self.busy = False

    async def reopen(self):
        self.reopened = True


class World:
    """A journal in a folder, a bus and deliveries, in one event loop."""

    def __init__(self, folder):
        who = identity.load(folder, "machine")
        self.journal = Journal(folder, Limits(1 << 26, 1e9, 1 << 24), who=who)
        self.journal.open()
        self.bus = Bus(self.journal, who)
        self.deliveries = []

    def add(self, sink, **keys):
        made = Delivery(sink, SinkKeys(**{"start": "beginning", "events": ["test.*"]} | keys), self.journal,
                        plugin="scripted", emit=self.bus.emit)  # fmt: skip
        self.deliveries.append(made)
        made.start()
        return made

    async def emit(self, *numbers, type="test.number"):
        await self.bus.commit([Event(type=type, source="test", payload={"n": n}) for n in numbers])

    async def close(self):
        await asyncio.gather(*(each.stop(1.0) for each in self.deliveries))
        await self.journal.close()


@asynccontextmanager
async def opened(folder):
    """Open a world, and close it whatever happens."""
    world = World(folder)
    try:
        yield world
    finally:
        await world.close()


async def until(condition):
    """Wait until something holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # nobody else is to notice
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Wait for hundredths of seconds where the agent waits for seconds."""
    for room in (attempts, delivery):
        monkeypatch.setattr(room, "FIRST_WAIT", 0.01)
        monkeypatch.setattr(room, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(attempts, "OPEN", 0.05)
    monkeypatch.setattr(attempts, "LONGEST_OPEN", 0.1)
    monkeypatch.setattr(bounded, "CANCELLED_WITHIN", 0.1)


async def test_all_arrive_in_order_in_batches(tmp_path):
    """What is there goes in batches of the size that is asked for, and what comes later follows."""
    async with opened(tmp_path) as world:
        await world.emit(*range(25))
        sink = Scripted()
        world.add(sink, batch=Batch(events=10))
        await until(lambda: len(sink.arrived) == 25)
        await world.emit(25, 26)
        await until(lambda: len(sink.arrived) == 27)
        assert sink.arrived == list(range(27))
        assert [len(batch) for batch in sink.batches] == [10, 10, 5, 2]


async def test_a_sink_goes_on_where_it_was(tmp_path):
    """After a restart of the agent a sink gets what it has not got, and nothing twice."""
    sink = Scripted()
    async with opened(tmp_path) as world:
        made = world.add(sink)
        await world.emit(1, 2)
        await until(lambda: made.status().sent == 2)  # that they have arrived is known to the agent later
    async with opened(tmp_path) as world:
        await world.emit(3)
        world.add(sink)
        await until(lambda: sink.arrived == [1, 2, 3])


@pytest.mark.parametrize("keys", [{}, {"condense": Condense(key=["payload.n"], window=Duration(0.01))}])
async def test_a_batch_that_is_being_sent_is_not_sent_again(tmp_path, keys):
    """Who takes the place of a sink goes on behind the batch that it was sending, however slow its receiver is."""
    answering, asked = asyncio.Event(), asyncio.Event()

    async def slowly(_events):
        asked.set()
        await answering.wait()

    async with opened(tmp_path) as world:
        await world.emit(*range(25))
        old, new = Scripted(slowly), Scripted()
        made = world.add(old, batch=Batch(events=10), **keys)
        await asked.wait()
        finishing = asyncio.create_task(made.finish())
        await asyncio.sleep(0.05)
        assert not finishing.done()
        answering.set()
        await finishing
        await made.stop(1.0)
        world.add(new, batch=Batch(events=10), **keys)
        await until(lambda: len(old.arrived + new.arrived) >= 25)
        assert old.batches == [list(range(10))]
        assert old.arrived + new.arrived == list(range(25))


async def test_a_receiver_that_never_answers_is_waited_for_for_a_while(tmp_path, monkeypatch):
    """Nobody waits longer than a few seconds for the end of a batch, or than its section's timeout."""

    async def never(_events):
        await asyncio.get_running_loop().create_future()

    async with opened(tmp_path) as world:
        await world.emit(0)
        for bound, keys in ((0.05, {}), (1000.0, {"timeout": Duration(0.05)})):
            monkeypatch.setattr(delivery, "FINISH_WITHIN", bound)
            hanging = Scripted(never, never, never)
            made = world.add(hanging, **keys)
            await until(lambda hanging=hanging: hanging.batches)
            await asyncio.wait_for(made.finish(), 30)
            await made.stop(1.0)
        new = Scripted()
        world.add(new)
        await until(lambda: new.arrived == [0])


async def test_a_sink_that_waits_is_not_waited_for(tmp_path, monkeypatch):
    """A sink that waits for its receiver to come back, or for events, is done with at once, and begins nothing."""
    monkeypatch.setattr(delivery, "FINISH_WITHIN", 1000.0)
    async with opened(tmp_path) as world:
        idle, away = Scripted(name="sinks.idle"), Scripted(Retry("away", after=1000.0), name="sinks.away")
        made = [world.add(idle), world.add(away, timeout=Duration(1000.0))]
        await world.emit(0)
        await until(lambda: idle.arrived == [0] and away.batches)
        await until(lambda: made[1].status().retried)
        await asyncio.wait_for(asyncio.gather(*(each.finish() for each in made)), 30)
        await world.emit(1)
        await asyncio.sleep(0.1)
        assert (idle.batches, away.batches) == ([[0]], [[0]])


@pytest.mark.parametrize(("start", "expected"), [("now", [3]), ("beginning", [1, 2, 3])])
async def test_a_new_sink_begins_where_its_section_says(tmp_path, start, expected):
    """With what comes from now on, or with all that is kept."""
    async with opened(tmp_path) as world:
        await world.emit(1, 2)
        sink = Scripted()
        world.add(sink, start=start)
        await world.emit(3)
        await until(lambda: sink.arrived == expected)


async def test_what_was_accepted_is_not_sent_again(tmp_path):
    """After a Retry the rest comes, from the first that was not accepted; a lie about the number does no harm."""
    async with opened(tmp_path) as world:
        await world.emit(1, 2, 3)
        sink = Scripted(Retry("busy", accepted=1), Retry("busy", accepted=-5), Retry("busy", after=0.01))
        made = world.add(sink)
        await until(lambda: sink.arrived == [1, 2, 3])
        assert sink.batches == [[1, 2, 3], [2, 3], [2, 3], [2, 3]]
        await until(lambda: made.status().sent == 3)
        assert made.status().retried == 6


async def test_too_many_accepted_are_all(tmp_path):
    """A sink that claims to have accepted more than it got has accepted what it got."""
    async with opened(tmp_path) as world:
        await world.emit(1, 2)
        sink = Scripted(Retry("busy", accepted=99))
        made = world.add(sink)
        await until(lambda: made.status().sent == 2)
        await world.emit(3)
        await until(lambda: sink.batches[-1] == [3])


async def test_whatever_is_raised_is_tried_again(tmp_path, caplog):
    """Any error, what is no Exception and a cancellation of its own included, only delays; the log names it once."""
    async with opened(tmp_path) as world:
        await world.emit(1)
        sink = Scripted(
            OSError("no route"), SystemExit(3), BaseException("x"), asyncio.CancelledError(), KeyboardInterrupt()
        )
        with caplog.at_level(logging.INFO, "agentd"):
            world.add(sink)
            await until(lambda: sink.arrived == [1])
            await until(lambda: "works again" in caplog.text)
        assert len([record for record in caplog.records if "cannot deliver" in record.getMessage()]) == 1


async def test_rejected_events_are_set_aside(tmp_path):
    """Those that can never be accepted become dead letters, with the reason; all others have arrived."""

    async def picky(events):
        return Reject([events[1].id], "too large")

    async with opened(tmp_path) as world:
        await world.emit(1, 2, 3)
        sink = Scripted(picky)
        made = world.add(sink)
        await until(lambda: made.status().rejected == 1)
        await world.emit(4)
        await until(lambda: sink.arrived == [1, 3, 4])
        (letter,) = await world.journal.dead(made.name)
        assert (letter.record.event.payload["n"], letter.reason) == (2, "too large")
        await until(lambda: made.status().sent == 3)
        made.replay()
        await until(lambda: sink.arrived == [1, 3, 4, 2])
        await until(lambda: made.status().sent == 4)
        assert await world.journal.dead(made.name) == []


async def test_what_is_rejected_again_stays_aside(tmp_path):
    """Replaying dead letters that are still refused loses none, and goes on."""

    async def all_of_them(events):
        return Reject([event.id for event in events], "never")

    async with opened(tmp_path) as world:
        await world.emit(1, 2)
        sink = Scripted(all_of_them, all_of_them)
        made = world.add(sink)
        await until(lambda: made.status().rejected == 2)
        made.replay()
        await until(lambda: len(sink.batches) == 2)
        await world.emit(3)
        await until(lambda: sink.arrived == [3])
        assert len(await world.journal.dead(made.name)) == 2


async def test_a_sink_that_cannot_start_is_started_again(tmp_path):
    """A wrong password today may be right tomorrow; events wait."""

    class Late(Scripted):
        away = True

        async def start(self):
            await super().start()
            if self.away:
                raise ConnectionRefusedError("nobody listens")

    async with opened(tmp_path) as world:
        await world.emit(1)
        sink = Late()
        made = world.add(sink)
        await until(lambda: made.status().error and sink.starts > 2)
        assert "nobody listens" in made.status().error
        sink.away, starts = False, sink.starts
        await until(lambda: sink.arrived == [1])
        assert sink.starts == starts + 1


async def test_a_hanging_sink_holds_up_no_other(tmp_path):
    """One that never answers, and will not be cancelled, is never called twice at once; others go on."""
    release = asyncio.Event()

    async def stubborn(_events):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with opened(tmp_path) as world:
        await world.emit(1, 2)
        hanging, other = Scripted(stubborn, name="sinks.hanging"), Scripted(name="sinks.other")
        made = world.add(hanging, timeout=Duration(0.1), unhealthy_after=Duration(0.2))
        world.add(other)
        await until(lambda: other.arrived == [1, 2])
        await until(lambda: not made.healthy)
        await until(lambda: made.status().state in ("retrying", "open", "half open"))
        await world.emit(3)
        await until(lambda: other.arrived == [1, 2, 3])
        release.set()
        await until(lambda: hanging.arrived[-1:] == [3])
        await until(lambda: made.healthy)


async def test_an_open_circuit_is_tried_with_one_event(tmp_path, monkeypatch):
    """After several failures in a row a sink is left alone for a while, and then asked with as little as possible."""
    monkeypatch.setattr(attempts, "OPEN", 1.0)  # so long that it is seen
    monkeypatch.setattr(attempts, "LONGEST_OPEN", 1.0)
    async with opened(tmp_path) as world:
        await world.emit(*range(10))
        sink = Scripted(*[OSError("down")] * attempts.FAILURES)
        made = world.add(sink)
        await until(lambda: made.status().state == "open")
        await until(lambda: len(sink.arrived) == 10)
        assert sink.batches[attempts.FAILURES] == [0]
        assert sink.arrived == list(range(10))


async def test_a_rate_limit_holds(tmp_path):
    """A sink with a limit gets no more than that in a second, after what a second holds."""
    async with opened(tmp_path) as world:
        await world.emit(*range(60))
        now, arrived = asyncio.get_running_loop().time, []

        async def note(events):
            arrived.extend([now()] * len(events))

        begun = now()
        world.add(Scripted(*[note] * 20), rate_limit=40.0, batch=Batch(events=5))
        await until(lambda: len(arrived) == 60)
        assert all(at - begun >= (number - 40) / 40 for number, at in enumerate(arrived, 1))
        assert any(at - begun < number / 40 for number, at in enumerate(arrived, 1)), "it did not begin with a second's"


async def test_a_sink_gets_only_what_it_wants(tmp_path):
    """Types and sources that match no pattern are passed over, and the sink's own troubles always."""
    async with opened(tmp_path) as world:
        sink = Scripted(OSError("down"))
        made = world.add(sink, events=["test.*", "sink.*"], sources=["test", "sinks.*"])
        await world.emit(1)
        await world.emit(2, type="other.number")
        await world.bus.commit([Event(type="test.number", source="elsewhere", payload={"n": 3})])
        await world.bus.commit([Event(type="sink.connected", source="sinks.another", payload={"n": 4})])
        await until(lambda: sink.arrived == [1, 4])
        await until(lambda: made.status().lag_events == 0)
        await asyncio.sleep(0.05)
        assert sink.arrived == [1, 4]


async def test_repeats_are_folded(tmp_path):
    """The first goes at once; those that follow within the window come as one, with a count."""
    async with opened(tmp_path) as world:
        sink = Scripted()
        made = world.add(sink, condense=Condense(key=["type"], window=Duration(2)))
        await world.emit(1)
        await until(lambda: sink.arrived == [1])
        await world.emit(2, 3, 4)
        await asyncio.sleep(0.05)
        assert sink.arrived == [1]
        assert world.journal.cursor(made.name) < world.journal.last  # what is held back is not yet delivered
        await until(lambda: sink.arrived == [1, 4])


async def test_an_envelope_that_is_none_is_set_aside(tmp_path):
    """What no receiver could understand, as an older agent may have written it down, holds up nothing."""
    async with opened(tmp_path) as world:
        await world.emit(1)
        world.journal.append("test.raw", "test", b'{"id":"x","type":"test.raw","payload":{"n":{broken},"meta":{"seq":')
        await world.emit(2)
        sink = Scripted()
        made = world.add(sink)
        await until(lambda: sink.arrived == [1, 2])
        await until(lambda: made.status().sent == 2)  # that they have arrived is known to the agent later
        assert made.status().rejected == 1


async def test_an_envelope_that_is_none_is_none_of_those_that_a_sink_names(tmp_path):
    """What nobody can understand holds up neither a sink that refuses others, nor one whose events are folded."""
    async with opened(tmp_path) as world:
        await world.emit(1)
        world.journal.append("test.raw", "test", b'{"id":"x","type":"test.raw","payload":{"n":{broken},"meta":{"seq":')
        await world.emit(2)

        class Careful(Sink[Config]):
            """Refuses the first, without a look at what is in the others."""

            async def send(self, events):
                if any(b'"n":1' in record.json for record in events):
                    raise Reject([events[0].id], "no")

        refusing = world.add(Careful(None, Context(name="sinks.careful")))
        sink = Scripted()
        made = world.add(sink, condense=Condense(key=["payload.n"], window=Duration(30)))
        await until(lambda: refusing.status().rejected == 1 and refusing.status().lag_events == 0)
        await until(lambda: sink.arrived == [1, 2])
        assert made.status().rejected == 1


async def test_a_jump_forgets_what_was_held_back(tmp_path):
    """What waited to be folded is given up with all the rest."""
    async with opened(tmp_path) as world:
        sink = Scripted()
        made = world.add(sink, condense=Condense(key=["type"], window=Duration(1)))
        await world.emit(1, 2, 3)
        await until(lambda: sink.arrived == [1])
        await made.skip()
        await asyncio.sleep(1.2)
        await world.emit(4)
        await until(lambda: sink.arrived == [1, 4])


async def test_skip_and_rewind(tmp_path):
    """What waits can be given up, which counts what is wanted of it, and what was delivered be delivered again."""
    async with opened(tmp_path) as world:
        await world.emit(1, 2, 3)
        await world.emit(5, 6, type="other.number")
        sink = Scripted(*[OSError("down")] * 50)
        made = world.add(sink)
        await until(lambda: made.status().error)
        assert await made.skip() >= 3
        await until(lambda: made._jump is None)  # an attempt that is under way goes on to its end
        sink.script.clear()
        await world.emit(4)
        await until(lambda: sink.arrived == [4])
        assert made.status().dropped == 3
        made.rewind(0)
        await until(lambda: sink.arrived == [4, 1, 2, 3, 4])


async def test_rewinding_never_goes_forward(tmp_path):
    """A number that the sink has not got to yet takes nothing from it, neither what waits nor what is held back."""
    async with opened(tmp_path) as world:
        await world.emit(*range(8))
        sink = Scripted(*[OSError("down")] * 10_000)
        made = world.add(sink, batch=Batch(events=2))
        folding = world.add(Scripted(name="sinks.folding"), condense=Condense(key=["type"], window=Duration(2)))
        await until(lambda: made.status().error and folding.status().sent == 1)
        for each in (made, folding):
            each.rewind(6)
            each.rewind(10**9)
        await until(lambda: made._jump is None)  # an attempt that is under way goes on to its end
        sink.script.clear()
        await until(lambda: sink.arrived == list(range(8)))
        await until(lambda: folding._sink.arrived[-1:] == [7])


class Away(Scripted):
    """A sink whose server is away from the beginning."""

    async def start(self):
        raise OSError("no route to the server")


async def test_a_sink_that_never_started_lags(tmp_path):
    """Its lag is told in events and in seconds."""
    async with opened(tmp_path) as world:
        await world.bus.commit([Event(type="test.old", timestamp=1e9), Event(type="other.older", timestamp=5e8)])
        made = world.add(Away())
        await until(lambda: made.status().lag_seconds > 1e8)
        assert made.status().lag_events >= 2


async def test_a_sink_that_never_started_can_skip(tmp_path):
    """What waits is given up at once, counted once, and given up for the next life of the agent, too."""
    async with opened(tmp_path) as world:
        await world.emit(1, 2, 3)
        made = world.add(Away())
        await until(lambda: made.status().lag_seconds)
        assert await made.skip() == 3
        assert await made.skip() == 0
        assert (made.status().lag_events, made.status().lag_seconds) == (0, 0.0)
        assert made.status().dropped == 3
    async with opened(tmp_path) as world:
        sink = Scripted()
        world.add(sink)
        await world.emit(4)
        await until(lambda: sink.arrived == [4])


async def test_nothing_that_a_sink_raises_ends_the_agent(tmp_path, caplog):
    """Whatever a sink raises when it is to open its files anew, or to stop, costs nobody else anything."""

    class Leaves(Scripted):
        async def reopen(self):
            raise SystemExit(3)

        async def stop(self):
            raise KeyboardInterrupt

    async with opened(tmp_path) as world:
        made = world.add(Leaves())
        await made.reopen()
        assert "cannot open anew: RuntimeError: it raised SystemExit: 3" in caplog.text
        await made.stop(1.0)
        assert made.status().state == "stopped"


async def test_a_sink_that_takes_long_to_stop_is_not_cut_off(tmp_path):
    """Nobody waits longer for it than was said, and it closes what it has open all the same."""
    ending, closed = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def stop(self):
            await ending.wait()
            closed.set()

    async with opened(tmp_path) as world:
        await world.add(Slow()).stop(0.01)
        assert not closed.is_set()
        ending.set()
        await asyncio.wait_for(closed.wait(), 30)


async def test_reopening_reaches_the_sink(tmp_path):
    """Files that were moved away are opened anew."""
    async with opened(tmp_path) as world:
        sink = Scripted()
        await world.add(sink).reopen()
        assert sink.reopened


async def test_troubles_are_told_as_events_once(tmp_path):
    """A sink that is lost and found again is told by two events, however often it was tried."""
    async with opened(tmp_path) as world:
        sink, watcher = Scripted(*[OSError("down")] * 3), Scripted(name="sinks.watcher")
        world.add(watcher, events=["sink.*"], sources=["sinks.scripted"])
        await world.emit(1)
        world.add(sink)
        await until(lambda: sink.arrived == [1])
        await until(lambda: len(watcher.arrived) >= 3)
        found = await world.journal.read(0)
        told = [record.type for record in found.records if record.source == "sinks.scripted"]
        assert told == ["sink.connected", "sink.disconnected", "sink.connected"]


async def test_memory_stays_flat_while_a_sink_never_answers(tmp_path, monkeypatch):
    """Hundreds of attempts that are given up, as in an hour, with events coming all the while, cost no memory."""
    monkeypatch.setattr(attempts, "FAILURES", 10**9)  # the breaker would spare it most of them
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.001)

    async def silent(_events):
        await asyncio.sleep(3600)

    async with opened(tmp_path) as world:
        sink = Scripted(*[silent] * 100_000)
        sink.batches = Forgetful()
        world.add(sink, timeout=Duration(0.002))
        await world.emit(*range(600))

        async def tried(number):
            for n in range(number):
                world.bus.emit(Event(type="test.number", source="test", payload={"n": n, "text": "x" * 1000}))
                await asyncio.sleep(0.005)

        tracemalloc.start()
        await tried(100)
        await until(lambda: len(sink.script) < 99_990 and world.journal.written == world.journal.taken)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await tried(400)
        await until(lambda: len(sink.script) < 99_900 and world.journal.written == world.journal.taken)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sink.script[:1] == [silent]
        assert len(sink.script) < 99_900
        assert after - before < 200_000
        sink.script.clear()


class Forgetful(list):
    """A list that keeps the last entry alone."""

    def append(self, entry):
        self[:] = [entry]
