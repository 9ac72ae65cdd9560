"""The collector `event_rules`, with a real journal and a real Redis."""

import asyncio
import json

import pytest

from agentd.config import JournalSettings
from agentd.options import Duration
from agentd.plugin import Event, Histogram
from agentd_plugins.collectors.event_rules import EventRules
from agentd_plugins.collectors.event_rules.options import RuleConfig


def emit(lab, type, source="tests", target=None, timestamp=0.0, id="", **payload):
    """Emit an event."""
    event = Event(type=type, source=source, target=target, timestamp=timestamp, payload=payload, id=id)
    lab.flow.bus.emit(event)


async def start(lab, *rules, **options):
    """Start the collector, and return it when it has begun to read."""
    collector = await lab.start(EventRules, rules=[RuleConfig(**rule) for rule in rules], **options)
    if options.get("start") != "beginning" and any("stream" not in rule for rule in rules):
        await lab.until(lambda: collector.state.get("journal") is not None or not lab.flow.journal.durable)
        await asyncio.sleep(0.05)
    return collector


async def until_told(lab, collector, name, value):
    """Wait until a metric has a value."""
    await lab.until(lambda: lab.told(collector, name) == value)


async def test_each_kind_of_metric(lab):
    """A counter adds, a gauge has the last value, a histogram sorts; labels are from the event, types are patterns."""
    collector = await start(
        lab,
        {"name": "moved_total", "when": ["pallet.*"], "labels": {"hall": "payload.place.hall", "robot": "target"}},
        {"name": "weight_kilograms_total", "when": ["pallet.moved"], "value": "payload.weight", "sources": ["tests"]},
        {"name": "door_open", "kind": "gauge", "when": ["door"], "value": "payload.open"},
        {"name": "weight_kilograms", "kind": "histogram", "value": "payload.weight", "buckets": [10.0, 100.0]},
    )
    emit(lab, "pallet.moved", target="r1", weight=20, place={"hall": 3})
    emit(lab, "pallet.moved", target="r1", weight=200.5, place={"hall": 3})
    emit(lab, "pallet.lost", place="nowhere", weight=10)
    emit(lab, "pallet.moved", source="others", target="r2", weight=1)
    emit(lab, "pallet.moved", weight=-1)
    emit(lab, "door", open=False)
    emit(lab, "door", open=True)
    await lab.until(lambda: lab.told(collector, "door_open") == 1)
    assert lab.told(collector, "moved_total") == {("3", "r1"): 2, (None, None): 2, (None, "r2"): 1}
    assert lab.told(collector, "weight_kilograms_total") == 220.5
    histogram = lab.told(collector, "weight_kilograms")
    assert histogram == Histogram(((10.0, 3), (100.0, 4)), 5, 230.5)
    outcomes = lab.told(collector, "event_rule_events_total")
    assert outcomes["weight_kilograms_total", "no value"] == 1
    assert outcomes["moved_total", "counted"] == 5


async def test_counts_survive_restarts_and_each_event_counts_once(lab):
    """Across lives of the agent every event counts once, also those that come while the collector is not there."""
    rule = {"name": "seen_total", "when": ["seen"]}
    for life in range(4):
        collector = await start(lab, rule)
        for _ in range(1500):
            emit(lab, "seen")
        if life % 2:
            await until_told(lab, collector, "seen_total", 1500 * (life + 1))
        await lab.life()
    collector = await start(lab, rule)
    await lab.until(lambda: lab.told(collector, "seen_total") == 6000)
    await asyncio.sleep(0.1)
    assert lab.told(collector, "seen_total") == 6000


async def test_where_to_begin(lab):
    """The first time it begins with what happens from now on, or with all that the journal has."""
    await lab.life()
    emit(lab, "seen")
    await lab.flow.bus.commit([])
    now = await start(lab, {"name": "seen_total", "when": ["seen"]})
    emit(lab, "seen")
    await lab.until(lambda: lab.told(now, "seen_total") == 1)
    before = await lab.start(
        EventRules, name="collectors.more", start="beginning", rules=[RuleConfig(name="seen_total", when=["seen"])]
    )
    await lab.until(lambda: lab.told(before, "seen_total") == 2)


