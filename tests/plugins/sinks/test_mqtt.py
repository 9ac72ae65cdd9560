"""The sink `mqtt`, with a real Mosquitto."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import threading
import warnings

import pytest

from agentd.plugin import Reject, Retry, Secret, Size, Url

paho = pytest.importorskip("paho.mqtt.client")
pytest.importorskip("aiomqtt")
PLUGIN = "mqtt"
PASSWORD = "correct-horse-battery"
TOPIC = "brain/events/test/happened"


@pytest.fixture
def start_broker(serve, free_port, tmp_path):
    """Starts a Mosquitto with these lines of configuration, and again where it has ended; returns it and a URL."""

    def start(lines="allow_anonymous true", port=free_port):
        (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nlog_type all\n{lines}\n")
        return serve("mosquitto", "-c", tmp_path / "mosquitto.conf", port=port), f"mqtt://127.0.0.1:{port}"

    return start


class Listener:
    """Hears all that is published, in a thread of its own."""

    def __init__(self, port, **login):
        self.heard = []
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        self._client.on_subscribe = lambda *_: self._ready.set()
        if login:
            self._client.username_pw_set(**login)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#")
        self._client.loop_start()
        assert self._ready.wait(60)

    def payloads(self):
        """Return what was heard, as bytes."""
        return [message.payload for message in self.heard]

    async def until(self, so):
        """Wait until something is so of what was heard."""
        async with asyncio.timeout(60):
            while not so(self.heard):  # noqa: ASYNC110  # they come in another thread
                await asyncio.sleep(0.01)

    def end(self):
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listen():
    """Makes listeners, which end with the test."""
    made = []

    def start(*arguments, **options):
        made.append(Listener(*arguments, **options))
        return made[-1]

    yield start
    for listener in made:
        listener.end()


async def begin(sink, batch):
    """Start a sink and send a batch."""
    await sink.start()
    await sink.send(batch)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_events_arrive_in_order_byte_for_byte(start_broker, listen, sink_to, events, qos, protocol):
    """Each event is one message with the envelope's very bytes, in order, at each quality of service and version."""
    server, url = start_broker()
    listener = listen(server.port)
    sink, batch = sink_to(url, qos=qos, protocol=protocol), events(1000)
    await begin(sink, batch[:600])
    await sink.send(batch[600:])
    await listener.until(lambda heard: len(heard) >= 1000)
    assert listener.payloads() == [each.json for each in batch]
    assert {message.topic for message in listener.heard} == {TOPIC}


async def test_topics_are_named_by_the_event(start_broker, listen, sink_to, events):
    """{type}, {source} and {target} are those of each event; what has a meaning in MQTT becomes an underscore."""
    server, url = start_broker()
    listener = listen(server.port)
    sink = sink_to(url, topic="x/{target}/{source/}/{type}")
    odd = events(1, type="a.b", source="$one.+/two#\0", target="hall/#")
    await begin(sink, [*odd, *events(1, source="", type="c")])
    await listener.until(lambda heard: len(heard) == 2)
    assert [message.topic for message in listener.heard] == ["x/hall__/_one/__two__/a.b", "x/-/-/c"]


async def test_the_last_event_is_kept_for_later(start_broker, listen, sink_to, events):
    """With retain, who subscribes later hears the last event of a topic; without, nothing."""
    server, url = start_broker()
    await begin(sink_to(url, retain=True), events(3))
    await begin(sink_to(url, client_id="other"), events(3, type="not.kept"))
    listener = listen(server.port)
    await listener.until(lambda heard: heard)
    assert [(message.topic, json.loads(message.payload)["id"]) for message in listener.heard] == [(TOPIC, "id-2")]


