"""The oracle of delivery: numbered events, an agent that is killed, a way that is disturbed, and an account of it all.

Writers post events with numbers and note which the agent has acknowledged. Meanwhile the agent is killed and started
again, and the way to the sink's server is disturbed. In the end everything is left in peace, and every number that was
acknowledged has to have arrived, those of each writer in their order.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agentd.testing.agent import AgentProcess
from agentd.testing.proxy import MODES, Proxy

TYPE = "accounting.number"
"""The type of the numbered events."""

Number = tuple[int, int]
"""A writer, and how many it had written before."""


@dataclass(slots=True)
class Account:
    """What came of it."""

    acknowledged: int = 0
    arrived: int = 0
    missing: list[Number] = field(default_factory=list)
    """Acknowledged, and never seen."""
    disordered: list[Number] = field(default_factory=list)
    """First seen after a later one of the same writer."""
    unknown: list[Number] = field(default_factory=list)
    """Seen, and never written."""
    repeats: int = 0
    """Seen once more: a crash or a lost answer makes these."""
    kills: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether every event that was acknowledged has arrived, in order."""
        return not (self.missing or self.disordered or self.unknown)

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.arrived} arrived, {len(self.missing)} missing, "
            f"{len(self.disordered)} out of order, {len(self.unknown)} unknown, {self.repeats} repeats, "
            f"{self.kills} kills, {self.seconds:.0f} s"
        )


def account(written: Iterable[Number], acknowledged: Iterable[Number], arrived: Iterable[Number]) -> Account:
    """Compare what was written and acknowledged with what arrived, in the order in which it did."""
    seen: set[Number] = set()
    highest: dict[int, int] = {}
    result = Account()
    known = set(written)
    for writer, number in arrived:
        result.arrived += 1
        if (writer, number) in seen:
            result.repeats += 1
            continue
        seen.add((writer, number))
        if (writer, number) not in known:
            result.unknown.append((writer, number))
        if number < highest.get(writer, -1):
            result.disordered.append((writer, number))
        highest[writer] = max(number, highest.get(writer, -1))
    sure = set(acknowledged)
    result.acknowledged = len(sure)
    result.missing = sorted(sure - seen)
    return result


def numbers(envelopes: Iterable[str | bytes]) -> list[Number]:
    """Return the numbers of those of the envelopes (JSON) that were written here."""
    events: list[dict[str, Any]] = [json.loads(envelope) for envelope in envelopes]
    return [
        (event["payload"]["writer"], event["payload"]["number"]) for event in events if event["type"] == TYPE
    ]  # fmt: skip


class Trial:
    """One run: an agent, writers, and whoever disturbs them."""

    def __init__(self, agent: AgentProcess, proxy: Proxy | None = None, *, writers: int = 4, seed: int = 0) -> None:
        self._agent = agent
        self._proxy = proxy
        self._writers = writers
        self._random = random.Random(seed)
        self._written: list[Number] = []
        self._acknowledged: list[Number] = []
        self._ending = False

    async def run(
        self, *, kills: int, arrived: Callable[[], Awaitable[list[Number]]], within: float = 60.0, pause: float = 0.5
    ) -> Account:
        """Kill the agent so often, about every ``pause`` seconds; then wait until ``arrived`` has it all, or has got
        nothing more ``within`` so many seconds.

        ``arrived`` returns the numbers that are at the sink's server, in their order; see ``numbers``.
        """
        began = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            await self._agent.start(session)
            try:
                writing = [asyncio.create_task(self._write(session, writer)) for writer in range(self._writers)]
                await self._disturb(session, kills, pause)
                self._ending = True
                await asyncio.gather(*writing)
                result = await self._settled(arrived, within)
            finally:
                await self._agent.stop()
        result.kills, result.seconds = kills, time.monotonic() - began
        return result

    async def _write(self, session: aiohttp.ClientSession, writer: int) -> None:
        number = 0
        while not self._ending:
            several = [(writer, number + place) for place in range(self._random.choice((1, 1, 1, 20)))]
            number += len(several)
            self._written += several
            events = [{"type": TYPE, "payload": {"writer": writer, "number": number}} for writer, number in several]
            try:
                async with session.post(f"{self._agent.api}/events", json=events) as response:
                    if response.status == 201:
                        self._acknowledged += several
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.02)

    async def _disturb(self, session: aiohttp.ClientSession, kills: int, pause: float) -> None:
        for _ in range(kills):
            if self._proxy is not None:
                await self._proxy.become(self._random.choice(MODES))
            await asyncio.sleep(self._random.uniform(0, 2 * pause))
            await self._agent.kill()
            await self._agent.start(session)
        if self._proxy is not None:
            await self._proxy.become("pass")
        await asyncio.sleep(pause)

    async def _settled(self, arrived: Callable[[], Awaitable[list[Number]]], within: float) -> Account:
        least, due = None, time.monotonic() + within
        while True:
            began = time.monotonic()
            found: list[Number] = []
            with contextlib.suppress(OSError):
                found = await arrived()
            result = account(self._written, self._acknowledged, found)
            now = time.monotonic()
            if least is None or len(result.missing) < least:
                least, due = len(result.missing), now + within
            if not result.missing or now > due:
                return result
            # To look at many events holds up the proxy, and a server that shares this loop: mostly they shall run.
            await asyncio.sleep(max(0.2, 5 * (now - began)))
