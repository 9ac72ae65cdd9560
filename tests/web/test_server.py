"""The web server, in this process."""

import asyncio
import base64
import contextlib
import gc
import itertools
import logging
import socket
import weakref

import bcrypt
import pytest
from aiohttp import web

from agentd.config import BasicAuth, Token, WebSettings
from agentd.options import Secret
from agentd.routes import Route, Scope
from agentd.web import burden, connections
from agentd.web import server as server_module
from agentd.web.burden import most_connections
from agentd.web.server import ListenError, WebServer
from agentd.web.tokens import Tokens


@pytest.fixture
async def serve():
    """Starts web servers with these routes, on ports of the loopback that are free, and stops them at the end."""
    started = []

    async def start(*routes, addresses=("127.0.0.1:0",), unix_socket=None):
        server = WebServer(WebSettings(listen=list(addresses)), unix_socket)
        server.set_routes(routes)
        started.append(server)
        await server.start()
        return server

    yield start
    for server in started:
        await server.stop()


@pytest.fixture
async def connect():
    """Opens connections to a server, which are closed at the end."""
    writers = []

    async def open_one(server, **keywords):
        reader, writer = await asyncio.open_connection(*server.bound[0], **keywords)
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.close()
    await asyncio.sleep(0)


async def closed(reader):
    """Wait until the server closes a connection; say whether it did so without a word."""
    try:
        return await asyncio.wait_for(reader.read(), 20) == b""
    except ConnectionError:
        return True


def says(text, method="GET", path="/", scope=None):
    """Return a route that answers with a text."""

    async def handler(_request, _principal):
        return web.Response(text=text)

    return Route(method, path, handler, scope)


async def ask(server, path, *, method="GET", headers=""):
    """Return the status and the body of an answer."""
    reader, writer = await asyncio.open_connection(*server.bound[0])
    try:
        return await over(reader, writer, path, method=method, headers=headers)
    finally:
        writer.close()
        await writer.wait_closed()


async def over(reader, writer, path, *, method="GET", headers=""):
    """Return the status and the body of an answer over a connection that is closed then."""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_routes_are_replaced_while_it_serves(serve, connect):
    """From one request to the next, on one connection too, other routes answer; one under way ends as it began."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request, _principal):
        entered.set()
        await go_on.wait()
        return web.Response(text="slow")

    server = await serve(says("old", path="/page"), Route("GET", "/slow", slow, None))
    kept = await connect(server)
    kept[1].write(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await kept[0].readuntil(b"old")).startswith(b"HTTP/1.1 200")
    under_way = asyncio.create_task(ask(server, "/slow"))
    await entered.wait()
    server.set_routes([says("new", path="/page"), says("more", path="/more")])
    assert [route.path for route in server.routes] == ["/page", "/more"]
    assert await ask(server, "/page") == (200, "new")
    assert await ask(server, "/more") == (200, "more")
    assert (await ask(server, "/slow"))[0] == 404
    assert await over(*kept, "/page") == (200, "new")
    go_on.set()
    assert await under_way == (200, "slow")


async def test_double_routes_leave_the_old_ones(serve):
    """Routes that are refused because two are the same leave those that were there."""
    server = await serve(says("old"))
    with pytest.raises(ValueError, match="two routes for GET /twice"):
        server.set_routes([says("a", path="/twice"), says("b", path="/twice")])
    assert await ask(server, "/") == (200, "old")


async def test_parts_of_the_path_are_told(serve):
    """A handler finds the open parts of its path in the request, decoded."""

    async def tell(request, _principal):
        return web.Response(text=f"{request['robot']} {request['part']}")

    server = await serve(Route("GET", "/{robot}/of/{part}", tell, None))
    assert await ask(server, "/r%202/of/arm?ignored=yes") == (200, "r 2 arm")


async def test_unknown_paths_and_methods(serve):
    """What is not there is 404; a method that a path does not know is 405 with those that it does."""
    server = await serve(says("got", path="/page"), says("sent", "POST", "/page"))
    assert await ask(server, "/nothing") == (404, "there is nothing at /nothing\n")
    assert await ask(server, "/page", method="PUT") == (405, "use GET, POST\n")
    assert await ask(server, "/page", method="POST") == (200, "sent")
    assert await ask(server, "/page", method="HEAD") == (200, "")


async def test_a_path_of_a_plugin_that_does_not_run(serve):
    """Where a plugin would answer that does not run, the answer names the section that adds it; where it runs, and
    elsewhere, an unknown path is only that. What plugins there are may change meanwhile.
    """
    sections = {"/fleet": "collectors.fleet"}
    server = WebServer(WebSettings(listen=["127.0.0.1:0"]), sections=lambda: sections)
    await server.start()
    try:
        for path in ("/fleet", "/fleet/robots/7"):
            status, text = await ask(server, path)
            assert (status, "[collectors.fleet]" in text) == (404, True)
        assert await ask(server, "/fleets") == (404, "there is nothing at /fleets\n")
        server.set_routes([says("yes", path="/fleet/robots")])
        assert await ask(server, "/fleet/robots/7") == (404, "there is nothing at /fleet/robots/7\n")
        assert await ask(server, "/cars") == (404, "there is nothing at /cars\n")
        sections["/cars"] = "collectors.cars"
        assert "[collectors.cars]" in (await ask(server, "/cars"))[1]
    finally:
        await server.stop()


class UnprintableError(Exception):
    """An error of which not even the text can be had."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), SystemExit(3), KeyError(), UnprintableError(), TimeoutError()]
)
async def test_handler_that_raises(serve, caplog, error):
    """A handler that raises gives 500 without any detail, one line in the log, and the server goes on."""

    async def fail(_request, _principal):
        raise error

    server = await serve(Route("GET", "/{fail}", fail, None), says("fine"))
    for _ in range(3):
        assert await ask(server, "/secret-path") == (500, "internal error: see the agent's log\n")
    assert await ask(server, "/") == (200, "fine")
    [record] = caplog.records
    assert record.getMessage().startswith(f"GET /{{fail}} failed: {type(error).__name__}")
    assert record.exc_info is None


