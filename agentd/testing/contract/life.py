"""A plugin's life, several times over: built, started, asked for all that it has, and stopped, the wrong ways too."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from agentd.calling import called
from agentd.errors import described
from agentd.instances import ABOUT_SERIES, COLLECTOR_TIMEOUT, START_WITHIN, STOP_WITHIN
from agentd.metrics.admission import Admission
from agentd.metrics.spending import LONG, on_behalf_of
from agentd.metrics.workers import Workers
from agentd.plugin import (
    Clock,
    Collector,
    Config,
    Exporter,
    Family,
    Host,
    HostPaths,
    NoData,
    Plugin,
    Pressure,
    Record,
    Sink,
    Snapshot,
)
from agentd.plugin.kinds import exports
from agentd.testing.contract.finding import Findings
from agentd.testing.contract.leftovers import Stock
from agentd.testing.contract.metrics import declarations, lint, undeclared
from agentd.testing.contract.watch import Watch
from agentd.testing.exporting import EXAMPLE, export, rendered
from agentd.testing.instance import build

LIVES = 3
"""Lives of which the first does not count: what is imported, and kept for the whole process, is there from then on."""

COLLECTIONS = 2
"""Collections in a life: the second may go by what the first has seen."""

BEYOND = 5.0
"""Seconds for which something is waited for beyond its deadline, before it is given up."""

SENT_WITHIN = 30.0
"""Seconds that a batch may take: the agent's default."""


EXPORTED_WITHIN = 15.0
"""Seconds that an export may take before it delays the next."""


class GivenUp(Exception):
    """A plugin's method did not end long after its time: that was noted."""


