"""The recorder takes what the agent's journal would take, and refuses what that would refuse."""

import asyncio

import pytest

from agentd.plugin import Event, EventError, NotDurable
from agentd.testing import FakeClock, Recorder, records


async def test_state_and_events_come_together():
    """A commit that is refused changes nothing; None removes a key; what is kept is what JSON keeps."""
    recorder = Recorder({"old": 1, "kept": 2}, clock=FakeClock(10.0))
    await recorder.commit([Event(type="a.b")], {"old": None, "new": (1, 2)})
    assert recorder.state == {"kept": 2, "new": [1, 2]}
    recorder.durable = False
    with pytest.raises(NotDurable):
        await recorder.commit([Event(type="a.c")], {"kept": 3})
    recorder.durable = True
    with pytest.raises(EventError):
        await recorder.commit([Event(type="a.c"), Event(type="no type")], {"kept": 3})
    with pytest.raises(TypeError):
        await recorder.commit([Event(type="a.c")], {"kept": object()})
    assert (recorder.types, recorder.state["kept"], len(recorder.commits)) == (["a.b"], 2, 1)
    assert recorder.commits[0].state == {"old": None, "new": [1, 2]}
    assert (recorder.events[0].timestamp, recorder.events[0].source) == (10.0, "agentd")


def test_what_is_no_event_is_left_out_and_told():
    """``emit`` raises nothing; why something was left out can be read."""
    recorder = Recorder()
    recorder.emit(Event(type="no type"))
    recorder.emit(Event(type="a.b", payload={"object": object()}))
    recorder.emit(None)
    recorder.emit(Event(type="a.c"))
    assert recorder.types == ["a.c"]
    assert [line.partition(":")[0] for line in recorder.refused] == ["'no type'", "'a.b'", "None"]


def test_records_are_the_same_each_time():
    """Events are given by type, by fields or whole; ids and numbers count up."""
    made = records("a.b", {"type": "a.c", "payload": {"x": 1}}, Event(type="a.d", id="own"), clock=FakeClock(5.0))
    assert [(each.seq, each.type, each.event.payload) for each in made] == [
        (1, "a.b", {}),
        (2, "a.c", {"x": 1}),
        (3, "a.d", {}),
    ]
    assert [each.id[-3:] for each in made] == ["001", "002", "own"]
    assert made[0].event.timestamp == 5.0
    with pytest.raises(EventError):
        records("no type")


async def test_the_recorder_is_followed_like_the_journal():
    """Without a number, what happens from now on; behind a number, all since, of the types that are wanted."""
    recorder = Recorder()
    for each in ("a.one", "b.two"):
        recorder.emit(Event(type=each))
    new = recorder.follow(["*"], ["*"], None)
    assert await anext(new) == (2, [])
    waiting = asyncio.create_task(anext(new))
    await asyncio.sleep(0)
    recorder.emit(Event(type="a.three"))
    position, found = await asyncio.wait_for(waiting, 30)
    assert (position, [each.type for each in found]) == (3, ["a.three"])
    position, found = await anext(recorder.follow(["a.*"], ["*"], 0))
    assert (position, [(each.seq, each.type) for each in found]) == (3, [(1, "a.one"), (3, "a.three")])
    await new.aclose()
