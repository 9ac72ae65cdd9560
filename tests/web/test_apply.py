"""Other settings, while the web server goes on."""

import asyncio
import contextlib
import socket
import ssl

import bcrypt
import pytest
from aiohttp import web

from agentd.config import BasicAuth, Listener, Tls, Token, WebSettings
from agentd.options import Secret
from agentd.routes import Route, Scope
from agentd.web.server import ListenError, WebServer

TOKEN, OTHER = "t0ken-" * 6, "an0ther-" * 5
ASK = b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


class Kept:
    """A connection that stays open."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, path="/", headers=""):
        """Return the status and the text of an answer."""
        self.writer.write(ASK % (path.encode(), headers.encode()))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        return int(head.split()[1]), (await self.reader.readexactly(length)).decode()

    async def ends(self):
        """Wait until the server ends the connection."""
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(self.reader.read(), 20) == b""


@pytest.fixture
async def open_ended():
    """Opens connections, which are closed at the end."""
    writers = []

    async def connect(address, **keywords):
        reader, writer = await asyncio.open_connection(*address, **keywords)
        writers.append(writer)
        return Kept(reader, writer)

    yield connect
    for writer in writers:
        writer.close()


@pytest.fixture
async def serve():
    """Starts a web server with these settings, that answers who asks at / and waits at /slow."""
    started = []

    async def who(_request, principal):
        return web.Response(text=principal.name)

    async def slow(_request, _principal):
        made.entered.set()
        await made.go_on.wait()
        return web.Response(text="slow")

    class Made(WebServer):
        entered, go_on = asyncio.Event(), asyncio.Event()

    async def start(**options):
        nonlocal made
        made = Made(WebSettings(**options))
        made.set_routes([Route("GET", "/", who, Scope.EVENTS_READ), Route("GET", "/slow", slow, None)])
        started.append(made)
        await made.start()
        return made

    made = None
    yield start
    for each in started:
        each.go_on.set()
        await each.stop()


@pytest.fixture
def ports(unused_ports):
    """Three ports that nobody has."""
    return unused_ports(3)


def here(port):
    """Return an address of the loopback."""
    return f"127.0.0.1:{port}"


async def test_what_does_not_change_is_not_touched(serve, open_ended, ports):
    """An address that stays keeps its socket and its connections; new ones open, those that are gone end."""
    one, two, three = ports
    made = await serve(listen=[here(one), here(two)])
    kept, gone = [await open_ended(("127.0.0.1", port)) for port in (one, two)]
    assert [await each.ask() for each in (kept, gone)] == [(200, "anonymous")] * 2
    sockets = [each.servers[0] for each in made._open]
    await made.apply(WebSettings(listen=[here(three), here(one)]))
    assert made.bound == [("127.0.0.1", three), ("127.0.0.1", one)]
    assert made._open[1].servers[0] is sockets[0]
    assert await kept.ask() == (200, "anonymous")
    await gone.ends()
    assert await (await open_ended(("127.0.0.1", three))).ask() == (200, "anonymous")
    with pytest.raises(ConnectionRefusedError):
        await open_ended(("127.0.0.1", two))


async def test_a_request_under_way_is_answered(serve, open_ended, ports):
    """A connection of an address that goes away ends with the answer to what it has asked."""
    made = await serve(listen=[here(ports[0])])
    connection = await open_ended(("127.0.0.1", ports[0]))
    asking = asyncio.create_task(connection.ask("/slow"))
    await made.entered.wait()
    await made.apply(WebSettings(listen=[here(ports[1])]))
    made.go_on.set()
    assert await asking == (200, "slow")
    await connection.ends()


async def test_a_failure_leaves_all_as_it_was(serve, open_ended, ports):
    """Where one address cannot be had no other is opened or closed, and nothing else of the settings goes."""
    one, two, taken = ports
    tokens = {"a": Token(token=Secret(TOKEN), scopes=[Scope.EVENTS_READ])}
    made = await serve(listen=[here(one)], tokens=tokens)
    kept = await open_ended(("127.0.0.1", one))
    shown = f"Authorization: Bearer {TOKEN}\r\n"
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        with pytest.raises(ListenError, match=f"127.0.0.1:{taken}: address already in use"):
            await made.apply(WebSettings(listen=[f":{one}", here(two), here(taken)], allowed_hosts=["x"]))
    with pytest.raises(ListenError, match="cannot read /nonexistent"):
        await made.apply(WebSettings(listen=[here(two)], tls=Tls(cert_file="/nonexistent", key_file="/nonexistent")))
    assert made.bound == [("127.0.0.1", one)]
    assert await kept.ask(headers=shown) == (200, "a")
    assert await (await open_ended(("127.0.0.1", one))).ask(headers=shown) == (200, "a")
    with pytest.raises(ConnectionRefusedError):
        await open_ended(("127.0.0.1", two))


async def test_from_one_address_to_all(serve, open_ended, ports):
    """127.0.0.1 gives way to all addresses at the same port, which the kernel does not allow side by side."""
    made = await serve(listen=[here(ports[0])])
    connection = await open_ended(("127.0.0.1", ports[0]))
    await made.apply(WebSettings(listen=[f"0.0.0.0:{ports[0]}"]))
    assert made.bound == [("0.0.0.0", ports[0])]
    await connection.ends()
    assert await (await open_ended(("127.0.0.1", ports[0]))).ask() == (200, "anonymous")


async def test_who_may_what_changes_at_once(serve, open_ended, ports):
    """Tokens, users and what a listener allows are others from the next request on, on open connections, too."""
    address = here(ports[0])
    made = await serve(listen=[address], tokens={"a": Token(token=Secret(TOKEN), scopes=[Scope.EVENTS_READ])})
    kept = await open_ended(("127.0.0.1", ports[0]))
    hash_ = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    shown = [f"Authorization: {each}\r\n" for each in (f"Bearer {TOKEN}", f"Bearer {OTHER}", "Basic cDpzZWNyZXQ=")]
    assert [(await kept.ask(headers=each))[0] for each in ("", *shown)] == [200, 200, 401, 401]
    changed = WebSettings(
        listen=[Listener(address=address, anonymous=[])],
        tokens={"b": Token(token=Secret(OTHER), scopes=[Scope.EVENTS_READ])},
        basic_auth=BasicAuth(users={"p": Secret(hash_)}, scopes={"p": [Scope.EVENTS_READ]}),
    )
    await made.apply(changed)
    assert [(await kept.ask(headers=each))[0] for each in ("", *shown)] == [401, 401, 200, 200]
    remembered = made._principals.users._right
    await made.apply(WebSettings(listen=[address], basic_auth=changed.basic_auth))
    assert made._principals.users._right is remembered
    assert [(await kept.ask(headers=each))[0] for each in ("", *shown)] == [200, 401, 401, 200]


async def test_tls_comes_and_goes(serve, open_ended, authority, ports):
    """An address that is to speak TLS from now on does so, at once; whoever speaks plainly there is sent away."""
    address = ("127.0.0.1", ports[0])
    made = await serve(listen=[here(ports[0])])
    plain = await open_ended(address)
    assert await plain.ask() == (200, "anonymous")
    one, other = authority.issue("one"), authority.issue("other")
    context = ssl.create_default_context(cafile=str(authority.file))
    settings = {"listen": [here(ports[0])]}
    await made.apply(WebSettings(tls=Tls(cert_file=str(one.file), key_file=str(one.key)), **settings))
    await plain.ends()
    secure = await open_ended(address, ssl=context)
    assert await secure.ask() == (200, "anonymous")
    await made.apply(WebSettings(tls=Tls(cert_file=str(other.file), key_file=str(other.key)), **settings))
    await secure.ends()
    secure = await open_ended(address, ssl=context)
    assert dict(secure.writer.get_extra_info("peercert")["subject"][0])["commonName"] == "other"
    await made.apply(WebSettings(**settings))
    await secure.ends()
    assert await (await open_ended(address)).ask() == (200, "anonymous")
    assert made.bound == [address]


async def test_certificates_that_broke_since_hold_nothing_up(serve, open_ended, authority, ports, tmp_path):
    """Where only other settings change, files of certificates that cannot be used now are no reason to refuse them."""
    certificate = authority.issue("one")
    key = tmp_path / "key.pem"
    key.write_bytes(certificate.key.read_bytes())
    tls = Tls(cert_file=str(certificate.file), key_file=str(key))
    made = await serve(listen=[here(ports[0])], tls=tls)
    secure = await open_ended(("127.0.0.1", ports[0]), ssl=ssl.create_default_context(cafile=str(authority.file)))
    key.write_text("broken")
    made._certificates.look()
    await made.apply(WebSettings(listen=[here(ports[0]), here(ports[1])], tls=tls))
    assert "no certificate or no key" in made.tls_error
    assert await secure.ask() == (200, "anonymous")
    assert [address[1] for address in made.bound] == list(ports[:2])