async def test_handler_that_answers_nothing(serve, caplog):
    """A handler that returns no response gives 500, and the log says what it returned."""

    async def nothing(_request, _principal):
        return "text"

    server = await serve(Route("GET", "/", nothing, None))
    assert (await ask(server, "/"))[0] == 500
    assert "the handler returned str, which is no response" in caplog.text


async def test_handler_that_raises_an_answer(serve):
    """The exceptions of aiohttp that are answers are sent as such."""

    async def gone(_request, _principal):
        raise web.HTTPGone(text="no longer here")

    server = await serve(Route("GET", "/", gone, None))
    assert await ask(server, "/") == (410, "no longer here")


async def test_traceback_where_it_is_asked_for(serve, caplog):
    """At log level debug the traceback of a handler that fails is there."""
    caplog.set_level(logging.DEBUG)

    async def fail(_request, _principal):
        raise RuntimeError("broken")

    server = await serve(Route("GET", "/", fail, None))
    await ask(server, "/")
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


async def test_scopes_are_asked_for(serve):
    """A route is answered to those who have its scope; the handler is told who asks."""

    async def who(_request, principal):
        return web.Response(text=" ".join(sorted(principal.scopes)))

    server = await serve(
        Route("GET", "/open", who, None),
        Route("GET", "/metrics", who, Scope.METRICS_READ),
        Route("GET", "/public", who, Scope.METRICS_READ, public=True),
        Route("GET", "/admin", who, Scope.ADMIN),
    )
    assert [await ask(server, path) for path in ("/open", "/metrics", "/public", "/admin")] == [(200, "admin")] * 4
    passed_on = "X-Forwarded-For: 127.0.0.1\r\n"
    assert await ask(server, "/open", headers=passed_on) == (200, "metrics:read")
    assert await ask(server, "/public", headers=passed_on) == (200, "metrics:read")
    assert (await ask(server, "/metrics", headers=passed_on))[0] == 401
    assert await ask(server, "/admin", headers=passed_on) == (
        401,
        "it takes a credential with the scope admin\n",
    )
    assert await ask(server, "/admin", headers="Origin: http://elsewhere.example\r\n") == (
        403,
        "not for pages of other origins: it takes the scope admin\n",
    )


