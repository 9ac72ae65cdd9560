"""The client of a robot keeps the rules of the protocol, against an agent that does what a script says."""

import asyncio
import math
import subprocess
import sys

import pytest
from aiohttp import WSMsgType, web

from agentd.client import FileQueue, MemoryQueue, RefusedError, TelemetryClient, TelemetryError
from agentd.client.address import telemetry_url
from agentd.client.live import LiveValues

from .conftest import Gone, closing, honest, silent, until


def test_it_needs_aiohttp_alone():
    """Importing the client imports none of the libraries that the agent needs beside aiohttp."""
    script = "import sys, agentd.client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", script]
    found = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert {"agentd", "aiohttp"} <= found
    others = {"msgspec", "pluggy", "psutil", "click", "rich", "tomli", "isal", "prometheus_client", "agentd_plugins"}
    assert not found & others


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:9797", "ws://host:9797/api/telemetry/ws/r1"),
        ("https://host/", "wss://host/api/telemetry/ws/r1"),
        ("ws://[::1]:9797/api/telemetry/ws", "ws://[::1]:9797/api/telemetry/ws/r1"),
        ("wss://host/agent", "wss://host/agent/api/telemetry/ws/r1"),
        ("http://host/api/telemetry/ws/r1", "ws://host/api/telemetry/ws/r1"),
    ],
)
def test_addresses(url, address):
    """Host and port are enough of an address; a proxy's path stays, and what is whole already is taken as it is."""
    assert telemetry_url(url, "r1") == address


@pytest.mark.parametrize("url", ["host:9797", "ftp://host", "http://", "http://a:b@host", "http://host?token=x"])
def test_addresses_that_are_none(url):
    """What is no address of an agent, or would carry a secret, is refused at once."""
    with pytest.raises(ValueError, match="agent's address"):
        TelemetryClient(url, "r1")


@pytest.mark.parametrize("robot_id", ["", "..", "a/b", 'a"b', "a\n", "🤖", "x" * 129])
def test_robot_ids_that_are_none(robot_id):
    """A robot id that the agent would refuse is refused at once."""
    with pytest.raises(ValueError, match="a robot id is"):
        TelemetryClient("http://host", robot_id)


async def test_what_is_said(agent, client):
    """Hello, live values, metrics and events look as the protocol wants them, and are acknowledged."""
    async with client(token="secret", software="mine/1") as robot:
        await robot.wait_connected(60)
        robot.live({"battery_level": 80}, timestamp=5.0)
        assert await robot.send({"network": {"latency_ms": 12}}, timestamp=17) == 1
        assert await robot.event("mission.completed", {"mission_id": "m1"}, target="x", timestamp=18.5) == 2
        await robot.flush(60)
        assert len(robot.queue) == 0
        await until(lambda: len(agent.last.got) == 3)
    connection = agent.last
    assert connection.path == "/api/telemetry/ws/amr-7"
    assert connection.headers["Authorization"] == "Bearer secret"
    assert connection.headers["Sec-WebSocket-Protocol"] == "agentd.telemetry.v1"
    assert "Sec-WebSocket-Extensions" not in connection.headers
    stream, clock = connection.hello.pop("stream_id"), connection.hello.pop("clock")
    assert len(stream) == 32
    assert clock > 1.7e9
    assert connection.hello == {"type": "hello", "last_seq": 0, "first_seq": 0, "client": "mine/1"}
    live, metrics, event = connection.got
    assert live == {"type": "live", "timestamp": 5.0, "metrics": {"battery_level": 80}}
    assert abs(metrics.pop("clock") - clock) < 60, "what it says when it is sent"
    assert event.pop("clock") >= clock
    assert metrics == {"type": "data", "seq": 1, "timestamp": 17, "metrics": {"network": {"latency_ms": 12}}}
    assert len(event["events"][0].pop("id")) == 36
    said = {"type": "mission.completed", "timestamp": 18.5, "payload": {"mission_id": "m1"}, "target": "x"}
    assert event == {"type": "data", "seq": 2, "timestamp": 18.5, "metrics": {}, "events": [said]}


