"""The collector of robots behind a real web server, with a journal and a clock that tests hold in their hands."""

import asyncio
import contextlib
import json
import time

import aiohttp
import msgspec
import pytest

from agentd.config import WebSettings
from agentd.events.envelope import check
from agentd.options import decode
from agentd.plugin import Clock, Context, NotDurable
from agentd.web.server import WebServer
from agentd.web.tokens import Tokens
from agentd_plugins.collectors.robots import Robots, watch
from agentd_plugins.collectors.robots.settings import RobotsConfig

PROTOCOL = "agentd.telemetry.v1"
MSGPACK = "agentd.telemetry.v1+msgpack"


class Turned(Clock):
    """The machine's clock, which a test may turn forward."""

    def __init__(self):
        self.ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead

    def time(self):
        return time.time() + self.ahead


class Journal:
    """Keeps what is committed; refuses or hangs where a test wants it to."""

    def __init__(self):
        self.events = []
        self.emitted = []
        self.state = {}
        self.writes = asyncio.Event()
        self.writes.set()
        self.error = None
        self.asked = 0

    async def commit(self, events, state):
        self.asked += 1
        await self.writes.wait()
        if self.error is not None:
            raise self.error
        for event in events:
            check(event)
            if event.type == "no.event":
                raise ValueError("payload: cannot be written down")
        self.events += events
        written = json.loads(json.dumps(dict(state)))
        for key, value in written.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    def fail(self):
        self.error = NotDurable("the disk is full")

    def of(self, type):
        """Return the events of a type that were emitted or committed."""
        return [event for event in (*self.emitted, *self.events) if event.type == type]


class Peer:
    """A robot's side of a connection with the subprotocol."""

    def __init__(self, socket, codec=msgspec.json):
        self.socket = socket
        self.codec = codec

    async def say(self, type, **fields):
        message = {"type": type, **fields}
        if self.codec is msgspec.json:
            await self.socket.send_str(json.dumps(message))
        else:
            await self.socket.send_bytes(msgspec.msgpack.encode(message))

    async def hear(self, type=None, within=60):
        """Return the next message of a type, or the next at all; fail where the connection ends before."""
        while True:
            message = await self.socket.receive(within)
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), (message, self.socket.close_code)
            data = message.data.encode() if isinstance(message.data, str) else message.data
            found = self.codec.decode(data)
            if type in (None, found.get("type")):
                return found

    async def hear_plain(self):
        """Return the next answer to a plain client that is an error."""
        while "error" not in (found := await self.hear()):
            pass
        return found

    async def quiet(self, seconds=0.3):
        """Return what comes in this time."""
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(await self.hear(within=seconds))
        return found

    async def ended(self, within=60):
        """Wait for the end; return the close code, and the messages that came before."""
        found = []
        while True:
            message = await self.socket.receive(within)
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                data = message.data.encode() if isinstance(message.data, str) else message.data
                found.append(self.codec.decode(data))
            elif (
                message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
                or message.type is aiohttp.WSMsgType.ERROR
            ):
                return self.socket.close_code, found


class Place:
    """The collector, its server, and robots that come to it."""

    def __init__(self, plugin, journal, clock, port, session):
        self.plugin, self.journal, self.clock, self.port, self.session = plugin, journal, clock, port, session
        self.url = f"http://127.0.0.1:{port}/api/telemetry"

    @contextlib.asynccontextmanager
    async def plain(self, robot="r1", **keywords):
        async with self.session.ws_connect(f"{self.url}/ws/{robot}", **keywords) as socket:
            yield Peer(socket)

    @contextlib.asynccontextmanager
    async def open(self, robot="r1", protocol=PROTOCOL, **keywords):
        """Connect with a subprotocol, and say nothing."""
        async with self.session.ws_connect(f"{self.url}/ws/{robot}", protocols=[protocol], **keywords) as socket:
            yield Peer(socket, msgspec.json if protocol == PROTOCOL else msgspec.msgpack)

    @contextlib.asynccontextmanager
    async def robot(self, robot="r1", stream="s1", protocol=PROTOCOL, **hello):
        """Connect, say hello, and hear the welcome, which is ``welcome`` of what is returned."""
        async with self.open(robot, protocol) as peer:
            await peer.say("hello", stream_id=stream, **hello)
            peer.welcome = await peer.hear("welcome")
            yield peer

    def value(self, name, **labels):
        """Return what a scrape would show of one series; None where it is absent."""
        for family in self.families():
            if family.name == name:
                for key, value in family.samples.items():
                    shown = {n: v for n, v in zip(family.label_names, key, strict=True) if v is not None}
                    if shown == labels:
                        return value
        return None

    def families(self):
        collected = self.plugin.collect()
        return [*collected, *self.plugin.about()]

    async def until(self, so, within=60.0):
        """Wait until something is so."""
        async with asyncio.timeout(within):
            while True:
                found = so()
                if found:
                    return found
                await asyncio.sleep(0.01)

    async def ask(self, path, method="GET", **keywords):
        """Return status and body (JSON where it is) of an answer."""
        async with self.session.request(method, f"{self.url}{path}", **keywords) as answer:
            text = await answer.text()
            return answer.status, (json.loads(text) if answer.content_type == "application/json" else text)


@pytest.fixture
def looks_often(monkeypatch):
    """Have the service look at robots and connections fifty times a second."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.02)


@pytest.fixture
async def place(looks_often):
    """Returns a context manager: the collector with options, behind a web server."""

    @contextlib.asynccontextmanager
    async def make(journal=None, tokens=None, state=None, **options):
        journal = journal or Journal()
        journal.state.update(state or {})
        clock = Turned()
        known = Tokens(tokens)
        context = Context(
            clock=clock,
            commit=journal.commit,
            emit=journal.emitted.append,
            state=journal.state,
            authenticate=known.authenticate,
        )
        plugin = Robots(msgspec.convert(options, RobotsConfig, dec_hook=decode), context)
        await plugin.start()
        server = WebServer(WebSettings(listen=["127.0.0.1:0"]), tokens=known)
        server.set_routes(plugin.routes())
        await server.start()
        async with aiohttp.ClientSession() as session:
            try:
                yield Place(plugin, journal, clock, server.bound[0][1], session)
            finally:
                journal.writes.set()
                await plugin.stop()
                await server.stop()

    return make
