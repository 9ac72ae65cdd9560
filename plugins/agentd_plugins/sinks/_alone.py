"""What sinks share that write to what may hang: one worker thread each, however often they are asked again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Alone:
    """Runs functions in a worker, each when the one before has ended, even where nobody waits for that any more.

    A write to a disk that hangs cannot be cancelled. Without this, each further try would take one more thread.
    """

    def __init__(self, in_worker: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._in_worker = in_worker
        self._job: asyncio.Task[Any] | None = None

    async def __call__(self, function: Callable[..., T], *args: object) -> T:
        """Return what a function returns. Whoever is cancelled stops waiting; the function goes on."""
        while self._job is not None and not self._job.done():
            await asyncio.wait([self._job])
        job: asyncio.Task[T] = asyncio.create_task(self._in_worker(function, *args))
        job.add_done_callback(_retrieved)
        self._job = job
        return await asyncio.shield(job)


def _retrieved(job: asyncio.Task[Any]) -> None:
    if not job.cancelled():
        job.exception()  # asyncio complains of errors that nobody has asked for
