"""Gathering: what all collectors say now, in time, whatever one of them does."""

import asyncio
import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics import gather as gather_module
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Histogram
from agentd.metrics.frame import Frame
from agentd.metrics.gather import Gatherer, UnknownCollectorError
from agentd.metrics.rules import Rule, Rules
from agentd.metrics.slot import Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, Context, NoData

LONG = 60.0
"""Seconds that nothing in these tests takes: a deadline that must not matter, and the patience of the tests."""


class Told(Collector[Config]):
    """A collector that does what it is told: an ``async`` one where ``work`` is."""

    def __init__(self, name, work, *, blocking=False):
        super().__init__(context=Context(name=f"collectors.{name}"))
        self.blocking = blocking
        self.work = work
        self.calls = 0

    def collect(self):
        self.calls += 1
        return self.work() if callable(self.work) else self.work


def tells(name, value=1.0):
    """Return an answer of one family."""
    return [Family.gauge(name, "", value)]


def raises(error):
    """Return something to do that fails."""

    def work():
        raise error

    return work


@pytest.fixture
def hang():
    """An event for which threads wait; it is set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def gatherer_of(hang):
    """Makes a gatherer of collectors, given by name; ``limits`` are those of their slots."""
    workers, made = Workers(), []

    def make(*collectors, **limits):
        keywords = {"timeout": LONG, "max_series": 100, **limits}
        gatherer = Gatherer()
        gatherer.take(
            Slot(each, name=each.context.name.partition(".")[2], workers=workers, **keywords) for each in collectors
        )
        made.append(gatherer)
        return gatherer

    yield make
    hang.set()
    for gatherer in made:
        await gatherer.stop()
    workers.close()


@pytest.fixture(autouse=True)
def all_logged(caplog):
    """Lets every message of the agent be seen."""
    caplog.set_level(logging.INFO, "agentd")


def series(snapshot):
    """Return the values of a snapshot by name and label values."""
    return {(family.name, *key): value for family in snapshot.families for key, value in family.samples.items()}


def about(snapshot, name):
    """Return what ``agentd_collector_*`` says of one collector, but for times, and what node_exporter's metric says."""
    found = {
        key[0].removeprefix("agentd_collector_"): value
        for key, value in series(snapshot).items()
        if key[1:2] == (f"collectors.{name}",) and not key[0].endswith("seconds")
    }
    return found | {"node": series(snapshot).get(("node_scrape_collector_success", name))}


async def until(so):
    """Wait until something is so."""
    end = time.monotonic() + LONG
    while not so():
        assert time.monotonic() < end, "not so in time"
        await asyncio.sleep(0.005)


async def test_a_snapshot_holds_what_all_say_and_how_it_went(gatherer_of):
    """Families come in the order of the collectors, and behind them what is told about each."""
    gatherer = gatherer_of(Told("one", tells("a")), Told("two", lambda: tells("b"), blocking=True))
    gatherer.sources = [lambda: Frame.of(tells("own"))]
    before = time.time()
    snapshot = await gatherer.gather()
    assert [family.name for family in snapshot.families] == [
        "a",
        "b",
        "node_scrape_collector_duration_seconds",
        "node_scrape_collector_success",
        "agentd_collector_duration_seconds",
        "agentd_collector_success",
        "agentd_collector_series",
        "agentd_collector_timeouts_total",
        "agentd_collectors_resting",
        "own",
    ]
    assert before <= snapshot.timestamp <= time.time()
    for name in ("one", "two"):
        assert about(snapshot, name) == {"node": 1.0, "success": 1.0, "series": 1.0, "timeouts_total": 0.0}
        assert series(snapshot)[("agentd_collector_duration_seconds", f"collectors.{name}")] >= 0


async def test_readers_may_ask_for_some(gatherer_of):
    """Only what is asked for is collected, and what is told about collectors is about those."""
    one, two = Told("one", tells("a")), Told("two", tells("b"))
    gatherer = gatherer_of(one, two)
    snapshot = await gatherer.gather(only={"two"})
    assert ("b",) in series(snapshot)
    assert (about(snapshot, "one"), one.calls, two.calls) == ({"node": None}, 0, 1)
    await gatherer.gather(exclude={"two", "nobody"})
    assert (one.calls, two.calls) == (1, 1)
    with pytest.raises(UnknownCollectorError, match="nobody"):
        await gatherer.gather(only={"one", "nobody"})