def deep(levels):
    """Return lists within each other."""
    return 1 if not levels else [deep(levels - 1)]


@pytest.mark.parametrize(
    ("metrics", "what"),
    [
        ({"a": {"b": math.nan}}, "metrics.a.b: nan is no number"),
        ({"a": [1, math.inf]}, "metrics.a.1: inf is no number"),
        ({"a": object()}, "metrics.a: expected a number.* found object"),
        ({"a": {1: 2}}, "metrics.a: expected names that are texts, found 1"),
        ({"a": deep(7)}, "nested too deeply"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": "x" * 300_000}, "larger than max_frame"),
        ([1], "metrics: expected names and values"),
    ],
)
async def test_what_cannot_be_sent(metrics, what, client):
    """What JSON or the agent cannot take is refused before it is kept, with the place where it is."""
    async with client() as robot:
        with pytest.raises(ValueError, match=what):
            await robot.send(metrics)
        with pytest.raises(ValueError, match=what):
            robot.live(metrics)
        assert await robot.send({"a": deep(6)}) == 1


@pytest.mark.parametrize("event", [{}, {"type": "two words"}, {"type": "x" * 201}, {"type": 1}, "x"])
async def test_events_that_are_none(event, client):
    """An event without a proper type is refused before it is kept."""
    async with client() as robot:
        with pytest.raises(ValueError, match=r"events\[0\]: expected a type"):
            await robot.send(events=[event])
        with pytest.raises(ValueError, match=r"events.0.payload.x: nan"):
            await robot.event("a.b", {"x": math.nan})
        with pytest.raises(ValueError, match="timestamp: expected seconds"):
            await robot.send({}, timestamp="now")
        assert len(robot.queue) == 0


async def test_what_is_not_acknowledged_is_sent_again(agent, client, clock):
    """After a lost connection everything from ``resume_from`` on is sent again, with the same numbers and ids, and
    nothing before.
    """

    async def half(agent, connection):
        await connection.welcome()
        while len(connection.data) < 4:
            await agent.hear(connection)
        await connection.ack(1)
        connection.socket._req.transport.abort()

    async def resume(agent, connection):
        await connection.welcome(resume=3)
        await silent_after(agent, connection)

    async def silent_after(agent, connection):
        while True:
            await connection.ack((await agent.hear(connection))["seq"])

    agent.scripts = [half, resume]
    async with client() as robot:
        for number in range(4):
            await robot.event("test.number", {"number": number})
        await until(lambda: 1.0 in clock.asked)
        await clock.advance(1.0)
        await robot.flush(60)
    first, second = agent.connections
    assert (first.seqs, second.seqs) == ([1, 2, 3, 4], [3, 4])
    assert first.kept[2:] == second.kept
    assert (second.hello["first_seq"], second.hello["last_seq"]) == (2, 4)
    assert second.hello["stream_id"] == first.hello["stream_id"]


async def test_credit_in_frames(agent, client):
    """No more frames are under way than the agent allows, and as many as that; each ack makes room."""

    async def script(agent, connection):
        await connection.welcome(frames=3)
        while True:
            await agent.hear(connection)

    agent.scripts = [script]
    async with client() as robot:
        for _ in range(10):
            await robot.send({"a": 1})
        await until(lambda: len(agent.connections) == 1 and len(agent.last.got) == 3)
        await asyncio.sleep(0.05)
        assert agent.last.seqs == [1, 2, 3]
        await agent.last.ack(2, frames=4)
        await until(lambda: agent.last.seqs == [1, 2, 3, 4, 5, 6])
        await agent.last.ack(6, frames=0)
        await asyncio.sleep(0.05)
        assert agent.last.seqs == [1, 2, 3, 4, 5, 6]
        await agent.last.ack(6, frames=100)
        await until(lambda: agent.last.seqs == [*range(1, 11)])


async def test_credit_in_bytes(agent, client):
    """No more bytes are under way than the agent allows; a frame larger than that goes on its own."""

    async def script(agent, connection):
        await connection.welcome(size=300)
        while True:
            await agent.hear(connection)

    agent.scripts = [script]
    async with client() as robot:
        for length in (10, 10, 1000, 10):
            await robot.send({"a": "x" * length})
        await until(lambda: agent.connections and agent.last.seqs == [1, 2])
        await agent.last.ack(1, size=300)
        await asyncio.sleep(0.05)
        assert agent.last.seqs == [1, 2]
        await agent.last.ack(2, size=300)
        await until(lambda: agent.last.seqs == [1, 2, 3])
        await agent.last.ack(3, size=300)
        await until(lambda: agent.last.seqs == [1, 2, 3, 4])


async def test_live_comes_before_the_backlog(agent, client):
    """After the welcome the values of now are sent first: of each kind the newest, and then what was kept."""
    robot = client()
    async with robot:
        for number in range(3):
            await robot.send({"kept": number})
            robot.live({"battery_level": number})
            robot.live({"x": number, "y": number})
        await until(lambda: agent.connections and len(agent.last.got) == 5)
    assert [said["metrics"] for said in agent.last.got[:2]] == [{"battery_level": 2}, {"x": 2, "y": 2}]
    assert agent.last.seqs == [1, 2, 3]


async def test_live_goes_between_numbered_frames(agent, client):
    """Values of now do not wait for credit."""

    async def script(agent, connection):
        await connection.welcome(frames=1)
        while True:
            await agent.hear(connection)

    agent.scripts = [script]
    async with client() as robot:
        await robot.send({"a": 1})
        await robot.send({"a": 2})
        await until(lambda: agent.connections and agent.last.seqs == [1])
        robot.live({"b": 1})
        await until(lambda: agent.last.got[-1]["type"] == "live")
        assert agent.last.seqs == [1]


async def test_live_does_not_wait_for_the_backlog(agent, client):
    """Values of now that are told while a backlog is on its way go out before its end."""
    go_on = asyncio.Event()

    async def slow(agent, connection):
        await connection.welcome(size=10**9)
        await agent.hear(connection)
        await go_on.wait()
        while True:
            await agent.hear(connection)

    agent.scripts = [slow]
    async with client(queue=MemoryQueue(max_bytes=1 << 30)) as robot:
        for _ in range(80):
            await robot.send({"text": "x" * 200_000})  # more than the buffers of sockets hold
        await until(lambda: agent.connections and agent.last.data)
        robot.live({"battery_level": 80})
        go_on.set()
        await until(lambda: len(agent.last.got) == 81)
        assert agent.last.got[-1]["type"] == "data"


async def test_the_welcome_acknowledges(agent, client, clock):
    """What is below ``resume_from`` is safe: it leaves the queue though no ack came."""

    async def take_and_vanish(agent, connection):
        await connection.welcome()
        while len(connection.data) < 3:
            await agent.hear(connection)
        connection.socket._req.transport.abort()

    async def knows(agent, connection):
        await connection.welcome(resume=4)
        await agent.hear(connection)

    agent.scripts = [take_and_vanish, knows]
    async with client() as robot:
        for number in range(3):
            await robot.send({"a": number})
        await until(lambda: waits(clock))
        assert len(robot.queue) == 3
        await clock.advance(1.0)
        await robot.flush(60)
        assert agent.last.got == []


def test_kinds_of_live_values_are_bounded():
    """With too many kinds the oldest message goes; each kind has its newest."""
    values = LiveValues()
    for number in range(100):
        values.put([f"m{number}"], f"first {number}", 0.0)
    values.put(["m50"], "second 50", 0.0)
    taken = []
    while values:
        taken.append(values.take(0.0))
    assert taken == [*(f"first {number}" for number in range(36, 100) if number != 50), "second 50"]


def test_old_live_values_are_not_sent():
    """What waited longer than 30 s for a connection is none of now."""
    values = LiveValues()
    values.put(["a"], "old", 0.0)
    values.put(["b"], "new", 20.0)
    assert (values.take(31.0), values.take(31.0)) == (None, "new")


async def test_waits_between_attempts(agent, client, clock):
    """Each failure doubles the longest wait, from 1 s to 60 s; a connection that did not last changes nothing."""
    agent.scripts = [closing(1011)] * 4 + [welcome_and_close(1001)] * 2 + [closing(1013), closing(1011)]
    async with client() as robot:
        for number, seconds in enumerate((1, 2, 4, 8, 16, 32, 60, 60), 1):
            await until(lambda number=number: len(waits(clock)) == number)
            assert waits(clock)[-1] == seconds
            await clock.advance(seconds - 0.1)
            assert len(agent.connections) == number
            await clock.advance(0.2)
        agent.scripts = [closing(1011)]
        assert not robot.connected


def waits(clock):
    """Return how long the client waited before it tried again: the watches of a connection wait 20 and 45 s."""
    return [seconds for seconds in clock.asked if seconds not in (20.0, 25.0, 45.0)]


def welcome_and_close(code, go_on=None):
    """Return a script that welcomes the robot, waits for a sign, and closes."""

    async def script(_agent, connection):
        await connection.welcome()
        if go_on is not None:
            await go_on.wait()
        await connection.socket.close(code=code)

    return script


async def test_a_stable_connection_is_a_success(agent, client, clock):
    """Only after a connection of 60 s do the waits begin anew."""
    go_on = asyncio.Event()
    agent.scripts = [closing(1011), closing(1011), welcome_and_close(1001, go_on), honest]
    async with client() as robot:
        for seconds in (1, 2):
            await until(lambda seconds=seconds: waits(clock)[-1:] == [seconds])
            await clock.advance(seconds)
        await robot.wait_connected(60)
        clock.now += 60
        go_on.set()
        await until(lambda: len(waits(clock)) == 3)
    assert waits(clock) == [1, 2, 1]


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        (closing(1012, reason="restart", retry_after_ms=40_000), 48.0),
        (closing(1012, reason="restart", retry_after_ms=10**12), 720.0),
        (closing(1012), 1.0),
        (closing(4409, reason="conflict"), 360.0),
        (closing(4408), 1.0),
        (web.Response(status=503, headers={"Retry-After": "5"}), 6.0),
    ],
)
async def test_the_agent_says_when(agent, client, clock, script, seconds):
    """The wait that an agent asks for is kept, with up to a fifth more, and after a conflict it is five minutes."""
    agent.scripts = [script, honest]
    async with client() as robot:
        await until(lambda: waits(clock))
        assert waits(clock) == [seconds]
        await clock.advance(seconds)
        await robot.send({"a": 1})
        await robot.flush(60)


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        (closing(4400, reason="bad", message="hello?"), 4400, "agent and client do not fit together: hello?"),
        (closing(4403), 4403, "the token is not for this robot"),
        (closing(4401), 4401, "the token is missing, wrong or expired"),
        (closing(1003), 1003, "does not take this kind of frame"),
        (web.Response(status=404), 404, r"add \[collectors.robots\]"),
        (web.Response(status=403), 403, "not for this robot"),
    ],
)
async def test_refused(agent, client, clock, script, code, text):
    """What only a person can mend is raised to whoever waits and reported, and tried again after minutes, not seconds;
    what was to be sent is kept.
    """
    agent.scripts = [script, honest]
    async with client(token="x") as robot:
        await robot.send({"a": 1})
        with pytest.raises(RefusedError, match=text) as caught:
            await robot.flush(60)
        assert caught.value.code == code
        assert [problem.code for problem in robot.problems] == [code]
        await until(lambda: waits(clock))
        assert waits(clock) == [360.0]
        await clock.advance(360.0)
        await robot.wait_connected(60)
        await robot.flush(60)


