"""One collector's place: it runs once at a time, is given up when it hangs, and whatever it raises is its own."""

import asyncio
import itertools
import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics.family import Family
from agentd.metrics.slot import NAMED, RESTS, Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Clock, Collector, Config, Context, NoData, Refused

LONG = 60.0
"""Seconds that nothing in these tests takes: a timeout that must not matter, and the patience of the tests."""

MODES = ("inline", "thread", "async", "awaitable")
GOOD = [Family.gauge("good", "", 1.0)]


class Hands(Clock):
    """A clock that stands still until somebody moves it."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Told(Collector[Config]):
    """A collector that does what it is told, in one of the ways in which a collector may be written."""

    name = "told"

    def __init__(self, mode, work, clock=None):
        super().__init__(context=Context(name="collectors.told", clock=clock or Clock()))
        self.blocking = mode == "thread"
        self.work = work
        self.calls = 0
        if mode in ("async", "awaitable"):
            # An `async def`, or a plain function that returns something to await.
            self.collect = self._collect_async if mode == "async" else self._delegate

    def collect(self):
        self.calls += 1
        return self.work()

    def _delegate(self):
        return self._collect_async()

    async def _collect_async(self):
        self.calls += 1
        result = self.work()
        return await result if asyncio.iscoroutine(result) else result


@pytest.fixture
def hang():
    """An event for which threads wait; it is set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def slot_for(hang):
    """Makes the slot of a collector in one of the modes; it is stopped at the end."""
    workers, slots = Workers(), []

    def make(mode, work, *, timeout=LONG, max_series=100, clock=None, **keywords):
        told = Told(mode, work, clock)
        slot = Slot(told, name="told", workers=workers, timeout=timeout, max_series=max_series, **keywords)
        slots.append(slot)
        return slot

    yield make
    hang.set()
    for slot in slots:
        await slot.stop()
    workers.close()


@pytest.fixture(autouse=True)
def all_logged(caplog):
    """Lets every message of the agent be seen."""
    caplog.set_level(logging.INFO, "agentd")


async def run(slot):
    """Begin a run, or join the present one, wait for it where there is something to wait for, and say what came."""
    settled = slot.begin(time.monotonic() + LONG)
    if settled is not None:
        await asyncio.wait_for(asyncio.shield(settled), LONG)
    return slot.last


async def until(so):
    """Wait until something is so."""
    end = time.monotonic() + LONG
    while not so():
        assert time.monotonic() < end, "not so in time"
        await asyncio.sleep(0.005)


def messages(caplog, level=logging.WARNING):
    """Return what was logged at this level or above, and forget it."""
    found = [record.getMessage() for record in caplog.records if record.levelno >= level]
    caplog.clear()
    return found


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_brings_families(slot_for, mode, caplog):
    """In each mode the outcome holds what was collected, and nothing is logged."""
    slot = slot_for(mode, lambda: GOOD)
    for _ in range(3):
        outcome = await run(slot)
        assert (outcome.status, outcome.frame, outcome.series, outcome.error) == ("ok", GOOD, 1, "")
        assert outcome.duration >= 0
        assert slot.good is outcome
    assert slot.collector.calls == 3
    assert messages(caplog, logging.DEBUG) == []


@pytest.mark.parametrize("mode", MODES)
async def test_what_may_not_be_asked_is_said_once(slot_for, mode, caplog):
    """A collector that lacks a right has no data, and the log names once what grants it."""

    def work():
        raise Refused("it takes the drop-in read-all.conf")

    slot = slot_for(mode, work)
    for _ in range(3):
        assert (await run(slot)).status == "no data"
    assert messages(caplog, logging.WARNING) == ["nothing is told: it takes the drop-in read-all.conf"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "error", [ValueError("wrong"), SystemExit("wrong"), asyncio.CancelledError("wrong"), StopIteration("wrong")]
)
async def test_whatever_is_raised_is_a_failure_of_this_collector(slot_for, mode, error, caplog):
    """It is named in the log once, the collector is asked again each time, and a good answer is told too."""
    errors = [error, error, None, error]

    def work():
        raised = errors.pop(0)
        if raised is not None:
            raise raised
        return GOOD

    slot = slot_for(mode, work)
    for _ in range(2):
        outcome = await run(slot)
        assert (outcome.status, outcome.frame) == ("failed", [])
        assert type(error).__name__ in outcome.error
    (message,) = messages(caplog)
    assert message.startswith("failed: ")
    assert (await run(slot)).status == "ok"
    assert messages(caplog, logging.INFO) == ["works again"]
    assert (await run(slot)).status == "failed"
    assert len(messages(caplog)) == 1, "a problem that comes back is named again"


