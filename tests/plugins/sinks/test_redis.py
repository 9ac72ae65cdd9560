"""The sink `redis`, with a real Redis."""

import asyncio
import contextlib
import json
import os
import signal
import ssl

import pytest

from agentd.plugin import Reject, Retry, Secret, Url

redis = pytest.importorskip("redis")
PLUGIN = "redis"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def start_redis(serve, free_port):
    """Starts a Redis that writes down what it gets, and again where it has ended; returns it and a URL."""

    def start(*arguments, port=free_port):
        options = ("--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--enable-debug-command", "yes")
        return serve("redis-server", "--port", port, *options, *arguments, port=port), f"redis://127.0.0.1:{port}/0"

    return start


async def begin(sink, batch):
    """Start a sink and send a batch."""
    await sink.start()
    await sink.send(batch)


def ask(url, *command, **options):
    """Ask the server something, with a client of one's own."""
    with redis.Redis.from_url(url, **options) as client:
        return client.execute_command(*command)


def entries(url, stream="brain.events.test.happened", **options):
    """Return the fields of all entries of a stream."""
    with redis.Redis.from_url(url, **options) as client:
        return [fields for _, fields in client.xrange(stream)]


async def test_events_arrive_in_order_byte_for_byte(start_redis, sink_to, events):
    """Each event is one entry with the envelope's very bytes, its type and its id, in order."""
    _, url = start_redis()
    sink, batch = sink_to(url), events(1000)
    await begin(sink, batch[:600])
    await sink.send(batch[600:])
    found = entries(url)
    assert found == [{b"data": each.json, b"type": b"test.happened", b"id": each.id.encode()} for each in batch]


async def test_streams_are_named_by_what_events_say(start_redis, sink_to, events):
    """The template's {type}, {source} and {target} are those of each event; a stream without them takes all."""
    _, url = start_redis()
    sink = sink_to(url, stream="x.{{{source}}}.{type}")
    await begin(sink, [*events(1, type="a.b", source="one"), *events(1, begin=1, type="c", source="zwei ✓")])
    assert sorted(ask(url, "KEYS", "*")) == sorted([b"x.{one}.a.b", "x.{zwei ✓}.c".encode()])
    ask(url, "FLUSHALL")
    named = [*events(1, target="r {1}.ü"), *events(1, begin=1), *events(1, begin=2, target="", source="")]
    await begin(sink_to(url, stream="{source}:{target}"), named)
    assert sorted(ask(url, "KEYS", "*")) == sorted(["tests:r {1}.ü".encode(), b"tests:-", b"-:-"])
    await begin(sink_to(url, stream="all"), [*events(1, type="a"), *events(1, type="b")])
    assert len(entries(url, "all")) == 2


async def test_a_stream_is_cut_to_its_length(start_redis, sink_to, events):
    """With max_length, a stream holds about that many, and the newest."""
    _, url = start_redis("--stream-node-max-entries", "10")
    sink = sink_to(url, max_length=100)
    await begin(sink, events(1000))
    found = entries(url)
    assert 100 <= len(found) < 120
    assert found[-1][b"id"] == b"id-999"


async def test_nothing_is_lost_where_the_server_is_killed(start_redis, sink_to, events, deliver):
    """A server killed amid batches and started again has everything in the end: repeats there may be, gaps not."""
    always = ("--appendfsync", "always")  # otherwise Redis acknowledges what it has not written yet
    server, url = start_redis(*always)
    sink, retries = sink_to(url), []
    await sink.start()
    for first in range(0, 8000, 1000):
        sending = asyncio.create_task(deliver(sink, events(1000, begin=first)))
        if first in (2000, 4000, 5000):
            await asyncio.sleep(0.002)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            server, _ = await asyncio.to_thread(start_redis, *always)
        retries += await sending
    found = [json.loads(fields[b"data"])["payload"]["n"] for fields in entries(url)]
    firsts = list(dict.fromkeys(found))
    assert firsts == list(range(8000))
    assert retries
    assert f"127.0.0.1:{server.port}" in str(retries[0])


