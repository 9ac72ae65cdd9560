"""Plugin instances: each is built, started and stopped on its own."""

import asyncio
import logging
import threading
import time

import pytest

from agentd import instances, leaving
from agentd.config import CollectorKeys, ExporterKeys, Instance
from agentd.instances import About, Running, build, leave, pushing_for, slot_for, start, stop, tells
from agentd.metrics.family import Family
from agentd.metrics.workers import Workers
from agentd.options import Duration
from agentd.plugin import Collector, Config, Context, Exporter
from agentd.registry import PluginError

LONG = 60.0
"""Seconds that nothing in these tests takes."""


class Good(Collector[Config]):
    name = "good"

    def collect(self):
        return [Family.gauge("good", "", 1.0)]


class Out(Exporter[Config]):
    name = "out"


class Forgetful(Good):
    def __init__(self, *_):
        """Forgets to call that of its base class."""


class Shelf:
    """A registry of a few classes."""

    def __init__(self, **classes):
        self.classes = classes
        self.transform = None

    def plugin_class(self, kind, name):
        if name not in self.classes:
            raise PluginError(f"{name} is broken")
        return self.classes[name]

    def implemented(self, hook):
        return self.transform is not None and hook == "agentd_families"


def collector(name, **keys):
    """Return the settings of a collector instance."""
    return Instance("collectors", name, name, CollectorKeys(**keys), Config())


def built(cls, **keys):
    """Return an instance of this class."""
    (running,) = build([collector("one", **keys)], Shelf(one=cls), lambda instance: Context(name=instance.key))
    return running


