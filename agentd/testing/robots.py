"""The oracle of delivery for robots: numbered frames with events, an agent that is killed, connections that are cut.

Robots that keep the protocol's rules send frames and note which the agent has acknowledged. In the end everything is
left in peace, and each acknowledged event has to be in the journal once, those of each robot in the order of their
numbers.
"""

import asyncio
import contextlib
import json
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agentd.testing.accounting import TYPE, Account, Number, account
from agentd.testing.agent import AgentProcess

PROTOCOL = "agentd.telemetry.v1"

_GONE = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError, aiohttp.WSMessageTypeError)


@dataclass
class Stream:
    """What one robot has sent and got acknowledged, over all of its connections."""

    robot: int
    last: int = 0
    """The last number that it gave."""
    safe: int = 0
    """The number up to which all is acknowledged."""
    consumed: set[int] = field(default_factory=set)
    """Numbers of frames that were refused."""
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it hears something, or will hear nothing more."""
    connections: int = 0
    backwards: list[tuple[int, int]] = field(default_factory=list)
    """Where a welcome asked for what had been acknowledged: its number, and what was safe."""

    def frame(self, seq: int) -> dict[str, Any]:
        """Return a frame with the event that accounts for it."""
        event = {"type": TYPE, "payload": {"writer": self.robot, "number": seq}}
        return {"type": "data", "seq": seq, "metrics": {"progress": seq}, "events": [event]}


class RobotTrial:
    """One run: an agent, robots, and whoever disturbs them."""

    def __init__(self, agent: AgentProcess, *, robots: int = 6, seed: int = 0) -> None:
        self.streams = [Stream(robot) for robot in range(robots)]
        self._agent = agent
        self._random = random.Random(seed)
        self._ending = False

    async def run(self, *, kills: int, pause: float = 0.5) -> Account:
        """Kill the agent so often, about every ``pause`` seconds; then have all robots send the rest, and compare."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)) as session:
            await self._agent.start(session)
            try:
                robots = [asyncio.create_task(self._live(session, stream)) for stream in self.streams]
                for _ in range(kills):
                    await asyncio.sleep(self._random.uniform(0, 2 * pause))
                    await self._agent.kill()
                    await self._agent.start(session)
                await asyncio.sleep(pause)
                self._ending = True
                await asyncio.gather(*robots)
                arrived = await self._journal(session)
            finally:
                await self._agent.stop()
        numbers = [(stream.robot, seq) for stream in self.streams for seq in range(1, stream.last + 1)]
        result = account(numbers, numbers, arrived)  # in the end all that was sent is acknowledged
        result.kills = kills
        return result

    async def _live(self, session: aiohttp.ClientSession, stream: Stream) -> None:
        """Send, and come again, until all that was ever sent is safe and the trial ends."""
        while not (self._ending and stream.safe == stream.last and stream.last):
            try:
                async with session.ws_connect(
                    f"http://127.0.0.1:{self._agent.port}/api/telemetry/ws/r{stream.robot}", protocols=[PROTOCOL]
                ) as socket:
                    await self._talk(socket, stream)
            except _GONE:
                pass
            await asyncio.sleep(self._random.uniform(0.01, 0.1))

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse, stream: Stream) -> None:
        await socket.send_json({"type": "hello", "stream_id": f"stream{stream.robot}", "last_seq": stream.last})
        welcome = await socket.receive_json(timeout=10)
        stream.connections += 1
        resume: int = welcome["resume_from"]
        if resume <= stream.safe:
            stream.backwards.append((resume, stream.safe))
        stream.safe = max(stream.safe, resume - 1)
        hearing = asyncio.create_task(self._hear(socket, stream))
        hearing.add_done_callback(lambda _: stream.told.set())
        cut = None if self._ending else self._random.randint(1, 400)
        try:
            for sent, seq in enumerate(range(resume, 2**53)):
                if self._ending and seq > stream.last:
                    break
                stream.last = max(stream.last, seq)
                await socket.send_json(stream.frame(seq))
                if sent == cut:
                    self._cut(socket)
                    return
                await self._safe(stream, seq - welcome["credit"]["frames"] + 1, hearing)
                if hearing.done():
                    return
                await asyncio.sleep(self._random.choice((0, 0, 0, 0.01)))
            async with asyncio.timeout(10):
                await self._safe(stream, stream.last, hearing)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _safe(self, stream: Stream, seq: int, hearing: "asyncio.Task[None]") -> None:
        """Wait until all frames up to a number are acknowledged, or nothing more can be heard."""
        while stream.safe < seq and not hearing.done():
            stream.told.clear()
            await stream.told.wait()

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse, stream: Stream) -> None:
        async for message in socket:
            told = json.loads(message.data)
            if told["type"] == "ack":
                stream.safe = max(stream.safe, told["seq"])
            elif "seq" in told:
                stream.consumed.add(told["seq"])
            stream.told.set()

    def _cut(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        transport = socket.get_extra_info("socket")
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.shutdown(2)

    async def _journal(self, session: aiohttp.ClientSession) -> list[Number]:
        """Return the numbers of all events in the journal, the oldest first."""
        found: list[Number] = []
        before = ""
        while True:
            url = f"{self._agent.api}/events?type={TYPE}&limit=1000{before}"
            async with session.get(url) as response:
                page = await response.json()
            found += [(event["payload"]["writer"], event["payload"]["number"]) for event in page["events"]]
            if page["next"] is None:
                return found[::-1]
            before = f"&before={page['next']}"