async def test_a_new_token_for_each_attempt(agent, client, clock):
    """A function is asked before each attempt, and again soon after 4401; one that fails is reported."""
    tokens = iter(["old", OSError("no key"), "new"])

    async def token():
        given = next(tokens)
        if isinstance(given, Exception):
            raise given
        return given

    agent.scripts = [closing(4401), honest]
    async with client(token=token) as robot:
        for seconds in (1, 2):
            await until(lambda seconds=seconds: waits(clock)[-1:] == [seconds])
            await clock.advance(seconds)
        await robot.wait_connected(60)
        assert [connection.headers["Authorization"] for connection in agent.connections] == ["Bearer old", "Bearer new"]
        assert [problem.text for problem in robot.problems] == [
            "the token is missing, wrong or expired",
            "cannot connect: no key",
        ]


async def test_silence(agent, client, clock):
    """After 20 s of silence the client asks, after 45 s it gives the connection up and makes another."""
    agent.scripts = [silent, honest]
    async with client() as robot:
        await robot.wait_connected(60)
        await until(lambda: 20.0 in clock.asked)
        await clock.advance(20.0)
        await until(lambda: agent.last.got == [{"type": "ping"}])
        await clock.advance(24.9)
        assert robot.connected
        await clock.advance(0.1)
        await until(lambda: waits(clock) == [1.0])
        assert not robot.connected
        assert robot.problems[-1].text == "nothing was heard from the agent for 45 s"
        await clock.advance(1.0)
        await robot.wait_connected(60)


