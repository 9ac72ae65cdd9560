"""The sink webhook, against real servers: what has arrived, what is tried again, and which event is to blame."""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import unittest.mock
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web

from agentd.plugin import Clock, Context, Record, Reject, Retry, Secret, Url
from agentd_plugins.sinks._http import retry_after
from agentd_plugins.sinks.webhook import Webhook, WebhookConfig

NOW = 1_700_000_000.25


def records(first, count):
    """Return events with these numbers."""
    made = []
    for seq in range(first, first + count):
        event = {"id": f"id{seq}", "type": "mission.finished", "source": "collectors.fleet", "target": "robot-7"}
        event |= {"timestamp": NOW, "payload": {"n": seq}, "meta": {"host": "h", "seq": seq, "labels": {"site": "x"}}}
        made.append(Record(seq, event["type"], event["source"], json.dumps(event).encode()))
    return made


class Receiver:
    """An HTTP server whose answers a test decides."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/hook"
        self.requests = []
        """Headers and body of each request."""
        self.answers = []
        """What to answer next: a response, or a function that makes one from the events' numbers."""
        self.bad = set()
        """Numbers of events because of which a request is answered 422."""

    @property
    def numbers(self):
        """The numbers of the events of each request."""
        return [numbers(headers, body) for headers, body in self.requests]

    async def answer(self, request):
        body = await request.read()
        self.requests.append((request.headers.copy(), body))
        if self.answers:
            answer = self.answers.pop(0)
            return await answer(request) if callable(answer) else answer
        if self.bad & set(numbers(request.headers, body)):
            return web.Response(status=422, text="no such mission")
        return web.Response(status=204)


def numbers(headers, body):
    """Return the numbers of the events in a request."""
    if headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    return [event.get("payload", event.get("data"))["n"] for event in json.loads(body)]


