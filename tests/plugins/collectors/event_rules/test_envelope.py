"""Events as rules look at them."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Event
from agentd_plugins.collectors.event_rules.envelope import LONGEST_LABEL, at, number, of_entry, of_json, text
from agentd_plugins.collectors.event_rules.options import RuleConfig
from agentd_plugins.collectors.event_rules.rule import Rule

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from(["payload", "a", "b", "c", "type"]), min_size=1, max_size=4).map(".".join)


def test_paths():
    """A path leads through tables, and to nothing where one of its parts is not there."""
    envelope = {"type": "t", "payload": {"robot": {"id": 7}, "list": [1]}}
    assert at(envelope, "payload.robot.id") == 7
    assert at(envelope, "type") == "t"
    assert at(envelope, "payload.list.0") is None
    assert at(envelope, "payload.robot.id.more") is None
    assert at(envelope, "nothing") is None


@pytest.mark.parametrize(
    ("value", "as_text", "as_number"),
    [
        (True, "true", 1.0),
        (3, "3", 3.0),
        (0.1, "0.1", 0.1),
        ("x", "x", None),
        ("2.5", "2.5", 2.5),
        ("nan", "nan", None),
        ("x" * 129, None, None),
        (10**400, None, None),
        (None, None, None),
        ([1], None, None),
    ],
)
def test_texts_and_numbers(value, as_text, as_number):
    """What can be a label, and what can be a number."""
    assert text(value) == as_text
    assert number(value) == as_number


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), PATHS)
@settings(max_examples=200, deadline=None)
def test_whatever_an_entry_has_is_an_event_or_none(data, path):
    """Whatever stands in an entry, a rule can look at it: nothing is raised, and labels and numbers stay in bounds."""
    for envelope in (of_json(data), of_entry([b"data", data]), of_entry([data, data])):
        if envelope is not None:
            found = at(envelope, path)
            assert text(found) is None or len(text(found)) <= LONGEST_LABEL
            assert number(found) is None or math.isfinite(number(found))


@given(st.lists(st.tuples(JSON, st.sampled_from("xyz"), st.floats(0, 1e6)), max_size=30), st.integers(1, 29))
@settings(max_examples=100, deadline=None)
def test_what_was_saved_is_what_was_counted(events, where):
    """A rule that is made anew from what was saved, at any point, goes on as if nothing had happened."""
    configs = [
        RuleConfig(name="a_total", labels={"x": "payload.x"}, value="payload.v", max_values=2),
        RuleConfig(name="b", kind="gauge", labels={"x": "payload.x", "y": "payload.y"}, value="payload.v"),
        RuleConfig(name="c", kind="histogram", value="payload.v", buckets=[1.0, 100.0]),
        RuleConfig(name="d_total", dedupe_key="payload.x", dedupe_memory=3),
    ]
    for config in configs:
        state = {}
        straight, broken = Rule(config, {}), Rule(config, state)
        for place, (x, y, value) in enumerate(events):
            envelope = {"type": "t", "payload": {"x": x, "y": y, "v": value}}
            straight.count(envelope, place)
            broken.count(envelope, place)
            if place % where == 0:
                for key, saved in broken.changes().items():
                    if saved is None:
                        state.pop(key, None)
                    else:
                        state[key] = json.loads(json.dumps(saved))
                broken.saved()
                broken = Rule(config, state)
        assert broken.family(0).samples == straight.family(0).samples
        assert broken.outcomes == straight.outcomes


def test_an_envelope_of_the_agent():
    """The agent's own envelope is taken as it is."""
    event = Event(type="a.b", source="s", payload={"n": 1})
    envelope = of_json(json.dumps({"type": event.type, "payload": event.payload}).encode())
    assert at(envelope, "payload.n") == 1
