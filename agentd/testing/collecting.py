"""One collection, as the agent makes it, of which a test looks at the families."""

import inspect
from typing import Any

from agentd.metrics.admission import Admission
from agentd.plugin import Clock, Collector, Family, Host
from agentd.testing.hosts import Files, Root, machine
from agentd.testing.instance import Given, on_machine
from agentd.testing.recorder import Recorder
from agentd.testing.traces import shorten
from agentd.testing.within import DEADLINE, within

__tracebackhide__ = True

TIMEOUT = 5.0
"""Seconds that a collection may take by the collector's own clock: the agent's default."""


class LeftOut(AssertionError):
    """The agent would leave out a part of what a collector returned."""


async def returned(collector: Collector[Any]) -> Any:
    """Return what a collector that is started returns, where the agent would call it: in a worker, or on the loop."""
    collector.context.deadline = collector.clock.monotonic() + TIMEOUT
    try:
        if inspect.iscoroutinefunction(collector.collect) or not collector.blocking or not collector.waits():
            answer: Any = collector.collect()
        else:
            answer = await collector.in_worker(collector.collect)
        return await answer if inspect.isawaitable(answer) else answer
    except Exception as error:
        shorten(error)
        raise


async def collect(collector: Collector[Any]) -> list[Family]:
    """Have a collector that is started collect once, and return what it tells.

    Raises what the collector raises, ``NoData`` among it, and ``LeftOut`` where the agent would not show all of it: a
    name that is none, a value that is no number, a series that is there twice, more series than it may have.
    """
    frame, rejections = Admission(collector.max_series).admit(await returned(collector))
    if rejections:
        listed = "\n".join(f"  {each.what} ({each.reason})" for each in rejections)
        raise LeftOut(f"the agent would leave out of what {type(collector).__name__} tells:\n{listed}")
    return list(frame)


def run_collector(
    plugin: type[Collector[Any]],
    *,
    config: Given[Host] = None,
    proc: Files | None = None,
    sys: Files | None = None,
    files: Files | None = None,
    root: Root | None = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    deadline: float = DEADLINE,
) -> list[Family]:
    """Start a collector, have it collect once, stop it, and return the families that it told.

    It sees a machine that has these files below ``/proc``, ``/sys`` and elsewhere, and no others; or that at ``root``,
    where ``"/"`` is this one. ``config`` are its options as the configuration has them, or a function of the ``Host``
    that returns them. It runs in a thread of its own, so this may be called in asynchronous tests, too.

    Raises what the collector raises; ``LeftOut`` where the agent would not show all; ``Hang``, with the place, where it
    takes longer than ``deadline`` seconds; ``ConfigError`` where the options are wrong.
    """

    async def once() -> list[Family]:
        async with on_machine(plugin, paths, config, clock, recorder) as collector:
            return await collect(collector)

    with machine(proc=proc, sys=sys, files=files, root=root) as paths:
        return within(deadline, f"{plugin.__name__}.collect()", once)
