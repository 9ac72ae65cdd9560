"""Envelopes as the bus splices them, and that nothing a caller hands in breaks them or fails for it."""

import enum
import logging
import math
import sys
import threading
import uuid

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.events import bus as module
from agentd.events.bus import Bus
from agentd.events.envelope import DEEPEST, LARGEST, Event, EventError, Record
from agentd.plugin import NotDurable
from agentd.store.identity import Identity
from agentd.store.journal import NotWritten


class Journal:
    """Takes events as the journal does, and numbers them from 1."""

    def __init__(self):
        self.taken, self.refuses = [], False

    def append(self, type, source, head):
        seq = len(self.taken) + 1
        self.taken.append(Record(seq, type, source, b"%b%d}}" % (head, seq)))

    async def commit(self, events, plugin="", state=None):
        if self.refuses:
            raise NotWritten("no disk")
        for event in events:
            self.append(*event)


def make(**options):
    journal = Journal()
    return Bus(journal, Identity("me"), **options), journal


TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\0\x7f\u2028</}'), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)
NAMES = st.text(max_size=30).filter(str.isprintable)
TYPES = st.from_regex(r"[A-Za-z0-9_-]{1,9}(\.[A-Za-z0-9_-]{1,9}){0,3}", fullmatch=True)


@settings(deadline=None, max_examples=400)
@given(
    type=TYPES, source=NAMES, target=st.none() | NAMES, id=NAMES, payload=OBJECTS, meta=OBJECTS,
    timestamp=st.floats(0, 1e11, exclude_max=True) | st.integers(0, 10**11 - 1), labels=st.none() | VALUES,
)  # fmt: skip
def test_an_envelope_is_what_msgspec_would_write(type, source, target, id, payload, meta, timestamp, labels):
    """Whatever is in an event, its envelope is JSON on one line, and says what the event itself would as JSON."""
    bus, journal = make(boot_id="boot", labels={"site": 'north "1"'})
    if labels is not None:
        meta["labels"] = labels
    event = Event(type=type, source=source, target=target, id=id, payload=payload, meta=meta, timestamp=timestamp)
    try:
        expected = msgspec.json.decode(msgspec.json.encode(event))
    except (msgspec.MsgspecError, OverflowError, ValueError):
        expected = None  # integers beyond 64 bits
    bus.emit(event)
    if expected is None:
        return
    (record,) = journal.taken
    assert b"\n" not in record.json
    found = msgspec.json.decode(record.json)
    assert list(found)[-1] == "meta"
    assert record.json.endswith(b',"seq":1}}')
    for name in ("type", "target", "payload"):
        assert found[name] == expected[name]
    assert found["source"] == expected["source"] or (not source and found["source"] == "agentd")
    assert found["id"] == id or (not id and uuid.UUID(found["id"]).version == 7)
    assert found["timestamp"] == timestamp or (not timestamp and found["timestamp"] > 1e9)
    given = expected["meta"]
    own = {"host": bus._meta["host"], "agent_id": "me", "boot_id": "boot", "seq": 1}
    passed = given.get("labels") if isinstance(given.get("labels"), dict) else {}
    assert found["meta"] == {**given, **own, "labels": {**passed, "site": 'north "1"'}}
    assert record.event.meta["seq"] == 1


@pytest.mark.parametrize("field", ["payload", "meta"])
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":\n 1,\r\n"b" : [2]}', {"a": 1, "b": [2]}), (b'"\\n"', "\n"), (b" 5 ", 5), ('"ä"'.encode(), "ä"),
        (b"", None), (b"{", None), (b"}", None), (b'1,"y":2}}\n{', None), (b'"\n"', None), (b'"\xff"', None),
        (b"NaN", None), (b"1e999", None), (b'"\\ud800"', None), (b"[" * 5000, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [lambda raw: raw, lambda raw: [{"y": raw}]], ids=["flat", "within"])
async def test_raw_json_becomes_one_sound_line(field, raw, value, wrapped):
    """JSON that somebody has encoded before is taken, without its line breaks; what is none is refused as such."""
    bus, journal = make()
    event = Event(type="a.b", **{field: {"x": wrapped(msgspec.Raw(raw))}})
    bus.emit(event)
    if value is None:
        assert journal.taken == []
        with pytest.raises(EventError, match=f"^{field}"):
            await bus.commit([event])
        return
    (record,) = journal.taken
    assert not {b"\n"[0], b"\r"[0]}.intersection(record.json)
    assert msgspec.json.decode(record.json)[field]["x"] == wrapped(value)


class Kind(enum.StrEnum):
    SEQ = "seq"


class Odd(float):
    def __repr__(self):
        return '"}'


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": True}, {"timestamp": Odd(5.0)}, {"timestamp": 5}, {"timestamp": 5e-324},
        {"meta": {"seq": 17}}, {"meta": {Kind.SEQ: 17}}, {"meta": {"labels": 5}}, {"meta": {1: 2}},
        {"payload": {1: 2}}, {"payload": {"x": math.nan, "y": math.inf}}, {"payload": {"x": {"a", "b"}}},
        {"payload": {"x": uuid.UUID(int=5)}}, {"payload": {"x": b"\xff"}}, {"target": 'a"b\\'}, {"id": 'a"b'},
    ],
)  # fmt: skip
def test_what_is_odd_becomes_json(fields):
    """Numbers that write themselves otherwise, keys that are none, and values of other types give an envelope."""
    bus, journal = make()
    bus.emit(Event(type="a.b", **fields))
    (record,) = journal.taken
    assert record.event.meta["seq"] == 1
    assert isinstance(msgspec.json.decode(record.json)["timestamp"], float)


def deep():
    value = {}
    for _ in range(2 * sys.getrecursionlimit()):
        value = {"x": value}
    return value


