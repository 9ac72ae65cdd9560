"""Clients without number, without manners or without an end: the agent goes on answering, and all comes back."""

import asyncio
import contextlib
import random
import resource
import socket
import struct
import time

import pytest

MEGABYTE = 1 << 20
GROWTH = 8 * MEGABYTE
"""What the agent's memory may have grown by afterwards: allocators keep some of what was freed."""

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))


@pytest.fixture(scope="module")
def warm_agent(standing):
    """An agent that has been scraped by many at once, so that it has all the memory that it needs for that."""
    agent = standing.agent()
    asyncio.run(scrapes(agent, 2000, 50))
    return agent


@pytest.fixture
def agent(warm_agent):
    """An agent that afterwards answers, and has no more descriptors, memory and log lines than before (and a few)."""
    agent = warm_agent
    agent.get("/metrics")
    descriptors, resident, said = agent.descriptors(), agent.resident(), agent.log()
    yield agent
    answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "10"})
    assert answer.status == 200
    assert answer.value("node_load1") is not None
    agent.until(lambda: agent.descriptors() <= descriptors)
    assert agent.resident() - resident < GROWTH
    news = agent.log().removeprefix(said)
    assert "Traceback" not in news
    assert len(news.splitlines()) <= 5, news


async def scrapes(agent, number, at_once, path="/metrics"):
    """Scrape so often, from so many connections at a time, each used ten times; return the statuses."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    left = iter(range(number))
    statuses = []

    async def client():
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
            try:
                for _ in range(10):
                    if next(left, None) is None:
                        return
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                    await reader.readexactly(int(length.split()[1]))
                    statuses.append(int(head.split()[1]))
            finally:
                writer.close()

    await asyncio.gather(*(client() for _ in range(at_once)))
    return statuses


@pytest.fixture
def connect():
    """Opens connections to an agent, which are closed at the end."""
    with contextlib.ExitStack() as opened:
        yield lambda agent: opened.enter_context(socket.create_connection(("127.0.0.1", agent.port), timeout=30))


def hang_up(connection):
    """Close a connection as a crash does: with a reset in place of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send(connection, data):
    """Send as much as the other side takes."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)


def received(connection):
    """Return what comes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
    return data


def test_ten_thousand_scrapes_at_fifty_at_a_time(agent):
    """Each of 10,000 scrapes, whole ones among them, is answered (fifty at once are more than the default limit)."""
    small = "/metrics?collect[]=loadavg"
    whole = asyncio.run(scrapes(agent, 2000, 40))
    assert set(whole) == {200}
    many = asyncio.run(scrapes(agent, 8000, 50, small))
    assert len(whole) + len(many) == 10_000
    assert set(many) <= {200, 503}
    assert many.count(200) > 7000


def test_clients_that_hang_up_in_the_middle_of_a_request(connect, agent):
    """Requests that are never finished, politely or not, leave nothing behind."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"
    for number in range(400):
        connection = connect(agent)
        send(connection, request[: number % len(request)])
        (hang_up if number % 2 else socket.socket.close)(connection)


def test_clients_that_hang_up_in_the_middle_of_an_answer(connect, agent):
    """Clients that ask and do not wait for the answer, or only for its beginning, leave nothing behind."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    for number in range(300):
        connection = connect(agent)
        send(connection, request * (1 + number % 3))
        if number % 2:
            assert connection.recv(1 + number) != b""
        (hang_up if number % 3 else socket.socket.close)(connection)


@pytest.mark.parametrize(
    ("before", "filler", "after"),
    [
        (b"GET /", b"a", b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"GET /metrics?", b"collect[]=a&", b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"GET /metrics HTTP/1.1\r\nHost: ", b"x", b"\r\n\r\n"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"Name: value\r\n", b"\r\n"),
        (b"", b"G", b""),
        (b"", b"\r\n", b""),
        (b"", b"\x00", b""),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"Z", b""),
    ],
    ids=["path", "query", "header", "headers", "method", "empty lines", "zeros", "chunks"],
)
def test_requests_of_a_megabyte(connect, agent, before, filler, after):
    """A head of a megabyte is refused, or its sender is cut off, long before all of it was taken into memory."""
    request = before + filler * (MEGABYTE // len(filler)) + after
    connections = [connect(agent) for _ in range(20)]
    for connection in connections:
        send(connection, request)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    for connection in connections:
        assert received(connection)[9:12] in (b"", b"400", b"405", b"414", b"431")
        connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"BREW /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\nX-Prometheus-Scrape-Timeout-Seconds: \xff\r\nAccept: \xff\r\n\r\n",
        TLS_HELLO,
    ],
)
def test_what_is_no_request(connect, agent, data):
    """What is no HTTP is answered with an error or not at all, and is no matter for the log."""
    for _ in range(20):
        with connect(agent) as connection:
            send(connection, data)
            connection.shutdown(socket.SHUT_WR)
            answer = received(connection)
            assert answer == b"" or answer[:5] == b"HTTP/"


