"""One collector's place in the agent: runs it, one run at a time, and keeps what came of it."""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec

from agentd.errors import described, text_of
from agentd.metrics.admission import Admission
from agentd.metrics.assembly import Rejection
from agentd.metrics.family import Family
from agentd.metrics.frame import EMPTY, Frame
from agentd.metrics.spending import Spending, on_behalf_of
from agentd.metrics.undeclared import Undeclared
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, NoData, Refused
from agentd.resilience import CircuitBreaker

Admitted = tuple[Frame, list[Rejection]]
Status = Literal["ok", "no data", "failed", "timed out"]
Transform = Callable[[str, Sequence[Family]], Sequence[Family]]
Tell = Callable[..., None]
"""Emits one of the agent's own events: its type, and its payload as keywords."""


ENDS = (Exception, SystemExit, asyncio.CancelledError)
"""What plugins may raise without ending more than their own run."""

_ANSWERS = (Frame, list)
_LATE = "late"
_REFUSED = "refused"

NAMED = 100
"""Problems of a collector that are named in the log at most until it works again."""

RESTS = (5, 15.0, 300.0)
"""Failures in a row after which a collector is asked at growing intervals only: how many, and the first and the longest
interval, in seconds."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one run. ``no data`` means that this machine lacks what the collector is about."""

    status: Status
    frame: Frame
    duration: float
    """Seconds that the run took."""
    at: float
    """When it ended, by the monotonic clock."""
    error: str = ""
    refused: bool = False
    """Whether there is no data because this process may not ask for it."""

    @property
    def series(self) -> int:
        """How many series it brought."""
        return self.frame.layout.series


