"""Keeps a plugin's process running: begins it again when it ends, and holds it to its share of the CPU."""

import asyncio
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agentd.errors import ToldError, described
from agentd.events.envelope import Event
from agentd.isolation.launcher import Launch, Launcher
from agentd.isolation.process import Process
from agentd.isolation.source import Source
from agentd.plugin import Context, NotDurable
from agentd.resilience import Backoff

AGAIN = (1.0, 120.0)
"""Seconds before a process that ended is begun again: at most, the first time and any time."""

LASTS = 60.0
"""Seconds after which one that runs is held to be well: when it ends, the next wait is a short one again."""

BEGIN_WITHIN = 30.0
"""Seconds that a process gets to start again."""

STOP_WITHIN = 0.3
"""Seconds that a plugin gets to stop, before its process is ended."""

LOOK_EVERY = 1.0
"""Seconds between two looks at what a process with a limit has used of the CPU."""

BURST = 10.0
"""Seconds for which a process may save up the CPU time that it has not used."""


class CpuBudget:
    """CPU time that comes in steadily, and is kept for some seconds. Pure: what was used and the time are handed in."""

    def __init__(self, share: float, now: float) -> None:
        """Allow ``share`` seconds of CPU time a second."""
        self._share = share
        self._left = share * BURST
        self._at = now
        self._used = 0.0

    def pause(self, used: float, now: float) -> float:
        """Return for how many seconds nothing may be used, given the CPU time used so far; 0 where some is left."""
        self._left = min(self._share * BURST, self._left + (now - self._at) * self._share - (used - self._used))
        self._at, self._used = now, used
        return max(0.0, -self._left / self._share)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, and within which limits."""

    source: Source
    memory_limit: int | None
    cpu_limit: float | None
    options: Mapping[str, Any]
    """Its options as plain values."""
    max_series: int


class Keeper:
    """A plugin's process, or the wait for the next one."""

    def __init__(self, launcher: Launcher, order: Order, context: Context, log: logging.Logger) -> None:
        self.restarts = 0
        self._launcher = launcher
        self._order = order
        self._context = context
        self._log = log
        self._process: Process | None = None
        self._why = "it was not started"
        self._begun = 0.0
        self._due = 0.0
        self._backoff = Backoff(*AGAIN)
        self._spent = 0.0
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._halted = False

    @property
    def key(self) -> str:
        """The name of the instance with its kind."""
        return self._context.name

    @property
    def process(self) -> Process | None:
        """The process; None while there is none."""
        return self._process

    @property
    def restarting(self) -> str:
        """Why there is no process, and when there will be one; empty where there is one."""
        if self._process is not None or self._task is None:
            return ""
        left = max(0.0, self._due - asyncio.get_running_loop().time())
        return f"it is started again in {left:.0f} s: {self._why}"

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes that there have been."""
        return self._spent + (self._process.cpu_seconds() if self._process is not None else 0.0)

    async def start(self) -> None:
        """Begin the first process. Raises what keeps the plugin from starting."""
        self._launcher.keepers.add(self)
        self._stopped = False
        if self._process is None:
            await self._begin()

    async def ask(self, do: str, **fields: Any) -> Any:
        """Ask the process: see ``Process.ask``. Raises ``ToldError`` where there is none now."""
        if self._process is None:
            raise ToldError(self._why)
        return await self._process.ask(do, **fields)

    async def stop(self) -> None:
        """Let the plugin stop, and end its process."""
        self._stopped = True
        self._launcher.keepers.discard(self)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
        process = self._process
        if process is None:
            self._settle()
        else:
            process.signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await process.ask("stop")
            except ToldError as error:
                if str(error) != process.why:  # it ends when it has stopped, which may be seen before its answer
                    raise
            except TimeoutError:
                self._log.warning("did not stop within %s s: its process is ended", STOP_WITHIN)
            finally:
                process.kill("it was stopped")

    async def probe(self) -> str:
        """Try who is asked or sent to, in a process of its own."""
        process = await self._load(lambda _why: None)
        try:
            fields = {"name": self.key, "host": self._host(), "options": self._order.options}
            return str(await process.ask("probe", **fields))
        finally:
            process.kill("it has answered")

    def _settle(self) -> None:
        """Note what it has cost: nobody asks it any more."""
        self._launcher.spent[self.key] += self._spent
        self._spent = 0.0

    async def _load(self, ended: Any) -> Process:
        launch = Launch(self._order.source.python, self._order.memory_limit)
        process = await Process.begin(self._launcher, launch, self._context.in_worker, self._log, ended)
        try:
            await process.ask(**self._order.source.load(self._log.getEffectiveLevel()))
        except BaseException:
            process.kill("it did not start")
            raise
        return process

    async def _begin(self) -> None:
        begun: list[Process] = []
        process = await self._load(lambda why: self._ended(begun, why))
        try:
            process.listen("emit", self._emit)
            process.listen("commit", lambda message: self._commit(process, message))
            said = await process.ask(
                "begin",
                name=self.key,
                host=self._host(),
                labels=dict(self._context.labels),
                state=dict(self._context.state),
                options=self._order.options,
                max_series=self._order.max_series,
            )
        except BaseException:
            process.kill("it did not start")
            raise
        if process.why:
            raise ToldError(process.why)
        if said["routes"]:
            self._log.warning('its routes are not answered: isolation = "process" has none')
        begun.append(process)
        self._process = process
        self._begun = asyncio.get_running_loop().time()
        if self._order.cpu_limit is not None and self._timer is None:
            self._look(CpuBudget(self._order.cpu_limit, self._begun))

    def _ended(self, begun: list[Process], why: str) -> None:
        if not begun:  # it never ran: whoever began it tells so
            return
        self._spent += begun[0].cpu_seconds()
        self._process = None
        if self._stopped:
            self._settle()
            return
        self._why = why
        if asyncio.get_running_loop().time() - self._begun >= LASTS:
            self._backoff.reset()
        self._log.error("%s; it is started again", why)
        self._task = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wait = self._backoff.next()
            self._due = loop.time() + wait
            await asyncio.sleep(wait)
            self.restarts += 1
            try:
                async with asyncio.timeout(BEGIN_WITHIN):
                    await self._begin()
            except Exception as error:  # noqa: BLE001  # a plugin's failure is its own
                self._why = f"it cannot start: {described(error) or type(error).__name__}"
                self._log.error("%s", self._why)
            else:
                self._log.info("its process runs again")
                return

    def _look(self, budget: CpuBudget) -> None:
        loop = asyncio.get_running_loop()
        pause = budget.pause(self.cpu_seconds(), loop.time())
        self._timer = loop.call_later(pause or LOOK_EVERY, self._look, budget)
        if self._process is not None and (pause or self._halted):
            self._process.signal(signal.SIGSTOP if pause else signal.SIGCONT)
            if pause:
                self._log.warning("has used more CPU time than its cpu_limit: it is halted for a while")
        self._halted = bool(pause)

    def _host(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self._context.host.paths)

    def _emit(self, message: dict[str, Any]) -> None:
        self._context.emit(_event(message["emit"]))

    def _commit(self, process: Process, message: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._committed(process, message))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _committed(self, process: Process, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"committed": message["commit"]}
        try:
            await self._context.commit([_event(each) for each in message["events"]], message["state"])
        except NotDurable as error:
            answer |= {"error": str(error), "durable": True}
        except Exception as error:  # noqa: BLE001  # what a plugin gives is its own failure, and it is told
            answer |= {"error": f"{type(error).__name__}: {error}"}
        process.send(answer)


def _event(told: Mapping[str, Any]) -> Event:
    """Return an event as the child has it; whoever takes events refuses what is none."""
    return Event(**told)
