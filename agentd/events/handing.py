"""Hands events to a sink, where the sink wants to be called."""

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from agentd.events.envelope import Record
from agentd.plugin import Sink


async def hand(sink: Sink[Any], records: Sequence[Record]) -> None:
    """Have a sink deliver events: on the event loop, or in a worker where its ``send`` is not ``async``.

    Raises what it raises. Where this is cancelled it ends only when a thread has come back, which nobody can cancel: a
    sink is never called twice at once.
    """
    if inspect.iscoroutinefunction(sink.send):
        await sink.send(records)
        return
    working = asyncio.ensure_future(sink.in_worker(sink.send, records))
    try:
        returned = await asyncio.shield(working)
    except asyncio.CancelledError:
        working.add_done_callback(_look_at)
        await asyncio.wait({working})
        raise
    if inspect.isawaitable(returned):
        await returned


def _look_at(working: "asyncio.Future[Any]") -> None:
    if not working.cancelled():
        working.exception()  # nobody waits for it, and asyncio would say so
