"""What takes long to end."""

import asyncio

import pytest

from agentd import leaving
from agentd.leaving import leave_behind

LONG = 30.0


async def test_what_is_left_behind_ends_by_itself():
    """Nobody waits longer than they said, and nothing is cancelled for that."""
    ending = asyncio.Event()
    task = asyncio.create_task(ending.wait())
    await leave_behind(task, 0.01)
    assert not task.done()
    ending.set()
    assert await asyncio.wait_for(task, LONG)


async def test_what_never_ends_is_cancelled(monkeypatch):
    """It gets a while, and not for ever."""
    monkeypatch.setattr(leaving, "LEFT", 0.01)
    task = asyncio.create_task(asyncio.Event().wait())
    await leave_behind(task, 0.01)
    await asyncio.wait({task}, timeout=LONG)
    assert task.cancelled()


async def test_whoever_stops_waiting_takes_it_along():
    """Where the waiting is cancelled, so is the task."""
    task = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(leave_behind(task, LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait({task}, timeout=LONG)
    assert task.cancelled()
