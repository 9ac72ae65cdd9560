"""Attempts to hand events to a sink: when the next may be made, what came of the last, and how many went which way."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agentd.calling import called
from agentd.config import SinkKeys
from agentd.events.bounded import Bounded, why
from agentd.events.envelope import Event, Record
from agentd.plugin import Reject, Retry, Sink
from agentd.resilience import Backoff, CircuitBreaker, RateLimiter
from agentd.status import SinkState

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before a failed batch is tried again: at most, the first time and any time."""

FAILURES = 5
"""Failures in a row after which a sink is left alone for a while."""

OPEN, LONGEST_OPEN = 5.0, 120.0
"""Seconds for which it is: at first, and at last."""


class Outcome(NamedTuple):
    """What came of an attempt."""

    arrived: Sequence[Record]
    """What the receiver has now; where it rejected none, the first ones of what was sent."""
    rejected: Sequence[Record]
    """What it will never accept."""
    reason: str
    """Why it will not."""
    wait: float | None
    """Seconds after which to try again; None where there was no failure."""


class Attempts:
    """The attempts of one sink. It sends once when it is asked to; whoever asks does the waiting."""

    def __init__(
        self, sink: Sink[Any], keys: SinkKeys, calls: Bounded, emit: Callable[[Event], None], now: Callable[[], float]
    ) -> None:
        self.sent = self.retried = self.rejected = 0
        self.started = False
        self.error = ""
        """Why the last attempt failed; empty where it did not."""
        self._sink = sink
        self._name = sink.context.name
        self._calls = calls
        self._emit = emit
        self._now = now
        self._limiter = RateLimiter(keys.rate_limit, now()) if keys.rate_limit else None
        self._breaker = CircuitBreaker(FAILURES, OPEN, LONGEST_OPEN)
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._connected: bool | None = None

    @property
    def state(self) -> SinkState:
        """How the sink is, as its last attempts say."""
        breaker = self._breaker.state(self._now())
        if breaker != "closed":
            return breaker
        if self.error:
            return "retrying"
        return "connected" if self.started else "starting"

    async def start(self) -> float | None:
        """Start the sink; return after how many seconds to try again, None where it has started."""
        try:
            await self._calls.call(self._sink.start())
        except Exception as error:  # noqa: BLE001  # a plugin's failure is its own
            return self._failed(why(error), None)
        self.started = True
        self._succeeded()
        return None

    def portion(self, left: Sequence[Record]) -> tuple[Sequence[Record], float]:
        """Return what to send next of what is left, and for how many seconds to wait first.

        That is nothing while the sink is left alone: ask again then.
        """
        now = self._now()
        state = self._breaker.state(now)
        if state == "open":
            return (), self._breaker.wait(now)
        # After a while of silence one event shows whether the receiver is back.
        sending = left[:1] if state == "half open" else list(left)
        return sending, self._limiter.take(len(sending), now) if self._limiter is not None else 0.0

    async def send(self, records: Sequence[Record]) -> Outcome:
        """Send once, and count what came of it."""
        outcome = await self._sent(records)
        self.sent += len(outcome.arrived)
        self.rejected += len(outcome.rejected)
        if outcome.wait is None:
            self._succeeded()
        else:
            self.retried += len(records) - len(outcome.arrived)
        return outcome

    async def _sent(self, records: Sequence[Record]) -> Outcome:
        try:
            await self._calls.call(called(self._sink.send, self._sink.in_worker, records))
        except Retry as retry:
            arrived = records[: min(max(0, retry.accepted), len(records))]
            return Outcome(arrived, (), "", self._failed(str(retry) or "it asks for time", retry.after))
        except Reject as reject:
            rejected = [record for record in records if record.sound and record.id in reject.ids]
            gone = set(map(id, rejected))
            return Outcome([record for record in records if id(record) not in gone], rejected, str(reject), None)
        except Exception as failure:  # noqa: BLE001  # a plugin's failure is its own
            if damaged := [record for record in records if not record.sound]:  # no receiver would take these
                return Outcome((), damaged, "it is no JSON", None)
            return Outcome((), (), "", self._failed(why(failure), None))
        return Outcome(records, (), "", None)

    def _failed(self, error: str, after: float | None) -> float:
        """Note a failure; return how many seconds to wait, which the receiver itself may have said."""
        self._breaker.failed(self._now())
        self._say(error)
        return self._backoff.next() if after is None else max(0.0, after)

    def _succeeded(self) -> None:
        self._breaker.succeeded()
        self._backoff.reset()
        self._say("")

    def _say(self, error: str) -> None:
        """Tell the log and the journal of a sink that is lost, and found again: once each."""
        connected = not error
        if connected != self._connected:
            if connected and self._connected is not None:
                self._sink.log.warning("works again")
            elif error:
                self._sink.log.error("cannot deliver: %s; tried again until it works", error.rstrip("."))
            payload = {"plugin": self._name} if connected else {"plugin": self._name, "error": error}
            kind = "sink.connected" if connected else "sink.disconnected"
            self._emit(Event(type=kind, source=self._name, payload=payload))
            self._connected = connected
        self.error = error