@pytest.mark.parametrize("qos", [1, 2])
async def test_nothing_is_lost_where_the_broker_is_killed(start_broker, listen, sink_to, events, deliver, qos):
    """A broker killed amid batches and started again has passed everything on in the end: repeats, but no gaps."""
    server, url = start_broker()
    listeners = [listen(server.port)]
    sink, gate, retries = sink_to(url, qos=qos), asyncio.Event(), []
    gate.set()
    await sink.start()
    for first in range(0, 4000, 200):
        sending = asyncio.create_task(deliver(sink, events(200, begin=first), gate=gate))
        if first in (1000, 2000, 2200):
            await asyncio.sleep(0.01)
            gate.clear()  # what a broker acknowledges while nobody listens is gone: that is MQTT
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            server, _ = await asyncio.to_thread(start_broker)
            listeners.append(await asyncio.to_thread(listen, server.port))
            gate.set()
        retries += await sending

    def numbers(_=None):
        return [json.loads(payload)["payload"]["n"] for each in listeners for payload in each.payloads()]

    await listeners[-1].until(lambda _: set(numbers()) >= set(range(4000)))
    assert list(dict.fromkeys(numbers())) == list(range(4000))
    assert retries
    assert f"127.0.0.1:{server.port}" in str(retries[0])


async def test_a_connection_that_broke_in_idleness_is_made_anew(start_broker, listen, sink_to, events):
    """A broker that was restarted between two batches costs no retry."""
    server, url = start_broker()
    sink = sink_to(url)
    await begin(sink, events(1))
    server.stop(signal.SIGKILL)
    server, _ = start_broker()
    listener = listen(server.port)
    await asyncio.sleep(0.05)
    await sink.send(events(1, begin=1))
    await listener.until(lambda heard: len(heard) == 1)


