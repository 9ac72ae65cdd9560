"""Frames are written down together, and their robots told when they are."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Event, NotDurable
from agentd_plugins.collectors.robots import ledger as ledgers
from agentd_plugins.collectors.robots.ledger import Entry, Ledger
from agentd_plugins.collectors.robots.meaning import meaning
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.streams import STREAMS, Streams, kept_of


class Link:
    """A connection that remembers what it is told."""

    transport = "websocket"

    def __init__(self, stream="s"):
        self.stream = stream
        self.told = []

    def safe(self, seq):
        self.told.append(seq)

    def refused(self, seq, why):
        self.told.append(-seq)

    def unsafe(self, why):
        self.told.append(why)

    def replace(self):
        raise AssertionError


def robot(name, stream="s"):
    made = Robot(name, 10, meaning, {}, grew=lambda: None, warn=lambda *_: None)
    made.connection = Link(stream)
    return made


def add(ledger, one, seq, type="a.b", stream="s"):
    one.streams.accept(stream, seq, 10)
    ledger.add(Entry(one, stream, seq, [Event(type=type)] if type else [], 10))


@contextlib.asynccontextmanager
async def running(commit, monkeypatch):
    monkeypatch.setattr(ledgers, "LINGER", 0.0)
    ledger = Ledger(commit, 1000, lambda: 5.0)
    task = asyncio.create_task(ledger.run())
    yield ledger
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(so):
    async with asyncio.timeout(60):
        while not so():  # noqa: ASYNC110  # the conditions are many, and none of them can be waited for
            await asyncio.sleep(0)


async def test_many_frames_are_one_transaction_and_one_acknowledgement(monkeypatch):
    """What came while one transaction was under way goes into the next, and each robot hears its highest number."""
    written = []

    async def commit(events, state):
        written.append((len(events), state))

    one, two = robot("one"), robot("two")
    async with running(commit, monkeypatch) as ledger:
        for seq in (1, 2, 3):
            add(ledger, one, seq)
            add(ledger, two, seq + 10)
        await until(lambda: two.connection.told)
    kept = {"robot:one": {"streams": {"s": 3}, "at": 5.0}, "robot:two": {"streams": {"s": 13}, "at": 5.0}}
    assert written == [(6, kept)]
    assert (one.connection.told, two.connection.told, ledger.size) == ([3], [13], 0)


@pytest.mark.parametrize("error", [NotDurable("full"), OSError("?"), RuntimeError("?")])
async def test_what_cannot_be_written_is_given_back_with_all_behind_it(monkeypatch, error):
    """No acknowledgement, the numbers go back, and the ledger goes on with what comes later."""
    fails = True

    async def commit(events, state):
        await asyncio.sleep(0)
        if fails:
            raise error

    one = robot("one")
    async with running(commit, monkeypatch) as ledger:
        add(ledger, one, 1)
        await until(lambda: not ledger._entries)
        add(ledger, one, 2)
        await until(lambda: one.connection.told)
        assert all(isinstance(each, str) for each in one.connection.told)
        await until(lambda: ledger.size == 0)
        assert (one.streams.last("s"), one.streams.safe("s"), one.streams.frames) == (None, 0, 0)
        fails = False
        add(ledger, one, 1)
        await until(lambda: one.connection.told[-1] == 1)


async def test_a_failure_among_halves_gives_back_what_was_not_written(monkeypatch):
    """Where poison is looked for and the disk fails meanwhile, what was written stays and the rest is given back."""
    calls = []

    async def commit(events, state):
        calls.append(len(events))
        if any(event.type == "bad" for event in events):
            raise ValueError("bad")
        if len(calls) > 2:
            raise NotDurable("full")

    robots = [robot(f"r{n}") for n in range(4)]
    async with running(commit, monkeypatch) as ledger:
        for n, one in enumerate(robots):
            add(ledger, one, 1, "bad" if n == 3 else "a.b")
        await until(lambda: any(one.connection.told == ["full"] for one in robots))
    assert [one.connection.told for one in robots] == [[1], [1], ["full"], ["full"]]
    assert [one.streams.last("s") for one in robots] == [1, 1, None, None]


async def test_another_connection_of_the_robot_gets_the_acknowledgement_of_its_stream_alone(monkeypatch):
    """Who is connected when a frame is safe hears of it, but never of another stream's numbers."""

    async def commit(events, state):
        one.connection = later

    for later, heard in ((Link(), [1]), (Link("other"), []), (None, None)):
        one = robot("one")
        async with running(commit, monkeypatch) as ledger:
            add(ledger, one, 1)
            await until(lambda one=one: one.streams.safe("s") == 1)
        assert (later and later.told) == heard


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["take", "write", "fail"])), max_size=40))
@settings(max_examples=150, deadline=None)
def test_streams_never_call_safe_what_is_not_written(steps):
    """Whatever is taken, written and given back, the safe number is that of the last write, and memory is bounded."""
    streams, written, pending = Streams({}), {}, {}
    for stream, step in steps:
        if step == "take":
            seq = (streams.last(stream) or 0) + 1
            streams.accept(stream, seq, 5)
            pending.setdefault(stream, []).append(seq)
        elif step == "write":
            marks = {name: numbers[-1] for name, numbers in pending.items()}
            frames = sum(map(len, pending.values()))
            kept = streams.marked(marks)
            assert all(kept[name] == seq for name, seq in list(marks.items())[-STREAMS:])
            streams.written(marks, frames, 5 * frames)
            written, pending = kept, {}
        else:
            streams.roll_back()
            pending = {}
        assert {name: streams.safe(name) for name in "abcdef" if streams.safe(name)} == written
        assert streams.frames == sum(map(len, pending.values()))
        assert len(streams._accepted) == len(pending)
        assert len(streams._committed) <= STREAMS


@given(st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none()))))
def test_what_was_written_down_of_streams_is_understood_or_left_out(state):
    """Whatever a state holds, streams have whole numbers."""
    kept = kept_of({"streams": state, "at": 1.0})
    assert kept is None or all(isinstance(seq, int) for seq in kept.streams.values())
    assert kept_of(state) is None