TOKEN = "t0ken-" * 6


async def test_a_credential_is_judged_alone(caplog):
    """A token is its principal, with no right of this machine's; any other credential is 401, wherever and whatever."""

    async def who(_request, principal):
        return web.Response(text=principal.name)

    tokens = Tokens({"r1": Token(token=Secret(TOKEN), scopes=["events:read"])})
    server = WebServer(WebSettings(listen=["127.0.0.1:0"]), None, tokens)
    scopes = {"/open": None, "/metrics": Scope.METRICS_READ, "/events": Scope.EVENTS_READ, "/admin": Scope.ADMIN}
    server.set_routes(Route("GET", path, who, scope) for path, scope in scopes.items())
    await server.start()
    try:
        for path in scopes:
            assert await ask(server, path) == (200, "anonymous")
        for more in ("", "X-Forwarded-For: 192.0.2.1\r\n"):
            shown = f"Authorization: Bearer {TOKEN}\r\n{more}"
            assert [await ask(server, path, headers=shown) for path in scopes] == [
                (200, "r1"),
                (403, "r1 lacks the scope metrics:read\n"),
                (200, "r1"),
                (403, "r1 lacks the scope admin\n"),
            ]
        wrong = ["Bearer x", f"Basic {TOKEN}", "", f"Bearer {TOKEN}x", f"Bearer {TOKEN}\r\nAuthorization: Bearer x"]
        for credential in wrong:
            for path in (*scopes, "/nothing"):
                status, text = await ask(server, path, headers=f"Authorization: {credential}\r\n")
                assert (status, text.count("\n")) == (401, 1)
                assert TOKEN not in text
        reader, writer = await asyncio.open_connection(*server.bound[0])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: x\r\n\r\n")
        assert b"\r\nWWW-Authenticate: Bearer\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.close()
    finally:
        await server.stop()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "127.0.0.1" in record.getMessage()
    assert TOKEN not in caplog.text


async def test_what_would_be_right_is_said_where_there_are_users():
    """Where there are users, the answer to a wrong credential says that a password would do, too."""
    users = BasicAuth(users={"p": Secret("$2b$04$" + "x" * 53)})
    server = WebServer(WebSettings(listen=["127.0.0.1:0"], basic_auth=users), None, Tokens({}))
    await server.start()
    try:
        wrong = await ask(server, "/livez", headers="Authorization: Bearer x\r\n")
    finally:
        await server.stop()
    assert wrong[0] == 401
    assert wrong[1].endswith("expected Bearer TOKEN, or a user and a password\n")


async def test_socket_of_the_command_line(serve, tmp_path):
    """The Unix socket answers as the port does, in a folder that is made for it, and is gone after the end."""
    path = tmp_path / "run" / "agentd" / "agentd.sock"
    server = await serve(says("hello"), unix_socket=path)
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await over(reader, writer, "/") == (200, "hello")
    writer.close()
    await server.stop()
    assert not path.exists()
    assert server.bound == []


async def test_socket_of_another_agent_is_left_alone(serve, tmp_path):
    """A socket on which somebody answers is refused, and stays."""
    path = tmp_path / "agentd.sock"
    first = await serve(says("first"), unix_socket=path)
    with pytest.raises(ListenError, match="another agentd is running"):
        await serve(says("second"), unix_socket=path)
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await over(reader, writer, "/") == (200, "first")
    writer.close()
    assert first.bound


async def test_socket_that_was_left_behind_is_taken(serve, tmp_path):
    """A socket on which nobody answers is taken over."""
    path = tmp_path / "agentd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await serve(says("hello"), unix_socket=path)
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.close()


async def test_file_in_the_socket_s_place_is_left_alone(serve, tmp_path):
    """A file that is no socket is not deleted."""
    path = tmp_path / "agentd.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="something that is none is in its place"):
        await serve(says("hello"), unix_socket=path)
    assert path.read_text() == "precious"