async def test_what_was_acknowledged_before_the_break_is_counted(sink_to, events):
    """Where the connection breaks amid the acknowledgements, accepted is the number of those that came in order."""

    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(bytes([0x20, 3, 0, 0, 0]))
        seen = 0
        while seen < 5:
            seen += (await reader.read(100000)).count(b'"id-')
        writer.write(b"".join(bytes([0x40, 2, 0, mid]) for mid in (1, 2, 4)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await sink.start()
        with pytest.raises(Retry, match="connection is lost") as caught:
            await sink.send(events(5))
    assert caught.value.accepted == 2


async def test_a_broker_that_hangs_can_be_given_up(start_broker, listen, sink_to, events):
    """A send that is cancelled ends at once, and the same batch arrives when the broker works again."""
    server, url = start_broker()
    listener = listen(server.port)
    sink = sink_to(url)
    await begin(sink, events(1))
    os.kill(server.pid, signal.SIGSTOP)
    for _ in range(2):  # amid acknowledgements, then amid connecting
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sink.send(events(10, begin=1))
    os.kill(server.pid, signal.SIGCONT)
    await sink.send(events(10, begin=1))
    await listener.until(
        lambda heard: {json.loads(each.payload)["id"] for each in heard} >= {f"id-{n}" for n in range(11)}
    )


async def test_too_large_an_event_costs_only_itself(start_broker, listen, sink_to, events):
    """An event that is larger than the broker takes is rejected by id; the others of the batch arrive."""
    for lines, options in (
        ("max_packet_size 2000", {}),
        ("message_size_limit 2000", {"max_packet": Size(2000)}),
        ("message_size_limit 2000", {"max_packet": Size(2000), "protocol": "3.1.1"}),
    ):
        server, url = start_broker(f"allow_anonymous true\n{lines}")
        listener = listen(server.port)
        batch = [*events(2), *events(1, begin=2, text="x" * 5000), *events(2, begin=3)]
        sink = sink_to(url, **options)
        with pytest.raises(Reject, match=r"127\.0\.0\.1:\d+: too large for the broker") as caught:
            await begin(sink, batch)
        assert caught.value.ids == {"id-2"}
        await listener.until(lambda heard: len(heard) == 4)
        await sink.stop()
        server.stop()


async def test_the_limit_is_exact(start_broker, sink_to, events):
    """A packet of just the size that the broker takes arrives; one byte more is rejected."""
    for text, fits in (("x" * 100, True), ("x" * 101, False)):
        size = 10 + len(TOPIC) + len(events(1, text="x" * 100)[0].json) - 1  # lengths below 16 KiB have two bytes less
        server, url = start_broker(f"allow_anonymous true\nmax_packet_size {size + 1}")
        sink = sink_to(url)
        await sink.start()
        if fits:
            await sink.send(events(1, text=text))
        else:
            with pytest.raises(Reject):
                await sink.send(events(1, text=text))
        await sink.stop()
        server.stop()


async def test_log_in(start_broker, listen, sink_to, events, tmp_path, server_binary, caplog):
    """A wrong password is told, so is a topic that this user may not write; and no text has a password."""
    caplog.set_level("DEBUG")
    users = tmp_path / "users"
    users.touch(0o600)
    for user in ("agent", "listener"):
        subprocess.run(  # noqa: ASYNC221  # nothing else runs yet
            [server_binary("mosquitto_passwd"), "-b", str(users), user, PASSWORD], check=True
        )
    (tmp_path / "acl").write_text("user agent\ntopic write brain/#\nuser listener\ntopic read #\n")
    (tmp_path / "acl").chmod(0o600)
    owner = "user root\n" if os.geteuid() == 0 else ""
    server, url = start_broker(f"{owner}allow_anonymous false\npassword_file {users}\nacl_file {tmp_path / 'acl'}")
    listener = listen(server.port, username="listener", password=PASSWORD)
    said = []
    for options in ({}, {"user": "agent", "password": Secret("wr0ng-secret")}):
        for protocol in ("5", "3.1.1"):
            with pytest.raises(Retry, match=r"broker at 127\.0\.0\.1:\d+: .*check user and password") as caught:
                await sink_to(url, protocol=protocol, **options).start()
            said.append(repr(caught.value) + str(caught.value.__cause__))
    right = {"user": "agent", "password": Secret(PASSWORD)}
    with pytest.raises(Retry, match=r"topic other/test\.happened: not authorized") as caught:
        await begin(sink_to(url, topic="other/{type}", **right), events(2))
    assert caught.value.accepted == 0
    await begin(sink_to(url, **right), events(2))
    await listener.until(lambda heard: len(heard) == 2)
    assert not any(word in text for word in ("wr0ng", "horse") for text in [*said, caplog.text])


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (bytes([0xE0, 1, 0x8E]), "give each agent a client_id of its own"),
        (bytes([0x40, 3, 0, 1, 0x95]), "set max_packet"),
        (bytes([0x40, 3, 0, 1, 0x97]), "a quota of the broker is used up"),
        (bytes([0x40, 3, 0, 1, 0x80]), "reason code 0x80"),
    ],
)
async def test_what_a_broker_says_is_told(sink_to, events, packet, text):
    """Reasons that a broker gives for closing a connection or for refusing a message are told, with what to do."""

    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(bytes([0x20, 3, 0, 0, 0]))
        await reader.read(1000)
        writer.write(packet)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Retry, match=text) as caught:
            await begin(sink, events(1))
        await sink.stop()
    assert caught.value.accepted == 0


