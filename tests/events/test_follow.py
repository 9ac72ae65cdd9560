"""Plugins that read the journal as a stream."""

import asyncio

import pytest

from agentd.config import JournalSettings
from agentd.events import flow as module
from agentd.events.flow import Flow
from agentd.options import Size
from agentd.plugin import Collector, Config, Context, Event


class Counter(Collector[Config]):
    name = "counter"


@pytest.fixture
async def opened(tmp_path):
    """Opens flows in a folder, as agents do at their start; the last one is closed with the test."""
    flows = []

    async def open_(settings=None):
        for flow in flows:
            await flow.close(2.0)
        flows[:] = [Flow(settings or JournalSettings(), tmp_path, {}, None)]
        flows[0].open()
        return flows[0]

    yield open_
    for flow in flows:
        await flow.close(2.0)


def plugin(flow, name="collectors.counter"):
    """Return a plugin with the ways into a flow."""
    context = Context(
        name=name, emit=flow.bus.emit, commit=flow.commit_for(name), follow=flow.follow, state=flow.journal.state(name)
    )
    return Counter(context=context)


async def take(events, count):
    """Return the numbers up to which it was looked, and the payloads' numbers, until there are so many."""
    reached, found = [], []
    async with asyncio.timeout(60):
        while len(found) < count:
            at, records = await anext(events)
            assert len(records) <= 1000
            assert [record.seq for record in records] == sorted(record.seq for record in records)
            assert all(record.seq <= at for record in records)
            reached.append(at)
            found += [record.event.payload["n"] for record in records]
    return reached, found


async def test_what_happens_from_now_on(opened):
    """Without a number, the first thing that is yielded is the number for now, and then what fits the patterns."""
    flow = await opened()
    one = plugin(flow)
    await one.commit([one.event("old", {"n": 0})])
    events = one.follow(["test.*"], ["collectors.*"])
    reached, records = await anext(events)
    assert records == []
    assert reached == flow.journal.written
    for n in range(3):
        one.emit("test.happened", {"n": n})
        one.emit("other.happened", {"n": -1})
        flow.bus.emit(Event(type="test.happened", source="somebody", payload={"n": -2}))
    assert (await take(events, 3))[1] == [0, 1, 2]


async def test_a_thousand_at_a_time_from_the_beginning(opened):
    """All that is kept comes in order, never more than 1,000 at once, and the reader stands still where it is done."""
    flow = await opened()
    one = plugin(flow)
    for n in range(2500):
        one.emit("test.happened", {"n": n})
    await one.commit()
    events = one.follow(["test.*"], after=0)
    assert (await take(events, 2500))[1] == list(range(2500))
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    one.emit("test.happened", {"n": 1})
    assert (await waiting)[1][0].event.payload == {"n": 1}


async def test_position_and_count_survive_together(opened):
    """A plugin that commits the number together with its count counts each event once, across lives of the agent."""
    flow = await opened()
    for life in range(4):
        one = plugin(flow)
        for n in range(100):
            one.emit("test.happened", {"n": n})
        await one.commit()
        events = one.follow(["test.*"], after=one.state.get("at", 0))
        count = one.state.get("count", 0)
        async with asyncio.timeout(60):
            while count < 100 * (life + 1):
                at, records = await anext(events)
                count += len(records)
                await one.commit(state={"at": at, "count": count})
        flow = await opened()
    assert plugin(flow).state["count"] == 400


async def test_what_is_not_written_down_is_not_shown(opened, monkeypatch):
    """While the disk refuses, the reader waits; what it had to wait for comes afterwards, once."""
    monkeypatch.setattr("agentd.store.writer.RETRY", (0.05, 0.05))
    monkeypatch.setattr(module, "WATCH_EVERY", 0.05)
    flow = await opened()
    one = plugin(flow)
    await one.commit([one.event("test.happened", {"n": 0})])
    events = one.follow(["test.*"], after=0)
    assert (await take(events, 1))[1] == [0]
    writer, refused = flow.journal._writer, [True]
    write = writer._write

    def refuse(*arguments):
        if refused:
            raise OSError(28, "no space left on device")
        return write(*arguments)

    writer._write = refuse
    for n in range(1, 4):
        one.emit("test.happened", {"n": n})
    waiting = asyncio.ensure_future(take(events, 3))
    async with asyncio.timeout(60):
        while not flow.journal.problem:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert not waiting.done()
    shown = await flow.journal.read(flow.journal.written)
    assert len(shown.records) == 3  # sinks do get what only waits in memory
    refused.clear()
    assert (await waiting)[1] == [1, 2, 3]


async def test_a_journal_in_memory_can_be_followed(opened):
    """Without a journal on disk the events in memory are shown all the same."""
    flow = await opened(JournalSettings(enabled=False, memory=Size(1 << 20)))
    one = plugin(flow)
    events = one.follow(["test.*"])
    await anext(events)
    one.emit("test.happened", {"n": 7})
    assert (await take(events, 1))[1] == [7]


async def test_without_an_agent_there_are_no_events():
    """A plugin that stands alone, in a test say, is shown nothing, and its loop ends."""
    assert [found async for found in Counter().follow()] == []