async def test_repeats_are_known_by_a_key(lab):
    """With dedupe_key a repeat counts no more, also after a restart; so many keys are remembered, and no more."""
    rule = {"name": "seen_total", "when": ["seen"], "dedupe_key": "payload.order", "dedupe_memory": 10}
    collector = await start(lab, rule)
    for order in (1, 2, 1, "1", 2):
        emit(lab, "seen", order=order)
    emit(lab, "seen")
    await lab.until(lambda: sum(lab.told(collector, "event_rule_events_total").values()) == 6)
    assert lab.told(collector, "seen_total") == 4
    await lab.until(lambda: len([key for key in collector.state if key.startswith("seen/")]) == 3)
    await lab.life()
    collector = await start(lab, rule)
    for order in (1, 2):
        emit(lab, "seen", order=order)
    await lab.until(lambda: lab.told(collector, "event_rule_events_total")["seen_total", "repeat"] == 4)
    assert lab.told(collector, "seen_total") == 4
    for order in range(100, 120):
        emit(lab, "seen", order=order)
    emit(lab, "seen", order=1)  # forgotten meanwhile
    await lab.until(lambda: lab.told(collector, "seen_total") == 25)
    await lab.until(lambda: len([key for key in collector.state if key.startswith("seen/")]) == 10)


async def test_label_values_are_capped(lab):
    """Beyond max_values a label's value is "other", beyond max_series all are; the events count, and are told apart."""
    collector = await start(
        lab,
        {"name": "a_total", "when": ["seen"], "labels": {"x": "payload.x", "y": "payload.y"}, "max_values": 2},
        {"name": "b_total", "when": ["seen"], "labels": {"x": "payload.x", "y": "payload.y"}, "max_series": 2},
    )
    for x in range(5):
        emit(lab, "seen", x=x, y="y")
    await lab.until(lambda: sum(lab.told(collector, "b_total").values()) == 5)
    assert lab.told(collector, "a_total") == {("0", "y"): 1, ("1", "y"): 1, ("other", "y"): 3}
    assert lab.told(collector, "b_total") == {("0", "y"): 1, ("1", "y"): 1, ("other", "other"): 3}
    assert lab.told(collector, "event_rule_events_total")["a_total", "crowded"] == 3


async def test_gauges_grow_old_and_late_values_do_not_win(lab):
    """A gauge goes after stale_after, is gone after a restart as well, and keeps the newer of two values."""
    rule = {"name": "level", "kind": "gauge", "value": "payload.v", "when": ["level"], "stale_after": Duration(1.0)}
    collector = await start(lab, rule)
    emit(lab, "level", v=1)
    await lab.until(lambda: lab.told(collector, "level") == 1)
    emit(lab, "level", v=2, timestamp=5.0)
    await lab.until(lambda: lab.told(collector, "event_rule_events_total")["level", "late"] == 1)
    assert lab.told(collector, "level") in (1, {})
    await lab.until(lambda: lab.told(collector, "level") == {})
    emit(lab, "other")
    emit(lab, "level")  # one without a value, by which what is old is looked at
    await lab.until(lambda: not [key for key in collector.state if key.startswith("series/")])


async def test_entries_of_a_stream(lab, store):
    """Entries of a stream count in each of their forms, from the beginning where that is asked for."""
    envelope = {"type": "pallet.moved", "source": "brain", "payload": {"weight": 2.5}, "id": "1"}
    store.client.xadd("s", {"data": json.dumps(envelope)})
    store.client.xadd("s", {"event_type": "pallet.moved", "weight": "4"})
    store.client.xadd("s", {"data": json.dumps({"event_type": "pallet.moved", "weight": 8})})
    store.client.xadd("s", {"data": "no JSON", "x": "y"})
    store.client.xadd("t", {"event_type": "pallet.moved", "weight": "100"})
    collector = await start(
        lab,
        {"name": "kilograms_total", "stream": "s", "when": ["pallet.*"], "value": "payload.weight"},
        {"name": "entries_total", "stream": "s"},
        {"name": "own_total", "when": ["pallet.*"]},
        start="beginning",
    )
    await lab.until(lambda: lab.told(collector, "entries_total") == 4)
    assert lab.told(collector, "kilograms_total") == 14.5
    assert lab.told(collector, "own_total") == 0
    assert lab.told(collector, "event_rule_stream_lost_entries_total") == {"s": 0}