async def test_a_ping_is_a_word(agent, client, clock):
    """The pings of WebSocket are answered, and count as a word."""
    pongs = []

    async def script(_agent, connection):
        await connection.welcome()
        while True:
            got = await connection.socket.receive()
            if got.type is not WSMsgType.PONG:
                if got.type is not WSMsgType.TEXT:
                    return
                continue
            pongs.append(bytes(got.data))

    agent.scripts = [script]
    async with client() as robot:
        await robot.wait_connected(60)
        for number in range(5):
            await clock.advance(19.0)
            await agent.last.socket.ping(b"%d" % number)
            await until(lambda number=number: len(pongs) == number + 1)
        assert robot.connected
    assert pongs == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_poison_frame_is_dropped(agent, client):
    """A frame that the agent cannot take is dropped and reported, and the others go on; one not sent stays."""

    async def script(agent, connection):
        await connection.welcome(frames=2)
        await connection.say("error", reason="x", seq=3, fatal=False)  # not even sent yet
        while True:
            said = await agent.hear(connection)
            if said["seq"] == 2:
                await connection.say("error", reason="bad_frame", message="what is this", seq=2, fatal=False)
            await connection.ack(said["seq"], frames=2)

    agent.scripts = [script]
    async with client() as robot:
        for _ in range(4):
            await robot.send({"a": 1})
        await robot.flush(60)
        assert agent.last.seqs == [1, 2, 3, 4]
        assert [(problem.seq, problem.text) for problem in robot.problems] == [
            (None, "the agent says: x"),
            (2, "the agent cannot take frame 2, which is dropped: what is this"),
        ]


