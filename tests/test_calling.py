"""Plugins are called where they want to be called, and never twice at once."""

import asyncio
import threading

import pytest

from agentd.calling import called
from agentd.events import bounded
from agentd.events.bounded import Bounded, HangsError
from agentd.metrics.workers import Workers
from agentd.plugin import Context, Reject, Retry, Sink

PATIENCE = 60.0
"""Seconds that nothing here takes."""

RECORDS = ("one", "two")


def hand(sink, records):
    """Have a sink deliver."""
    return called(sink.send, sink.in_worker, records)


class Plain(Sink):
    """A sink that may wait."""

    name = "plain"

    def __init__(self, work, workers):
        super().__init__(context=Context(name="sinks.plain", in_worker=workers.run))
        self.work = work

    def send(self, events):
        return self.work(events)


class Waiting(Plain):
    """A sink that awaits."""

    async def send(self, events):
        return self.work(events)


@pytest.fixture
async def workers():
    """Workers that end with the test."""
    made = Workers()
    yield made
    made.close()


@pytest.mark.parametrize(("kind", "in_thread"), [(Plain, True), (Waiting, False)])
async def test_where_a_sink_is_called(workers, kind, in_thread):
    """A plain ``send`` is called in a worker thread, one that is ``async`` on the event loop."""
    called = []
    await hand(kind(lambda events: called.append((events, threading.current_thread())), workers), RECORDS)
    [(events, thread)] = called
    assert events == RECORDS
    assert (thread is not threading.current_thread()) is in_thread


@pytest.mark.parametrize("kind", [Plain, Waiting])
@pytest.mark.parametrize("error", [Retry("later", accepted=1), Reject(["x"], "never"), OSError("broken")])
async def test_what_a_sink_raises_is_raised(workers, kind, error):
    """``Retry``, ``Reject`` and all else come as they were raised."""

    def work(_events):
        raise error

    with pytest.raises(type(error)) as caught:
        await hand(kind(work, workers), RECORDS)
    assert caught.value is error


async def test_what_a_plain_one_returns_is_awaited(workers):
    """A plain ``send`` that returns a coroutine has delivered when that has ended."""
    done = []

    async def later():
        done.append(threading.current_thread() is threading.main_thread())

    await hand(Plain(lambda _events: later(), workers), RECORDS)
    assert done == [True]


async def until(so):
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not so():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)


async def test_a_sink_whose_thread_hangs_is_not_called_again(workers, monkeypatch):
    """A call that takes too long fails, and until its thread has come back there is no other."""
    monkeypatch.setattr(bounded, "CANCELLED_WITHIN", 0.05)
    calls, let, begun = Bounded(PATIENCE), threading.Event(), []

    def work(events):
        begun.append(events)
        let.wait(PATIENCE)

    sink = Plain(work, workers)
    first = asyncio.create_task(calls.call(hand(sink, RECORDS)))
    await until(lambda: begun)
    first.cancel()
    await asyncio.wait({first}, timeout=PATIENCE)
    calls._seconds = 0.05
    for _ in range(2):
        with pytest.raises(HangsError):
            await calls.call(hand(sink, RECORDS))
    await calls.over(0.05)
    assert begun == [RECORDS]
    let.set()
    await calls.over(PATIENCE)
    calls._seconds = PATIENCE
    await calls.call(hand(sink, RECORDS))
    assert begun == [RECORDS] * 2


async def test_a_thread_that_has_begun_is_waited_for(workers):
    """Cancelled, the call ends only when the thread has come back."""
    let, begun = threading.Event(), threading.Event()

    def work(_events):
        begun.set()
        let.wait(PATIENCE)
        raise OSError("nobody hears this any more")

    task = asyncio.create_task(hand(Plain(work, workers), RECORDS))
    await until(begun.is_set)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.1)
    assert not done
    let.set()
    await asyncio.wait({task}, timeout=PATIENCE)
    assert task.cancelled()


async def test_what_has_not_begun_does_not_begin(workers):
    """A call that is cancelled while all threads are busy is never made."""
    let, made = threading.Event(), []
    busy = [asyncio.create_task(hand(Plain(lambda _events: let.wait(PATIENCE), workers), RECORDS)) for _ in range(64)]
    await until(lambda: workers.threads == 64)
    task = asyncio.create_task(hand(Plain(made.append, workers), RECORDS))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)
    assert task.cancelled()
    let.set()
    await asyncio.gather(*busy)
    await hand(Plain(made.append, workers), ("next",))
    assert made == [("next",)]
