"""An agent that does what a test's script says, and a clock that stands until it is moved."""

import asyncio
import contextlib
import json
import time

import pytest
from aiohttp import WSMsgType, web

from agentd.client import TelemetryClient
from agentd.client.connection import Clock

PATIENCE = 60.0


async def until(so):
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not so():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)


class ManualClock(Clock):
    """Stands still until ``advance``."""

    def __init__(self):
        self.now = 1000.0
        self.asked = []
        """How long somebody wanted to sleep, in order."""
        self._sleeping = []

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.asked.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.now + seconds, woken))
        await woken

    async def advance(self, seconds):
        """Let time pass, and those go on who slept so long."""
        self.now += seconds
        for due, woken in self._sleeping:
            if due <= self.now and not woken.done():
                woken.set_result(None)
        await asyncio.sleep(0.02)


class Connection:
    """The agent's side of one connection."""

    def __init__(self, socket, request):
        self.socket = socket
        self.headers = request.headers
        self.path = request.path
        self.hello = None
        self.got = []
        """All messages but the hello."""
        self.code = None

    async def say(self, type, **fields):
        await self.socket.send_json({"type": type, **fields})

    async def welcome(self, resume=None, frames=100, size=1_000_000, epoch="one"):
        if resume is None:
            resume = self.hello["first_seq"] or self.hello["last_seq"] + 1
        credit = {"frames": frames, "bytes": size}
        await self.say(
            "welcome", connection_id="c", resume_from=resume, agent_epoch=epoch, credit=credit, time=time.time()
        )

    async def ack(self, seq, frames=100, size=1_000_000):
        await self.say("ack", seq=seq, credit={"frames": frames, "bytes": size})

    @property
    def data(self):
        """The numbered frames."""
        return [said for said in self.got if said["type"] == "data"]

    @property
    def kept(self):
        """The same, as the robot keeps them: without what its clock said as it sent them."""
        return [{name: value for name, value in said.items() if name != "clock"} for said in self.data]

    @property
    def seqs(self):
        """Their numbers."""
        return [said["seq"] for said in self.data]


async def honest(agent, connection):
    """Welcome the robot, and acknowledge everything."""
    await connection.welcome()
    while True:
        said = await agent.hear(connection)
        if said["type"] == "data":
            await connection.ack(said["seq"])


async def silent(agent, connection):
    """Welcome the robot, and acknowledge nothing."""
    await connection.welcome()
    while True:
        await agent.hear(connection)


class Gone(Exception):
    """The robot has closed the connection."""


class Agent:
    """Takes connections and plays a script with each; the last script is played again and again."""

    def __init__(self):
        self.scripts = [honest]
        self.connections = []
        self.port = None
        self.protocols = ("agentd.telemetry.v1",)
        self._runner = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self):
        """The newest connection."""
        return self.connections[-1]

    async def start(self):
        app = web.Application()
        app.router.add_get("/api/telemetry/ws/{robot_id}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port or 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        for connection in self.connections:
            if connection.socket._req is not None and connection.socket._req.transport is not None:
                connection.socket._req.transport.abort()
        await self._runner.cleanup()

    async def hear(self, connection):
        """Return the next message of a robot."""
        got = await connection.socket.receive()
        if got.type is not WSMsgType.TEXT:
            raise Gone
        said = json.loads(got.data)
        connection.got.append(said)
        return said

    async def _serve(self, request):
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, web.Response):
            return web.Response(status=script.status, headers=script.headers)
        socket = web.WebSocketResponse(protocols=self.protocols, autoping=False)
        await socket.prepare(request)
        connection = Connection(socket, request)
        self.connections.append(connection)
        with contextlib.suppress(Gone, ConnectionError):
            connection.hello = await self.hear(connection)
            connection.got.clear()
            await script(self, connection)
        connection.code = socket.close_code
        return socket


def closing(code, **error):
    """Return a script that closes at once, with an error before where one is given."""

    async def script(_agent, connection):
        if error:
            await connection.say("error", fatal=True, **error)
        await connection.socket.close(code=code)

    return script


@pytest.fixture
async def agent():
    """An agent that acknowledges everything, until its scripts are changed."""
    agent = Agent()
    await agent.start()
    yield agent
    await agent.stop()


@pytest.fixture
def clock():
    """A clock that stands."""
    return ManualClock()


@pytest.fixture
def client(agent, clock):
    """Makes clients of the agent, whose problems are in the list ``problems``; they wait as long as they may."""

    def make(robot_id="amr-7", **options):
        problems = []
        options = {"clock": clock, "spread": lambda _low, high: high, "close_within": 0.0, **options}
        made = TelemetryClient(agent.url, robot_id, on_problem=problems.append, **options)
        made.problems = problems
        return made

    return make
