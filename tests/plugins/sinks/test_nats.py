"""The sink `nats`, with a real NATS server and its JetStream."""

import asyncio
import json
import os
import signal

import pytest

from agentd.plugin import Reject, Retry, Secret, Url

nats = pytest.importorskip("nats")
PLUGIN = "nats"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def start_nats(serve, free_port, tmp_path):
    """Starts a server with JetStream and these lines of configuration, and again where it has ended."""

    def start(lines="", port=free_port):
        store = f"jetstream {{ store_dir: {json.dumps(str(tmp_path))} }}"
        (tmp_path / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n{store}\n{lines}\n")
        return serve("nats-server", "-c", tmp_path / "nats.conf", port=port), f"nats://127.0.0.1:{port}"

    return start


async def add_stream(url, subjects=("brain.>",), login=None, **limits):
    """Make a stream."""
    async with await nats.connect(url, **(login or {})) as client:
        await client.jetstream().add_stream(name="events", subjects=list(subjects), **limits)


async def messages(url, login=None):
    """Return all messages of the stream."""
    async with await nats.connect(url, **(login or {})) as client:
        stream = client.jetstream()
        state = (await stream.stream_info("events")).state
        return [await stream.get_msg("events", seq) for seq in range(state.first_seq, state.last_seq + 1)]


async def begin(sink, batch):
    """Start a sink and send a batch."""
    await sink.start()
    await sink.send(batch)


async def test_events_arrive_in_order_byte_for_byte(start_nats, sink_to, events):
    """Each event is one message with the envelope's very bytes and its id as the message's, in order."""
    _, url = start_nats()
    await add_stream(url)
    sink, batch = sink_to(url), events(1000)
    await begin(sink, batch[:600])
    await sink.send(batch[600:])
    found = await messages(url)
    assert [message.data for message in found] == [each.json for each in batch]
    assert [message.headers["Nats-Msg-Id"] for message in found] == [each.id for each in batch]
    assert {message.subject for message in found} == {"brain.events.test.happened"}


async def test_repeats_are_dropped_by_the_stream(start_nats, sink_to, events):
    """A batch that comes again leaves nothing behind: the stream knows the ids."""
    _, url = start_nats()
    await add_stream(url)
    sink = sink_to(url)
    await begin(sink, events(10))
    await sink.send(events(12))
    assert len(await messages(url)) == 12


async def test_subjects_are_named_by_the_event(start_nats, sink_to, events):
    """{type}, {source} and {target} are those of each event; what has a meaning in NATS becomes an underscore."""
    _, url = start_nats()
    await add_stream(url, ["x.>"])
    sink = sink_to(url, subject="x.{target}.{source}.{type}")
    await begin(sink, [*events(1, type="a.b", source=".one two..*>", target="$R\t"), *events(1, begin=1, source="")])
    assert [message.subject for message in await messages(url)] == ["x._R_._.one_two._.__.a.b", "x.-.-.test.happened"]


async def test_nothing_is_lost_where_the_server_is_killed(start_nats, sink_to, events, deliver):
    """A server killed amid batches and started again has every event in the end, once and in order."""
    server, url = start_nats()
    await add_stream(url)
    sink, retries = sink_to(url), []
    await sink.start()
    for first in range(0, 6000, 1000):
        sending = asyncio.create_task(deliver(sink, events(1000, begin=first)))
        if first in (1000, 3000, 4000):
            await asyncio.sleep(0.005)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            server, _ = await asyncio.to_thread(start_nats)
        retries += await sending
    found = [json.loads(message.data)["payload"]["n"] for message in await messages(url)]
    assert list(dict.fromkeys(found)) == list(range(6000))
    assert retries
    assert f"127.0.0.1:{server.port}" in str(retries[0])


async def test_a_connection_that_broke_in_idleness_is_made_anew(start_nats, sink_to, events):
    """A server that was restarted between two batches costs no retry."""
    server, url = start_nats()
    await add_stream(url)
    sink = sink_to(url)
    await begin(sink, events(1))
    server.stop(signal.SIGKILL)
    start_nats()
    await asyncio.sleep(0.1)
    await sink.send(events(1, begin=1))
    assert len(await messages(url)) == 2


async def test_a_server_that_hangs_can_be_given_up(start_nats, sink_to, events):
    """A send that is cancelled ends at once, and the same batch arrives when the server works again."""
    server, url = start_nats()
    await add_stream(url)
    sink = sink_to(url)
    await begin(sink, events(1))
    os.kill(server.pid, signal.SIGSTOP)
    large = events(1000, begin=1, text="x" * 20000)  # more than the buffers between here and there take
    for batch in (large, events(10, begin=1)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await sink.send(batch)
    os.kill(server.pid, signal.SIGCONT)
    await sink.send(events(10, begin=1))
    assert {json.loads(message.data)["id"] for message in await messages(url)} >= {
        f"id-{number}" for number in range(11)
    }


async def test_a_missing_stream_is_asked_for(start_nats, sink_to, events):
    """Where no stream takes a subject, the error says to make one; what other streams took is counted up to there."""
    _, url = start_nats()
    await add_stream(url, ["brain.events.test.>"])
    sink = sink_to(url)
    with pytest.raises(Retry, match=r"127\.0\.0\.1:\d+: no stream takes the subject brain\.events\.odd") as caught:
        await begin(sink, [*events(2), *events(1, begin=2, type="odd"), *events(1, begin=3)])
    assert caught.value.accepted == 2
    await sink.send(events(2, begin=2))
    assert [json.loads(message.data)["id"] for message in await messages(url)] == ["id-0", "id-1", "id-3", "id-2"]


async def test_a_server_without_jetstream_is_told(serve, free_port, sink_to, events):
    """Where JetStream is not switched on, the error says to switch it on."""
    serve("nats-server", "-a", "127.0.0.1", "-p", free_port, port=free_port)
    with pytest.raises(Retry, match="JetStream switched on"):
        await begin(sink_to(f"nats://127.0.0.1:{free_port}"), events(3))


async def test_a_full_stream_is_asked_again(start_nats, sink_to, events):
    """A stream that takes no more is a Retry with the server's words, and what it took is counted."""
    _, url = start_nats()
    await add_stream(url, max_msgs=3, discard="new")
    with pytest.raises(Retry, match="maximum messages exceeded") as caught:
        await begin(sink_to(url), events(5))
    assert caught.value.accepted == 3


@pytest.mark.parametrize("where", ["server", "stream"])
async def test_too_large_an_event_costs_only_itself(start_nats, sink_to, events, where):
    """An event that is larger than the server or the stream takes is rejected by id; the others arrive."""
    _, url = start_nats("max_payload: 2000" if where == "server" else "")
    await add_stream(url, **({"max_msg_size": 2000} if where == "stream" else {}))
    with pytest.raises(Reject, match=rf"127\.0\.0\.1:\d+: larger than the {where} takes") as caught:
        await begin(sink_to(url), [*events(2), *events(1, begin=2, text="x" * 5000), *events(2, begin=3)])
    assert caught.value.ids == {"id-2"}
    assert [json.loads(message.data)["id"] for message in await messages(url)] == ["id-0", "id-1", "id-3", "id-4"]


async def test_the_limit_is_exact(start_nats, sink_to, events):
    """An event that just fits, its header included, arrives; one byte more is rejected, and the connection stays."""
    batch = events(1, text="x" * 100)
    server, url = start_nats()
    await add_stream(url)
    server.stop()
    start_nats(f"max_payload: {len(batch[0].json) + 27 + len('id-0')}")
    sink = sink_to(url)
    await begin(sink, batch)
    with pytest.raises(Reject):
        await sink.send(events(1, text="x" * 101))
    await sink.send(batch)


async def test_log_in(start_nats, sink_to, events, caplog):
    """A wrong password or token is told, so is a forbidden subject; and no text has a password."""
    caplog.set_level("DEBUG")
    right = {"user": "agent", "password": Secret(PASSWORD)}
    plain = {"user": "agent", "password": PASSWORD}
    allowed = 'publish: ["brain.>", "$JS.>"], subscribe: "_INBOX.>"'
    users = f"{{user: agent, password: {PASSWORD}, permissions: {{{allowed}}}}}"
    server, url = start_nats(f"authorization {{ users: [{users}] }}")
    await add_stream(url, ["brain.>", "other.>"], login=plain)
    said = []
    for options in ({}, {"user": "agent", "password": Secret("wr0ng-secret")}, {"token": Secret("wr0ng-secret")}):
        with pytest.raises(Retry, match=r"NATS at 127\.0\.0\.1:\d+: not authorized: check user") as caught:
            await sink_to(url, **options).start()
        said.append(repr(caught.value) + str(caught.value.__cause__))
    with pytest.raises(Retry, match=r"(?i)permissions violation for publish to .*other\.test"):
        await begin(sink_to(url, subject="other.{type}", **right), events(2))
    await begin(sink_to(url, **right), events(2))
    assert len(await messages(url, login=plain)) == 2
    server.stop()
    start_nats("authorization { token: t0ken-secret }")
    await begin(sink_to(url, token=Secret("t0ken-secret")), events(1, begin=2))
    assert not any(word in text for word in ("wr0ng", "horse", "t0ken") for text in [*said, caplog.text])


async def test_tls(start_nats, sink_to, events, certificates, free_port):
    """With TLS, the server's certificate is checked against ca_file, and the client's own is shown."""
    paths = (("cert_file", "server.pem"), ("key_file", "server.key"), ("ca_file", "ca.pem"))
    files = ", ".join(f'{key}: "{certificates / name}"' for key, name in paths)
    server, _ = start_nats(f"tls {{ {files}, verify: true }}")
    url = f"tls://localhost:{free_port}"
    authority = {"ca_file": str(certificates / "ca.pem")}
    ours = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}
    with pytest.raises(Retry, match="no stream takes"):
        await begin(sink_to(url, **authority, **ours), events(3))
    for options, text in ((ours, "certificate verify failed"), (authority, f"localhost:{free_port}")):
        with pytest.raises(Retry, match=text):
            await begin(sink_to(url, **options), events(1))
    server.stop()
    start_nats()
    with pytest.raises(Retry, match=f"localhost:{free_port}"):  # a server without TLS is given no password
        await sink_to(url, user="agent", password=Secret(PASSWORD)).start()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "redis://localhost"}, 'expected one of nats://, tls://; found "redis://"'),
        ({"url": "nats://hidden@localhost"}, "expected no user and no password in it"),
        ({"url": "nats://localhost", "ca_file": "/x"}, "need a url that begins with tls://"),
        ({"url": "nats://localhost", "subject": "a.>"}, "subject: expected words with dots"),
        ({"url": "nats://localhost", "subject": "a..b"}, "subject: expected words with dots"),
        ({"url": "nats://localhost", "subject": "$JS.x"}, "subject: expected words with dots"),
        ({"url": "nats://localhost", "subject": "{host}"}, r'\{target\} may stand; found "\{host\}"'),
        ({"url": "nats://localhost", "user": "a"}, "user and password need each other"),
        ({"url": "nats://localhost", "token": Secret("hidden"), "credentials_file": "/x"}, "only one of user, token"),
    ],
)
def test_wrong_options_are_found_before_anything_runs(options, text):
    """Options that cannot work are refused when the configuration is checked, without telling a password."""
    from agentd_plugins.sinks.nats import NatsConfig

    with pytest.raises(ValueError, match=text) as caught:
        NatsConfig(**{**options, "url": Url(options["url"])})
    assert "hidden" not in str(caught.value)


