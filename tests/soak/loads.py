"""What goes on during the soak: whoever uses the agent, each over and over again until a round is over."""

import asyncio
import contextlib
import gzip
import json
import random
import socket
import time
from collections import Counter

import aiohttp
from aiohttp import web

from agentd.client import MemoryQueue, TelemetryClient
from agentd.testing.accounting import TYPE

EMITTED, COMMITTED, POSTING, ROBOTS = 1, 2, 100, 200
"""Writers of numbered events: the plugin's two, and the first of those who post and of the robots."""

PATIENCE = 60.0
"""Seconds after which what does not become so fails. No measurement: machines may be busy."""

FORMATS = (
    {"Accept": "text/plain"},
    {"Accept-Encoding": "gzip"},
    {"Accept": "application/openmetrics-text;version=1.0.0"},
    {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"},
)


class Ledger:
    """Numbered events: those that were written, and those of which the agent has said that they are safe."""

    def __init__(self):
        self.written = []
        self.acknowledged = []
        self._next = Counter()

    def events(self, writer, count):
        """Return so many new events of a writer."""
        first = self._next[writer]
        self._next[writer] += count
        return [
            {"type": TYPE, "payload": {"writer": writer, "number": number}} for number in range(first, first + count)
        ]

    def write(self, events):
        """Note what is about to be sent."""
        self.written += map(number, events)

    def acknowledge(self, events):
        """Note what is safe."""
        self.acknowledged += map(number, events)


def number(event):
    """Return the writer of an event, and its number."""
    return event["payload"]["writer"], event["payload"]["number"]


def cut(connection):
    """End a connection without a good-bye."""
    with contextlib.suppress(OSError, AttributeError):  # it may be gone already
        connection.shutdown(socket.SHUT_RDWR)


class Hook:
    """The server that the webhook posts to. It fails as it is told to."""

    MODES = ("refuse", "cut", "hang", "forget")

    def __init__(self):
        self.port = 0
        self.mode = "take"
        self.arrived = []
        self.asked = Counter()
        """How often it was asked in each of its ways."""
        self._changed = asyncio.Event()
        self._runner = None

    async def open(self, port):
        """Listen."""
        app = web.Application()
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = port

    async def close(self):
        """Listen no longer."""
        self.become("take")
        await self._runner.cleanup()

    def become(self, mode):
        """Fail in this way from now on, or ``take``."""
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    async def _take(self, request):
        events = await request.json()
        self.asked[self.mode] += 1
        if self.mode == "refuse":
            return web.Response(status=500, text="not now")
        if self.mode == "hang":
            await self._changed.wait()
        if self.mode == "forget":  # it has them, and does not say so
            self.arrived += map(number, events)
        if self.mode in ("cut", "forget", "hang"):
            request.transport.abort()
            return web.Response()
        self.arrived += map(number, events)
        return web.Response()


class Loads:
    """Those who use an agent. Each ``async`` method goes on until a moment of the monotonic clock."""

    def __init__(self, url, ledger, seed):
        self.done = Counter()
        """How often each thing was done."""
        self._url = url
        self._ledger = ledger
        self._random = random.Random(seed)
        self._session = None
        self._queues = {}
        self._visitors = 0

    async def __aenter__(self):
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        # Each request has a connection of its own: they come and go, too.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self

    async def __aexit__(self, *_):
        await self._session.close()

    async def everything(self, until):
        """Have all of them go on until then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.scrape(until))
            for writer in range(3):
                group.create_task(self.post(until, POSTING + writer))
            for robot in range(6):
                group.create_task(self.live(until, robot))
            for _ in range(2):
                group.create_task(self.visit(until))
            for _ in range(3):
                group.create_task(self.listen(until))

    async def pause(self, until, most):
        """Wait for a moment, not beyond the end."""
        await asyncio.sleep(max(0.0, min(self._random.uniform(0, most), until - time.monotonic())))

    async def scrape(self, until):
        """Read the metrics some three times a second, in all formats. They are never empty."""
        while time.monotonic() < until:
            headers = FORMATS[self.done["scrapes"] % len(FORMATS)]
            async with self._session.get(f"{self._url}/metrics", headers=headers) as response:
                body = await response.read()
                assert response.status == 200, body
            if response.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert b"\nagentd_build_info{" in body
            assert b"\nnode_load1 " in body
            self.done["scrapes"] += 1
            await self.pause(until, 0.6)

    async def post(self, until, writer):
        """Post events, one or some."""
        while time.monotonic() < until:
            events = self._ledger.events(writer, self._random.choice((1, 1, 10)))
            self._ledger.write(events)
            async with self._session.post(f"{self._url}/api/v1/events", json=events) as response:
                assert response.status == 201, await response.text()
            self._ledger.acknowledge(events)
            self.done["posted"] += len(events)
            await self.pause(until, 0.4)

    async def live(self, until, number):
        """Be a robot by the rules that is switched on and off, and goes on where it was."""
        queue, waiting = self._queues.setdefault(number, (MemoryQueue(), []))
        while time.monotonic() < until:
            async with TelemetryClient(self._url, f"robot-{number}", queue=queue, close_within=0.0) as robot:
                for _ in range(self._random.randint(1, 8)):
                    events = self._ledger.events(ROBOTS + number, self._random.choice((0, 1, 2)))
                    self._ledger.write(events)
                    await robot.send({"battery_level": self._random.randint(0, 100)}, events=events)
                    waiting += events
                    robot.live({"cpu_usage": self._random.randint(0, 100)})
                    await self.pause(until, 0.2)
                # One that was sent away by a reload would wait for up to half a minute: it is switched off and on.
                with contextlib.suppress(TimeoutError):
                    await robot.flush(2.0)
                    self._ledger.acknowledge(waiting)
                    waiting.clear()
            self.done["robots"] += 1
            await self.pause(until, 0.5)

    async def settle(self):
        """Have the robots send what waits."""
        for number, (queue, waiting) in self._queues.items():
            async with TelemetryClient(self._url, f"robot-{number}", queue=queue) as robot:
                await robot.flush(PATIENCE)
            self._ledger.acknowledge(waiting)
            waiting.clear()

    async def visit(self, until):
        """Be a robot that nobody knows, says something, is cut off, and is forgotten."""
        while time.monotonic() < until:
            self._visitors += 1
            name = f"visitor-{self._visitors % 20}"  # the agent remembers names of robots, up to some limit
            path = f"{self._url}/api/telemetry"
            with contextlib.suppress(aiohttp.ClientError, OSError):  # a reload may be sending robots away
                async with self._session.ws_connect(f"{path}/ws/{name}") as visit:
                    await visit.send_json({"battery_level": 5})
                    await self.pause(until, 0.3)
                    cut(visit.get_extra_info("socket"))
            await self.pause(until, 0.2)
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with self._session.delete(f"{path}/robots/{name}") as response:
                    await response.read()
                    self.done["visitors"] += 1

    async def listen(self, until):
        """Open a stream of events, listen for a moment, and go, with a good-bye or without."""
        while time.monotonic() < until:
            async with self._session.get(f"{self._url}/api/v1/events/stream") as response:
                assert response.status == 200
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._random.uniform(0, 0.5)):
                        async for line in response.content:
                            if line.startswith(b"data:"):
                                assert json.loads(line[5:])["id"]
                                self.done["events heard"] += 1
                if self._random.random() < 0.5 and response.connection is not None:
                    response.connection.transport.abort()
            self.done["streams"] += 1
            await self.pause(until, 0.3)