async def tolerant(agent, connection):
    """Acknowledge everything that is small; close at what is large."""
    await connection.welcome()
    while True:
        said = await agent.hear(connection)
        if len(str(said)) > 1000:
            await connection.socket.close(code=1009)
            raise Gone
        if said["type"] == "data":
            await connection.ack(said["seq"])


async def test_only_what_is_too_large_is_lost(agent, client, clock):
    """Of small and large frames all small ones arrive, and the large ones are reported, live ones without a word."""
    agent.scripts = [tolerant]
    async with client() as robot:
        robot.live({"a": "x" * 2000})
        for length in (1, 1, 2000, 1, 2000, 1):
            await robot.send({"a": "x" * length})
        flushed = asyncio.create_task(robot.flush())
        tried = 0
        while not flushed.done():
            await until(lambda tried=tried: flushed.done() or len(waits(clock)) > tried)
            tried = len(waits(clock))
            await clock.advance(60.0)
        await flushed
        assert [problem.seq for problem in robot.problems if problem.seq] == [3, 5]
        seqs = {seq for connection in agent.connections for seq in connection.seqs}
        assert seqs == {1, 2, 3, 4, 5, 6}
        robot.live({"b": 1})
        await robot.wait_connected(60)
        await until(lambda: agent.last.got and agent.last.got[-1]["type"] == "live")


