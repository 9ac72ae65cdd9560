"""Gives what ends a while to do so, and more of it where nobody waits any longer."""

import asyncio
from typing import Any

LEFT = 30.0
"""Seconds after which what still has not ended is cancelled."""


async def leave_behind(task: "asyncio.Task[Any]", within: float) -> None:
    """Wait for a task, ``within`` so many seconds.

    Where it is not done then, it goes on by itself: what is cancelled while it closes a file leaves that open for good,
    and whoever comes next cannot have it. It is cancelled after ``LEFT`` seconds, or with the waiting.
    """
    try:
        await asyncio.wait({task}, timeout=within)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        asyncio.get_running_loop().call_later(LEFT, task.cancel)  # which keeps it: the event loop does not
