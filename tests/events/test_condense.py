"""Events that repeat each other, folded."""

import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agentd.events import condense
from agentd.events.condense import Condenser
from agentd.events.envelope import Event, Record


def record(seq, type="a", size=0, **payload):
    payload["filling"] = "x" * size
    event = Event(id=str(seq), type=type, source="s", timestamp=100.0 + seq, payload=payload, meta={"seq": seq})
    return Record(seq, type, "s", msgspec.json.encode(event))


def test_repeats_become_one():
    """The first goes at once, the others at the end of the window as one with their number and since when."""
    condenser = Condenser(["type"], 10.0)
    assert [r.seq for r in condenser.take([record(1), record(2), record(3, "b")], 0.0)] == [1, 3]
    assert [r.seq for r in condenser.take([record(4), record(5)], 5.0)] == []
    assert (condenser.oldest, condenser.due) == (2, 10.0)
    assert condenser.ended(9.9) == []
    (folded,) = condenser.ended(10.0)
    assert (folded.seq, folded.id, folded.event.meta["condensed"]) == (5, "5", {"count": 3, "since": 102.0})
    assert condenser.oldest is None


def test_windows_begin_again_while_repeats_come():
    """After a window with repeats another begins; after one without, the next event goes at once."""
    condenser = Condenser(["type"], 10.0)
    condenser.take([record(1), record(2)], 0.0)
    (alone,) = condenser.ended(10.0)
    assert (alone.seq, "condensed" in alone.event.meta) == (2, False)
    assert condenser.take([record(3)], 15.0) == []
    assert [r.seq for r in condenser.ended(20.0)] == [3]
    assert condenser.ended(30.0) == []
    assert condenser.due is None
    assert [r.seq for r in condenser.take([record(4)], 31.0)] == [4]


def test_fields_within_the_payload_tell_events_apart():
    """Whatever the fields hold, lists and objects and nothing, those that are the same repeat each other."""
    condenser = Condenser(["type", "payload.x.y", "meta.nothing", "unknown.field"], 10.0)
    values = [{"y": 1}, {"y": [1]}, {"y": {"z": 1}}, {"y": None}, {"y": "1"}, 5]
    first = [record(n, x=value) for n, value in enumerate(values)]
    # What is absent is as what is null.
    assert [r.seq for r in condenser.take(first, 0.0)] == [0, 1, 2, 3, 4]
    assert condenser.take([record(10 + n, x=value) for n, value in enumerate(values)], 1.0) == []


def test_memory_is_bounded(monkeypatch):
    """What is beyond the limits of windows and bytes goes as it is."""
    monkeypatch.setattr(condense, "MOST", 3)
    monkeypatch.setattr(condense, "HELD", 2000)
    condenser = Condenser(["payload.key"], 10.0)
    assert len(condenser.take([record(n, key=n) for n in range(10)], 0.0)) == 10
    passed = condenser.take([record(n, key=n % 3, size=800) for n in range(10, 13)], 1.0)
    assert [r.seq for r in passed] == [12]
    assert len(condenser.ended(10.0)) == 2
    assert condenser._bytes == 0


def test_windows_keep_no_long_keys():
    """Events whose keys are long texts or lists fold as all do, and take no memory for each key."""
    condenser = Condenser(["payload.text", "payload.list"], 10.0)
    tracemalloc.start()
    try:
        for n in range(100):
            long = f"{n:03d}" * 30_000
            assert len(condenser.take([record(n, text=long, list=[long])], 0.0)) == 1
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    last = "099" * 30_000
    assert condenser.take([record(100, text=last, list=[last])], 1.0) == []
    assert len(condenser.take([record(101, text=last, list=[last, 1])], 1.0)) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 7)), max_size=60))
def test_nothing_is_lost(steps):
    """However events come, each one passes or is counted in one that does, in the end."""
    condenser, now, out, passed = Condenser(["payload.key"], 5.0), 0.0, 0, 0
    for seq, (key, pause) in enumerate(steps, 1):
        now += pause
        ended = condenser.ended(now)
        assert [r.seq for r in ended] == sorted(r.seq for r in ended)
        out += sum(r.event.meta.get("condensed", {}).get("count", 1) for r in ended)
        passed += len(condenser.take([record(seq, key=key)], now))
    while condenser.due is not None:
        out += sum(r.event.meta.get("condensed", {}).get("count", 1) for r in condenser.ended(condenser.due))
    assert out + passed == len(steps)
    assert condenser.oldest is None
    assert condenser._bytes == 0
