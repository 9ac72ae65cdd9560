"""What runs: exchanged, paused, and tried again where it cannot start."""

import asyncio

import pytest

from agentd import roster
from agentd.config import CollectorKeys, ExporterKeys, Instance
from agentd.instances import slot_for
from agentd.metrics.gather import Gatherer
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, Context, Exporter, Family
from agentd.registry import PluginError
from agentd.roster import CannotRunError, Roster


class Shelf:
    """A registry of a few classes."""

    def __init__(self, **classes):
        self.classes = classes

    def plugin_class(self, kind, name):
        if name not in self.classes:
            raise PluginError(f"{name} is broken")
        return self.classes[name]

    def implemented(self, hook):
        return False


class Quiet:
    """A flow of events without sinks, which remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, type, **payload):
        self.said.append((type, payload["plugin"]))

    def deliver(self, sinks):
        assert not list(sinks)

    async def retire(self, names, within):
        assert not list(names)


class Counting(Collector[Config]):
    """Counts its beginnings and ends in a list of its class."""

    name = "counting"
    blocking = False

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        cls.calls, cls.failures = [], 0

    async def start(self):
        self.calls.append("start")
        if type(self).failures:
            type(self).failures -= 1
            raise OSError("not yet")

    async def stop(self):
        self.calls.append("stop")

    def collect(self):
        return [Family.gauge("up", "", {(self.context.name,): 1.0}, ("who",))]


def wanted(*names, **keys):
    """Return the settings of collectors."""
    return [Instance("collectors", name, name, CollectorKeys(**keys), Config()) for name in names]


class World:
    """A roster, and what it acts on."""

    def __init__(self):
        self.gatherer, self.flow, self.workers, self.shown = Gatherer(), Quiet(), Workers(), []
        self.roster = Roster(
            self.gatherer,
            self.flow,
            lambda running, registry: slot_for(running, registry, self.workers),
            lambda one: Context(name=one.key),
            lambda runnings: self.shown.append([each.instance.key for each in runnings if each.up]),
        )

    async def names(self):
        """Return the collectors that answer."""
        snapshot = await self.gatherer.gather()
        families = [family for family in snapshot.families if family.name == "up"]
        return sorted(name for family in families for (name,) in family.samples)


@pytest.fixture
async def world():
    """Return a roster without plugins, which ends with the test."""
    made = World()
    yield made
    await made.roster.leave()
    await made.gatherer.stop()
    await made.roster.stop("collectors")
    made.workers.close()


async def nothing():
    """Do nothing at the last moment."""


async def refuse():
    """Refuse at the last moment."""
    raise OSError("an address is taken")


async def until(condition):
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def make(**attributes):
    """Return a class of collectors of its own."""
    return type("Made", (Counting,), attributes)


async def test_what_goes_on_is_not_touched(world):
    """Of three collectors one goes on, one is begun anew beside its old one, and one ends."""
    shelf = Shelf(a=make(), b=make(), c=make())
    await world.roster.begin(wanted("a", "b", "c"), shelf)
    assert await world.names() == ["collectors.a", "collectors.b", "collectors.c"]
    await world.roster.change(wanted("b", "a"), {"collectors.b"}, shelf, nothing)
    assert await world.names() == ["collectors.a", "collectors.b"]
    assert [each.instance.key for each in world.roster.runnings] == ["collectors.b", "collectors.a"]
    calls = [shelf.classes[name].calls for name in "abc"]
    assert calls == [["start"], ["start", "start", "stop"], ["start", "stop"]]


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_refusal_at_the_last_moment_undoes_all(world, exclusive):
    """What was begun is ended, what was ended for it is begun again, and what is shown is what was shown before."""
    shelf = Shelf(a=make(exclusive=exclusive))
    await world.roster.begin(wanted("a"), shelf)
    with pytest.raises(OSError, match="taken"):
        await world.roster.change(wanted("a", "b"), {"collectors.a", "collectors.b"}, Shelf(a=make(), b=make()), refuse)
    assert await world.names() == ["collectors.a"]
    assert world.shown[-1] == ["collectors.a"]
    assert world.roster.runnings[0].up


async def test_an_exclusive_one_begins_when_the_old_one_has_ended(world):
    """Two of it never run at once; where the new one cannot start, the old one is begun again."""
    cls = make(exclusive=True)
    shelf = Shelf(a=cls)
    await world.roster.begin(wanted("a"), shelf)
    await world.roster.change(wanted("a"), {"collectors.a"}, shelf, nothing)
    assert cls.calls == ["start", "stop", "start"]
    cls.failures = 1
    with pytest.raises(CannotRunError, match=r"collectors\.a cannot start: OSError: not yet"):
        await world.roster.change(wanted("a"), {"collectors.a"}, shelf, nothing)
    assert world.roster.runnings[0].up
    assert await world.names() == ["collectors.a"]


async def test_what_cannot_start_is_tried_again(world, monkeypatch):
    """A plugin that cannot start at first runs as soon as it can, and both is told."""
    monkeypatch.setattr(roster, "AGAIN", (0.2, 0.2))
    cls = make()
    cls.failures = 3
    await world.roster.begin(wanted("a"), Shelf(a=cls))
    assert await world.names() == []
    await until(lambda: len(world.flow.said) > 1)
    assert await world.names() == ["collectors.a"]
    assert world.flow.said == [("plugin.failed", "collectors.a"), ("plugin.recovered", "collectors.a")]


async def test_what_cannot_be_loaded_is_not_tried_again(world, monkeypatch):
    """A plugin whose code is broken waits for somebody to mend it."""
    monkeypatch.setattr(roster, "AGAIN", (0.01, 0.01))
    await world.roster.begin(wanted("a"), Shelf())
    await asyncio.sleep(0.1)
    assert world.flow.said == [("plugin.failed", "collectors.a")]


async def test_one_that_is_paused_stays_so_through_a_change(world):
    """A pause outlasts a reload, ends by itself, and ends when somebody says so."""
    shelf = Shelf(a=make(), b=make())
    await world.roster.begin(wanted("a", "b"), shelf)
    await world.roster.pause("collectors.a", 3600)
    assert await world.names() == ["collectors.b"]
    await world.roster.change(wanted("a", "b"), {"collectors.a", "collectors.b"}, shelf, nothing)
    assert await world.names() == ["collectors.b"]
    await world.roster.resume("collectors.a")
    assert await world.names() == ["collectors.a", "collectors.b"]
    await world.roster.pause("collectors.b", 0.05)
    await until(lambda: world.roster.runnings[1].up)
    with pytest.raises(KeyError):
        await world.roster.pause("collectors.c", 1)


async def test_one_that_rests_is_asked_again_when_somebody_says_so(world):
    """A collector that has failed again and again is asked at the next scrape after it was resumed, and is not begun
    anew for that.
    """
    cls = make()
    await world.roster.begin(wanted("a"), Shelf(a=cls))
    (running,) = world.roster.runnings
    running.plugin.collect = lambda: 1 / 0
    for _ in range(5):
        assert await world.names() == []
    del running.plugin.collect
    assert await world.names() == []
    await world.roster.resume("collectors.a")
    assert await world.names() == ["collectors.a"]
    assert cls.calls == ["start"]


async def test_what_has_a_schedule_is_there_at_once(world):
    """A collector with an interval has answered before the old one is given up."""
    cls = make(interval=3600.0)
    shelf = Shelf(a=cls)
    await world.roster.begin(wanted("a"), shelf)
    await world.roster.change(wanted("a"), {"collectors.a"}, shelf, nothing)
    assert await world.names() == ["collectors.a"]


async def test_exporters_start_behind_collectors(world):
    """An exporter may gather when it starts."""

    class Out(Exporter[Config]):
        name = "out"

        async def start(self):
            self.found = [each.up for each in world.roster.runnings] or shelf.classes["a"].calls

    shelf = Shelf(a=make(), out=Out)
    settings = [Instance("exporters", "out", "out", ExporterKeys(), Config()), *wanted("a")]
    await world.roster.begin(settings, shelf)
    assert world.roster.runnings[0].plugin.found == ["start"]


async def test_one_that_rests_is_begun_when_its_time_is_over(world):
    """What held up the agent is left out at the start, in its place and through a change, until its time is over or
    somebody says so; who is not configured any more does not rest either.
    """
    shelf = Shelf(a=make(), b=make(), c=make())
    resting = {"collectors.a": 2.0, "collectors.b": 3600.0, "collectors.gone": 3600.0}
    await world.roster.begin(wanted("a", "b", "c"), shelf, resting)
    assert [each.instance.key for each in world.roster.runnings] == ["collectors.a", "collectors.b", "collectors.c"]
    assert world.flow.said == [("plugin.rests", "collectors.a"), ("plugin.rests", "collectors.b")]
    assert "held up the whole agent" in world.roster.runnings[1].error
    assert shelf.classes["b"].calls == []
    await until(lambda: world.roster.runnings[0].up)
    await world.roster.change(wanted("a", "b", "c"), {"collectors.b"}, shelf, nothing)
    assert await world.names() == ["collectors.a", "collectors.c"]
    await world.roster.resume("collectors.b")
    assert await world.names() == ["collectors.a", "collectors.b", "collectors.c"]
    assert world.flow.said[2:] == [("plugin.recovered", "collectors.a"), ("plugin.recovered", "collectors.b")]