async def test_one_that_fails_takes_nothing_else_down(gatherer_of, caplog):
    """Its series are absent, its success is 0, and the log names it once."""
    gatherer = gatherer_of(Told("bad", raises(SystemExit(3))), Told("good", tells("a")))
    for _ in range(3):
        snapshot = await gatherer.gather()
        assert ("a",) in series(snapshot)
        assert about(snapshot, "bad") == {"node": 0.0, "success": 0.0, "series": 0.0, "timeouts_total": 0.0}
    assert [record.name for record in caplog.records] == ["agentd.collectors.bad"]


async def test_a_machine_that_lacks_the_thing_is_no_failure(gatherer_of, caplog):
    """As node_exporter has it, its success is 0 there; here it has none, and the log is silent."""
    snapshot = await gatherer_of(Told("none", raises(NoData("no device")))).gather()
    assert about(snapshot, "none") == {"node": 0.0, "series": 0.0, "timeouts_total": 0.0}
    assert caplog.records == []


async def test_a_reader_gets_the_rest_at_its_deadline(gatherer_of, hang, caplog):
    """What hangs is counted, and the next reader waits for the same run."""
    stuck = Told("stuck", lambda: hang.wait() and tells("a"), blocking=True)
    gatherer = gatherer_of(stuck, Told("good", tells("b")), Told("quick", lambda: tells("c"), blocking=True))
    for count in (1.0, 2.0):
        snapshot = await gatherer.gather(deadline=1.0)
        assert {("b",), ("c",)} <= series(snapshot).keys()
        assert about(snapshot, "stuck") == {"node": 0.0, "success": 0.0, "series": 0.0, "timeouts_total": count}
    hang.set()
    assert ("a",) in series(await gatherer.gather(deadline=LONG))
    assert stuck.calls == 1
    assert len(caplog.records) == 1


async def test_one_that_hangs_beyond_its_timeout_delays_nobody_and_recovers(gatherer_of, hang):
    """Once given up it is not waited for any more; when it has come back it is asked again."""
    stuck = Told("stuck", lambda: hang.wait() and tells("a"), blocking=True)
    gatherer = gatherer_of(stuck, Told("quick", lambda: tells("c"), blocking=True))
    gatherer.slots["stuck"].timeout = 0.1
    for _ in range(4):
        snapshot = await asyncio.wait_for(gatherer.gather(deadline=1000), LONG)
        assert ("c",) in series(snapshot)
        assert about(snapshot, "stuck") == {"node": 0.0, "success": 0.0, "series": 0.0, "timeouts_total": 1.0}
    assert stuck.calls == 1
    hang.set()
    await until(lambda: not gatherer.slots["stuck"].running)
    assert ("a",) in series(await gatherer.gather())
    assert stuck.calls == 2


async def test_readers_at_once_share_one_run(gatherer_of, hang):
    """Two scrapes that meet cost one collection, and both get its answer."""
    shared = Told("shared", lambda: hang.wait() and tells("a"), blocking=True)
    gatherer = gatherer_of(shared)
    readers = [asyncio.create_task(gatherer.gather(deadline=LONG)) for _ in range(3)]
    await until(lambda: shared.calls)
    hang.set()
    assert all(("a",) in series(snapshot) for snapshot in await asyncio.gather(*readers))
    assert shared.calls == 1


async def test_a_reader_that_goes_away_disturbs_nobody(gatherer_of, hang):
    """A client that hangs up in the middle leaves the run to the others."""
    shared = Told("shared", lambda: hang.wait() and tells("a"), blocking=True)
    gatherer = gatherer_of(shared)
    leaving, staying = (asyncio.create_task(gatherer.gather(deadline=LONG)) for _ in range(2))
    await until(lambda: shared.calls)
    leaving.cancel()
    await asyncio.wait({leaving})
    hang.set()
    assert ("a",) in series(await staying)
    assert shared.calls == 1