class Broken:
    """An event whose every attribute fails."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    __str__ = __repr__ = None


@pytest.mark.parametrize(
    "event",
    [
        None, 5, "a.b", Broken(), Event, {"type": "a.b"},
        *(Event(type=wrong) for wrong in ("", ".", "a..b", "a b", "a.b\n", "ä", "x" * 201, None, 5, b"a", ["a"])),
        *(Event(type="a", source=wrong) for wrong in ("\n", "\ud800", "x" * 201, 5, b"s", ["s"])),
        *(Event(type="a", target=wrong) for wrong in ("\0", "x" * 201, 5, b"t", [])),
        *(Event(type="a", id=wrong) for wrong in ("\n", "\ud800", "x" * 201, 5, b"i")),
        *(Event(type="a", timestamp=wrong) for wrong in (-1, math.nan, math.inf, 1e11, "5", 1 << 2000, 5j)),
        *(Event(type="a", payload=wrong) for wrong in (None, 5, [], "x", {"x": object()}, {"x": "\ud800"}, deep())),
        *(Event(type="a", meta=wrong) for wrong in (5, "x", [1], {"x": object()}, {"\ud800": 1})),
        Event(type="a", payload={"x": "y" * LARGEST}), Event(type="a", meta={"x": "y" * LARGEST}),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_what_is_no_event_is_left_out(event):
    """Nothing that is no event is written down; its caller does not fail for it, and it is counted."""
    bus, journal = make()
    bus.emit(event)
    assert journal.taken == []
    assert bus.refused == 1


@pytest.mark.parametrize("field", ["payload", "meta"])
def test_what_is_too_deep_to_be_read_again_is_left_out(field):
    """Whatever Python allows, an emitter with an empty stack makes no event on which a deeper reader fails."""
    bus, journal = make()

    def emit():
        for depth in (DEEPEST, DEEPEST + 1):  # with the object itself, and the empty list in the midst
            value = []
            for _ in range(depth - 2):
                value = [value]
            bus.emit(Event(type="a", **{field: {"x": value}}))
        bus.emit(Event(type="a", **{field: {"x": [[[]]] * 1000}}))

    def read(calls):
        return read(calls - 1) if calls else [record.event.type for record in journal.taken]

    for work in (emit, lambda: read(400)):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(journal.taken) == 2
    assert bus.refused == 1


async def test_too_deep_is_said_alike():
    """A commit of what is far too deep raises what one that is slightly so raises, on each version of Python."""
    bus, _ = make()
    for value in (deep(), msgspec.Raw(b'{"x":' * (DEEPEST + 1) + b"0" + b"}" * (DEEPEST + 1))):
        with pytest.raises(EventError, match=f"payload: more than {DEEPEST} lists and objects within each other"):
            await bus.commit([Event(type="a", payload={"x": value})])


def test_a_problem_is_named_once(caplog):
    """A plugin that emits nonsense all the time does not fill the log."""
    bus, _ = make()
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            bus.emit(Event(type="a b", source="s"))
            bus.emit(Event(type=f"no {number}", source="s"))
    assert bus.refused == 2000
    assert len(caplog.records) <= module.NAMED


async def test_a_hook_sees_changes_and_drops(caplog):
    """A hook's event takes the place of the one given; None drops it, and a failure costs that event alone."""

    def hook(event, check):
        if event.type == "bad":
            raise RuntimeError("hook")
        return None if event.type == "drop" else Event(type=event.type, payload={"seen": True})

    bus, journal = make(hook=hook)
    for given_type in ("a", "drop", "bad"):
        bus.emit(Event(type=given_type))
    committed = await bus.commit([Event(type="b"), Event(type="drop")])
    assert [record.event.payload for record in journal.taken] == [{"seen": True}] * 2
    assert [event.type for event in committed] == ["b"]
    assert bus.refused == 1


async def test_commit_says_what_is_wrong():
    """A commit of what is no event, or no JSON, or that cannot be written, raises, and nothing of it is written."""
    bus, journal = make()
    good = Event(type="a.b")
    with pytest.raises(EventError, match="type"):
        await bus.commit([good, Event(type="a b")])
    with pytest.raises(EventError, match="payload"):
        await bus.commit([good, Event(type="a", payload=[])])
    with pytest.raises(TypeError):
        await bus.commit([good, Event(type="a", payload={"x": object()})])
    journal.refuses = True
    with pytest.raises(NotDurable, match="no disk"):
        await bus.commit([good])
    assert journal.taken == []
    journal.refuses = False
    (event,) = await bus.commit([Event(type="a.b")])
    assert journal.taken[0].event.id == event.id
    assert journal.taken[0].event.timestamp == event.timestamp
    assert event.source == "agentd"


def test_the_clock_is_said_to_be_synchronised_or_not():
    """Each event says whether the clock was synchronised when it came, where that is known."""
    known = [None, True, False, True]
    at = []
    bus, journal = make(synchronised=lambda: at[-1])
    for value in known:
        at.append(value)
        bus.emit(Event(type="a"))
        bus.emit(Event(type="a", meta={"x": 1}))
    told = [record.event.meta.get("clock_synchronised") for record in journal.taken]
    assert told == [None, None, True, True, False, False, True, True]


def test_many_names_from_many_threads():
    """However many types come from however many threads, each event is taken, and what is remembered is bounded."""
    bus, journal = make()

    def flood(thread):
        for number in range(3000):
            bus.emit(Event(type=f"t{thread}.n{number}"))

    threads = [threading.Thread(target=flood, args=(thread,)) for thread in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert bus.refused == 0
    assert len(journal.taken) == 12_000
    assert len(bus._middles) <= module.REMEMBERED + len(threads)
