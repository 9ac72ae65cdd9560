"""Keeps the agent below a limit of memory: while it is above, what it can do without is given up, step by step.

Unlike the hard limit of the unit, at which the kernel ends the agent, this one costs no event, and no metric of the
host.
"""

import contextlib
import gc
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from math import inf
from pathlib import Path
from typing import NamedTuple

from agentd.errors import described
from agentd.metrics.family import counter, gauge
from agentd.metrics.frame import EMPTY, Frame, Layout

log = logging.getLogger(__name__)

LOWER = 0.9
"""Part of the limit below which all is as it was before."""

SETTLE = 10.0
"""Seconds between two steps, at least: what was given up takes a moment to be free."""

AGAIN, LONGEST = 30.0, 900.0
"""Seconds after which a step is taken again while the others have not helped: at first, doubling, and at last."""

UNIT = 0.9
"""Part of the unit's MemoryHigh= that is the limit where none is configured: beyond that the kernel slows it down."""


_ARENA_MAX = -8
"""Number of that option in malloc.h of glibc."""

BLOCK = 64
"""Bytes of a block of Python's own memory, rather a little less than they have on average."""


class Pressure(IntEnum):
    """What is to be given up because the agent uses more memory than it may; each with all before it."""

    NONE = 0
    """Nothing any more: it is below its limit again."""
    CACHES = 1
    """What can be made again."""
    STREAMS = 2
    """Those who only listen to what happens live."""
    INTAKE = 3
    """Whoever is new, a robot say, and what is kept of those that are not there."""


STEPS = (Pressure.CACHES, Pressure.STREAMS, Pressure.INTAKE)

TOLD = {
    Pressure.CACHES: "caches and garbage are given up",
    Pressure.STREAMS: "live streams of events are closed",
    Pressure.INTAKE: "no further robots are let in, and what is kept of those that are gone is dropped",
}
"""What the log says of each step."""

Shedder = Callable[[Pressure], None]
"""Gives up what is asked for; called again while that does not suffice, and with ``NONE`` when all is well again."""


class History(NamedTuple):
    """What was given up since the agent was last well below its limit."""

    last: float = -inf
    """When a step was taken last."""
    times: tuple[int, ...] = (0,) * len(STEPS)
    """How often each was."""
    due: tuple[float, ...] = (-inf,) * len(STEPS)
    """When each may be taken again."""

    @property
    def pressure(self) -> Pressure:
        """The furthest step that was taken."""
        return max((step for step, times in zip(STEPS, self.times, strict=True) if times), default=Pressure.NONE)


CALM = History()


def decide(used: int, limit: float, now: float, history: History) -> tuple[Pressure | None, History]:
    """Return the step to take now, if any (``NONE``: all is well again), and the history with it.

    Each step is taken once before any is taken again. Between the limit and its lower mark all stays as it is.
    """
    if used < LOWER * limit:
        return (Pressure.NONE if history.pressure else None), CALM
    if used <= limit or now - history.last < SETTLE:
        return None, history
    place = min(range(len(STEPS)), key=history.due.__getitem__)
    if now < history.due[place]:
        return None, history
    times, due = list(history.times), list(history.due)
    due[place] = now + min(LONGEST, AGAIN * 2.0 ** min(times[place], 60))
    times[place] += 1
    return STEPS[place], History(now, tuple(times), tuple(due))


class Peak(NamedTuple):
    """When all that was resident was in use, as far as one can tell."""

    resident: int = 0
    """Bytes in RAM."""
    blocks: int = 0
    """Blocks of Python's own memory that were in use."""


def in_use(resident: int, blocks: int, peak: Peak) -> tuple[int, Peak]:
    """Return how many of the bytes in RAM are in use, rather a few too many, and the peak to go by from now on.

    Python gives its memory back to the kernel a megabyte at a time, once nothing at all is left in that: after robots
    have gone the process is as large as before, but what comes next finds room inside of it.
    """
    room = max(0, peak.blocks - blocks) * BLOCK - abs(peak.resident - resident)
    if room > 0:
        return max(0, resident - room), peak
    return resident, Peak(resident, blocks) if resident > peak.resident else peak


