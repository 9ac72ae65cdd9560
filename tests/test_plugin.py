"""What a plugin's base class gives it."""

import asyncio
import logging
import threading
from dataclasses import dataclass
from types import new_class
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from agentd.host import Host
from agentd.plugin import (
    Clock,
    Collector,
    Config,
    Context,
    Exporter,
    Metric,
    Plugin,
    Secret,
    Sink,
    Snapshot,
    counter,
    gauge,
)
from agentd.plugin.declared import declared_metrics


class Options(Config):
    speed: int = 1


class Required(Config):
    path: str


class Plain(Collector[Config]):
    name = "plain"


class Fast(Collector[Options]):
    name = "fast"


class Faster(Fast):
    name = "faster"


class Out(Exporter[Required]):
    name = "out"


class Bare(Collector):
    name = "bare"


@pytest.mark.parametrize(
    ("cls", "type_"), [(Plain, Config), (Fast, Options), (Faster, Options), (Out, Required), (Bare, Config)]
)
def test_the_class_of_options_is_taken_from_the_brackets(cls, type_):
    """Subclasses have it from their base, and who names none has no options."""
    assert cls.config_type is type_


T = TypeVar("T")
C = TypeVar("C", bound=Config)


class Open(Collector[C]):
    """Leaves its options open."""


class Pair(Generic[T, C], Collector[C]):
    """Has something else in its brackets, before its options."""


class Half(Pair[int, C]):
    """Has said the one, and not the other."""


class Settled(Pair[T, Options]):
    """Has said which options it has, and not the other."""


class Counted(Generic[T]):
    """No plugin."""


@dataclass
class Data:
    speed: int = 1


class Plainer(msgspec.Struct):
    speed: int = 1


@pytest.mark.parametrize(
    ("bases", "type_"),
    [
        ((Open[Options],), Options),
        ((Pair[Data, Options],), Options),
        ((Half[Options],), Options),
        ((Settled[int],), Options),
        ((Counted[Data], Collector[Options]), Options),
        ((Collector[Any],), Config),
    ],
    ids=str,
)
def test_brackets_may_be_filled_in_steps(bases, type_):
    """A base may leave its options open, and a class may have other things in its brackets."""
    assert new_class("Mine", bases).config_type is type_


@pytest.mark.parametrize("base", [Collector, Exporter, Sink, Open, Half], ids=lambda base: base.__name__)
@pytest.mark.parametrize("given", [Data, Plainer, int, None, dict[str, int]], ids=str)
def test_what_is_no_class_of_options_is_refused(base, given):
    """Without options of its own a plugin would silently have none: the error names the class, and what to do."""
    with pytest.raises(
        TypeError, match=r"^class Mine: .* in the brackets is no class of options: let it extend Config"
    ):
        new_class("Mine", (base[given],))


def test_options_that_are_only_named_in_quotes_are_refused():
    """They are not looked up, and the error says so."""
    with pytest.raises(TypeError, match=r"^class Mine: 'Options' in the brackets is not looked up: define it above"):
        new_class("Mine", (Collector["Options"],))


@pytest.mark.parametrize("kind", [Collector, Exporter])
def test_an_interval_may_be_written_as_in_the_configuration(kind):
    """Text becomes seconds; what is no duration is refused in the words of the configuration."""
    assert type("Timed", (kind,), {"interval": "1m"}).interval == 60.0
    assert type("Timed", (kind,), {"interval": 2.5}).interval == 2.5
    with pytest.raises(ValueError, match=r"expected a duration with its unit"):
        type("Timed", (kind,), {"interval": "5"})


def test_a_plugin_stands_on_its_own():
    """Made without anything, in a test say, it has its default options, this machine, a clock and a log."""
    plugin = Fast()
    assert plugin.config == Options(speed=1)
    assert isinstance(plugin.host, Host)
    assert isinstance(plugin.clock, Clock)
    assert plugin.clock.time() > 1.7e9
    assert plugin.clock.monotonic() <= plugin.clock.monotonic()
    assert plugin.context.name == "fast"
    assert plugin.log.name == "agentd.fast"
    assert list(plugin.routes()) == list(plugin.about()) == []
    assert plugin.context.labels == {}


def test_required_options_have_to_be_given():
    """There is nothing to take in their place."""
    with pytest.raises(TypeError, match="path"):
        Out()
    assert Out(Required(path="x")).config.path == "x"