async def test_tls(start_broker, listen, sink_to, events, certificates, free_port, unused_ports):
    """With TLS, the broker's certificate is checked against ca_file, and the client's own is shown."""
    (tls_port,) = unused_ports(1)
    files = f"certfile {certificates}/server.pem\nkeyfile {certificates}/server.key\ncafile {certificates}/ca.pem"
    owner = "user root\n" if os.geteuid() == 0 else ""
    server, _ = start_broker(
        f"{owner}allow_anonymous true\nlistener {tls_port} 127.0.0.1\n{files}\nrequire_certificate true"
    )
    listener, url = listen(server.port), f"mqtts://localhost:{tls_port}"
    authority = {"ca_file": str(certificates / "ca.pem")}
    ours = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}
    await begin(sink_to(url, **authority, **ours), events(300))
    await listener.until(lambda heard: len(heard) == 300)
    for options, text in ((ours, "certificate verify failed"), (authority, f"localhost:{tls_port}")):
        with pytest.raises(Retry, match=text):
            await begin(sink_to(url, **options), events(1))
    with warnings.catch_warnings():  # paho-mqtt leaves a socket to the garbage where a certificate is not right
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "redis://localhost"}, 'expected one of mqtt://, mqtts://; found "redis://"'),
        ({"url": "mqtt://u:hidden@localhost"}, "expected no user and no password in it"),
        ({"url": "mqtt://localhost", "topic": "a/#"}, r"without \+ and #"),
        ({"url": "mqtt://localhost", "topic": "$SYS/x"}, r"not beginning with \$"),
        ({"url": "mqtt://localhost", "topic": ""}, "topic: expected"),
        ({"url": "mqtt://localhost", "topic": "{host}"}, r'\{target/\} may stand; found "\{host\}"'),
        ({"url": "mqtt://localhost", "keepalive": 0}, "keepalive must be from 1s"),
        ({"url": "mqtt://localhost", "client_id": ""}, "client_id must not be empty"),
        ({"url": "mqtt://localhost", "protocol": "3.1.1", "password": Secret("hidden")}, "password needs user"),
    ],
)
def test_wrong_options_are_found_before_anything_runs(options, text):
    """Options that cannot work are refused when the configuration is checked, without telling a password."""
    from agentd_plugins.sinks.mqtt import MqttConfig

    with pytest.raises(ValueError, match=text) as caught:
        MqttConfig(**{**options, "url": Url(options["url"])})
    assert "hidden" not in str(caught.value)


async def test_nobody_there(sink_to, free_port):
    """Where no broker answers, start says so, and where."""
    with pytest.raises(Retry, match=f"127.0.0.1:{free_port}: Connection refused$"):
        await sink_to(f"mqtt://127.0.0.1:{free_port}").start()


async def test_without_the_library_the_error_names_the_extra(monkeypatch, sink_to):
    """Where the library is missing, start says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "aiomqtt", None)
    with pytest.raises(RuntimeError, match=r"pip install 'agentd\[mqtt\]'"):
        await sink_to("mqtt://localhost").start()


async def greet(reader, writer):
    """Let a client in, as a broker does, and wait until it publishes something."""
    await reader.read(1000)
    writer.write(bytes([0x20, 3, 0, 0, 0]))
    await reader.read(1000)


@pytest.mark.parametrize("kind", [0x40, 0x30], ids=["answer", "message"])
async def test_a_broker_that_sends_without_end_is_given_up(sink_to, events, endless, kind):
    """A packet that is larger than what a broker has to say ends the connection, and is not kept."""
    port, taken = await endless(greet, bytes([kind, 0xFF, 0xFF, 0xFF, 0x7F]), b"x" * 65536)
    sink = sink_to(f"mqtt://127.0.0.1:{port}")
    await sink.start()
    with pytest.raises(Retry, match="connection is lost"):
        await sink.send(events(1))
    await sink.stop()
    assert await asyncio.wait_for(taken.get(), 60) < 64 << 20


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_that_nobody_asked_for_are_not_kept(sink_to, events, qos):
    """Some brokers subscribe clients by themselves: what comes is passed over, and events arrive all the same."""
    number = b"\0\1" if qos else b""
    message = b"\0\1a" + number + b"\0some words"
    packet = bytes([0x30 | qos << 1, len(message)]) + message

    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(bytes([0x20, 3, 0, 0, 0]) + packet * 1000)
        await reader.readuntil(b"id-0")
        writer.write(packet * 1000 + bytes([0x40, 2, 0, 1]))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await sink.start()
        await sink.send(events(1))
        assert len(sink._client.messages) == 0
        assert not sink._client._client._in_messages
        await sink.stop()