class Memory:
    """Looks at the memory of this process, and has it shed what it can do without."""

    limited = gauge("agentd_memory_limit_bytes", "Memory above which the agent gives up what it can do without.")
    shed = counter("agentd_memory_shed_total", "How often the agent gave something up to save memory.", ("step",))

    def __init__(
        self,
        say: Callable[..., None],
        resident: Callable[[], int] | None = None,
        blocks: Callable[[], int] = sys.getallocatedblocks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``say`` emits one of the agent's own events: its type, and its payload as keywords."""
        self.limit = 0
        """In bytes; 0 for none."""
        self.shedders: list[Shedder] = []
        self._say = say
        self._resident = resident or resident_bytes
        self._blocks = blocks
        self._clock = clock
        self._history = CALM
        self._peak = Peak()
        self._counts: Counter[Pressure] = Counter()
        names = [step.name.lower() for step in STEPS]
        self._layout = Layout([self.limited(0.0), self.shed(dict.fromkeys(names, 0.0))])

    @property
    def pressure(self) -> Pressure:
        """The furthest step that was taken since the agent was last well below its limit."""
        return self._history.pressure

    def look(self) -> None:
        """Take the next step, if it is time for one. Called every few seconds; raises nothing."""
        limit = self.limit or inf  # without a limit, what was given up before comes back
        if limit == inf and not self._history.pressure:
            return
        used = resident = self._resident()
        if resident < LOWER * limit:
            self._peak = Peak()
        else:
            used, self._peak = in_use(resident, self._blocks(), self._peak)
        step, self._history = decide(used, limit, self._clock(), self._history)
        if step is None:
            return
        told = {"resident_bytes": resident, "limit_bytes": self.limit or None}
        for shedder in self.shedders:
            try:
                shedder(step)
            except Exception as error:  # noqa: BLE001  # what one cannot give up must not keep the others
                log.error("nothing is given up by one part of the agent: %s", described(error))
        if step is Pressure.NONE:
            megabytes = (resident / (1 << 20), used / (1 << 20))
            log.info("%.0f MiB of memory are resident, %.0f MiB of it in use: all is as it was before", *megabytes)
            self._say("agent.memory_recovered", **told)
            return
        gc.collect()
        trim()
        self._counts[step] += 1
        megabytes = (resident / (1 << 20), self.limit / (1 << 20))
        log.warning("%.0f MiB of memory are resident, and memory_limit is %.0f MiB: %s", *megabytes, TOLD[step])
        self._say("agent.memory_shed", step=step.name.lower(), **told)

    def families(self) -> Frame:
        """Return the limit, and what was given up; nothing without a limit."""
        if not self.limit:
            return EMPTY
        return self._layout.fill([float(self.limit), *(float(self._counts[step]) for step in STEPS)])


def resident_bytes() -> int:
    """Return how many bytes of this process lie in RAM, from proc_pid_statm(5); 0 where there is no procfs."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def limit_of(configured: int | None, procfs: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """Return the limit in bytes, 0 for none: what is configured, or 90 % of what the unit says (``MemoryHigh=``), from
    the file ``memory.high`` of this process's control group (cgroup v2).
    """
    if configured is not None:
        return int(configured)  # not a Size, which would be no JSON
    try:
        own = next(line for line in Path(procfs, "self/cgroup").read_text().splitlines() if line.startswith("0::"))
        return int(int(Path(f"{cgroups}{own[3:]}/memory.high").read_text()) * UNIT)
    except (OSError, StopIteration, ValueError):  # "max": none
        return 0


def trim() -> None:
    """Give memory that is free back to the kernel, where the C library can do that: malloc_trim(3)."""
    with contextlib.suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def one_heap() -> None:
    """Have all threads share one heap, where the C library can do that: mallopt(3), M_ARENA_MAX.

    It would give each of the first threads one of its own, and what is free in one is of no use to the others, so that
    memory grew for hours. Python's threads take turns anyway.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes

        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