async def test_an_agent_that_is_ahead(agent, client, clock):
    """Where the agent knows higher numbers than the queue, nothing is taken for a repeat: all is numbered anew."""

    async def ahead(_agent, connection):
        await connection.welcome(resume=8)
        await connection.socket.receive()

    agent.scripts = [ahead, honest]
    async with client() as robot:
        for number in range(3):
            await robot.send({"a": number})
        await until(lambda: waits(clock) == [1.0])
        await clock.advance(1.0)
        await robot.flush(60)
    first, second = agent.connections
    assert first.seqs == []
    assert second.hello["stream_id"] != first.hello["stream_id"]
    assert [said["metrics"]["a"] for said in second.data] == [0, 1, 2]


async def test_an_agent_that_has_lost_its_memory(agent, client, clock):
    """Another epoch is reported, and what is kept is sent from its beginning though the agent asks for more."""
    agent.scripts = [welcome_and_close(1001), forgetful]
    async with client() as robot:
        await robot.send({"a": 1})
        await until(lambda: waits(clock) == [1.0])
        await clock.advance(1.0)
        await robot.flush(60)
        assert "has lost what it knew" in robot.problems[-1].text


async def forgetful(agent, connection):
    """Ask for everything from 1 on, in another epoch."""
    await connection.welcome(resume=1, epoch="two")
    while True:
        await connection.ack((await agent.hear(connection))["seq"])


async def test_an_ack_of_what_was_not_sent(agent, client):
    """What was not sent is not believed to be safe."""

    async def script(agent, connection):
        await connection.welcome(frames=1)
        await agent.hear(connection)
        await connection.ack(3, frames=0)
        while True:
            await agent.hear(connection)

    agent.scripts = [script]
    async with client() as robot:
        for _ in range(3):
            await robot.send({"a": 1})
        await until(lambda: robot.queue.first_seq == 2)
        assert len(robot.queue) == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "welcome"}', '{"type":"ack","seq":1}', '{"type":"error"}', "1"])
async def test_an_agent_that_talks_nonsense(agent, client, clock, text):
    """What cannot be understood ends the connection with a reason, and the next one serves."""

    async def script(_agent, connection):
        await connection.socket.send_str(text)
        await connection.socket.receive()

    agent.scripts = [script, honest]
    async with client() as robot:
        await robot.send({"a": 1})
        await until(lambda: waits(clock) == [1.0])
        assert "cannot be understood" in robot.problems[-1].text
        await clock.advance(1.0)
        await robot.flush(60)


async def test_what_a_later_agent_says_is_no_nonsense(agent, client):
    """Messages of other types, and binary frames, are passed over."""

    async def script(agent, connection):
        await connection.say("greeting", text="hi")
        await connection.socket.send_bytes(b"\0")
        await connection.say("pong", id=None, time=1.0)
        await honest(agent, connection)

    agent.scripts = [script]
    async with client() as robot:
        await robot.send({"a": 1})
        await robot.flush(60)
        assert robot.problems == []


async def test_somebody_else_answers(agent, client):
    """A server that does not speak the protocol is refused with a reason."""
    agent.protocols = ()
    async with client() as robot:
        with pytest.raises(RefusedError, match=r"does not speak agentd.telemetry.v1"):
            await robot.wait_connected(60)