async def test_port_that_is_taken(serve):
    """A port that is taken is an error that names it and says what to do; nothing stays open."""
    first = await serve(says("first"))
    port = first.bound[0][1]
    with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port}: address already in use; .*--listen"):
        await serve(says("second"), addresses=["127.0.0.1:0", f"127.0.0.1:{port}"])
    assert await ask(first, "/") == (200, "first")


async def test_silent_connections_are_closed(serve, connect, monkeypatch):
    """A connection that brings no whole request head in time is closed; one that has brought one stays."""
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    server = await serve(says("hello"))
    silent, partial, talking = [await connect(server) for _ in range(3)]
    partial[1].write(b"GET / HTTP/1.1\r\nHost: x")
    talking[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await talking[0].readuntil(b"hello")
    for reader, _ in (silent, partial):
        assert await closed(reader)
    assert await over(*talking, "/") == (200, "hello")


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"X: y\r\n"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["head", "body", "chunks"],
)
async def test_slow_senders_are_dropped(serve, connect, monkeypatch, head, drop):
    """Who sends a request drop by drop is dropped after a time, though something comes again and again."""
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.4)
    monkeypatch.setattr(connections, "RECEIVING", 0.4)

    async def read(request, _principal):
        return web.Response(text=f"{len(await request.read())}")

    server = await serve(Route("POST", "/", read, None))
    reader, writer = await connect(server)
    writer.write(head or b"POST / HTTP/1.1\r\nHost: x\r\n")

    async def dribble():
        while True:
            writer.write(drop)
            await asyncio.sleep(0.02)

    dribbling = asyncio.create_task(dribble())
    assert await closed(reader)
    dribbling.cancel()
    fast = await connect(server)
    fast[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345")
    assert (await fast[0].read()).endswith(b"5")


async def test_idle_connections_are_closed(serve, connect, monkeypatch):
    """A connection without a further whole request is closed after a while, though it was used before."""
    monkeypatch.setattr(connections, "IDLE", 0.2)
    server = await serve(says("hello"))
    idle, partial = [await connect(server) for _ in range(2)]
    for reader, writer in (idle, partial):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"hello")
    partial[1].write(b"GET / HTT")
    for reader, _ in (idle, partial):
        assert await closed(reader)


async def test_clients_that_do_not_read_are_dropped(serve, connect, monkeypatch, caplog):
    """A client that does not take its answer is dropped in the end: it would keep it in memory for ever."""
    monkeypatch.setattr(server_module, "SENDING", 0.2)

    async def much(_request, _principal):
        return web.Response(body=b"x" * 50_000_000)

    server = await serve(Route("GET", "/", much, None), says("fine", path="/fine"))
    reader, writer = await connect(server, limit=1000)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1.5)
    taken = 0
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(1_000_000):
            taken += len(part)
    assert taken < 50_000_000
    assert await ask(server, "/fine") == (200, "fine")
    assert caplog.records == []


