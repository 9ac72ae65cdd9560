"""Events as others send and want them."""

import re
import time
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.events.envelope import Event, EventError, Record, as_json, check, checked, cloud_event, decode, new_id
from agentd.options import Duration, Size


def test_ids_are_uuids_in_the_order_of_time():
    """Ids are UUIDs of version 7 that differ, and sort by the time at which they were made."""
    ids = [new_id(float(now)) for now in (0, 1, 1e9, 1e9 + 0.01, 1.7e9, 9.9e10)]
    assert ids == sorted(ids)
    for each in ids:
        parsed = uuid.UUID(each)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, each)
    now = time.time()
    assert len({new_id(now) for _ in range(10_000)}) == 10_000
    assert int(new_id(now).replace("-", "")[:12], 16) == int(now * 1000)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text()))
def test_what_needs_no_check_would_pass_it(payload):
    """A payload without anything within each other is not looked at again; that would change nothing."""
    json = as_json("payload", payload)
    assert json == checked("payload", payload, msgspec.json.encode(payload))
    assert msgspec.json.decode(json).keys() == payload.keys()


def test_options_that_are_numbers_are_written_as_such():
    """A timeout or a size out of a configuration may be told as it is, within lists, too; what is no number may not."""
    payload = {"timeout": Duration(1.5), "sizes": [Size(64), Size(1 << 20)]}
    assert msgspec.json.decode(as_json("payload", payload)) == {"timeout": 1.5, "sizes": [64, 1 << 20]}
    with pytest.raises(TypeError, match="object is no JSON"):
        as_json("payload", {"wrong": object()})


def test_the_least_that_is_an_event():
    """A type is enough; what else is known is taken as it is."""
    assert decode(b'{"type":"a.b"}') == Event(type="a.b")
    full = b'{"id":"x","type":"a","source":"s","target":"t","timestamp":5,"payload":{"a":1},"meta":{"b":2}}'
    event = Event(id="x", type="a", source="s", target="t", timestamp=5.0, payload={"a": 1}, meta={"b": 2})
    assert decode(full) == event


def test_a_misspelt_field_is_named():
    """What nobody knows would be lost without a word."""
    with pytest.raises(EventError, match="paylod"):
        decode(b'{"type":"a","paylod":{}}')


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "as JSON"), (b"{", "as JSON"), (b"\xff", "as JSON"), (b"[]", "object"), (b"{}", "type"),
        (b'{"type":5}', "^type: .*str"), (b'{"type":"a b"}', "^type: .*mission.finished"), (b'{"type":""}', "^type"),
        (b'{"type":"a","source":"\\n"}', "^source: .*printable"), (b'{"type":"a","target":"\\u0000"}', "^target"),
        (b'{"type":"a","id":"' + b"x" * 201 + b'"}', "^id: .*200"), (b'{"type":"a","payload":[]}', "^payload"),
        (b'{"type":"a","timestamp":-1}', "^timestamp: .*1970"), (b'{"type":"a","timestamp":1e400}', "time|JSON|rang"),
        (b'{"type":"a","payload":{"x":"\\ud800"}}', "as JSON"),
        (b'{"type":"a","payload":' + b'{"x":' * 5000, "as JSON"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_told(data, message):
    """Whoever sends what is no event is told which field is wrong, and what would be right."""
    with pytest.raises(EventError, match=message):
        decode(data)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f'{{"type":"{text}"}}'.encode(errors="replace")))
def test_anything_is_an_event_or_none(data):
    """Whatever bytes are sent, they are an event that passes its check, or are said to be none."""
    try:
        event = decode(data)
    except EventError:
        return
    check(event)


def test_a_record_is_decoded_when_it_is_asked_for():
    """A record gives its event and id; where nobody asks, its bytes may be anything."""
    record = Record(5, "a", "s", b'{"id":"x","type":"a"}')
    assert (record.id, record.event.type, record.event is record.event) == ("x", "a", True)
    assert "5" in repr(Record(5, "a", "s", b"?"))


@given(
    st.dictionaries(st.text(max_size=25), st.none() | st.booleans() | st.integers() | st.text(max_size=5)),
    st.none() | st.text(min_size=1),
    st.floats(0, 1e11, exclude_max=True),
)
def test_cloud_events_have_allowed_names(labels, target, timestamp):
    """Whatever labels an event has, its CloudEvent has the attributes that it must, and names that are allowed."""
    meta = {"labels": labels, "host": "h", "agent_id": "i", "boot_id": "b", "seq": 1 << 50, "clock_synchronised": True}
    event = Event(id="x", type="a.b", source="s", target=target, timestamp=timestamp, payload={"p": 1}, meta=meta)
    found = cloud_event(event)
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in found)
    expected = {"specversion": "1.0", "id": "x", "type": "a.b", "source": "s", "data": {"p": 1}}
    expected |= {"host": "h", "agentid": "i", "bootid": "b", "seq": str(1 << 50), "datacontenttype": "application/json"}
    assert expected.items() <= found.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["time"])
    assert found.get("subject") == (target if target is not None else labels.get("subject"))
    assert msgspec.json.encode(found)