async def test_a_stream_counts_once_across_restarts_of_both(lab, store, monkeypatch):
    """Whether Redis or the agent is restarted in between, each entry counts once."""
    monkeypatch.setattr("agentd_plugins.collectors.event_rules.RETRY", (0.02, 0.05))
    rule = {"name": "entries_total", "stream": "s"}
    collector = await start(lab, rule, start="beginning")
    for round_ in range(4):
        store.add(*["x"] * 2500, stream="s")
        await asyncio.sleep(0.02)
        if round_ % 2:
            store.kill()
            await asyncio.to_thread(store.start)
        else:
            await lab.life()
            collector = await start(lab, rule, start="beginning")
    await lab.until(lambda: lab.told(collector, "entries_total") == 10000)
    await asyncio.sleep(0.1)
    assert lab.told(collector, "entries_total") == 10000


async def test_a_rule_that_changed_begins_anew(lab):
    """With other labels a metric begins anew, and what was saved of it, and of rules that are gone, is removed."""
    collector = await start(lab, {"name": "a_total", "when": ["seen"]}, {"name": "b_total", "when": ["seen"]})
    emit(lab, "seen", x=1)
    await lab.until(lambda: len([key for key in collector.state if key.startswith("series/")]) == 2)
    await lab.life()
    collector = await start(lab, {"name": "a_total", "when": ["seen"], "labels": {"x": "payload.x"}})
    await lab.until(lambda: set(collector.state) == {"journal"})
    emit(lab, "seen", x=1)
    await lab.until(lambda: lab.told(collector, "a_total") == {"1": 1})


async def test_without_a_journal_on_disk(lab, caplog):
    """Where events are in memory only they count all the same, and it is said that nothing can be written down."""
    await lab.life(JournalSettings(enabled=False))
    collector = await start(lab, {"name": "seen_total", "when": ["seen"]})
    await lab.until(lambda: "cannot be written down" in caplog.text)  # up to where it has begun to read
    for _ in range(10):
        emit(lab, "seen")
    await lab.until(lambda: lab.told(collector, "seen_total") == 10)
    assert caplog.text.count("cannot be written down, and is kept in memory") == 1


async def test_only_what_changed_is_written(lab):
    """A commit has the series that changed, and not all that there are."""
    collector = await start(lab, {"name": "seen_total", "when": ["seen"], "labels": {"x": "payload.x"}})
    for x in range(50):
        emit(lab, "seen", x=x)
    await lab.until(lambda: len([key for key in collector.state if key.startswith("series/")]) == 50)
    written, commit = [], collector.context.commit

    async def watched(events, state):
        written.append(dict(state))
        await commit(events, state)

    collector.context.commit = watched
    emit(lab, "seen", x=7)
    await lab.until(lambda: lab.told(collector, "seen_total")["7"] == 2)
    await lab.until(lambda: written)
    assert {key.partition("/")[0] for key in written[0]} == {"journal", "series", "outcomes"}
    assert len(written[0]) == 3


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"name": "a"}, "ends in _total for a counter"),
        ({"name": "a_total", "kind": "gauge", "value": "x"}, "ends in _total for a counter, and only for that"),
        ({"name": "a b_total"}, "expected letters"),
        ({"name": "node_x_total"}, "neither node_"),
        ({"name": "up", "kind": "gauge", "value": "x"}, "up is what Prometheus itself tells"),
        ({"name": "scrape_samples_scraped", "kind": "gauge", "value": "x"}, "what Prometheus itself tells"),
        ({"name": "a", "kind": "gauge"}, "a gauge needs value"),
        ({"name": "a_total", "labels": {"le": "x"}}, "not le"),
        (
            {"name": "a", "kind": "histogram", "value": "x", "buckets": [2.0, 1.0]},
            "buckets: expected numbers that grow",
        ),
        ({"name": "a_total", "stale_after": Duration(1)}, "stale_after is for gauges"),
    ],
)
def test_rules_that_cannot_be_meant(rule, words):
    """What contradicts itself is said."""
    with pytest.raises(ValueError, match=words):
        RuleConfig(**rule)


def test_a_metric_of_two_rules():
    """Two rules cannot make one metric."""
    with pytest.raises(ValueError, match="a_total is there twice"):
        EventRules.config_type(rules=[RuleConfig(name="a_total")] * 2)