async def test_what_was_acknowledged_before_the_break_is_counted(sink_to, events):
    """Where the connection breaks amid the answers, accepted is the number of those that came, and no more."""
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        answered = 0
        while line := await reader.readline():
            if b"CLIENT" in line:
                writer.write(b"+OK\r\n")
            if b"XADD" in line:
                answered += 1
                writer.write(b"$3\r\n1-1\r\n" if answered != 3 else b"$3\r\n1-")
                if answered == 3:
                    await writer.drain()
                    writer.close()
                    return

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await sink.start()
        with pytest.raises(Retry) as caught:
            await sink.send(events(5))
        await sink.stop()
    assert caught.value.accepted == 2
    assert connections == 1  # half of a batch is no reason to begin anew within the same call


async def test_a_connection_that_broke_in_idleness_is_made_anew(start_redis, sink_to, events):
    """A server that was restarted between two batches costs no retry."""
    server, url = start_redis()
    sink = sink_to(url)
    await begin(sink, events(1))
    server.stop(signal.SIGKILL)
    start_redis()
    await sink.send(events(1, begin=1))
    assert [fields[b"id"] for fields in entries(url)] == [b"id-0", b"id-1"]


async def test_a_cancelled_batch_leaves_nothing_behind(start_redis, sink_to, events):
    """After a cancelled send, the answers to it are not taken for those to the next batch."""
    server, url = start_redis()
    sink = sink_to(url)
    await sink.start()
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sink.send(events(10))
    os.kill(server.pid, signal.SIGCONT)
    await sink.send(events(10))
    ask(url, "DEL", "brain.events.bad")
    ask(url, "SET", "brain.events.bad", "text")
    with pytest.raises(Reject):
        await sink.send(events(1, type="bad"))


async def test_a_key_that_is_no_stream_costs_only_its_own_events(start_redis, sink_to, events):
    """Events for a key of another type are rejected by id; the others of the batch arrive, and so do later ones."""
    _, url = start_redis()
    ask(url, "SET", "brain.events.bad", "text")
    sink = sink_to(url)
    await sink.start()
    batch = [*events(2), *events(2, begin=2, type="bad"), *events(2, begin=4)]
    with pytest.raises(Reject, match=r"no stream in 'brain\.events\.bad'") as caught:
        await sink.send(batch)
    assert caught.value.ids == {"id-2", "id-3"}
    await sink.send(events(1, begin=6))
    assert [fields[b"id"] for fields in entries(url)] == [b"id-0", b"id-1", b"id-4", b"id-5", b"id-6"]


async def test_a_full_server_is_asked_again(start_redis, sink_to, events):
    """A server without memory (OOM) is a Retry that says so; what it refused arrives when there is room."""
    _, url = start_redis("--maxmemory", "1")
    sink = sink_to(url)
    await sink.start()
    with pytest.raises(Retry, match="its memory is full") as caught:
        await sink.send(events(3))
    assert caught.value.accepted == 0
    ask(url, "CONFIG", "SET", "maxmemory", "0")
    await sink.send(events(3))
    assert len(entries(url)) == 3


async def test_a_retry_goes_before_a_rejection(start_redis, sink_to, events):
    """Where one event can never be delivered and another not now, the batch comes again from the first of the two."""
    _, url = start_redis()
    ask(url, "SET", "brain.events.bad", "text")
    ask(url, "ACL", "SETUSER", "agent", "on", f">{PASSWORD}", "+xadd", "~brain.events.test.*", "~brain.events.bad")
    sink = sink_to(url, user="agent", password=Secret(PASSWORD))
    await sink.start()
    with pytest.raises(Retry, match="ACL SETUSER") as caught:
        await sink.send([*events(1), *events(1, type="bad"), *events(1, type="forbidden"), *events(1)])
    assert caught.value.accepted == 1


async def test_a_replica_is_told_apart(start_redis, sink_to, events, free_port):
    """A replica refuses what is written (READONLY): the error says to give the master's address."""
    _, url = start_redis("--replicaof", "127.0.0.1", "1")
    sink = sink_to(url)
    await sink.start()
    with pytest.raises(Retry, match=rf"127\.0\.0\.1:{free_port}.*address of the master"):
        await sink.send(events(3))


