"""What entries of mission streams say."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.missions.entry import LONGEST_MISSION, LONGEST_STATUS, said

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
WORD = st.from_regex(r"[a-z_]{1,20}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["status", "mission_id", "type", "event_type", "payload", "data", "timestamp"])


def fields(**texts):
    """Return fields and values as Redis sends them."""
    return [part.encode() for pair in texts.items() for part in pair]


def data(value):
    """Return an entry whose only field is JSON."""
    return fields(data=json.dumps(value))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (data({"status": "completed"}), ("completed", None)),
        (data({"status": "Completed", "mission_id": 17}), ("Completed", "17")),
        (data({"type": "mission.failed", "payload": {"mission_id": "m"}}), ("failed", "m")),
        (data({"type": "mission.changed", "payload": {"status": "failed"}, "mission_id": "m"}), ("failed", "m")),
        (data({"event_type": "mission.started", "mission_id": "m"}), ("started", "m")),
        (data({"type": "done"}), ("done", None)),
        (data({"status": 5, "type": "mission.failed"}), ("failed", None)),
        (data({"status": "failed", "payload": [1]}), ("failed", None)),
        (data({"status": "failed", "mission_id": {"a": 1}}), ("failed", None)),
        (data({"status": "failed", "mission_id": "m" * 201}), ("failed", None)),
        (fields(event_type="mission.completed", mission_id="m"), ("completed", "m")),
        (fields(status="completed", event_type="mission.update"), ("completed", None)),
        (fields(data="{}", event_type="mission.completed"), ("completed", None)),
        (fields(data="no JSON", type="mission.completed"), ("completed", None)),
        (data({}), None),
        (data({"type": "mission."}), None),
        (data({"status": "x" * 65}), None),
        (data({"status": "a\nb"}), None),
        (data([1]), None),
        (fields(data="[" * 100_000), None),
        ([b"data", b"\xff\xfe"], None),
        ([b"event_type", b"\xff"], ("\N{REPLACEMENT CHARACTER}", None)),
    ],
)
def test_examples(entry, expected):
    """Each form of an entry, and what is none."""
    assert said(entry) == expected


@given(WORD, st.none() | WORD, st.sampled_from(["object", "envelope", "typed", "flat", "flat typed"]))
@settings(max_examples=100, deadline=None)
def test_all_forms_say_the_same(status, mission, form):
    """In whichever form status and mission stand, the same is read."""
    id_ = {} if mission is None else {"mission_id": mission}
    entry = {
        "object": lambda: data({"status": status, **id_}),
        "envelope": lambda: data({"type": "mission.changed", "payload": {"status": status, **id_}}),
        "typed": lambda: data({"type": f"mission.{status}", "payload": id_}),
        "flat": lambda: fields(status=status, **id_),
        "flat typed": lambda: fields(event_type=f"mission.{status}", **id_),
    }[form]()
    assert said(entry) == (status, mission)


@given(st.dictionaries(NAMES | TEXT, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_json_is_understood_or_refused(value):
    """Whatever stands in ``data``, the answer is a status that can be a label, or none, and never an error."""
    found = said(data(value))
    if found is not None:
        status, mission = found
        assert 0 < len(status) <= LONGEST_STATUS
        assert status.isprintable()
        assert mission is None or 0 < len(mission) <= LONGEST_MISSION


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_understood_or_refused(entry):
    """Whatever fields an entry has, even an odd number of parts, nothing is raised."""
    found = said(entry)
    assert found is None or found[0].isprintable()