def test_a_plugin_is_given_its_world():
    """Whatever the context holds is what it works with."""
    host, clock = Host(), Clock()
    plugin = Fast(Options(speed=7), Context(name="collectors.two", host=host, clock=clock, labels={"site": "x"}))
    assert (plugin.config.speed, plugin.host, plugin.clock) == (7, host, clock)
    assert plugin.log is logging.getLogger("agentd.collectors.two")
    assert Fast().context is not Fast().context


@pytest.mark.parametrize("payload", [5, "text", ["a"], object()])
def test_emitting_never_fails(payload):
    """A payload that is no object is handed on, for the agent to refuse, and its emitter does not fail for it."""
    taken = []
    Fast(None, Context(name="collectors.fast", emit=taken.append)).emit("a.b", payload)
    assert [(event.type, event.source, event.payload) for event in taken] == [("a.b", "collectors.fast", payload)]


async def test_beginning_and_end_do_nothing_by_default():
    """They may be called any number of times."""
    plugin = Fast()
    for call in (plugin.start, plugin.start, plugin.stop, plugin.stop):
        assert await call() is None


async def test_blocking_work_is_done_elsewhere():
    """Even outside of the agent the event loop is not held up."""
    assert await Fast().in_worker(threading.get_ident) != threading.get_ident()
    assert await Fast().in_worker(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await Fast().in_worker(divmod, 7, 0)


async def test_an_exporter_outside_of_the_agent_has_nothing_to_export():
    """The error says so. Inside, both calls go where the context leads."""
    alone = Out(Required(path="x"))
    with pytest.raises(RuntimeError, match="nothing to gather from"):
        await alone.gather()
    with pytest.raises(RuntimeError, match="cannot render"):
        await alone.render(Snapshot((), 0.0))

    async def gather(**keywords):
        return keywords

    async def render(snapshot, **keywords):
        return snapshot, keywords

    inside = Out(Required(path="x"), Context(gather=gather, render=render))
    assert await inside.gather(deadline=3) == {"deadline": 3}
    assert await inside.render("snapshot", gzip=True) == ("snapshot", {"gzip": True})


def test_a_collector_without_collect_says_so():
    """It fails alone, by its name."""
    with pytest.raises(NotImplementedError, match="Plain has no collect"):
        Plain().collect()
    assert Plain.blocking is True, "what says nothing about itself may block"
    assert Plain.interval is None


@pytest.mark.parametrize(("now", "deadline", "left"), [(5.0, None, float("inf")), (5.0, 7.5, 2.5), (8.0, 7.5, 0.0)])
def test_the_time_left_goes_by_the_clock(now, deadline, left):
    """It is never negative, and without a deadline there is all the time."""

    class Stopped(Clock):
        def monotonic(self):
            return now

    plugin = Plain(context=Context(clock=Stopped()))
    plugin.context.deadline = deadline
    assert plugin.time_left() == left


A, B, C, D = gauge("a", "A."), counter("b_total", "B."), gauge("c_*", "C {}."), Metric("d", "histogram", "D.")


def test_declared_metrics_are_found_wherever_they_are_declared():
    """Alone, in tuples, in mappings, in base classes; each once, in order of name."""

    class Base(Plugin[Config]):
        name = "base"
        d = D
        replaced = gauge("replaced", "")

    class Derived(Base):
        replaced = None
        several = (B, "no metric", B)
        by_name = {"c": C, "n": 1}
        alone = A

        @property
        def computed(self):
            raise RuntimeError

    assert declared_metrics(Derived) == [A, B, C, D]
    assert [metric.name for metric in declared_metrics(Base)] == ["d", "replaced"]
    assert declared_metrics(Plain) == []


def test_contexts_do_not_share_a_loop():
    """A plugin of a test may be used in one event loop after the other."""
    plugin = Fast()
    assert [asyncio.run(plugin.in_worker(int, "7")) for _ in range(2)] == [7, 7]


def test_what_a_server_says_is_harmless():
    """Secrets of the options are taken out of a text, however deep they are and however they are quoted."""

    class Inner(Config):
        """Options inside of others."""

        keys: dict[str, Secret] = {}

    class Options(Config):
        """Options of a test."""

        password: Secret = Secret('hunter"2')
        inner: Inner = Inner(keys={"x": Secret("s3cret")})

    class Talker(Collector[Options]):
        name = "talker"

    said = """no such user hunter"2, {"pass": "hunter\\"2"}, /?key=hunter%222, s3cret"""
    assert Talker().harmless(ValueError(said)) == """no such user ***, {"pass": "***"}, /?key=***, ***"""
    assert Talker(Options(password=Secret("a"))).harmless("a cat") == "a cat"