async def test_a_failure_says_where_and_shows_a_traceback_to_those_who_debug(slot_for, caplog):
    """The place in the plugin's code is in the message, and the whole way there only at level debug."""

    def work():
        raise ValueError("wrong")

    assert "test_slot.py:" in (await run(slot_for("inline", work))).error
    assert caplog.records[-1].exc_info is None
    caplog.set_level(logging.DEBUG, "agentd")
    await run(slot_for("inline", work))
    assert caplog.records[-1].exc_info[0] is ValueError


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_no_answer_is_said_without_a_place_in_agentd(slot_for, mode, caplog):
    """The line in the log says what was returned and what would be right, which the author can mend."""
    outcome = await run(slot_for(mode, lambda: {"a": 1.0}))
    assert outcome.error == "returned {'a': 1.0}, of type dict: expected a list or an iterator of Family"
    assert messages(caplog) == [f"failed: {outcome.error}"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_machine_that_lacks_the_thing_is_no_failure(slot_for, mode, caplog):
    """NoData is an outcome of its own, of which the log says nothing, and what was good before is good no longer."""
    answers = [GOOD, None]

    def work():
        answer = answers.pop(0)
        if answer is None:
            raise NoData("no such device")
        return answer

    slot = slot_for(mode, work)
    await run(slot)
    outcome = await run(slot)
    assert (outcome.status, outcome.frame, outcome.error) == ("no data", [], "no such device")
    assert slot.good is None
    assert messages(caplog, logging.INFO) == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_right_that_is_lacking_is_said_once_until_it_works(slot_for, mode, caplog):
    """Refused is no data of which the log tells, anew after the collector has worked."""
    answers = [None, None, GOOD, None]

    def work():
        answer = answers.pop(0)
        if answer is None:
            raise Refused("it takes a drop-in")
        return answer

    slot = slot_for(mode, work)
    outcomes = [await run(slot) for _ in range(4)]
    assert [outcome.status for outcome in outcomes] == ["no data", "no data", "ok", "no data"]
    assert messages(caplog) == ["nothing is told: it takes a drop-in"] * 2


async def test_a_thread_that_hangs_is_given_up_and_not_joined(slot_for, hang, caplog):
    """All who wait get on, no second run begins while it hangs, and when it comes back it is asked again."""
    slot = slot_for("thread", lambda: hang.wait() and GOOD, timeout=0.03)
    for _ in range(3):
        outcome = await run(slot)
        assert (outcome.status, outcome.frame) == ("timed out", [])
        assert "0.03 s" in outcome.error
    assert slot.begin(time.monotonic() + LONG) is None, "there is nothing to wait for"
    await until(lambda: slot.collector.calls)
    assert (slot.collector.calls, slot.timeouts, slot.running) == (1, 1, True)
    assert len(messages(caplog)) == 1
    hang.set()
    await until(lambda: not slot.running)
    assert len(messages(caplog)) == 1, "that it is asked again is told"
    slot.timeout = LONG
    assert (await run(slot)).status == "ok"
    assert messages(caplog, logging.INFO) == ["works again"]


async def test_a_task_that_hangs_is_cancelled_and_asked_again(slot_for, caplog):
    """An async collector can be ended, so each reader's scrape is a new attempt, named once."""
    slot = slot_for("async", lambda: asyncio.sleep(LONG), timeout=0.03)
    for attempt in range(1, 4):
        assert (await run(slot)).status == "timed out"
        await until(lambda: not slot.running)
        assert (slot.collector.calls, slot.timeouts) == (attempt, attempt)
    assert len(messages(caplog)) == 1


async def test_a_task_that_does_not_want_to_end_is_not_joined(slot_for):
    """An async collector that swallows its cancellation is left alone until it has ended."""
    end = asyncio.Event()

    async def stubborn():
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return GOOD

    slot = slot_for("async", stubborn, timeout=0.03)
    for _ in range(3):
        assert (await run(slot)).status == "timed out"
    assert (slot.collector.calls, slot.running) == (1, True)
    end.set()
    await until(lambda: not slot.running)
    assert slot.last.status == "timed out", "what came too late is not shown"
    slot.timeout = LONG
    assert (await run(slot)).status == "ok"


@pytest.mark.parametrize("mode", ["thread", "async", "awaitable"])
async def test_readers_share_one_run(slot_for, mode, hang):
    """Whoever asks while a run is under way waits for that one."""
    go = asyncio.Event()

    async def wait():
        await go.wait()
        return GOOD

    slot = slot_for(mode, (lambda: hang.wait() and GOOD) if mode == "thread" else wait)
    readers = [asyncio.create_task(run(slot)) for _ in range(5)]
    await asyncio.sleep(0.02)
    go.set()
    hang.set()
    outcomes = await asyncio.gather(*readers)
    assert slot.collector.calls == 1
    assert all(outcome is outcomes[0] for outcome in outcomes)


async def test_a_reader_who_could_not_wait_is_counted(slot_for, caplog):
    """Its own outcome says so, the run goes on, and the log names it once however long each reader waited."""
    slot = slot_for("async", lambda: asyncio.sleep(LONG))
    slot.begin(time.monotonic() + 0.01)
    assert [slot.miss(waited).status for waited in (0.01, 0.02, 0.03)] == ["timed out"] * 3
    assert (slot.timeouts, slot.running) == (3, True)
    assert len(messages(caplog)) == 1


@pytest.mark.parametrize("mode", ["thread", "async"])
async def test_stop_waits_for_nothing_that_hangs(slot_for, mode, hang, caplog):
    """Whoever waits is let go, and the log does not call it a failure."""
    slot = slot_for(mode, hang.wait if mode == "thread" else lambda: asyncio.sleep(LONG))
    reader = asyncio.create_task(run(slot))
    await until(lambda: slot.collector.calls == 1)
    await slot.stop()
    await asyncio.wait_for(reader, LONG)
    assert messages(caplog, logging.INFO) == []


@pytest.mark.parametrize(
    ("mode", "threaded", "elsewhere"),
    [("inline", None, False), ("inline", True, True), ("thread", None, True), ("thread", False, False)],
)
async def test_the_configuration_decides_where_a_plain_collector_runs(slot_for, mode, threaded, elsewhere):
    """``isolation`` goes before what the collector says about itself."""
    where = []
    slot = slot_for(mode, lambda: where.append(threading.get_ident()) or GOOD, threaded=threaded)
    assert slot.inline is not elsewhere
    assert (await run(slot)).status == "ok"
    assert (where[0] != threading.get_ident()) is elsewhere


async def test_a_collector_is_told_how_long_it_may_take(slot_for):
    """It is the shorter of its own timeout and what the reader has left."""
    left = []
    slot = slot_for("inline", lambda: left.append(slot.collector.time_left()) or GOOD, timeout=1000)
    slot.begin(time.monotonic() + 100)
    slot.begin(time.monotonic() + 5000)
    assert 90 < left[0] <= 100
    assert 990 < left[1] <= 1000


async def test_a_collector_in_a_thread_may_return_something_to_await(slot_for):
    """The waiting that a collector finds it has to do is done on the event loop, wherever it was called."""
    outcome = await run(slot_for("awaitable", lambda: GOOD, threaded=True))
    assert (outcome.status, outcome.frame) == ("ok", GOOD)


async def test_who_joins_a_run_may_lengthen_it(slot_for, hang):
    """A run that a hurried reader began goes on for one who can wait longer, within the collector's own timeout."""
    slot = slot_for("thread", lambda: hang.wait() and GOOD, timeout=500.0)
    now = time.monotonic()
    slot.begin(now + 0.2)
    first = slot.collector.context.deadline
    slot.begin(now + 2.0)
    second = slot.collector.context.deadline
    slot.begin(now + 1000.0)
    assert (first, second) == (pytest.approx(now + 0.2), pytest.approx(now + 2.0))
    assert slot.collector.context.deadline == pytest.approx(now + 500.0, abs=50)


async def test_a_late_answer_is_told_again_after_one_in_time(slot_for, caplog):
    """A reader that could not wait is told of once, and again when an answer has come in time meanwhile."""
    slot = slot_for("thread", lambda: GOOD)
    slot.miss(0.1)
    slot.miss(0.1)
    slot.came()
    slot.miss(0.1)
    assert len([record for record in caplog.records if "no answer within" in record.message]) == 2


async def test_problems_without_end_come_to_an_end_in_the_log(slot_for, caplog):
    """A collector that fails with another text each time is named a hundred times, and that this is all is said."""
    texts = (f"problem {number}" for number in itertools.count())

    def fail():
        raise ValueError(next(texts))

    slot = slot_for("inline", fail, clock=(clock := Hands()))
    for _ in range(NAMED + 50):
        await run(slot)
        clock.now += RESTS[2]
    assert len(caplog.records) == NAMED + 1
    assert "no more are named" in caplog.records[-1].message


async def test_rejections_are_counted_each_time_and_named_once(slot_for, caplog):
    """Whatever the bad value is this time, it is one problem of one family."""
    values = iter(["one", "two", "three"])
    slot = slot_for(
        "inline", lambda: [*GOOD, Family.gauge("a", "", {(): next(values)}), Family.gauge("b", "", {(): ""})]
    )
    for _ in range(3):
        assert (await run(slot)).frame == GOOD
    assert slot.rejected == {"value": 6}
    assert [message.split(":")[:2] for message in messages(caplog)] == [
        ["left out (value)", " a"],
        ["left out (value)", " b"],
    ]


async def test_what_hooks_make_of_an_answer_is_checked_too(slot_for):
    """A hook sees the collector's name and its families, and what it returns must be as valid as what came."""

    def transform(plugin, families):
        assert plugin == "collectors.told"
        return [Family.gauge("changed", "", families[0].samples), Family.gauge("1a", "", 1.0)]

    slot = slot_for("inline", lambda: GOOD, transform=transform)
    assert (await run(slot)).frame == [Family.gauge("changed", "", 1.0)]
    assert slot.rejected == {"family": 1}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("result", [5, ValueError("wrong"), SystemExit("wrong")], ids=repr)
async def test_a_transformation_that_fails_is_a_failure(slot_for, mode, result):
    """Nobody waits for ever because of it, and the next run is begun as ever."""

    def transform(plugin, families):
        if isinstance(result, BaseException):
            raise result
        return result

    slot = slot_for(mode, lambda: GOOD, transform=transform)
    for _ in range(2):
        assert (await run(slot)).status == "failed"
    assert slot.collector.calls == 2


async def test_a_blocking_collector_with_nothing_to_ask_needs_no_worker(slot_for):
    """Where a collector sees at once that there is nothing to wait for, it is asked here; else, and if it is told to
    run in a thread, in a worker.
    """
    threads = []
    for waits, threaded in ((False, None), (True, None), (False, True)):
        slot = slot_for("thread", lambda: threads.append(threading.get_ident()) or GOOD, threaded=threaded)
        slot.collector.waits = lambda waits=waits: waits
        assert (await run(slot)).frame == GOOD
    assert [thread == threading.get_ident() for thread in threads] == [True, False, False]


async def test_a_collector_that_cannot_say_whether_it_waits_fails_alone(slot_for):
    """What the question raises is the collector's failure."""
    slot = slot_for("thread", lambda: GOOD)
    slot.collector.waits = raising
    assert (await run(slot)).status == "failed"


def raising():
    raise RuntimeError("no answer")


@pytest.mark.parametrize("mode", MODES)
async def test_a_collector_that_fails_again_and_again_is_asked_at_growing_intervals(slot_for, mode, caplog):
    """From the fifth failure in a row it rests, twice as long each time up to five minutes, and still counts as failed;
    the first success ends that.
    """
    fails = True

    def work():
        if fails:
            raise OSError("the device is gone")
        return GOOD

    slot = slot_for(mode, work, clock=(clock := Hands()))
    asked = []
    for second in range(1500):
        clock.now = 1000.0 + second
        before = slot.collector.calls
        assert (await run(slot)).status == "failed"
        if slot.collector.calls > before:
            asked.append(second)
    assert asked == [0, 1, 2, 3, 4, 19, 49, 109, 229, 469, 769, 1069, 1369]
    assert slot.rests_for == 1369 + 300 - 1499
    failure, rest = messages(caplog)
    assert failure.startswith("failed: ")
    assert rest == (
        "has failed 5 times in a row: it is asked again in 15 s, and then at growing intervals of up to 300 s, "
        "until it works"
    )
    fails = False
    clock.now += slot.rests_for
    for _ in range(3):
        assert (await run(slot)).status == "ok"
    assert messages(caplog, logging.INFO) == ["works again"]
    fails = True
    for number in range(1, 6):
        assert (await run(slot)).status == "failed"
        assert (slot.rests_for > 0) is (number == 5)


async def test_a_collector_that_is_given_up_again_and_again_rests_too(slot_for):
    """Scrapes then do not wait for it each time."""
    slot = slot_for("async", lambda: asyncio.sleep(LONG), timeout=0.01)
    for _ in range(8):
        assert (await run(slot)).status == "timed out"
        await until(lambda: not slot.running)
    assert (slot.collector.calls, slot.timeouts) == (5, 5)


@pytest.mark.parametrize("error", [NoData("no such device"), Refused("it takes a drop-in")], ids=repr)
async def test_a_collector_without_data_never_rests(slot_for, error):
    """A machine that lacks the thing has answered: it is asked each time, as node_exporter does."""

    def work():
        raise error

    slot = slot_for("inline", work, clock=Hands())
    for _ in range(50):
        assert (await run(slot)).status == "no data"
    assert (slot.collector.calls, slot.rests_for) == (50, 0)


async def test_a_collector_that_rests_is_asked_when_somebody_has_looked_after_it(slot_for):
    """Whoever has mended the thing need not wait."""

    def work():
        raise OSError("the device is gone")

    slot = slot_for("inline", work, clock=Hands())
    for _ in range(10):
        await run(slot)
    slot.rouse()
    await run(slot)
    assert slot.collector.calls == 6


async def test_a_reader_who_cannot_wait_is_no_failure_of_the_collector(slot_for):
    """However often readers give up, it is their own deadline, and the run goes on."""
    slot = slot_for("async", lambda: asyncio.sleep(LONG))
    slot.begin(time.monotonic() + 0.01)
    for _ in range(20):
        slot.miss(0.01)
    assert slot.rests_for == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("fails", "works", "lacks")), st.floats(0, 400)), max_size=60))
def test_a_collector_is_never_left_alone_for_longer_than_five_minutes(runs):
    """Whatever comes of its runs, and whenever it is asked: fewer than five failures in a row bring no rest, a rest
    ends within five minutes, and what answers is asked each time.
    """

    def work():
        if does == "works":
            return GOOD
        raise OSError("no") if does == "fails" else NoData("no")

    clock = Hands()
    slot = Slot(Told("inline", work, clock), name="told", workers=Workers(), timeout=LONG, max_series=9)
    failures, last = 0, clock.now
    for does, wait in runs:
        clock.now += wait
        calls = slot.collector.calls
        slot.begin(clock.now + LONG)
        asked = slot.collector.calls > calls
        assert asked or (failures >= RESTS[0] and clock.now - last < RESTS[2])
        if asked:
            failures, last = (failures + 1 if does == "fails" else 0), clock.now
        assert slot.rests_for <= RESTS[2]
