"""Events handed to a sink as the agent does it, and an account of what became of each."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentd.calling import called
from agentd.metrics.workers import Workers
from agentd.plugin import Clock, Event, Host, Record, Reject, Retry, Sink
from agentd.testing.hosts import Files, Root, machine
from agentd.testing.instance import Given, build, options_of
from agentd.testing.recorder import Recorder, records
from agentd.testing.server import Reply, Request, ScriptedServer
from agentd.testing.within import DEADLINE, within

__tracebackhide__ = True

ATTEMPTS = 10
"""How often a sink is asked in a row without anything having arrived, before it is given up."""

TIMEOUT = 1.0
"""Seconds that a sink may wait for a server that hangs, before it is cancelled."""


class Attempt(NamedTuple):
    """One attempt that failed."""

    why: str
    """What the sink raised, in words."""
    after: float | None
    """The seconds that it asked to be left alone for, as ``Retry`` says them."""
    accepted: int
    """How many of what it was given it said had arrived."""


@dataclass(slots=True)
class Delivery:
    """What became of the events."""

    delivered: list[Event] = field(default_factory=list)
    """Those that the sink says have arrived, in their order."""
    rejected: dict[str, str] = field(default_factory=dict)
    """The ids of those that can never be delivered, and why."""
    retried: list[Attempt] = field(default_factory=list)
    """The attempts that failed, starting included; each was made again at once."""
    left: list[Event] = field(default_factory=list)
    """Those that were given up after many attempts."""
    requests: list[Request] = field(default_factory=list)
    """What the scripted server was asked."""

    def __str__(self) -> str:
        return (
            f"{len(self.delivered)} delivered, {len(self.rejected)} rejected, {len(self.left)} left, "
            f"{len(self.retried)} attempts failed, {len(self.requests)} requests"
        )


def run_sink(
    plugin: type[Sink[Any]],
    events: Iterable[Event | Mapping[str, Any] | str],
    *,
    config: Given[ScriptedServer] = None,
    replies: Iterable[Reply | int] = (),
    then: Reply | int = 200,
    batch: int = 100,
    attempts: int = ATTEMPTS,
    timeout: float = TIMEOUT,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    proc: Files | None = None,
    sys: Files | None = None,
    files: Files | None = None,
    root: Root | None = None,
    deadline: float = DEADLINE,
) -> Delivery:
    """Start a sink, hand it events in batches until all are delivered, rejected or given up, and stop it.

    ``config`` are its options, or a function of the ``ScriptedServer`` that returns them: ``lambda server: {"url":
    server.url}``. The server gives the ``replies`` in turn, and ``then`` to all else. What fails is tried again without
    waiting. A sink that waits for a reply that hangs is cancelled after ``timeout`` seconds, as the agent does it.

    Raises ``Hang``, with the place, where all of it takes longer than ``deadline`` seconds, and ``ConfigError`` where
    the options are wrong. What the sink raises is in the answer.
    """
    handed = records(*events, clock=clock)

    async def deliver() -> Delivery:
        async with ScriptedServer(replies, then=then) as server:
            host, workers = Host(paths), Workers()
            options = options_of(plugin, config, server)
            sink = build(plugin, options, host=host, workers=workers, clock=clock, recorder=recorder)
            handing = _Handing(sink, server, timeout, attempts)
            try:
                await handing.start()
                for begin in range(0, len(handed), batch):
                    await handing.send(handed[begin : begin + batch])
            finally:
                await sink.stop()
                workers.close()
                host.close()
            handing.delivery.requests = server.requests
            return handing.delivery

    with machine(proc=proc, sys=sys, files=files, root=root) as paths:
        return within(deadline, f"{plugin.__name__}.send()", deliver)


class _Handing:
    def __init__(self, sink: Sink[Any], server: ScriptedServer, timeout: float, attempts: int) -> None:
        self.delivery = Delivery()
        self._sink = sink
        self._server = server
        self._timeout = timeout
        self._attempts = attempts
        self._vain = 0

    async def start(self) -> None:
        while self._vain < self._attempts:
            try:
                await self._sink.start()
            except Exception as error:  # noqa: BLE001  # the agent tries again, whatever it is
                self._failed(error)
            else:
                self._vain = 0
                return

    async def send(self, batch: Sequence[Record]) -> None:
        left = list(batch)
        while left and self._vain < self._attempts:
            try:
                await self._once(left)
            except Retry as retry:
                accepted = min(max(0, retry.accepted), len(left))
                self._arrived(left[:accepted])
                left = left[accepted:]
                self._failed(retry, retry.after, accepted)
            except Reject as reject:
                self.delivery.rejected |= {record.id: str(reject) for record in left if record.id in reject.ids}
                self._arrived([record for record in left if record.id not in reject.ids])
                left = []
            except Exception as error:  # noqa: BLE001  # the agent tries again, whatever it is
                self._failed(error)
            else:
                self._arrived(left)
                left = []
        self.delivery.left += [record.event for record in left]

    async def _once(self, left: Sequence[Record]) -> None:
        self._server.hanging.clear()
        sending = asyncio.ensure_future(called(self._sink.send, self._sink.in_worker, left))
        hanging = asyncio.ensure_future(self._server.hanging.wait())
        try:
            await asyncio.wait({sending, hanging}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await asyncio.wait({sending}, timeout=self._timeout)
            if not sending.done():
                raise TimeoutError(f"cancelled after {self._timeout:g} s without an answer")
            sending.result()
        finally:
            for task in (sending, hanging):
                task.cancel()
            await asyncio.gather(sending, hanging, return_exceptions=True)

    def _arrived(self, arrived: Sequence[Record]) -> None:
        self.delivery.delivered += [record.event for record in arrived]
        if arrived:
            self._vain = 0

    def _failed(self, error: Exception, after: float | None = None, accepted: int = 0) -> None:
        self._vain += 1
        said = str(error) if isinstance(error, Retry) else f"{type(error).__name__}: {error}"
        self.delivery.retried.append(Attempt(said, after, accepted))
