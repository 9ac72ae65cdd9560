"""What a plugin leaves behind: tasks, threads and descriptors that were not there before it was started."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentd.testing.within import WORKER, waiting

PATIENCE = 5.0
"""Seconds in which what is about to end may do so. It is no measurement: machines may be busy."""

_LOOPS_OWN = (WORKER, "asyncio_", "agentd-testing")
"""Threads that the agent has, or the event loop for its own work."""


class Stock:
    """What there is at one moment, in this process and on the running loop."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())
        self._descriptors = set(_descriptors())

    def tasks(self) -> list["asyncio.Task[Any]"]:
        """Return the tasks that have come since then, and are not done."""
        return [task for task in asyncio.all_tasks() - self._tasks if not task.done()]

    def threads(self) -> list[threading.Thread]:
        """Return the threads that have come since then."""
        new = set(threading.enumerate()) - self._threads
        return [thread for thread in new if not thread.name.startswith(_LOOPS_OWN)]

    def descriptors(self) -> list[tuple[int, str]]:
        """Return the files and sockets that were opened since then, and are open."""
        return sorted(set(_descriptors()) - self._descriptors)

    def _any(self) -> bool:
        return bool(self.tasks() or self.threads() or self.descriptors())

    async def left(self) -> list[tuple[str, str]]:
        """Return what does not go away: the rule that it breaks, and what it is in words. Tasks are then cancelled."""
        due = time.monotonic() + PATIENCE
        while self._any() and time.monotonic() < due:  # noqa: ASYNC110  # nobody tells when a descriptor is closed
            await asyncio.sleep(0.01)
        tasks = self.tasks()
        found = [("left-task", f"the task {_named(task)} still runs") for task in tasks]
        found += [("left-thread", f"the thread {thread.name!r} still runs") for thread in self.threads()]
        found += [("left-descriptor", f"{link} is still open") for _, link in self.descriptors()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found


def _named(task: "asyncio.Task[Any]") -> str:
    frames = waiting(task)
    if not frames:
        return task.get_name()
    return f"{task.get_name()} of {frames[0].name}(), at {frames[-1].filename}:{frames[-1].lineno}"


def _descriptors() -> Iterator[tuple[int, str]]:
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:  # there is no procfs: nobody tells
        return
    for number in numbers:
        try:
            yield int(number), str(Path(f"/proc/self/fd/{number}").readlink())
        except OSError:  # the one by which the folder was listed
            continue