@pytest.mark.parametrize("scope", [None, Scope.EVENTS_READ])
async def test_what_a_user_has_open_ends_with_the_user(serve, connect, monkeypatch, scope):
    """Requests under way end when the password by which they are answered goes; those of other users go on."""
    monkeypatch.setattr(server_module, "LOOK_EVERY", 0.05)
    hashed = Secret(bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())
    both = BasicAuth(users={"goes": hashed, "stays": hashed}, scopes={"goes": [Scope.ADMIN], "stays": [Scope.ADMIN]})

    async def forever(request, _principal):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"hello")
        await asyncio.Event().wait()

    server = await serve(Route("GET", "/", forever, scope))
    await server.apply(WebSettings(listen=server._settings.listen, basic_auth=both))
    watching = asyncio.create_task(server.watch())
    opened = {}
    for name in both.users:
        reader, writer = opened[name] = await connect(server)
        shown = base64.b64encode(f"{name}:secret".encode()).decode()
        writer.write(f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: basic {shown}\r\n\r\n".encode())
        await reader.readuntil(b"hello\r\n")
    left = BasicAuth(users={"stays": hashed}, scopes={"stays": [Scope.ADMIN]})
    await server.apply(WebSettings(listen=server._settings.listen, basic_auth=left))
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(opened["goes"][0].read(), 20)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(opened["stays"][0].read(1000), 0.5)
    watching.cancel()


@pytest.fixture
def few(monkeypatch):
    """There may be three connections."""
    monkeypatch.setattr(connections, "most_connections", lambda _descriptors: 3)


async def test_too_many_connections_are_refused(serve, connect, few, caplog, tmp_path):
    """Connections beyond the limit are closed at once, which is said once; the local command line is not shut out."""
    path = tmp_path / "agentd.sock"
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request, _principal):
        asked.release()
        await go_on.wait()
        return web.Response(text="slow")

    server = await serve(says("hello"), Route("GET", "/slow", slow, None), unix_socket=path)
    kept = [await connect(server) for _ in range(3)]
    for _, writer in kept:
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asked.acquire()
    for _ in range(5):
        refused, _ = await connect(server)
        assert await closed(refused)
    local = await asyncio.open_unix_connection(str(path))
    assert await over(*local, "/") == (200, "hello")
    local[1].close()
    go_on.set()
    for reader, _ in kept:
        assert await reader.readuntil(b"slow")
    assert await over(*kept[0], "/") == (200, "hello")
    [record] = caplog.records
    assert "3 connections are open, as many as [web] max_connections" in record.getMessage()
    for _, writer in kept:
        writer.close()
        await writer.wait_closed()
    assert await ask(server, "/") == (200, "hello")


