"""Whatever a connection brings, it gets an error or its end, and others notice nothing."""

import asyncio
import json
import logging
import socket
import struct
import threading

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentd.config import WebSettings
from agentd.plugin import Context
from agentd.web.server import WebServer
from agentd_plugins.collectors.robots import Robots
from agentd_plugins.collectors.robots.protocol import JSON, MSGPACK, Close, Codec, ProtocolError
from agentd_plugins.collectors.robots.settings import RobotsConfig

OURS = {int(code) for code in Close} | {1000}
TEXT, BINARY, CLOSE, PONG = 1, 2, 8, 10


class Agent:
    """A server in a thread of its own, and one robot that is connected all the time."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.port = self.call(self._start())
        self.standing = Socket(self.port, "standing", JSON)
        self.standing.send(TEXT, b'{"type":"hello","stream_id":"s"}')
        self.seq = 0

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _start(self):
        async def commit(events, state):
            for event in events:
                msgspec.json.encode(event)
            msgspec.json.encode(state)

        self.plugin = Robots(
            RobotsConfig(rate_limit=10**6, connects_per_second=10**6, metrics_published="frame"),
            Context(commit=commit),
        )
        await self.plugin.start()
        self.server = WebServer(WebSettings(listen=["127.0.0.1:0"]))
        self.server.set_routes(self.plugin.routes())
        await self.server.start()
        return self.server.bound[0][1]

    async def _stop(self):
        await self.plugin.stop()
        await self.server.stop()

    def is_well(self):
        """Say whether the standing robot gets its acknowledgement, and the fleet can be shown."""
        self.seq += 1
        self.standing.send(TEXT, json.dumps({"type": "data", "seq": self.seq, "metrics": {"cpu_usage": 1}}).encode())
        while True:
            kind, data = self.standing.receive()
            assert kind in (TEXT, 9), (kind, data)
            if kind == TEXT and json.loads(data).get("seq") == self.seq:
                break
        frame = self.plugin.collect()
        return all(isinstance(value, float) for family in frame for value in family.samples.values())

    def end(self):
        self.standing.close()
        self.call(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Socket:
    """A WebSocket that sends anything."""

    def __init__(self, port, robot, protocol=None):
        self.tcp = socket.create_connection(("127.0.0.1", port), timeout=20)
        chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        self.tcp.sendall(
            f"GET /api/telemetry/ws/{robot} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{chosen}\r\n".encode()
        )
        self.file = self.tcp.makefile("rb")
        assert b" 101 " in self.file.readline()
        while self.file.readline() != b"\r\n":
            pass

    def send(self, kind, data):
        length = len(data)
        if length < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, length)
        self.tcp.sendall(head + bytes(4) + data)

    def receive(self):
        """Return kind and data of the next frame; CLOSE and nothing where the connection has ended without one."""
        try:
            head = self.file.read(2)
            if len(head) < 2:
                return CLOSE, b""
            length = head[1] & 127
            if length == 126:
                (length,) = struct.unpack("!H", self.file.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.file.read(8))
            return head[0] & 15, self.file.read(length)
        except ConnectionError:
            return CLOSE, b""

    def outcome(self):
        """Ask whether it is still there: return None, or the code with which it was closed (0 for none)."""
        try:
            self.send(9, b"still here?")
        except ConnectionError:
            return 0
        while True:
            kind, data = self.receive()
            if kind == PONG:
                return None
            if kind == CLOSE:
                return struct.unpack("!H", data[:2])[0] if data else 0

    def close(self):
        self.file.close()
        self.tcp.close()


@pytest.fixture(scope="module")
def agent():
    running = Agent()
    yield running
    running.end()


names = st.one_of(
    st.sampled_from(["cpu_usage", "battery_level", "state", "estop", "network", "seq", "type", "metrics", ""]),
    st.text(),
)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**53, -(2**63), 2**64, 10**400, 1e308, -0.0]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=6)),
    max_leaves=25,
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["hello", "live", "data", "ping", "pong", "welcome", "ack"])},
    optional={
        "seq": st.one_of(st.integers(0, 50), st.integers(), values),
        "metrics": st.one_of(st.dictionaries(names, values, max_size=8), values),
        "events": st.one_of(
            st.lists(
                st.one_of(
                    st.fixed_dictionaries(
                        {"type": st.one_of(st.just("a.b"), st.text())},
                        optional={"payload": values, "timestamp": numbers, "meta": values, "source": st.text()},
                    ),
                    values,
                ),
                max_size=4,
            ),
            values,
        ),
        "timestamp": st.one_of(numbers, values),
        "id": values,
        "stream_id": values,
        "clock": numbers,
    },
)


def as_json(value):
    try:
        return json.dumps(value).encode()
    except ValueError:  # Python writes no integers as long as that
        return b"1e400"


def as_msgpack(value):
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, msgspec.MsgspecError, UnicodeEncodeError):
        return b"\xc1"


@st.composite
def damaged(draw, frames):
    """Return frames of which some have bytes changed, cut out or put in."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(frame)))
        frame[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(frame)


json_frames = damaged(st.one_of(messages.map(as_json), values.map(as_json)))
msgpack_frames = damaged(st.one_of(messages.map(as_msgpack), values.map(as_msgpack), st.binary(max_size=60)))


def check(agent, caplog, protocol, frames, hello=True):
    kind = BINARY if protocol == MSGPACK else TEXT
    caplog.clear()
    robot = Socket(agent.port, "fuzzed", protocol)
    try:
        if protocol and hello:
            encode = Codec(protocol).encode
            robot.send(kind, encode({"type": "hello", "stream_id": "fuzz" + str(len(frames))}))
        for frame in frames:
            try:
                robot.send(kind, frame)
            except ConnectionError:
                break
        outcome = robot.outcome()
    finally:
        robot.close()
    assert outcome is None or outcome in OURS or outcome == 0, outcome
    assert agent.is_well()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    return outcome


@given(frames=st.lists(json_frames, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_json_at_random(agent, caplog, frames):
    """Messages in JSON, right, wrong and damaged: the connection goes on or ends with one of the codes."""
    assert check(agent, caplog, JSON, frames) != 0


@given(frames=st.lists(msgpack_frames, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_messagepack_at_random(agent, caplog, frames):
    """Messages in MessagePack, with NaN, infinities, and keys that are no texts."""
    assert check(agent, caplog, MSGPACK, frames) != 0


@given(frames=st.lists(json_frames, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_plain_clients_at_random(agent, caplog, frames):
    """Whatever a client without the subprotocol sends in text frames, it stays connected."""
    assert check(agent, caplog, None, frames) is None


@given(frames=st.lists(json_frames, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_first_message_at_random(agent, caplog, frames):
    """Whatever comes in the place of hello."""
    check(agent, caplog, JSON, frames, hello=False)


@given(data=st.binary(min_size=1, max_size=300))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_bytes_at_random(agent, caplog, data):
    """Bytes that are no frames at all end the connection (1002, RFC 6455), or are waited for, and nothing else."""
    caplog.clear()
    robot = Socket(agent.port, "fuzzed")
    try:
        robot.tcp.sendall(data)
        robot.tcp.shutdown(socket.SHUT_WR)
        kind, said = TEXT, b""
        while kind != CLOSE:
            kind, said = robot.receive()
    except ConnectionError:
        said = b""
    finally:
        robot.close()
    assert not said or struct.unpack("!H", said[:2])[0] in OURS | {1002, 1007} or len(said) >= 2
    assert agent.is_well()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


HUGE = {
    "ten megabytes": b'{"a":"' + b"x" * 10_000_000 + b'"}',
    "deep nesting": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "many keys": json.dumps({f"k{n}": n for n in range(15_000)}).encode(),
    "a long number": b'{"a":' + b"9" * 200_000 + b"}",
    "a long name": b'{"' + b"n" * 200_000 + b'":1}',
    "a label of control characters": json.dumps({"a\n\"\\b\x00\x1b": 1, "state": "\n\"\\\x00"}).encode(),
    "half a surrogate": b'{"\\ud800":1}',
    "no UTF-8": b'{"a\xff":1}',
}  # fmt: skip


@pytest.mark.parametrize("frame", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("protocol", [JSON, None])
def test_what_is_large_or_deep(agent, caplog, frame, protocol):
    """A frame that costs much ends its connection or is answered, and others go on."""
    body = b'{"type":"live","metrics":' + frame + b"}" if protocol else frame
    check(agent, caplog, protocol, [body])


@given(frame=st.one_of(json_frames, msgpack_frames), binary=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_codec_raises_nothing_else(frame, binary):
    """Decoding gives a message or a ``ProtocolError`` whose number is one."""
    codec = Codec(MSGPACK if binary else JSON)
    for decode in (codec.decode, codec.plain):
        refused = None
        try:
            decode(frame)
        except ProtocolError as error:
            refused = error
        assert refused is None or refused.seq is None or 1 <= refused.seq < 2**53
        assert len(str(refused)) <= 300