async def test_what_two_collectors_claim_is_the_first_ones(gatherer_of, caplog):
    """It is counted against the later one with each scrape, and named in the log once."""
    gatherer = gatherer_of(Told("one", tells("a")), Told("two", [*tells("a", 2.0), *tells("b")]))
    gatherer.sources = [lambda: Frame.of([Family.counter("a", "", 3.0)])]
    for count in (1.0, 2.0, 3.0):
        found = series(snapshot := await gatherer.gather())
        assert (found[("a",)], found[("b",)]) == (1.0, 1.0)
        assert found.get(("agentd_collector_rejected_total", "collectors.two", "duplicate"), 0.0) == count - 1
        Renderer().render(snapshot.families)
    assert sorted((record.name, record.getMessage()) for record in caplog.records) == [
        (
            "agentd.collectors.two",
            "left out (duplicate): a: label values () were there already (came first from collectors.one)",
        ),
        (
            "agentd.metrics.gather",
            "left out (conflict): a: is a counter here, and was a gauge before (came first from collectors.one)",
        ),
    ]


async def test_what_others_have_written_gives_way(gatherer_of):
    """A collector of what others have written takes no series from a later collector, nor from the agent."""
    theirs = Told("aaa", [*tells("a", 1.0), *tells("own", 1.0), *tells("c", 1.0)])
    theirs.foreign = True
    gatherer = gatherer_of(theirs, Told("two", tells("a", 2.0)))
    gatherer.sources = [lambda: Frame.of(tells("own", 2.0))]
    for _ in range(2):
        found = series(await gatherer.gather())
        assert (found[("a",)], found[("own",)], found[("c",)]) == (2.0, 2.0, 1.0)


async def test_rules_are_applied_to_what_a_reader_gets(gatherer_of):
    """They belong to the reader: another one gets all of it, and what they make equal is shown once."""
    gatherer = gatherer_of(Told("one", [*tells("a"), *tells("b", 2.0), *tells("c")]))
    rules = Rules([Rule(action="drop", name="c"), Rule(action="rename", name="b", to="a")])
    found = series(await gatherer.gather(rules=rules))
    assert (found.get(("a",)), found.get(("b",)), found.get(("c",))) == (1.0, None, None)
    assert {("a",), ("b",), ("c",)} <= series(await gatherer.gather()).keys()


async def test_a_collector_with_an_interval_runs_on_its_own(gatherer_of):
    """Readers get its last good answer with its age, and cause no run."""
    slow = Told("slow", lambda: tells("a"))
    gatherer = gatherer_of(slow, interval=LONG)
    await until(lambda: gatherer.slots["slow"].good)
    calls = slow.calls
    for _ in range(5):
        snapshot = await gatherer.gather()
        assert ("a",) in series(snapshot)
        assert 0 <= series(snapshot)[("agentd_collector_age_seconds", "collectors.slow")] < LONG
    assert slow.calls == calls


async def test_before_its_first_answer_nothing_is_known_of_it(gatherer_of, hang):
    """Neither a success nor a failure, and no series."""
    gatherer = gatherer_of(Told("slow", lambda: hang.wait() and tells("a"), blocking=True), interval=LONG)
    await until(lambda: gatherer.slots["slow"].running)
    assert about(await asyncio.wait_for(gatherer.gather(deadline=1000), LONG), "slow") == {
        "node": None,
        "timeouts_total": 0.0,
    }


async def test_the_last_good_answer_is_shown_for_three_intervals(gatherer_of, monkeypatch):
    """Meanwhile its failure and its age are told; afterwards its series, and their age, are absent."""
    monkeypatch.setattr(gather_module.random, "uniform", lambda _low, _high: 0.0)  # so the second run comes at once
    answers = [tells("a")]
    gatherer = gatherer_of(Told("slow", answers.pop), interval=1.0)
    slot = gatherer.slots["slow"]
    await until(lambda: slot.last is not None and slot.last.status == "failed")
    found = series(await gatherer.gather())
    assert ("a",) in found
    assert found[("agentd_collector_success", "collectors.slow")] == 0.0
    assert ("agentd_collector_age_seconds", "collectors.slow") in found
    begun = slot.good.at
    while ("a",) in found:
        await asyncio.sleep(0.02)
        found = series(await gatherer.gather())
    assert time.monotonic() - begun > 3.0
    assert ("agentd_collector_age_seconds", "collectors.slow") not in found
    assert found[("agentd_collector_success", "collectors.slow")] == 0.0


