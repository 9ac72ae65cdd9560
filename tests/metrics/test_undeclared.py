"""What a collector tells and does not declare is found, counted and named once."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics.family import Family
from agentd.metrics.frame import Layout
from agentd.metrics.gather import Gatherer
from agentd.metrics.slot import Slot
from agentd.metrics.undeclared import MOST, Undeclared
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, Context, counter, gauge
from agentd.plugin.declared import declared_metrics
from agentd.registry import Registry


class Options(Config):
    named: str = ""

    def metric_names(self):
        return {("named",): self.named} if self.named else {}


class Pump(Collector[Options]):
    """Declares in each way in which a class may."""

    name = "pump"
    blocking = False
    level = gauge("pump_level_ratio", "How full it is.")
    STATES = {"on": gauge("pump_on", "Whether it is on.")}
    COUNTERS = (counter("pump_starts_total", "Starts."), counter("pump_*_seconds_total", "Time in the state {}."))
    told = ("pump_level_ratio",)

    def collect(self):
        return [Family.gauge(name, "", 1.0) for name in self.told]


class Silent(Collector[Config]):
    """Declares nothing."""

    name = "silent"
    blocking = False

    def collect(self):
        return [Family.gauge("silent_any", "", 1.0)]


class Reader(Pump):
    """Tells what others have written."""

    foreign = True


class Confused(Options):
    def metric_names(self):
        raise RuntimeError("not now")


class Broken(Pump):
    """Has options that cannot say what they name."""

    def __init__(self):
        super().__init__(Confused())


def layout(*names):
    """Return the layout of an answer with families of these names."""
    return Layout(Family.gauge(name, "", 1.0) for name in names)


NAMES = (
    "pump_level_ratio",
    "pump_on",
    "pump_starts_total",
    "pump_idle_seconds_total",
    "mine",
    "other",
    "pump_*",
    "pump",
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from(NAMES), unique=True), max_size=8))
def test_each_undeclared_name_is_found_once(answers):
    """Whatever a collector tells one after the other, each name that nobody declared is found the first time."""
    undeclared = Undeclared(Pump(Options(named="mine")))
    wrong = {"other", "pump_*", "pump"}
    seen = set()
    for names in answers:
        assert undeclared.found(layout(*names)) == sorted(wrong & set(names) - seen)
        seen |= wrong & set(names)
    assert undeclared.names == seen


def test_a_layout_that_was_looked_at_is_not_looked_at_again(monkeypatch):
    """While a collector tells the same series, its names are looked at once, whatever their number."""
    undeclared = Undeclared(Pump())
    same = layout("pump_on", "other")
    assert undeclared.found(same) == ["other"]
    monkeypatch.setattr(Layout, "parts", lambda self: pytest.fail("looked at again"))
    assert undeclared.found(same) == []
    assert undeclared.names == {"other"}


@pytest.mark.parametrize("collector", [Silent, Reader, Broken])
def test_whose_names_do_not_count(collector):
    """A class that declares nothing, one that is foreign, and one that cannot say what it declares: none of theirs is
    undeclared.
    """
    undeclared = Undeclared(collector())
    assert undeclared.found(layout("anything")) == []
    assert undeclared.found(layout("anything", "else")) == []
    assert undeclared.names == set()


def test_new_names_all_the_time_do_not_fill_the_memory():
    """No more names are kept than a bound says, and one answer's beyond."""
    undeclared = Undeclared(Pump())
    for number in range(0, 3 * MOST, 100):
        undeclared.found(layout(*(f"made_up_{number + each}" for each in range(100))))
    assert len(undeclared.names) == MOST


def test_every_bundled_collector_says_what_it_tells():
    """Each bundled collector declares metrics, so that what it does not declare is found; of systemd that is all of
    node_exporter's, those of sockets and timers included.
    """
    registry = Registry()
    for name in registry.names("collectors"):
        found = registry.plugin_class("collectors", name)
        assert found.foreign or declared_metrics(found), name
    systemd = {metric.name for metric in declared_metrics(registry.plugin_class("collectors", "systemd"))}
    assert {"node_systemd_socket_current_connections", "node_systemd_timer_last_trigger_seconds"} <= systemd


async def test_it_is_told_and_logged(caplog):
    """The agent tells of a collector how many such families it told, and names each once; of others nothing."""
    caplog.set_level(logging.INFO)
    workers = Workers()
    gatherer = Gatherer()
    pump, well = Pump(context=Context(name="collectors.pump")), Pump(context=Context(name="collectors.well"))
    pump.told = ["pump_on", "pump_secret", "pump_other"]
    well.told = ["pump_starts_total"]
    gatherer.take(
        Slot(each, name=each.context.name, workers=workers, timeout=60, max_series=9) for each in (pump, well)
    )
    for _ in range(2):
        snapshot = await gatherer.gather()
    [family] = [each for each in snapshot.families if each.name == "agentd_collector_undeclared_families"]
    assert family.samples == {("collectors.pump",): 2.0}
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "tells pump_other",
        "tells pump_secret",
    ]
    await gatherer.stop()
    workers.close()
