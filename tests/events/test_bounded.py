"""Calls of a sink that come back in time."""

import asyncio
import contextlib

import pytest

from agentd.events import bounded
from agentd.events.bounded import Bounded, HangsError


async def fails(error):
    raise error


async def test_what_a_sink_raises():
    """What the sink raises is raised, what would end more than the call as an error that names it."""
    calls = Bounded(60.0)
    await calls.call(asyncio.sleep(0))
    with pytest.raises(ValueError, match="x"):
        await calls.call(fails(ValueError("x")))
    for error in (SystemExit(3), KeyboardInterrupt("3"), GeneratorExit("3"), BaseException("3")):
        with pytest.raises(RuntimeError, match=f"it raised {type(error).__name__}: 3"):
            await calls.call(fails(error))
    with pytest.raises(RuntimeError, match="cancelled itself"):
        await calls.call(fails(asyncio.CancelledError()))
    await calls.call(asyncio.sleep(0))


async def test_a_sink_that_takes_too_long():
    """A call past its time is cancelled, and the next one is made."""
    calls = Bounded(0.05)
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        await calls.call(asyncio.sleep(60))
    await calls.call(asyncio.sleep(0))


async def test_a_sink_that_will_not_be_cancelled(monkeypatch):
    """A call that does not end is left alone; there is no other until it has."""
    monkeypatch.setattr(bounded, "CANCELLED_WITHIN", 0.05)
    calls, release, running = Bounded(0.05), asyncio.Event(), []

    async def stubborn():
        running.append(1)
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        running.pop()

    with pytest.raises(TimeoutError):
        await calls.call(stubborn())
    for _ in range(2):
        with pytest.raises(HangsError):
            await calls.call(stubborn())
        assert running == [1]
    release.set()
    await asyncio.sleep(0.01)
    await calls.call(asyncio.sleep(0))


async def test_whoever_awaits_is_cancelled():
    """Where the caller itself is cancelled, so is the call; one that does not end keeps the next from being made."""
    calls, release = Bounded(0.2), asyncio.Event()

    async def stubborn():
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    task = asyncio.ensure_future(calls.call(stubborn()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(HangsError):
        await calls.call(asyncio.sleep(0))
    release.set()
    await asyncio.sleep(0.01)
    await calls.call(asyncio.sleep(0))