async def test_a_schedule_never_queues_behind_itself(gatherer_of, hang):
    """While a run hangs, the interval passes again and again without another one."""
    stuck = Told("stuck", lambda: hang.wait() and tells("a"), blocking=True)
    gatherer = gatherer_of(stuck, interval=0.01, timeout=0.05)
    await until(lambda: gatherer.slots["stuck"].timeouts)
    await asyncio.sleep(0.1)
    assert (stuck.calls, gatherer.slots["stuck"].timeouts) == (1, 1)
    hang.set()
    await until(lambda: stuck.calls > 2)
    async with asyncio.timeout(LONG):
        while ("a",) not in series(await gatherer.gather()):  # noqa: ASYNC110  # a scrape is all that tells
            await asyncio.sleep(0.005)


async def test_stop_ends_schedules(gatherer_of):
    """After it nothing runs any more."""
    collector = Told("often", lambda: tells("a"))
    gatherer = gatherer_of(collector, interval=0.005)
    await until(lambda: collector.calls > 2)
    await gatherer.stop()
    calls = collector.calls
    await asyncio.sleep(0.05)
    assert collector.calls == calls


FAMILIES = st.builds(
    lambda name, keys, text, histogram: (
        Family.histogram(name, text, dict.fromkeys(keys, Histogram(((1.0, 1.0),), 2.0, 3.0)), ("x",))
        if histogram
        else Family.gauge(name, text, dict.fromkeys(keys, 1.5), ("x",))
    ),
    st.sampled_from(["a", "b", "a_count"]),
    st.lists(st.sampled_from(["1", "2", ""]), unique=True),
    st.sampled_from(["One.", "Other."]),
    st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(pool=st.lists(st.lists(FAMILIES, max_size=3), min_size=1, max_size=3), data=st.data())
def test_snapshots_of_one_shape_differ_in_their_numbers_only(pool, data):
    """A renderer that goes by the shape of snapshots writes what one writes that looks at all of each."""

    async def scrape():
        collectors = [Told(name, []) for name in ("one", "two", "three")]
        gatherer, workers = Gatherer(), Workers()
        gatherer.take(
            Slot(each, name=each.context.name[11:], workers=workers, timeout=LONG, max_series=100)
            for each in collectors
        )
        renderer = Renderer()
        for _ in range(data.draw(st.integers(1, 8))):
            data.draw(st.sampled_from(collectors)).work = data.draw(st.sampled_from(pool))
            only = data.draw(st.sampled_from([None, {"one"}, {"one", "two"}]))
            snapshot = await gatherer.gather(only=only)
            assert renderer.render(snapshot.families) == Renderer().render(snapshot.families)
        await gatherer.stop()

    logging.disable()
    try:
        asyncio.run(scrape())
    finally:
        logging.disable(logging.NOTSET)


async def test_how_many_rest_is_told(gatherer_of):
    """A collector that has failed five times in a row is not asked any more, is shown as failed, and counted."""
    failing = Told("one", raises(OSError("gone")))
    gatherer = gatherer_of(failing, Told("two", tells("b")), Told("three", raises(NoData("none"))))
    resting = []
    for _ in range(8):
        found = {family.name: family.samples for family in (await gatherer.gather()).families}
        resting.append(found["agentd_collectors_resting"][()])
        assert found["agentd_collector_success"] == {("collectors.one",): 0.0, ("collectors.two",): 1.0}
        assert found["node_scrape_collector_success"] == {("one",): 0.0, ("two",): 1.0, ("three",): 0.0}
    assert resting == [0, 0, 0, 0, 1, 1, 1, 1]
    assert failing.calls == 5
