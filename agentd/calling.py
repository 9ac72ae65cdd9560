"""Calls a plugin's method where the plugin wants to be called: on the event loop, or in a worker thread."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

InWorker = Callable[..., Awaitable[Any]]


async def called(method: Callable[..., Any], in_worker: InWorker, *arguments: object) -> Any:
    """Return what a method returns: one that is ``async`` is awaited, any other is called in a worker.

    Raises what it raises. Cancelled, one that is awaited is cancelled, and one that has not begun in its thread does
    not begin; where it has begun, which nobody can cancel, this ends only when it has come back. So what is called
    by this, one call after the other, is never called twice at once.
    """
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    job = _Job(method, arguments)
    working = asyncio.ensure_future(in_worker(job))
    try:
        returned = await asyncio.shield(working)
    except asyncio.CancelledError:
        working.add_done_callback(_look_at)
        if job.given_up():
            working.cancel()
        await asyncio.wait({working})
        raise
    return await returned if inspect.isawaitable(returned) else returned


class _Job:
    """A call that may be given up as long as it has not begun."""

    def __init__(self, method: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        self._method = method
        self._arguments = arguments
        self._lock = threading.Lock()
        self._begun = False
        self._given_up = False

    def __call__(self) -> Any:
        with self._lock:
            if self._given_up:
                return None
            self._begun = True
        return self._method(*self._arguments)

    def given_up(self) -> bool:
        """Give it up, if it has not begun; return whether that is so."""
        with self._lock:
            self._given_up = not self._begun
            return self._given_up


def _look_at(working: "asyncio.Future[Any]") -> None:
    if not working.cancelled():
        working.exception()  # nobody waits for it, and asyncio would say so