def logged(caplog):
    """Return what was logged as an error or a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def raising(error):
    """Return a function, to be a method, that raises this."""

    def fail(*_):
        raise error

    return fail


def test_plugins_are_built_from_their_settings_in_order():
    """Each gets its options and a context of its own name."""
    exporter = Instance("exporters", "two", "out", ExporterKeys(), Config())
    one, two = build([collector("good"), exporter], Shelf(good=Good, out=Out), lambda each: Context(name=each.key))
    assert (type(one.plugin), one.plugin.context.name, one.plugin.config) == (Good, "collectors.good", Config())
    assert (type(two.plugin), two.plugin.context.name) == (Out, "exporters.two")
    assert one.up
    assert two.up


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), asyncio.CancelledError("no")], ids=repr)
def test_one_that_cannot_be_built_is_named_and_alone(error, caplog):
    """All others are built."""
    bad = type("Bad", (Good,), {"__init__": raising(error)})
    runnings = build(
        [collector("broken"), collector("bad"), collector("good")],
        Shelf(bad=bad, good=Good),
        lambda each: Context(name=each.key),
    )
    assert [running.up for running in runnings] == [False, False, True]
    broken, failed = logged(caplog)
    assert broken == "collectors.broken cannot be loaded: broken is broken; everything else runs"
    assert f"collectors.bad cannot be set up: {type(error).__name__}: no (at " in failed
    assert runnings[1].error in failed


async def test_starting_and_stopping_call_the_plugin():
    """Its own coroutines are awaited."""
    calls = []

    class Counted(Good):
        async def start(self):
            await asyncio.sleep(0)
            calls.append("start")

        async def stop(self):
            await asyncio.sleep(0)
            calls.append("stop")

    running = built(Counted)
    await start(running)
    await stop(running)
    assert calls == ["start", "stop"]
    assert running.up


async def test_leaving_calls_the_plugin_and_its_failure_is_only_told(caplog):
    """A plugin says good-bye to its clients; one that cannot, and one that was never built, hold up nothing."""
    calls = []

    class Polite(Good):
        async def leave(self):
            calls.append("leave")
            raise OSError("gone")

    await leave(built(Polite))
    await leave(built(Good))
    assert calls == ["leave"]
    assert "did not leave cleanly: OSError: gone" in logged(caplog)[0]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), asyncio.CancelledError("no")], ids=repr)
async def test_one_that_cannot_start_is_stopped_and_named(error, caplog):
    """What it opened before it failed can so be closed."""
    stopped = []

    class Bad(Good):
        start = raising(error)

        async def stop(self):
            stopped.append(True)

    running = built(Bad)
    await start(running)
    assert not running.up
    assert stopped == [True]
    assert running.error.startswith("cannot start: ")
    assert logged(caplog) == [f"collectors.one {running.error}; everything else runs"]


@pytest.mark.parametrize("call", ["start", "stop"])
async def test_one_that_hangs_at_its_beginning_or_end_is_left_behind(call, monkeypatch, caplog):
    """It gets some time, and not for ever."""
    monkeypatch.setattr(leaving, "LEFT", 0.02)
    monkeypatch.setattr(instances, "START_WITHIN", 0.02)
    monkeypatch.setattr(instances, "STOP_WITHIN", 0.02)
    ended = asyncio.Event()

    async def hang(_):
        try:
            await asyncio.sleep(LONG)
        finally:
            ended.set()

    running = built(type("Hanging", (Good,), {call: hang}))
    await asyncio.wait_for(start(running) if call == "start" else stop(running), LONG)
    assert "not done after 0.02 s" in logged(caplog)[0]
    assert running.up is (call == "stop")
    await asyncio.wait_for(ended.wait(), LONG)


async def test_one_that_takes_long_to_stop_is_not_cut_off(caplog):
    """Nobody waits longer than they said; it is told of, and closes what it has open all the same."""
    ending, closed = asyncio.Event(), asyncio.Event()

    class Slow(Good):
        async def stop(self):
            await ending.wait()
            closed.set()

    await stop(built(Slow), 0.01)
    assert "not done after 0.01 s" in logged(caplog)[0]
    ending.set()
    await asyncio.wait_for(closed.wait(), LONG)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), asyncio.CancelledError("no")], ids=repr)
async def test_one_that_cannot_stop_is_only_told_of(error, caplog):
    """The end goes on."""
    await stop(built(type("Bad", (Good,), {"stop": raising(error)})))
    (message,) = logged(caplog)
    assert message.startswith("collectors.one did not stop cleanly: ")


async def test_what_was_never_built_is_neither_started_nor_stopped():
    """There is nothing to call."""
    running = Running(collector("broken"))
    await start(running)
    await stop(running)
    assert not running.up


def test_only_collectors_that_are_up_have_slots():
    """An exporter has none, and neither has what could not be built or started."""
    exporter = Instance("exporters", "out", "out", ExporterKeys(), Config())
    (out,) = build([exporter], Shelf(out=Out), lambda each: Context(name=each.key))
    down = built(Good)
    down.fail("cannot start", "why")
    for running in (out, down, Running(collector("broken"))):
        assert slot_for(running, Shelf(), Workers()) is None


def test_slots_go_by_the_configuration_and_else_by_the_plugin():
    """A key that is left out is the collector's own choice."""

    class Scheduled(Good):
        interval = 30.0
        blocking = False

    own = slot_for(built(Scheduled), Shelf(), Workers())
    assert (own.name, own.key, own.interval, own.timeout) == ("one", "collectors.one", 30.0, 5.0)
    assert own.inline
    keys = {"interval": Duration(60), "timeout": Duration(2), "isolation": "thread"}
    set_ = slot_for(built(Scheduled, **keys), Shelf(), Workers())
    assert (set_.interval, set_.timeout, set_.inline) == (60.0, 2.0, False)