class Life:
    """One plugin, its options and its machine; see ``run``."""

    def __init__(
        self,
        plugin: type[Plugin[Any]],
        options: Config,
        paths: HostPaths,
        *,
        events: Sequence[Record],
        findings: Findings,
        clock: Clock | None,
    ) -> None:
        self._type = plugin
        self._options = options
        self._paths = paths
        self._events = events
        self._add = findings.add
        self._clock = clock
        self._key = f"testing.{plugin.__name__}"
        self._times: dict[str, list[float]] = {}
        self._held: dict[str, list[float]] = {}
        self._watch = Watch((paths.procfs, paths.sysfs, paths.udev_data))
        self._workers = Workers()
        self.done = ""
        """What was asked last: where it hangs, if it does."""
        self.families: dict[str, Family] = {}

    async def run(self) -> None:
        """Live all lives, and note every finding."""
        asyncio.get_running_loop().set_task_factory(self._watch.make_task)
        try:
            with self._watch.hearing_sleep():
                await self._lives()
            self._judge()
        finally:
            asyncio.get_running_loop().set_task_factory(None)
            self._workers.close()

    async def _lives(self) -> None:
        for number in range(LIVES):
            if not await self._once(counts=number > 0):
                return
        await self._wrongly("stop-unstarted", "that was never started", self._nothing)
        await self._wrongly("stop-failed-start", "whose start was cancelled", self._cancelled)
        await self._wrongly("stop-failed-start", "whose start could not use a worker", self._refused)

    async def _once(self, *, counts: bool) -> bool:
        """Live once; return whether there is any use in living again."""
        self._watch.longest = {}
        stock, host = Stock(), Host(self._paths)
        plugin = self._build(host)
        if plugin is None:
            return False
        error = await self._ask("start", plugin.start, START_WITHIN)
        if error is not None:
            self._raised("start", "start()", error)
        elif counts and (error := await self._ask("start", plugin.start, START_WITHIN)):
            self._raised("start-twice", "a second start()", error)
        goes_on = error is None and await self._asked(plugin)
        for rule, text in (("stop", "stop()"), ("stop-twice", "a second stop()")):
            if error := await self._ask("stop", plugin.stop, STOP_WITHIN):
                self._raised(rule, text, error)
                goes_on = goes_on and not isinstance(error, GivenUp)
                break
        host.close()
        if counts:
            await self._look_for(stock, "after stop()")
            for phase, longest in self._watch.longest.items():
                self._held.setdefault(phase, []).append(longest)
        return goes_on

    def _build(self, host: Host) -> Plugin[Any] | None:
        self._watch.phase = self.done = "construct"
        try:
            plugin = self._watch.step(
                self._key, lambda: build(self._type, self._options, host=host, workers=self._workers, clock=self._clock)
            )
            if not hasattr(plugin, "context"):
                raise TypeError("the constructor of its base class was not called")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it raises is what is looked for
            self._add("construct", "", f"making an instance raises {described(error)}")
            return None
        plugin.context.gather, plugin.context.render = _gathered, rendered
        return plugin

    async def _asked(self, plugin: Plugin[Any]) -> bool:
        """Ask for all that it has; return whether it did not hang."""
        goes_on = True
        if isinstance(plugin, Collector):
            admission = Admission(plugin.max_series)
            for _ in range(COLLECTIONS):
                goes_on = goes_on and await self._collected(plugin, admission)
        if isinstance(plugin, Exporter) and exports(type(plugin)):
            error = await self._ask("export", lambda: export(plugin, _snapshot()), EXPORTED_WITHIN)
            if error is not None:
                self._raised("export", "export()", error)
            goes_on = not isinstance(error, GivenUp)
        if isinstance(plugin, Sink) and self._events:
            error = await self._ask("send", lambda: called(plugin.send, plugin.in_worker, self._events), SENT_WITHIN)
            goes_on = not isinstance(error, GivenUp)
        self._told("about", plugin.about, ABOUT_SERIES)
        self._sync("routes", lambda: list(plugin.routes()))
        for pressure in (*reversed(Pressure), Pressure.NONE):
            self._sync("shed", lambda pressure=pressure: plugin.shed(pressure))  # type: ignore[misc]
        if error := await self._ask("leave", plugin.leave, STOP_WITHIN):
            self._raised("stop", "leave()", error)
        return goes_on

    async def _collected(self, collector: Collector[Any], admission: Admission) -> bool:
        collector.context.deadline = collector.clock.monotonic() + COLLECTOR_TIMEOUT
        answers: list[Any] = []

        def collect() -> Any:
            answer: Any = collector.collect()
            return answer if inspect.isawaitable(answer) else admission.admit(answer)

        async def collection() -> None:
            inline = inspect.iscoroutinefunction(collector.collect) or not collector.blocking or not collector.waits()
            answer = collect() if inline else await collector.in_worker(collect)
            answers.append(admission.admit(await answer) if inspect.isawaitable(answer) else answer)

        error = await self._ask("collect", collection, COLLECTOR_TIMEOUT)
        if error is not None:
            if not isinstance(error, NoData | GivenUp):
                self._add("collect", "", f"collect() raises {described(error)}")
            return not isinstance(error, GivenUp)
        self._see(answers[0], foreign=collector.foreign)
        return True

    def _told(self, phase: str, tell: Callable[[], Iterable[Family]], most: int) -> None:
        answer = self._sync(phase, lambda: Admission(most).admit(tell()))
        if answer is not None:
            self._see(answer, foreign=False)

    def _see(self, answer: tuple[Any, list[Any]], *, foreign: bool) -> None:
        families, rejections = answer
        for each in rejections:
            self._add("series" if each.reason == "max_series" else "families", each.subject, each.why)
        declared = list(declarations(self._type))
        for family in families:
            self.families[family.name] = family
            if foreign:
                continue
            if wrong := undeclared(family, declared):
                self._add(wrong[0], family.name, wrong[1])
            for rule, what in lint(family.name, family.kind, family.help, family.label_names):
                self._add(rule, family.name, what)

    def _sync(self, phase: str, function: Callable[[], Any]) -> Any:
        self._watch.phase = self.done = phase
        try:
            return self._watch.step(self._key, function)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it raises is what is looked for
            rule = {"shed": "shed", "routes": "routes"}.get(phase, "families")
            self._add(rule, phase, f"{phase}() raises {described(error)}")
            return None

    async def _ask(self, phase: str, function: Callable[[], Awaitable[Any]], within: float) -> Exception | None:
        """Call a plugin; return what it raises. One that is not done long after its time is given up."""
        self._watch.phase = self.done = phase

        async def guarded() -> None:
            try:
                await function()
            except SystemExit as error:
                raise RuntimeError(f"SystemExit: {error}") from error

        begun = time.monotonic()
        task = asyncio.get_running_loop().create_task(guarded(), context=on_behalf_of(self._key))
        await asyncio.wait({task}, timeout=within + BEYOND)
        self._times.setdefault(phase, []).append(time.monotonic() - begun)
        if not task.done():
            task.cancel()
            waited = f"{phase}() is not done after {within + BEYOND:g} s"
            self._add("deadline", phase, f"{waited}, and may take {within:g} s")
            await asyncio.wait({task}, timeout=1.0)
            return GivenUp(waited)
        if task.cancelled():
            return RuntimeError("it cancelled itself")
        error = task.exception()
        return error if isinstance(error, Exception) or error is None else RuntimeError(repr(error))

    async def _wrongly(self, rule: str, whose: str, begin: Callable[[Plugin[Any]], Awaitable[None]]) -> None:
        """Stop one that never came to be started as it should."""
        stock, host = Stock(), Host(self._paths)
        plugin = self._build(host)
        if plugin is None:
            return
        self._watch.phase = self.done = "start"
        await begin(plugin)
        if error := await self._ask("stop", plugin.stop, STOP_WITHIN):
            self._raised(rule, f"stop() of one {whose}", error)
        host.close()
        await self._look_for(stock, f"after stop() of one {whose}")

    async def _nothing(self, _plugin: Plugin[Any]) -> None:
        """Do not start it at all."""

    async def _cancelled(self, plugin: Plugin[Any]) -> None:
        task = asyncio.get_running_loop().create_task(plugin.start(), context=on_behalf_of(self._key))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=START_WITHIN)
        if not task.done():
            self._add("deadline", "start", "start() goes on though it is cancelled")
        elif not task.cancelled():
            task.exception()  # looked at, so that nobody is told that it was not

    async def _refused(self, plugin: Plugin[Any]) -> None:
        plugin.context.in_worker, worker = _no_worker, plugin.context.in_worker
        await self._ask("start", plugin.start, START_WITHIN)
        plugin.context.in_worker = worker

    async def _look_for(self, stock: Stock, when: str) -> None:
        for rule, what in await stock.left():
            self._add(rule, "", f"{when}, {what}")

    def _raised(self, rule: str, what: str, error: Exception) -> None:
        if not isinstance(error, GivenUp):
            self._add(rule, "", f"{what} raises {described(error)}")

    def _judge(self) -> None:
        """Note what took too long each time: what did so once may have been this machine."""
        limits = {"start": START_WITHIN, "collect": COLLECTOR_TIMEOUT, "stop": STOP_WITHIN, "leave": STOP_WITHIN}
        for phase, within in limits.items():
            if (times := self._times.get(phase)) and min(times) > within:
                self._add("deadline", phase, f"{phase}() takes {min(times):.2g} s and more, and may take {within:g} s")
        for phase, steps in self._held.items():
            if len(steps) == LIVES - 1 and min(steps) > LONG:
                where = "making an instance" if phase == "construct" else f"{phase}()"
                self._add("loop-held", phase, f"{where} holds the event loop for {min(steps):.2g} s at a stretch")
        for (phase, place), what in self._watch.calls.items():
            self._add("loop-call", phase, f"{phase}() {what}, on the event loop, at {place}")


def _snapshot() -> Snapshot:
    return Snapshot(EXAMPLE, time.time())


async def _gathered(**_: object) -> Snapshot:
    return _snapshot()


async def _no_worker(*_: object) -> Any:
    raise OSError("no worker: this one is told to refuse")