class Slot:
    """A collector instance with its limits, its present run and the outcome of its last ones.

    A run that exceeds ``timeout`` is given up by all who wait for it, but its collector is not asked again before that
    run has really ended: a thread cannot be stopped.
    """

    def __init__(
        self,
        collector: Collector[Any],
        *,
        name: str,
        workers: Workers,
        timeout: float,
        max_series: int,
        interval: float | None = None,
        threaded: bool | None = None,
        transform: Transform | None = None,
        tell: Tell | None = None,
        spending: Spending | None = None,
    ) -> None:
        self.collector = collector
        self.name = name
        self.key = collector.context.name
        self.as_collector = (name,)
        self.as_plugin = (self.key,)
        self.foreign = collector.foreign
        self.timeout = timeout
        self.interval = interval
        self.last: Outcome | None = None
        self.good: Outcome | None = None
        self.timeouts = 0
        self.rejected: Counter[str] = Counter()
        self.undeclared = Undeclared(collector)
        self._workers = workers
        self._now = collector.clock.monotonic
        self._admission = Admission(max_series)
        asynchronous = inspect.iscoroutinefunction(collector.collect)
        self.threaded = not asynchronous and (collector.blocking if threaded is None else threaded)
        """Whether a collection is done in a worker, where there is anything to wait for."""
        self._always = threaded is True
        self.inline = not asynchronous and not self.threaded
        """Whether a collection is done at once, on the event loop, as a rule: a plain ``collect`` may return something
        to await where it finds that it has to wait."""
        self.transform = transform
        """Changes what a collection brought, before it is checked."""
        self._tell = tell
        self._spending = spending or Spending()
        self._failed = False
        self._rest = CircuitBreaker(*RESTS)
        self.transformed = Admission(max_series)
        self._run: asyncio.Future[Any] | None = None
        self._begun = 0.0
        self._settled: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._named: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether a run is under way, or hangs."""
        return self._run is not None

    @property
    def rests_for(self) -> float:
        """For how many seconds it is not asked, because it has failed again and again."""
        return self._rest.wait(self._now())

    def rouse(self) -> None:
        """Ask it the next time whatever it has done: somebody has looked after it."""
        self._rest.succeeded()

    def begin(self, deadline: float) -> "asyncio.Future[None] | None":
        """Begin a run, or join the present one; return what to wait for, or None where there is nothing to wait for.

        There is nothing where the run is done already (see ``inline``), where it hangs, and where the collector rests:
        then what came of its last run stands.
        """
        if self._run is not None:
            context = self.collector.context
            if context.deadline is not None:  # the run may go on for whoever can wait longest
                context.deadline = max(context.deadline, min(deadline, self._begun + self.timeout))
            return self._settled
        now = self._now()
        if self._stopping or self._rest.wait(now):
            return None
        self._begun = now
        self.collector.context.deadline = min(deadline, self._begun + self.timeout)
        held = self._spending.held.hold(self.key, now)
        try:
            if self.threaded and (self._always or self.collector.waits()):
                return self._follow(self._workers.submit(self._spending.working(self.key, self._collect)))
            returned: Any = self.collector.collect()
            if type(returned) not in _ANSWERS and inspect.isawaitable(returned):
                return self._follow(self._awaiting(returned))
            result = self._admission.admit(returned)
        except NoData as reason:
            self._lack(reason)
        except ENDS as error:  # whatever a plugin raises is its own failure
            self._fail(error)
        else:
            self._accept(*result)
        finally:
            self._spending.held.give_back(held)
        if self.last is not None:
            self._spending.ran(self.key, self.last.duration)
        return None

    async def first(self) -> None:
        """Run once, and wait for the end of it, or its timeout."""
        settled = self.begin(self._now() + self.timeout)
        if settled is not None:
            await settled

    def miss(self, waited: float) -> Outcome:
        """Return the outcome for a reader whose own deadline came before the run ended, and count it."""
        self.timeouts += 1
        error = f"no answer within the {waited:.3g} s that the reader could wait"
        self._say(logging.WARNING, _LATE, f"{error}; its series are left out")
        return Outcome("timed out", EMPTY, waited, self._now(), error=error)

    def came(self) -> None:
        """Note that the run ended before its reader's deadline: a later one that does not is told of again."""
        self._named.discard(_LATE)

    async def stop(self) -> None:
        """End a run that is under way, without waiting for one that does not want to end."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait({self._run}, timeout=0.1)
        self._release()

    def _follow(self, run: "asyncio.Future[Any]") -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        self._settled = loop.create_future()
        self._run = run
        run.add_done_callback(self._ended)
        self._timer = loop.call_later(self.timeout, self._give_up)
        return self._settled

    def _awaiting(self, returned: Awaitable[Any]) -> "asyncio.Task[Admitted]":
        loop = asyncio.get_running_loop()
        return loop.create_task(self._admit(returned), name=self.key, context=on_behalf_of(self.key))

    def _collect(self) -> Admitted | Awaitable[Any]:
        returned: Any = self.collector.collect()
        if type(returned) not in _ANSWERS and inspect.isawaitable(returned):
            return returned
        return self._admission.admit(returned)

    async def _admit(self, returned: Awaitable[Any]) -> Admitted:
        try:
            return self._admission.admit(await returned)
        except SystemExit as error:  # a task that raises this would end the event loop
            raise RuntimeError(f"SystemExit: {text_of(error)}") from error

    def _give_up(self) -> None:
        self.timeouts += 1
        error = f"no answer within its timeout of {self.timeout:g} s"
        if self._tell is not None and not self._failed:
            self._failed = True
            self._tell("collector.timed_out", plugin=self.key, timeout_seconds=self.timeout)
        self._conclude("timed out", EMPTY, error)
        advice = "its series are left out, and it is not asked again while it hangs"
        self._say(logging.WARNING, "timed out", f"{error}; {advice}")
        self._tell_rest()
        if isinstance(self._run, asyncio.Task):  # all but a thread, which goes on
            self._run.cancel()
        self._release()

    def _ended(self, run: "asyncio.Future[Any]") -> None:
        if not run.cancelled() and run.exception() is None and not isinstance(run.result(), tuple):
            self._run = self._awaiting(run.result())  # to wait is the event loop's part
            self._run.add_done_callback(self._ended)
            return
        late = self._settled is None  # given up before
        if self._timer is not None:
            self._timer.cancel()
        self._run = None
        error = None if run.cancelled() else run.exception()
        if late:
            if not run.cancelled() and not self._stopping:
                took = self._now() - self._begun
                rest = self.rests_for
                when = f" in {rest:.0f} s" if rest else ""
                self._say(logging.WARNING, "ended", f"ended after {took:.1f} s: is asked again{when}")
        elif run.cancelled():
            self._fail(asyncio.CancelledError("the run was cancelled"))
        elif isinstance(error, NoData):
            self._lack(error)
        elif error is not None:
            self._fail(error)
        else:
            self._accept(*run.result())
        self._release()

    def _release(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        self._settled = None

    def _accept(self, frame: Frame, rejections: list[Rejection]) -> None:
        for name in self.undeclared.found(frame.layout):
            text = f"tells {name}, which its class does not declare: nobody can look up what it means"
            self._say(logging.WARNING, f"undeclared {name}", text)
        if self.transform is not None:
            try:
                frame, more = self.transformed.admit(self.transform(self.key, list(frame)))
            except ENDS as error:
                self._fail(error)
                return
            rejections = rejections + more
        if self.last is not None and self.last.status not in ("ok", "no data"):
            self.collector.log.info("works again")
            self._named.clear()
            if self._tell is not None and self._failed:
                self._tell("plugin.recovered", plugin=self.key)
            self._failed = False
        self._named.discard(_REFUSED)
        self._conclude("ok", frame)
        if rejections:
            self.reject(rejections)

    def _lack(self, reason: NoData) -> None:
        self._conclude("no data", EMPTY, text_of(reason), refused=isinstance(reason, Refused))
        if isinstance(reason, Refused):
            self._say(logging.WARNING, _REFUSED, f"nothing is told: {text_of(reason)}")

    def _fail(self, error: BaseException) -> None:
        text = described(error)
        self._conclude("failed", EMPTY, text)
        if self._tell is not None and not self._failed and not self._stopping:
            self._failed = True
            self._tell("plugin.failed", plugin=self.key, error=text)
        if not self._stopping:
            self._say(logging.ERROR, text, f"failed: {text}", error)
            self._tell_rest()

    def _conclude(self, status: Status, frame: Frame, error: str = "", *, refused: bool = False) -> None:
        now = self._now()
        self.last = Outcome(status, frame, now - self._begun, now, error, refused)
        if status in ("failed", "timed out"):
            self._rest.failed(now)
        else:  # a machine that lacks the thing has answered, too
            self._rest.succeeded()
        if status == "ok":
            self.good = self.last
        elif status == "no data":  # an answer, too: what was good before is gone
            self.good = None

    def _tell_rest(self) -> None:
        if rest := self.rests_for:
            number, _, longest = RESTS
            growing = f"and then at growing intervals of up to {longest:.0f} s"
            text = f"has failed {number} times in a row: it is asked again in {rest:.0f} s, {growing}, until it works"
            self._say(logging.WARNING, "rests", text)

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """Count what had to be left out of this collector's answer, and name each once in the log."""
        for rejection in rejections:
            self.rejected[rejection.reason] += 1
            text = f"left out ({rejection.reason}): {rejection.what}"
            self._say(logging.WARNING, f"{rejection.reason} {rejection.subject} {rejection.first}", text)

    def _say(self, level: int, problem: str, text: str, error: BaseException | None = None) -> None:
        # Once for each problem until the collector works again: the details may be others each time.
        if problem not in self._named and len(self._named) <= NAMED:
            self._named.add(problem)
            if len(self._named) > NAMED:
                level, text, error = (
                    logging.WARNING,
                    "has other problems each time: no more are named until it works",
                    None,
                )
            show = error if self.collector.log.isEnabledFor(logging.DEBUG) else None
            self.collector.log.log(level, "%s", text, exc_info=show)