async def test_what_a_receiver_sends_is_looked_at_in_small_parts(events, endless, ending):
    """The kernel holds little of what a receiver sends unasked, so that never much is looked at in one go."""

    async def greet(reader, _writer):
        await reader.readuntil(b"]")

    port, taken = await endless(greet, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
    sink = ending(Webhook(WebhookConfig(url=Url(f"http://127.0.0.1:{port}")), Context(name="sinks.fleet")))
    await sink.start()
    sizes = []
    original = aiohttp.client_proto.ResponseHandler.data_received

    def received(self, data):
        sizes.append(len(data))
        original(self, data)

    with unittest.mock.patch.object(aiohttp.client_proto.ResponseHandler, "data_received", received):
        sending = asyncio.create_task(sink.send(events(1)))
        async with asyncio.timeout(60):
            while sum(sizes) < 4 << 20:  # noqa: ASYNC110  # they come by themselves
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait({sending})
    assert taken.empty()
    assert max(sizes) <= 64 << 10


@pytest.fixture
async def serve():
    """Returns a receiver on a port of the loopback, with TLS where a context is given."""
    runners = []

    async def start(context=None):
        probe = socket.socket()
        probe.bind(("127.0.0.1", 0))
        receiver = Receiver(probe.getsockname()[1])
        server = web.Server(receiver.answer, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.SockSite(runner, probe, ssl_context=context).start()
        if context:
            receiver.url = receiver.url.replace("http://127.0.0.1", "https://localhost")
        return receiver

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def receiver(serve):
    """A receiver without TLS."""
    return await serve()


@pytest.fixture
def make(ending):
    """Returns a started sink with these options."""

    async def start(url, **options):
        clock = Clock()
        clock.time = lambda: NOW
        sink = ending(Webhook(WebhookConfig(url=Url(url), **options), Context(name="sinks.webhook", clock=clock)))
        await sink.start()
        return sink

    return start


@pytest.fixture
async def raw():
    """Returns the URL of a server that does with each connection what a test says."""
    servers, tasks = [], []

    async def start(talk):
        async def handle(reader, writer):
            tasks.append(asyncio.current_task())
            try:
                await reader.readuntil(b"\r\n\r\n")
                await talk(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=secret"

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cloud_events(receiver, make):
    """A batch is one array of CloudEvents, with the content type of the HTTP binding's batched mode."""
    sink = await make(receiver.url)
    await sink.send(records(1, 3))
    ((headers, body),) = receiver.requests
    assert headers["Content-Type"] == "application/cloudevents-batch+json"
    first = json.loads(body)[0]
    assert (first["specversion"], first["id"], first["type"]) == ("1.0", "id1", "mission.finished")
    assert (first["subject"], first["data"], first["site"]) == ("robot-7", {"n": 1}, "x")
    assert receiver.numbers == [[1, 2, 3]]


async def test_json(receiver, make):
    """As JSON, the events are as the agent has them, to the byte."""
    batch = records(1, 3)
    await (await make(receiver.url, format="json")).send(batch)
    ((headers, body),) = receiver.requests
    assert headers["Content-Type"] == "application/json"
    assert body == b"[" + b",".join(event.json for event in batch) + b"]"


async def test_one_connection_for_all_batches(receiver, make):
    """The connection is kept between batches."""
    ports = set()

    async def answer(request):
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response(text="thank you")

    receiver.answers = [answer] * 5
    sink = await make(receiver.url)
    for first in range(5):
        await sink.send(records(first, 1))
    assert len(ports) == 1


async def test_headers_token_and_compression(receiver, make):
    """A token, headers and a compressed body arrive as they should; headers of one's own come before the agent's."""
    headers = {"X-Api-Key": Secret("k"), "user-agent": Secret("robot")}
    sink = await make(receiver.url, token=Secret("t0ken"), headers=headers, gzip=True)
    await sink.send(records(1, 2))
    ((got, body),) = receiver.requests
    assert got["Authorization"] == "Bearer t0ken"
    assert got["X-Api-Key"] == "k"
    assert got.getall("User-Agent") == ["robot"]
    assert got["Content-Encoding"] == "gzip"
    assert [event["id"] for event in json.loads(gzip.decompress(body))] == ["id1", "id2"]


@pytest.mark.parametrize("compressed", [False, True])
async def test_signature(receiver, make, compressed):
    """The signature is the HMAC of the timestamp, a dot and the body as it was sent."""
    await (await make(receiver.url, hmac_secret=Secret("key"), gzip=compressed)).send(records(1, 2))
    ((headers, body),) = receiver.requests
    assert headers["X-Agentd-Timestamp"] == "1700000000"
    expected = hmac.new(b"key", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["X-Agentd-Signature"] == f"sha256={expected}"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_receiver_that_asks_for_patience(receiver, make, status):
    """These statuses are tried again, after what Retry-After says, and not halved."""
    sink = await make(receiver.url)
    receiver.answers = [web.Response(status=status, headers={"Retry-After": "7"}, text="busy\r\nnow")]
    with pytest.raises(Retry, match=rf"http://127.0.0.1:\d+ answered {status} .*busy now$") as caught:
        await sink.send(records(1, 4))
    assert (caught.value.after, caught.value.accepted) == (7.0, 0)
    await sink.send(records(1, 4))
    assert receiver.numbers == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 410, 415])
async def test_configuration_that_is_wrong(receiver, make, status):
    """These statuses blame no event: all are kept until the configuration is mended."""
    receiver.answers = [web.Response(status=status)]
    with pytest.raises(Retry, match="the URL, the token or the headers are wrong"):
        await (await make(receiver.url)).send(records(1, 4))
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver, make, status):
    """A redirect is not followed, with the token to who knows where, but said."""
    receiver.answers = [web.Response(status=status, headers={"Location": receiver.url + "2"})]
    with pytest.raises(Retry, match="redirects are not followed: configure the new URL"):
        await (await make(receiver.url)).send(records(1, 1))
    assert len(receiver.requests) == 1


async def test_one_bad_event_among_many(receiver, make):
    """Of 500 events two are refused: they are found in smaller parts, all others arrive once and in order."""
    receiver.bad = {17, 400}
    with pytest.raises(Reject, match=r"answered 422 .*no such mission") as caught:
        await (await make(receiver.url)).send(records(0, 500))
    assert caught.value.ids == {"id17", "id400"}
    arrived = [number for batch in receiver.numbers if not receiver.bad & set(batch) for number in batch]
    assert arrived == [number for number in range(500) if number not in receiver.bad]
    assert len(receiver.requests) < 60


async def test_batch_that_is_too_large(receiver, make):
    """A 413 makes batches smaller; an event that is too large all by itself is refused."""

    async def answer(request):
        size = int(request.headers["Content-Length"])
        receiver.answers.append(answer)
        return web.Response(status=413 if size > 1000 else 200)

    receiver.answers = [answer]
    large = Record(
        99, "t", "s", json.dumps({"id": "large", "type": "t", "payload": {"n": 99, "x": "x" * 1000}}).encode()
    )
    with pytest.raises(Reject) as caught:
        await (await make(receiver.url)).send([*records(1, 20), large])
    assert caught.value.ids == {"large"}


async def test_halving_that_is_interrupted(receiver, make):
    """Where the receiver fails in the middle of the search, what has arrived and what was refused is remembered: in the
    end each has arrived once, and the refused one is named.
    """
    receiver.bad = {2, 6}
    sink = await make(receiver.url)
    batch = records(0, 8)

    def flaky():
        calls = 0

        async def answer(request):
            nonlocal calls
            calls += 1
            found = set(receiver.numbers[-1])
            receiver.answers.append(answer)
            if calls == 7:
                return web.Response(status=503)
            return web.Response(status=422 if receiver.bad & found else 200)

        return answer

    receiver.answers = [flaky()]
    with pytest.raises(Retry) as caught:
        await sink.send(batch)
    assert caught.value.accepted == 2
    with pytest.raises(Reject) as rejected:
        await sink.send(batch[caught.value.accepted :])
    assert rejected.value.ids == {"id2", "id6"}
    delivered = [number for batch in receiver.numbers if not receiver.bad & set(batch) for number in batch]
    assert set(delivered) == {0, 1, 3, 4, 5, 7}
    assert len([number for number in delivered if number < 2]) == 2
    await sink.send(batch[:2])  # nothing is remembered once a batch is done
    assert receiver.numbers[-1] == [0, 1]


async def test_cancelled_while_halving(receiver, make):
    """A search that takes longer than the timeout goes on where it was when it is called again."""
    receiver.bad = {1}

    async def slow(request):
        receiver.answers.append(slow)
        await asyncio.sleep(0.1)
        return web.Response(status=422 if receiver.bad & set(receiver.numbers[-1]) else 200)

    receiver.answers = [slow]
    sink = await make(receiver.url)

    async def until_settled():
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(sink.send(records(0, 16)), 0.35)

    with pytest.raises(Reject) as caught:
        await until_settled()
    assert caught.value.ids == {"id1"}


async def test_nobody_answers(make, free_port):
    """Without a server, the error names the host and the cause, and nothing of the path or the query."""
    sink = await make(f"http://127.0.0.1:{free_port}/path-secret?key=query-secret", token=Secret("tok"))
    with pytest.raises(Retry) as caught:
        await sink.send(records(1, 1))
    assert str(caught.value) == f"http://127.0.0.1:{free_port}: Connection refused"
    assert caught.value.__cause__ is None


async def test_host_without_a_name(make):
    """A name that is not known is said."""
    sink = await make("http://no-such-host.invalid/x?key=secret")
    with pytest.raises(Retry, match=r"^http://no-such-host\.invalid: .*(name|Name|resol|DNS|Timeout)") as caught:
        await sink.send(records(1, 1))
    assert "secret" not in str(caught.value)


async def reset(_reader, writer):
    """End a connection the hard way."""
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def close(_reader, _writer):
    """Say nothing."""


async def half_a_head(_reader, writer):
    """Break off within the headers."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()


async def nonsense(_reader, writer):
    """Speak another protocol."""
    writer.write(b"220 smtp.example ready\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (reset, "Connection reset|closed the connection"),
        (close, "closed the connection instead of answering"),
        (half_a_head, "closed the connection instead of answering"),
        (nonsense, "its answer is no HTTP"),
    ],
)
async def test_broken_answers(raw, make, talk, words):
    """A connection that breaks before there is a status leaves the batch to be sent again, and the cause is said."""
    url = await raw(talk)
    sink = await make(url)
    for _ in range(2):
        with pytest.raises(Retry, match=words) as caught:
            await sink.send(records(1, 1))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 503])
async def test_truncated_body(raw, make, status):
    """A status counts though the body that was announced does not come."""

    async def talk(_reader, writer):
        writer.write(f"HTTP/1.1 {status} Xyz\r\nContent-Length: 1000\r\n\r\nhalf".encode())
        await writer.drain()

    sink = await make(await raw(talk))
    if status == 200:
        await sink.send(records(1, 1))
    else:
        with pytest.raises(Retry, match="answered 503 Xyz: half"):
            await sink.send(records(1, 1))


async def test_endless_body(raw, make):
    """Of a body without end no more than an excerpt is read, and the connection is closed."""
    written, ended = 0, asyncio.Event()

    async def talk(_reader, writer):
        nonlocal written
        writer.write(b"HTTP/1.1 500 Xyz\r\n\r\n")
        try:
            while written < 200_000_000:
                writer.write(b"x" * 65536)
                await writer.drain()
                written += 65536
        except ConnectionError:
            ended.set()

    sink = await make(await raw(talk))
    with pytest.raises(Retry, match=r"answered 500 Xyz: x{100}") as caught:
        await sink.send(records(1, 1))
    assert len(str(caught.value)) < 300
    await asyncio.wait_for(ended.wait(), 60)
    assert written < 20_000_000


async def test_slow_body(raw, make, monkeypatch):
    """A receiver that takes its time to send a body after "200" does not hold up the next batch."""
    monkeypatch.setattr("agentd_plugins.sinks._http.PATIENCE", 0.2)

    async def talk(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await asyncio.Event().wait()

    sink = await make(await raw(talk))
    await asyncio.wait_for(sink.send(records(1, 1)), 60)


async def test_slow_receiver_is_cancelled(receiver, make):
    """A send that is cancelled for its slowness does no harm to the next one."""
    asked = asyncio.Event()

    async def slow(_request):
        asked.set()
        await asyncio.sleep(3600)

    receiver.answers = [slow]
    sink = await make(receiver.url)
    sending = asyncio.create_task(sink.send(records(1, 2)))
    await asyncio.wait_for(asked.wait(), 60)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await sink.send(records(1, 2))
    assert receiver.numbers == [[1, 2], [1, 2]]


async def test_secrets_that_come_back(receiver, make):
    """A receiver that repeats secrets in its error does not bring them into the log, nor lines of its own."""
    secrets = {"token": Secret("t0ken"), "headers": {"X-Key": Secret("k3y")}, "hmac_secret": Secret("s1gn")}
    sink = await make(receiver.url, **secrets)
    receiver.answers = [web.Response(status=500, text="t0ken k3y s1gn\nforged: line\x1b[31m")]
    with pytest.raises(Retry) as caught:
        await sink.send(records(1, 1))
    assert str(caught.value).endswith("*** *** *** forged: line [31m")
    assert not any(text in repr(sink.config) for text in ("t0ken", "k3y", "s1gn"))


async def test_proxy(receiver, make):
    """With a proxy, the request goes to it, with the whole URL."""
    sink = await make("http://receiver.example/hook", proxy=Url(receiver.url.removesuffix("/hook")))
    await sink.send(records(1, 1))
    assert receiver.requests[0][0]["Host"] == "receiver.example"


async def test_tls_with_certificates_on_both_sides(serve, make, certificates):
    """A server of an authority of one's own is trusted, and is shown the agent's certificate; without, neither."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as of most servers
    receiver = await serve(context)
    options = {
        name: str(certificates / file)
        for name, file in (("ca_file", "ca.pem"), ("cert_file", "client.pem"), ("key_file", "client.key"))
    }
    sink = await make(receiver.url, **options)
    await sink.send(records(1, 1))
    await sink.reopen()
    await sink.send(records(2, 1))
    assert receiver.numbers == [[1], [2]]
    with pytest.raises(Retry, match=r"https://localhost:\d+: its certificate is not trusted: .*verify failed"):
        await (await make(receiver.url)).send(records(3, 1))
    with pytest.raises(Retry, match=r"https://localhost:\d+: \S"):
        await (await make(receiver.url, ca_file=options["ca_file"])).send(records(3, 1))
    assert receiver.numbers == [[1], [2]]


@pytest.fixture
async def tunnels():
    """The URL of a proxy that connects to this machine whatever host it is asked for, and what it was asked for."""
    asked, tasks = [], []

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def handle(reader, writer):
        tasks.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        if "refused" in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        other, onward = await asyncio.open_connection("127.0.0.1", int(head.split()[1].rsplit(":", 1)[1]))
        writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        try:
            await asyncio.gather(pump(reader, onward), pump(other, writer))
        finally:
            for end in (onward, writer):
                end.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_tunnel_through_a_proxy(serve, make, certificates, tunnels):
    """To an https URL the proxy is asked for a tunnel, and sees neither token nor events; its refusal is said."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    receiver = await serve(context)
    proxy, asked = tunnels
    options = {"proxy": Url(proxy), "ca_file": str(certificates / "ca.pem"), "token": Secret("t0ken")}
    sink = await make(receiver.url, **options)
    await sink.send(records(1, 2))
    assert receiver.numbers == [[1, 2]]
    assert asked[0].startswith("CONNECT localhost:")
    assert "t0ken" not in asked[0]
    await sink.stop()
    with pytest.raises(Retry, match=r"https://refused\.example: the proxy answered 407 "):
        await (await make("https://refused.example/?key=secret", **options)).send(records(1, 1))


async def test_key_with_a_passphrase(make, certificates):
    """A key with a passphrase is refused in words, instead of asking for it on a terminal."""
    command = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", "client.key", "-out", "encrypted.key"]
    await asyncio.to_thread(subprocess.run, command, cwd=certificates, check=True, capture_output=True)
    files = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "encrypted.key")}
    with pytest.raises(ValueError, match=r"cannot use .*client\.pem or .*encrypted\.key: \S"):
        await make("https://localhost/", **files)


async def test_certificates_that_cannot_be_read(make, tmp_path):
    """A file that is missing or no certificate is named when the sink starts."""
    (tmp_path / "bad.pem").write_text("no certificate")
    for options in ({"ca_file": str(tmp_path / "none.pem")}, {"cert_file": str(tmp_path / "bad.pem")}):
        with pytest.raises(ValueError, match=rf"cannot use {next(iter(options.values()))}: \S"):
            await make("https://localhost/", **options)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", None),
        ("999999", 3600.0),
        (format_datetime(datetime.fromtimestamp(NOW + 60, UTC), usegmt=True), 59.75),
        (format_datetime(datetime.fromtimestamp(NOW - 60, UTC), usegmt=True), None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
    ],
)
def test_retry_after(header, seconds):
    """Retry-After is read as seconds or as a date, at most an hour; what is neither, or past, does not count."""
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": Url("ftp://host/")}, "url must begin with http:// or https://"),
        ({"url": Url("http://user:hunter2@host/")}, "hold no user or password"),
        ({"proxy": Url("http://user:hunter2@host/")}, "proxy must begin"),
        ({"headers": {"a b": Secret("x")}}, "'a b' is no name of a header"),
        ({"headers": {"a": Secret("x\r\nhunter2: y")}}, "headers.a has a character"),
        ({"token": Secret("hunter2\n")}, "token has a character"),
        ({"ca_file": "/ca.pem"}, "https"),
        ({"url": Url("https://host/"), "key_file": "/key.pem"}, "cert_file, which is not set"),
    ],
)
def test_options_that_cannot_be_meant(options, words):
    """Options that contradict each other are refused in words that repeat no secret."""
    with pytest.raises(ValueError, match=words) as caught:
        WebhookConfig(**{"url": Url("http://host/"), **options})
    assert "hunter2" not in str(caught.value)