async def test_a_full_queue_waits(agent, client):
    """With a full queue ``send`` waits until an ack makes room, and nothing is lost."""
    agent.scripts = [silent]
    async with client(queue=MemoryQueue(max_frames=2)) as robot:
        await robot.send({"a": 1})
        await robot.send({"a": 2})
        third = asyncio.create_task(robot.send({"a": 3}))
        await until(lambda: agent.connections and agent.last.seqs == [1, 2])
        await asyncio.sleep(0.02)
        assert not third.done()
        await agent.last.ack(1)
        assert await asyncio.wait_for(third, 60) == 3
        await until(lambda: agent.last.seqs == [1, 2, 3])
        waiting = asyncio.create_task(robot.send({"a": 4}))
        await asyncio.sleep(0)
    with pytest.raises(TelemetryError, match="outside of `async with"):
        await waiting


async def test_a_full_queue_drops(agent, client):
    """With ``drop_oldest`` ``send`` never waits; the drop is reported once, and the newest frames arrive."""
    agent.scripts = [closing(1011)]
    queue = MemoryQueue(max_frames=2, when_full="drop_oldest")
    async with client(queue=queue) as robot:
        for number in range(5):
            await robot.send({"a": number})
        assert [problem.text for problem in robot.problems if "full" in problem.text] == [
            "the queue is full: the oldest frames are dropped"
        ]
        assert (queue.first_seq, queue.last_seq, queue.dropped) == (4, 5, 3)


async def test_the_next_run_goes_on(agent, client, tmp_path):
    """What one run could not deliver the next one sends from the file, under the same stream id and numbers."""
    agent.scripts = [silent, honest]
    async with client(queue=tmp_path / "q") as robot:
        for number in range(3):
            await robot.send({"a": number})
        await until(lambda: agent.connections and len(agent.last.data) == 3)
    async with client(queue=FileQueue(tmp_path / "q")) as robot:
        assert await robot.send({"a": 3}) == 4
        await robot.flush(60)
        assert len(robot.queue) == 0
    first, second = agent.connections
    assert second.hello["stream_id"] == first.hello["stream_id"]
    assert [said["metrics"]["a"] for said in second.data] == [0, 1, 2, 3]
    assert first.kept == second.kept[:3]


async def test_the_end_waits_for_acks(agent, client):
    """Leaving the block waits until all is acknowledged, then closes the connection in order."""
    async with client(close_within=60.0) as robot:
        for number in range(100):
            await robot.send({"a": number})
    assert agent.last.seqs == [*range(1, 101)]
    await until(lambda: agent.last.code == 1000)


async def test_the_end_says_what_is_lost(agent, client, caplog):
    """Where acks do not come, leaving says how many frames are not acknowledged and what becomes of them."""
    agent.scripts = [silent]
    async with client(close_within=0.05) as robot:
        await robot.send({"a": 1})
        await robot.wait_connected(60)
        with pytest.raises(TimeoutError, match=r"frames are not acknowledged after 0.02 s$"):
            await robot.flush(0.02)
    assert "1 frames are not acknowledged; what is kept is lost with this program" in caplog.text
    with pytest.raises(TelemetryError, match="outside"):
        robot.live({"a": 1})


async def test_nobody_there(free_port):
    """Without an agent nothing raises but waiting, which tells why; a hundred live values cost nothing."""
    problems = []
    url = f"http://127.0.0.1:{free_port}"
    async with TelemetryClient(url, "r", close_within=0, on_problem=problems.append) as robot:
        await until(lambda: problems)
        for number in range(100):
            robot.live({f"m{number}": number})
        with pytest.raises(TimeoutError, match=rf"127.0.0.1:{free_port}.* no connection after 0.3 s: cannot connect"):
            await robot.wait_connected(0.3)


async def test_a_callback_that_fails(agent, clock):
    """A callback for problems that raises is logged, and the client goes on."""

    def broken(_problem):
        raise RuntimeError("broken")

    agent.scripts = [closing(1011), honest]
    client = TelemetryClient(agent.url, "r", on_problem=broken, clock=clock)
    async with client as robot:
        await until(lambda: waits(clock))
        await clock.advance(1.0)
        await robot.send({"a": 1})
        await robot.flush(60)