def test_rubbish_without_end(connect, agent):
    """Nothing that random bytes can say brings the server down."""
    chance = random.Random(4711)
    pieces = [b"GET ", b"/metrics", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Host: x", b":", b"\x00", b"Content-Length: 5"]
    for _ in range(500):
        with connect(agent) as connection:
            send(connection, b"".join(chance.choices(pieces, k=8)) + chance.randbytes(chance.randrange(40)))


def test_bodies_that_nobody_wants(connect, agent):
    """A body of any size is not kept, whether it comes or only is announced."""
    announced = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    for _ in range(20):
        connection = connect(agent)
        send(connection, announced + b"x" * MEGABYTE)
        assert connection.recv(13) == b"HTTP/1.1 405 "
        hang_up(connection)


def test_two_hundred_connections_that_say_nothing(connect, agent):
    """Half-open connections delay nobody, and are gone when their other side has gone."""
    silent = [connect(agent) for _ in range(200)]
    partial = [connect(agent) for _ in range(50)]
    for connection in partial:
        send(connection, b"GET /metrics HT")
    assert agent.get("/metrics").status == 200
    assert agent.descriptors() > 200
    for connection in silent + partial:
        connection.close()


def test_heads_that_never_end(connect, agent):
    """Heads of which each line is allowed, and the whole far too much, are refused; shorter ones are kept, and cost."""
    before = agent.resident()
    begun = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
    lines = [b"X-%d: %b\r\n" % (number, b"x" * 8000) for number in range(120)]
    kept = [connect(agent) for _ in range(100)]
    for connection in kept:
        send(connection, begun + b"".join(lines[:3]))
    refused = [connect(agent) for _ in range(150)]
    for connection in refused:
        with contextlib.suppress(OSError):  # it may have been cut off before
            send(connection, begun + b"".join(lines))
    for connection in refused:
        assert received(connection)[9:12] in (b"", b"431")
        connection.close()
    assert agent.resident() - before < 32 * MEGABYTE  # it were 150 MiB
    for connection in kept:
        send(connection, b"Connection: close\r\n\r\n")
        assert received(connection)[9:12] in (b"200", b"503")
        connection.close()


def test_slow_senders_delay_nobody(agent):
    """Requests that come byte by byte are answered in the end, and others meanwhile."""
    request = b"GET /metrics?collect[]=loadavg HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def slow():
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
        for place in range(len(request)):
            writer.write(request[place : place + 1])
            await asyncio.sleep(0.01)
        answer = await reader.read()
        writer.close()
        return answer

    async def both():
        senders = [asyncio.create_task(slow()) for _ in range(35)]
        statuses = await scrapes(agent, 50, 5)
        return statuses, await asyncio.gather(*senders)

    statuses, answers = asyncio.run(both())
    assert set(statuses) == {200}
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}


def test_descriptors_run_out_and_come_back(connect, start_agent):
    """Where connections use up all descriptors the log says so in a few lines, and afterwards all is well again."""
    agent = start_agent()
    before = agent.descriptors()
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (before + 20, before + 20))
    silent = [connect(agent) for _ in range(100)]
    time.sleep(3)
    assert len(agent.log().splitlines()) < 40, agent.log()
    assert "Traceback" not in agent.log()
    for connection in silent:
        connection.close()
    agent.until(lambda: agent.answers("/metrics"))
    agent.until(lambda: agent.descriptors() <= before + 3)
    answer = agent.get("/metrics")
    assert [
        labels for (name, labels), value in answer.samples.items() if name == "agentd_collector_success" and not value
    ] == []