async def test_a_server_that_still_loads_is_waited_for(start_redis, sink_to, events, deliver):
    """A server that reads its data in (LOADING) is a Retry, and takes events when it is done."""
    server, url = start_redis("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    with redis.Redis.from_url(url) as client:
        for number in range(500):
            client.set(f"key{number}", "x" * 1000)
        client.execute_command("BGREWRITEAOF")
    server.until(lambda: "Background AOF rewrite finished successfully" in server.log())
    server.stop(signal.SIGKILL)
    start_redis("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    sink = sink_to(url)
    with pytest.raises(Retry, match="loading") as caught:
        await begin(sink, events(3))
    assert caught.value.after == 1.0
    await deliver(sink, events(3))
    assert len(entries(url)) == 3


async def test_a_server_that_ends_loading_keeps_the_order(sink_to, events, deliver):
    """A server that refuses the first of what has come, and takes what lies behind it, gets the first first."""
    taken, loading = [], [True]

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while line := await reader.readline():
                if b"CLIENT" in line:
                    writer.write(b"+OK\r\n")
                if line.startswith(b"id-"):  # the last of an event's command
                    if loading:
                        loading.clear()
                        writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
                    else:
                        taken.append(line.strip().decode())
                        writer.write(b"$3\r\n1-1\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        await sink.start()
        await deliver(sink, events(5))
        await sink.stop()
    assert list(dict.fromkeys(taken)) == [f"id-{n}" for n in range(5)]


async def test_a_cluster_that_is_down_is_told(start_redis, sink_to, events):
    """A node of a cluster that is not whole (CLUSTERDOWN) is a Retry that says so."""
    _, url = start_redis("--cluster-enabled", "yes")
    sink = sink_to(url)
    await sink.start()
    with pytest.raises(Retry, match="cluster is down"):
        await sink.send(events(1))


async def test_a_node_of_a_cluster_says_where_the_stream_belongs(sink_to, events):
    """A node of a cluster that has the stream not itself (MOVED) is a Retry that names the other one."""

    async def serve(reader, writer):
        while line := await reader.readline():
            if b"CLIENT" in line:
                writer.write(b"+OK\r\n")
            if b"XADD" in line:
                writer.write(b"-MOVED 3999 127.0.0.1:6381\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        sink = sink_to(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await sink.start()
        with pytest.raises(Retry, match=r"127\.0\.0\.1:6381.*one node of a cluster"):
            await sink.send(events(1))
        await sink.stop()


async def test_log_in(start_redis, sink_to, events, caplog):
    """A password is needed, a wrong one is told, an ACL user needs no right but XADD; and no text has a password."""
    caplog.set_level("DEBUG")
    _, url = start_redis("--requirepass", PASSWORD)
    said = []
    for options in ({}, {"password": Secret("wr0ng-secret")}, {"user": "nobody", "password": Secret("wr0ng-secret")}):
        with pytest.raises(Retry, match=r"Redis at 127\.0\.0\.1:\d+.*check user and password") as caught:
            await begin(sink_to(url, **options), events(1))
        said.append(repr(caught.value) + str(caught.value.__cause__))
    await begin(sink_to(url, password=Secret(PASSWORD)), events(1))
    ask(url, "ACL", "SETUSER", "agent", "on", ">other-secret", "+xadd", "~brain.*", password=PASSWORD)
    await begin(sink_to(url, user="agent", password=Secret("other-secret")), events(1, begin=1))
    assert len(entries(url, password=PASSWORD)) == 2
    assert not any(word in text for word in ("wr0ng", "horse", "other-secret") for text in [*said, caplog.text])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:{port}/0", "Redis at 127.0.0.1:{port}: Connection refused"),
        ("unix:///nowhere/redis.sock", "Redis at /nowhere/redis.sock: No such file or directory"),
    ],
)
async def test_nobody_there(sink_to, free_port, url, said):
    """Where no server answers, the error is the server's address and what the system says, and nothing twice."""
    with pytest.raises(Retry) as caught:
        await sink_to(url.format(port=free_port), stream="x").probe()
    assert str(caught.value) == said.format(port=free_port)


async def test_tls(start_redis, sink_to, events, certificates, free_port):
    """With TLS, the server's certificate is checked against ca_file, and the client's own is shown."""
    files = ("--tls-cert-file", certificates / "server.pem", "--tls-key-file", certificates / "server.key")
    start_redis("--port", "0", "--tls-port", free_port, *files, "--tls-ca-cert-file", certificates / "ca.pem")
    url = f"rediss://localhost:{free_port}/0"
    ours = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}
    sink = sink_to(url, ca_file=str(certificates / "ca.pem"), **ours)
    await begin(sink, events(2))
    shown = {f"ssl_{name.replace('_', '')}": path for name, path in ours.items()}
    shown["ssl_exclude_verify_flags"] = [ssl.VERIFY_X509_STRICT]
    assert len(entries(url, ssl_ca_certs=str(certificates / "ca.pem"), **shown)) == 2
    for options, text in (
        (ours, "certificate verify failed"),
        ({"ca_file": str(certificates / "ca.pem")}, "localhost"),
        ({"ca_file": str(certificates / "ca.key")}, "ca.key holds no certificates"),
        ({"ca_file": str(certificates / "absent")}, "cannot read .*absent"),
        ({**ours, "key_file": str(certificates / "server.key")}, "client.pem and its key do not fit"),
    ):
        with pytest.raises((Retry, ValueError), match=text):
            await begin(sink_to(url, **options), events(1))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "http://localhost"}, 'expected one of redis://, rediss://, unix://; found "http://"'),
        ({"url": "redis://u:hidden@localhost"}, "expected no user and no password in it"),
        ({"url": "redis://localhost?password=hidden"}, "nothing behind a question mark"),
        ({"url": "redis://localhost", "ca_file": "/x"}, "need a url that begins with rediss://"),
        ({"url": "rediss://localhost", "key_file": "/x"}, "key_file needs cert_file"),
        ({"url": "redis://localhost", "user": "agent"}, "user needs password"),
        ({"url": "redis://localhost", "stream": "{host}"}, r'\{source\}, \{target\} may stand; found "\{host\}"'),
        ({"url": "redis://localhost", "stream": "{type.x}"}, "may stand"),
        ({"url": "redis://localhost", "stream": "{type!r}"}, "may stand"),
        ({"url": "redis://localhost", "stream": "{type"}, "for braces themselves"),
    ],
)
def test_wrong_options_are_found_before_anything_runs(options, text):
    """Options that cannot work are refused when the configuration is checked, without telling a password."""
    from agentd_plugins.sinks.redis import RedisConfig

    with pytest.raises(ValueError, match=text) as caught:
        RedisConfig(**{**options, "url": Url(options["url"])})
    assert "hidden" not in str(caught.value)


async def test_without_the_library_the_error_names_the_extra(monkeypatch, sink_to):
    """Where the library is missing, start says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio", None)
    with pytest.raises(RuntimeError, match=r"pip install 'agentd\[redis\]'"):
        await sink_to("redis://localhost").start()


@pytest.mark.parametrize(
    ("beginning", "part"), [(b"$2000000000\r\n", b"x" * 65536), (b"*100000000\r\n", b"*0\r\n" * 16384)]
)
async def test_a_server_that_answers_without_end_is_given_up(sink_to, events, endless, beginning, part):
    """An answer that would take all memory is not read to its end: the connection ends, and nothing of it stays."""

    async def greet(reader, writer):
        while not (line := await reader.readline()).startswith(b"id-0"):
            if not line:
                raise ConnectionResetError
            if b"CLIENT" in line:
                writer.write(b"+OK\r\n")

    port, taken = await endless(greet, beginning, part)
    sink = sink_to(f"redis://127.0.0.1:{port}")
    await sink.start()
    parser = sink._connection._parser
    with pytest.raises(Retry, match="too large to be taken"):
        await sink.send(events(1))
    assert parser._stream is None
    assert await asyncio.wait_for(taken.get(), 60) < 128 << 20
