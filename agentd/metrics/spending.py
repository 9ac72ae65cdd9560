"""What each plugin costs: the CPU time of its code, and the time for which it held up everything else.

To ask for the CPU time takes a system call, so that is done around whole steps of tasks and requests. What collectors
take within a step is measured by the clock on the wall, and gets its share of the step's CPU time.
"""

import asyncio
import contextvars
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, TypeVar

from agentd.metrics.family import counter
from agentd.metrics.frame import Frame, Layout
from agentd.metrics.held import Held

T = TypeVar("T")

log = logging.getLogger(__name__)

LONG = 0.1
"""Seconds on the event loop at a stretch from which on a plugin has held up everything else."""

WORTH_A_LINE = 0.5
"""Seconds from which on the log names it. On a busy machine less is often not the plugin's fault."""

SAID_EVERY = 300.0
"""Seconds between two lines in the log about one plugin that does."""

_plugin: contextvars.ContextVar[str] = contextvars.ContextVar("plugin")


def on_behalf_of(key: str) -> contextvars.Context:
    """Return a context for tasks of a plugin: what they and the tasks that they begin cost is the plugin's."""
    context = contextvars.copy_context()
    context.run(_plugin.set, key)
    return context


class Spending:
    """What plugins have cost, by their keys (``collectors.cpu``), since the agent was started."""

    cpu = counter(
        "agentd_plugin_cpu_seconds_total", "CPU time of a plugin, in its collections, requests and tasks.", ("plugin",)
    )
    blocked = counter(
        "agentd_plugin_blocked_loop_seconds_total",
        "Seconds for which a plugin held up everything else, in stretches of more than 0.1 s.",
        ("plugin",),
    )

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, elsewhere: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        """``elsewhere`` returns what plugins have cost in processes of their own, in all."""
        self.held = Held()
        """Who has the event loop now."""
        self._clock = clock
        self._elsewhere = elsewhere
        self._cpu: defaultdict[str, float] = defaultdict(float)
        self._blocked: dict[str, float] = {}
        self._worked: defaultdict[str, float] = defaultdict(float)  # in threads
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._within: list[tuple[str, float, float | None]] = []  # of the present step: who, wall, CPU where known
        self._steps = 0
        self._keys: tuple[str, ...] = ()
        self._layout = Layout()

    def ran(self, key: str, seconds: float) -> None:
        """Count what a plugin's code took on the event loop at a stretch, by the clock on the wall."""
        if self._steps:
            self._within.append((key, seconds, None))
        else:
            self._cpu[key] += seconds
        self._held(key, seconds)

    def step(self, key: str, take: Callable[..., T], *arguments: object) -> T:
        """Return what a step of a plugin's coroutine returns; what others took within it is theirs."""
        outer, self._within = self._within, []
        self._steps += 1
        begun, used = self._clock(), time.thread_time()
        before = self.held.hold(key, begun)
        try:
            return take(*arguments)
        finally:
            self.held.give_back(before)
            cpu, wall = time.thread_time() - used, self._clock() - begun
            share = min(1.0, cpu / wall) if wall > 0 else 1.0
            own, own_wall = cpu, wall
            for other, took, known in self._within:
                theirs = took * share if known is None else known
                if known is None:
                    self._cpu[other] += theirs
                own, own_wall = own - theirs, own_wall - took
            self._cpu[key] += max(0.0, own)
            self._held(key, own_wall)
            arguments = ()  # an error that is passed on refers to this frame, which must not refer to it
            self._steps -= 1
            self._within = outer
            if self._steps:
                outer.append((key, wall, cpu))

    def _held(self, key: str, seconds: float) -> None:
        if seconds >= LONG:
            self._blocked[key] = self._blocked.get(key, 0.0) + seconds
            now = self._clock()
            if seconds >= WORTH_A_LINE and now - self._said.get(key, -SAID_EVERY) >= SAID_EVERY:
                self._said[key] = now
                log.warning("%s held up everything else for %.2f s: it should wait in a thread", key, seconds)

    def working(self, key: str, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that counts the CPU time of one when it is called in a thread."""

        def measured(*arguments: object) -> T:
            begun, place = time.thread_time(), self.held.enter(key)
            try:
                return function(*arguments)
            finally:
                self.held.leave(place)
                with self._lock:
                    self._worked[key] += time.thread_time() - begun

        return measured

    def answering(self, key: str, handler: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Return a handler of requests that counts what one takes."""

        async def measured(*arguments: object) -> T:
            made = handler(*arguments)
            if not asyncio.iscoroutine(made):
                return await made
            token = _plugin.set(key)
            try:
                result: T = await Measured(made, key, self)
                return result
            finally:
                _plugin.reset(token)

        return measured

    def make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        made: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        context: contextvars.Context | None = None,
        **keywords: Any,
    ) -> "asyncio.Task[T]":
        """Begin a task: a task factory of asyncio. Where it is one of a plugin's, it is counted."""
        key = _plugin.get("") if context is None else context.get(_plugin, "")
        if key and asyncio.iscoroutine(made):
            made = Measured(made, key, self)
        return asyncio.Task(made, loop=loop, context=context, **keywords)

    def families(self) -> Frame:
        """Return what all plugins have cost."""
        with self._lock:
            worked = dict(self._worked)
        for key, seconds in self._elsewhere().items():
            worked[key] = worked.get(key, 0.0) + seconds
        total = {key: self._cpu[key] + worked.get(key, 0.0) for key in {**self._cpu, **worked}}
        keys = (*total, "", *self._blocked)
        if keys != self._keys:
            self._keys = keys
            told = self.cpu(total), self.blocked(self._blocked)
            self._layout = Layout(family for family in told if family.samples)
        return self._layout.fill([*total.values(), *self._blocked.values()])


class Measured(Coroutine[Any, Any, T]):
    """A coroutine of a plugin, each step of which is counted."""

    __slots__ = ("_inner", "_key", "_spending")

    def __init__(self, inner: Coroutine[Any, Any, T], key: str, spending: Spending) -> None:
        self._inner = inner
        self._key = key
        self._spending = spending

    def send(self, value: Any) -> Any:
        """Take the next step."""
        return self._spending.step(self._key, self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """Take the next step, which begins with an error."""
        try:
            return self._spending.step(self._key, self._inner.throw, *error)
        finally:
            del error  # which refers to this frame

    def close(self) -> None:
        """Give up."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __iter__(self) -> "Measured[T]":
        return self

    def __next__(self) -> Any:
        return self.send(None)