@pytest.mark.parametrize(
    "cls",
    [Forgetful, *(type("Odd", (Good,), {"interval": each}) for each in (0, -1.0, float("nan"), float("inf"), b"15s"))],
    ids=lambda cls: str(cls.interval),
)
def test_one_that_cannot_have_a_slot_is_named_and_alone(cls, caplog):
    """A constructor that leaves out its base class's, and an interval that is none, are errors of that plugin."""
    running = built(cls)
    assert slot_for(running, Shelf(), Workers()) is None
    assert not running.up
    assert "cannot be set up" in logged(caplog)[0]


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), b"15s", None])
def test_an_exporter_with_an_interval_that_is_none_is_named_and_alone(interval, caplog):
    """It is an error of that exporter, and nothing else."""

    class Odd(Exporter[Config]):
        name = "odd"

        def export(self, snapshot):
            """Do nothing."""

    Odd.interval = interval
    running = Running(Instance("exporters", "odd", "odd", ExporterKeys(), Config()), Odd())
    assert pushing_for(running) is None
    assert not running.up
    assert f"its interval is {interval!r}" in logged(caplog)[0]


def test_an_exporter_without_its_base_s_constructor_is_named_and_alone(caplog):
    """As with collectors: what it lacks is an error of that exporter."""

    class Forgets(Exporter[Config]):
        name = "forgets"

        def __init__(self, *_):
            pass

        def export(self, snapshot):
            """Do nothing."""

    running = Running(Instance("exporters", "forgets", "forgets", ExporterKeys(), Config()), Forgets())
    assert pushing_for(running) is None
    assert not running.up
    assert "cannot be set up: AttributeError" in logged(caplog)[0]


def test_exporters_go_by_the_configuration_and_else_by_the_plugin():
    """A key that is left out is the exporter's own choice; one that has no export has nothing to be called."""

    class Timed(Exporter[Config]):
        name = "timed"
        interval = "5s"

        def export(self, snapshot):
            """Do nothing."""

    def made(cls, **keys):
        return pushing_for(Running(Instance("exporters", "timed", "timed", ExporterKeys(**keys), Config()), cls()))

    assert made(Timed)._interval == Timed.interval == 5.0
    assert made(Timed, interval=Duration(60))._interval == 60.0
    assert made(Exporter) is None


async def test_hooks_and_limits_of_a_slot_are_those_that_are_there():
    """The budget of series and the hook that changes families come with it."""
    shelf = Shelf()
    shelf.transform = lambda plugin, families: [*families, Family.gauge("more", "", {plugin: 1.0, "x": 2.0}, ("p",))]
    slot = slot_for(built(type("Inline", (Good,), {"blocking": False}), max_series=2), shelf, Workers())
    slot.begin(time.monotonic() + LONG)
    assert [len(family.samples) for family in slot.last.frame] == [1, 1]
    assert slot.rejected == {"max_series": 1}


async def test_isolation_decides_where_it_runs():
    """In a thread of the workers where that is asked for."""
    where = []
    workers = Workers()
    cls = type("Where", (Good,), {"blocking": False, "collect": lambda self: where.append(threading.get_ident()) or []})
    slot = slot_for(built(cls, isolation="thread"), Shelf(), workers)
    await asyncio.wait_for(slot.begin(time.monotonic() + LONG), LONG)
    assert where != [threading.get_ident()]
    workers.close()


class Telling(Good):
    def about(self):
        yield Family.counter("told_total", "", 1.0)
        yield Family.gauge("1a", "", 1.0)


def test_what_a_plugin_tells_about_itself_is_checked(caplog):
    """What is wrong with it is left out, and named once."""
    running = built(Telling)
    assert tells(running)
    about = About(running)
    for _ in range(3):
        assert [family.name for family in about()] == ["told_total"]
    (message,) = logged(caplog)
    assert "collectors.one" in message
    assert "1a" in message


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), asyncio.CancelledError("no")], ids=repr)
def test_one_that_cannot_tell_about_itself_tells_nothing(error, caplog):
    """It is named once, and the metrics of all others are shown."""
    about = About(built(type("Bad", (Good,), {"about": raising(error)})))
    assert [about() for _ in range(3)] == [[]] * 3
    assert len(logged(caplog)) == 1


def test_one_that_has_nothing_to_tell_is_not_asked():
    """Nor is one that is not up."""
    assert not tells(built(Good))
    down = built(Telling)
    down.fail("cannot start", "why")
    assert not tells(down)