async def test_silent_connections_make_room(serve, connect, few):
    """Whoever opens connections and says nothing shuts nobody out: the oldest of these are closed for new ones."""
    server = await serve(says("hello"))
    silent = [await connect(server) for _ in range(3)]
    talking = await connect(server)
    assert await closed(silent[0][0])
    talking[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await talking[0].readuntil(b"hello")
    silent += [await connect(server) for _ in range(7)]
    for reader, _ in silent[:-2]:
        assert await closed(reader)
    for connection in (*silent[-2:], talking):
        assert await over(*connection, "/") == (200, "hello")


async def test_idle_connections_make_room(serve, connect, few):
    """Whoever asks once on each of many connections shuts nobody out: the one idle for longest ends for a new one."""
    server = await serve(says("hello"))
    idle = [await connect(server) for _ in range(3)]
    for reader, writer in (*idle, idle[0]):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readuntil(b"hello")
    assert await ask(server, "/") == (200, "hello")
    assert await closed(idle[1][0])
    for connection in (idle[0], idle[2]):
        assert await over(*connection, "/") == (200, "hello")


async def test_many_requests_at_once(serve, connect):
    """A client may send any number of requests before it reads: all are answered, and few of them kept meanwhile."""
    server = await serve(says("hello!"))
    reader, writer = await connect(server)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
    for _ in range(3000):
        assert await asyncio.wait_for(reader.readuntil(b"hello!"), 30)
        assert all(len(each._messages) <= connections.PIPELINED for each in server._connections.connections)


async def test_requests_behind_an_upgrade_that_is_refused(serve, connect):
    """A body that comes behind a refused upgrade is no head that is too long."""

    async def size(request, _principal):
        return web.Response(text=f"{len(await request.read())} bytes")

    server = await serve(says("hello"), Route("POST", "/", size, None))
    reader, writer = await connect(server)
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    writer.write(upgrade + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)
    for _ in range(30):
        writer.write(b"b" * 10_000)
        await writer.drain()
    assert await asyncio.wait_for(reader.readuntil(b"300000 bytes"), 30)


@pytest.mark.parametrize(
    "endless",
    [
        b"0\r\n" + b"X: %b\r\n" % (b"y" * 1000) * 1000,
        b"5;" + b"x" * 1_000_000,
        b"1\r\nx\r\n" * 200_000,
    ],
    ids=["fields behind the last chunk", "a chunk's extension", "chunks of a byte"],
)
async def test_bodies_that_are_mostly_no_body(serve, connect, endless, caplog):
    """Whatever is around the content of a body in chunks is limited as a head is."""
    taken = []

    async def read(request, _principal):
        async for part in request.content.iter_any():
            taken.append(len(part))
        return web.Response(text="hello")

    server = await serve(Route("POST", "/", read, None))
    reader, writer = await connect(server)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    assert sum(taken) < 100_000
    assert caplog.records == []


async def test_bodies_in_small_chunks(serve, connect):
    """Chunks as small as an encoder writes that thinks little of it are taken."""

    async def size(request, _principal):
        return web.Response(text=f"{len(await request.read())} bytes")

    server = await serve(Route("POST", "/", size, None))
    reader, writer = await connect(server)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"8\r\n12345678\r\n" * 20_000 + b"0\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"160000 bytes"), 30)


@pytest.fixture
def light(monkeypatch):
    """Clients may have the agent keep half a megabyte in all."""
    monkeypatch.setattr(burden, "MOST", 1 << 19)


async def test_bodies_that_do_not_end_give_way(serve, connect, light, caplog):
    """Where bodies that are under way are too much together the oldest end, and what they have sent is free at once."""
    refs = []

    class Body(bytearray):
        """Can be referred to weakly."""

    async def read(request, _principal):
        body = Body()
        refs.append(weakref.ref(body))
        async for part in request.content.iter_any():
            body += part
        return web.Response(text=f"{len(body)} bytes")

    server = await serve(Route("POST", "/", read, None))
    gc.collect()
    gc.disable()
    try:
        large = [await connect(server) for _ in range(5)]
        for _, writer in large:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 150_000)
        for reader, _ in large[:2]:
            assert await closed(reader)
        small = await connect(server)
        small[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789")
        assert await small[0].readuntil(b"10 bytes")
        for _, writer in large:
            writer.close()
        for _ in range(3000):
            if not (any(ref() is not None for ref in refs) or server._connections.burden.total):
                break
            await asyncio.sleep(0.01)
        assert [ref() for ref in refs] == [None] * len(refs)
        assert server._connections.burden.total == 0
    finally:
        gc.enable()
    [record] = caplog.records
    assert "do not go on" in record.getMessage()


async def test_answers_that_are_not_taken_give_way(serve, connect, light):
    """Where answers that nobody takes are too much together the oldest end, and others are answered."""
    server = await serve(says("x" * 20_000_000), says("hello", path="/small"))
    kept = []
    for _ in range(4):
        kept.append(await connect(server, limit=1024))
        kept[-1][1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await kept[-1][0].readexactly(12)
    for _ in range(3):
        assert await ask(server, "/small") == (200, "hello")
    for reader, _ in kept[:3]:
        with contextlib.suppress(ConnectionError):
            assert len(await asyncio.wait_for(reader.read(), 30)) < 20_000_000


async def test_websockets_are_limited_by_who_takes_them(serve, connect, few):
    """A WebSocket that a plugin has taken counts no more, until it ends: a fleet of robots shuts nobody out."""

    async def taken(request, _principal):
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for _ in websocket:
            pass
        return websocket

    server = await serve(says("hello"), Route("GET", "/ws", taken, None))
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    robots = []
    for _ in range(3):
        reader, writer = await connect(server)
        writer.write(f"GET /ws HTTP/1.1\r\nHost: x\r\n{upgrade}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        robots.append(writer)
    manager = server._connections
    assert manager.apart == 3
    manager._affordable = 100
    silent = [await connect(server) for _ in range(3)]
    assert await ask(server, "/") == (200, "hello")  # in the place of the first that is silent
    assert await closed(silent[0][0])
    assert manager.apart == 3
    for writer in robots:
        writer.close()
    async with asyncio.timeout(20):
        while manager.apart:  # noqa: ASYNC110  # there is nothing to wait for
            await asyncio.sleep(0.01)


async def test_the_number_of_connections_is_an_option(serve, connect):
    """``max_connections`` says how many there may be, from the next one on where that changes."""
    server = await serve(says("hello"))
    await server.apply(WebSettings(listen=server._settings.listen, max_connections=16))
    silent = [await connect(server) for _ in range(17)]
    assert await closed(silent[0][0])
    await server.apply(WebSettings(listen=server._settings.listen, max_connections=17))
    silent.append(await connect(server))
    assert await over(*silent[1], "/") == (200, "hello")


async def over_in_pieces(connection, data, lengths):
    """Send data in pieces of these lengths, again and again, each by itself, as a slow network would."""
    _, writer = connection
    lengths = itertools.cycle(lengths)
    while data:
        length = next(lengths)
        writer.write(data[:length])
        await writer.drain()
        data = data[length:]
        await asyncio.sleep(0)


@pytest.mark.parametrize("lengths", [(1 << 20,), (70_000, 1), (1000,), (31_000, 200_000, 17)], ids=str)
async def test_heads_and_bodies_in_any_pieces(serve, connect, lengths):
    """However a conversation is cut, each request is answered: long heads, bodies longer than a head may be, both."""

    async def size(request, _principal):
        return web.Response(text=f"{len(request.headers)} {len(await request.read())}!")

    server = await serve(Route("POST", "/", size, None))
    asked, expected = b"", b""
    for fields, body in ((1, 0), (4, 10), (2, 300_000), (3, 0), (1, 100_000), (4, 0)):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % body
        head += b"".join(b"X-%d: %b\r\n" % (number, b"y" * 7800) for number in range(fields))
        asked += head + b"\r\n" + b"b" * body
        expected += f"{fields + 2} {body}!".encode()
    connection = await connect(server)
    sending = asyncio.create_task(over_in_pieces(connection, asked, lengths))
    answered = b""
    while answered.count(b"!") < expected.count(b"!"):
        answered += await asyncio.wait_for(connection[0].readuntil(b"!"), 20)
    await sending
    assert b"".join(part.rpartition(b"\r\n\r\n")[2] + b"!" for part in answered.split(b"!")[:-1]) == expected


@pytest.mark.parametrize("before", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_head_that_is_too_long(serve, connect, before, at_once):
    """A head whose lines are all allowed is refused when it is too long in all, the first one as a later one."""

    async def read(request, _principal):
        return web.Response(text=f"hello{len(await request.read())}")

    server = await serve(Route("POST", "/", read, None))
    reader, writer = await connect(server)
    pieces = [before, b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: %b\r\n" % (b"y" * 8000)] * (9 if at_once else 5)]
    if at_once:
        writer.write(b"".join(pieces))
    else:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
    answer = await asyncio.wait_for(reader.read(), 20)
    if not before:
        assert answer.startswith(b"HTTP/1.1 431 ")
    elif not at_once:  # else nobody knows whose answer it would be
        assert b"hello5HTTP/1.1 431 " in answer
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


@pytest.mark.parametrize(("descriptors", "most"), [(65536, 65280), (1024, 768), (256, 128), (10, 5), (0, 0)])
def test_most_connections(descriptors, most):
    """Connections leave some descriptors to the rest of the agent, and half of them where there are few."""
    assert most_connections(descriptors) == most


async def test_what_is_no_http_is_not_logged(serve, connect, caplog):
    """Whoever reaches the port cannot fill the log: an error is answered, and that is all."""
    server = await serve(says("hello"))
    for data in (b"\x16\x03\x01\x00\xa5\x01", b"BREW / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 10_000, b"\r\n:::\r\n\r\n"):
        reader, writer = await connect(server)
        writer.write(data)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert b"400" in await reader.read() or data[:1] == b"\r"
    assert caplog.records == []


async def test_stop_ends_open_connections(serve, connect, monkeypatch):
    """When it stops, idle connections end at once, and a handler that does not come to an end is cut off."""
    monkeypatch.setattr(server_module, "SHUTDOWN", 0.1)
    entered = asyncio.Event()

    async def never(_request, _principal):
        entered.set()
        await asyncio.Event().wait()

    server = await serve(Route("GET", "/", never, None))
    idle, _ = await connect(server)
    waiting, writer = await connect(server)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await entered.wait()
    await asyncio.wait_for(server.stop(), 20)
    assert await closed(idle)
    assert await closed(waiting)


def test_what_is_told_has_one_layout():
    """Renderings and unions are remembered by it: a new one at each scrape would cost half as much again."""
    server = WebServer()
    first = [source().layout for source in server.sources]
    assert all(source().layout is layout for source, layout in zip(server.sources, first, strict=True))