async def test_nobody_there(sink_to, free_port, tmp_path):
    """Where no server answers, start says so, and where; a file that is not there is named."""
    with pytest.raises(Retry, match=rf"127\.0\.0\.1:{free_port}: Connection refused$"):
        await sink_to(f"nats://127.0.0.1:{free_port}").start()
    with pytest.raises(ValueError, match=r"cannot read .*absent"):
        await sink_to(f"nats://127.0.0.1:{free_port}", credentials_file=str(tmp_path / "absent")).start()


async def test_without_the_library_the_error_names_the_extra(monkeypatch, sink_to):
    """Where the library is missing, start says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "nats", None)
    with pytest.raises(RuntimeError, match=r"pip install 'agentd\[nats\]'"):
        await sink_to("nats://localhost").start()


async def greet(reader, writer, **info):
    """Let a client in, as a server does, and wait until it publishes something."""
    said = {"server_id": "x", "version": "2.10.0", "proto": 1, "headers": True, "max_payload": 1048576} | info
    writer.write(b"INFO " + json.dumps(said).encode() + b"\r\n")
    while not (line := await reader.readline()).startswith(b"HPUB"):
        if not line:
            raise ConnectionResetError
        if line == b"PING\r\n":
            writer.write(b"PONG\r\n")


@pytest.mark.parametrize("beginning", [b"MSG _INBOX.x 1 9999999999\r\n", b"+"])
async def test_a_server_that_sends_without_end_is_given_up(sink_to, events, endless, beginning):
    """A message or a line that has no end is not kept: the connection is, after a few MiB, no more."""
    port, taken = await endless(greet, beginning, b"x" * 65536)
    sink = sink_to(f"nats://127.0.0.1:{port}")
    await sink.start()
    with pytest.raises(Retry, match="protocol error"):
        await sink.send(events(1))
    await sink.stop()
    assert await asyncio.wait_for(taken.get(), 60) < 64 << 20


async def test_other_servers_that_one_tells_of_are_not_kept(sink_to, events, endless):
    """A server may tell of as many others as it likes: the sink goes nowhere else, and does not compare them."""

    async def tell(reader, writer):
        await greet(reader, writer, connect_urls=[f"10.0.0.{n}:4222" for n in range(100)])

    port, _ = await endless(tell, b"", b"MSG _INBOX.x 1 2\r\n{}\r\n")
    sink = sink_to(f"nats://127.0.0.1:{port}")
    await sink.start()
    assert len(sink._client.servers) == 1
    assert not sink._client.discovered_servers
