"""TLS: certificates, how they are replaced, and which connections come to nothing."""

import asyncio
import contextlib
import random
import socket
import ssl
import subprocess
from datetime import UTC, datetime

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import CIPHER_SUITES, Listener, Tls, WebSettings
from agentd.routes import Route
from agentd.web import connections, handshake, server, tls
from agentd.web.server import ListenError, WebServer
from agentd.web.tls import Certificates, TlsError, is_allowed, load, not_after


async def hello(request, _principal):
    """Answer, with the scheme that was asked by."""
    return web.Response(text=f"hello over {request.scheme}")


@pytest.fixture
async def serve():
    """Starts web servers that speak TLS by these settings, and stops them at the end."""
    started = []

    async def start(tls, **options):
        options.setdefault("listen", ["127.0.0.1:0"])
        made = WebServer(WebSettings(tls=tls, **options))
        made.set_routes([Route("GET", "/", hello, None)])
        started.append(made)
        await made.start()
        return made

    yield start
    for made in started:
        await made.stop()


@pytest.fixture(scope="module")
def certificate(authority):
    """A certificate for this machine."""
    return authority.issue("localhost")


def options(certificate, **more):
    """Return the settings with this certificate."""
    return Tls(cert_file=str(certificate.file), key_file=str(certificate.key), **more)


def client(authority, certificate=None, **more):
    """Return the context of a client that trusts the authority."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if certificate is not None:
        context.load_cert_chain(certificate.file, certificate.key)
    for name, value in more.items():
        setattr(context, name, value)
    return context


async def ask(made, context, number=0):
    """Return what is answered over TLS, and the serial number of the certificate that was shown."""
    reader, writer = await asyncio.open_connection(*made.bound[number], ssl=context, server_hostname="localhost")
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 20)
        serial = writer.get_extra_info("peercert")["serialNumber"]
        return answer.partition(b"\r\n\r\n")[2].decode(), serial
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until(so):
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not await so():  # noqa: ASYNC110  # what it waits for is across a socket
            await asyncio.sleep(0.01)


async def refused(made, context):
    """Say whether a client comes to no answer."""
    try:
        return (await ask(made, context))[0] == ""
    except (OSError, asyncio.IncompleteReadError):
        return True


async def test_it_speaks_tls(serve, authority, certificate):
    """Where there is a certificate all addresses speak TLS that do not say otherwise."""
    made = await serve(options(certificate), listen=["127.0.0.1:0", Listener(address="127.0.0.1:0", tls=False)])
    assert (await ask(made, client(authority)))[0] == "hello over https"
    assert [url.partition(":")[0] for url in made.urls] == ["https", "http"]
    reader, writer = await asyncio.open_connection(*made.bound[1])
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"hello over http")
    writer.close()


async def test_a_request_that_comes_with_the_handshake_is_answered(serve, authority, certificate):
    """What a client sends in one piece with the last words of its handshake is not lost."""
    made = await serve(options(certificate))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    spoken = client(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection(*made.bound[0])
    while True:
        try:
            spoken.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    spoken.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    writer.write(outgoing.read())
    received = b""
    while b"hello" not in received:
        incoming.write(await asyncio.wait_for(reader.read(65536), 20))
        with contextlib.suppress(ssl.SSLWantReadError):
            received += spoken.read(65536)
    writer.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@pytest.mark.parametrize(
    ("server_options", "client_options"),
    [
        ({}, {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}),
        ({"min_version": "TLS13"}, {"maximum_version": ssl.TLSVersion.TLSv1_2}),
    ],
)
async def test_old_versions_are_refused(serve, authority, certificate, server_options, client_options):
    """Nobody gets an answer by a version that is older than the oldest that is allowed."""
    made = await serve(options(certificate, **server_options))
    context = client(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in client_options.items():
        setattr(context, name, value)
    assert await refused(made, context)
    assert (await ask(made, client(authority)))[0]


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-SHA", "NULL-SHA256"])
async def test_weak_ciphers_are_refused(serve, authority, certificate, cipher):
    """A client that knows nothing but what is weak gets no answer."""
    made = await serve(options(certificate))
    context = client(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    assert await refused(made, context)


async def test_cipher_suites_are_chosen(serve, authority, certificate):
    """Of the suites of TLS 1.2 those are spoken that the configuration names, by IANA's names."""
    made = await serve(options(certificate, cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]))
    for name, openssl in CIPHER_SUITES.items():
        if "ECDSA" in name:
            context = client(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(openssl)
            assert await refused(made, context) == ("AES_256" not in name)


async def test_client_certificates(serve, authority, certificate, tmp_path_factory):
    """Clients are let in by what client_auth_type and client_allowed_sans say of their certificates."""
    good = authority.issue("prometheus", names="DNS:prometheus.lan,URI:spiffe://lan/prometheus")
    other = authority.issue("other", names="DNS:other.lan")
    stranger = type(authority)(authority._program, tmp_path_factory.mktemp("strangers")).issue("prometheus.lan")
    verifies = {"client_ca_file": str(authority.file)}
    required = await serve(options(certificate, client_auth_type="RequireAndVerifyClientCert", **verifies))
    given = await serve(options(certificate, client_auth_type="VerifyClientCertIfGiven", **verifies))
    names = ["PROMETHEUS.lan", "10.0.0.1"]
    named = await serve(
        options(certificate, client_auth_type="RequireAndVerifyClientCert", client_allowed_sans=names, **verifies)
    )
    verdicts = {
        made: [await refused(made, client(authority, shown)) for shown in (None, good, other, stranger)]
        for made in (required, given, named)
    }
    assert verdicts[required] == [True, False, False, True]
    assert verdicts[given] == [False, False, False, True]
    assert verdicts[named] == [True, False, True, True]


async def test_what_is_larger_than_the_buffer_arrives_whole(serve, authority, certificate):
    """A body of many times the buffer of a connection comes as it was sent, and its answer, too."""
    made = await serve(options(certificate))
    body = random.Random(1).randbytes(50 * tls.BUFFER)

    async def echo(request, _principal):
        return web.Response(body=await request.read())

    made.set_routes([Route("POST", "/", echo, None)])
    reader, writer = await asyncio.open_connection(*made.bound[0], ssl=client(authority), server_hostname="localhost")
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")[2] == body
    writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_large_answers_wait_for_their_clients(serve, authority, certificate, method):
    """What a client does not take over TLS is not kept for it as if it were gone; what it takes is the whole."""
    made = await serve(options(certificate))
    text = "".join(map(str, range(4_000_000)))

    async def long(_request, _principal):
        return web.Response(text=text)

    made.set_routes([Route("GET", "/", long, None)])
    reader, writer = await asyncio.open_connection(
        *made.bound[0], ssl=client(authority), server_hostname="localhost", limit=1024
    )
    writer.write(f"{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode()
    assert f"Content-Length: {len(text)}\r\n" in head
    assert "text/plain" in head
    if method == "GET":
        await asyncio.sleep(0.1)  # in which all would be written
        assert made._connections.burden.total > 0
    body = await asyncio.wait_for(reader.read(), 30)
    while part := await asyncio.wait_for(reader.read(), 30):
        body += part
    assert body.decode() == (text if method == "GET" else "")
    writer.close()


async def test_requests_that_nobody_reads_yet_are_not_kept(serve, authority, certificate):
    """While a request is answered over TLS, little of what comes behind it is taken from the connection."""
    made = await serve(options(certificate))
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request, _principal):
        entered.set()
        await go_on.wait()
        return web.Response(text="slow")

    made.set_routes([Route("GET", "/", slow, None)])
    reader, writer = await asyncio.open_connection(*made.bound[0], ssl=client(authority), server_hostname="localhost")
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500_000)
    await asyncio.wait_for(entered.wait(), 30)
    (connection,) = made._connections.connections
    spoken = connection.transport._ssl_protocol

    async def paused():
        return not spoken._transport.is_reading()

    await until(paused)
    assert spoken._incoming.pending <= connections.HEAD + 2 * tls.BUFFER
    go_on.set()
    assert await asyncio.wait_for(reader.readuntil(b"slow"), 30)
    writer.transport.abort()


@pytest.mark.parametrize("link", [False, True])
async def test_certificates_are_read_again(serve, authority, tmp_path, monkeypatch, link):
    """A new certificate is shown from the next connection on, also where a link was turned to it, as certbot does;
    connections that are open go on.
    """
    monkeypatch.setattr(server, "LOOK_EVERY", 0.02)
    first, second = authority.issue("first"), authority.issue("second")
    used = tmp_path / "live"

    def put(certificate):
        folder = tmp_path / certificate.file.stem
        folder.mkdir()
        (folder / "cert.pem").write_bytes(certificate.file.read_bytes())
        (folder / "key.pem").write_bytes(certificate.key.read_bytes())
        if link:
            (tmp_path / "new").symlink_to(folder)
            (tmp_path / "new").rename(used)
        else:
            used.mkdir(exist_ok=True)
            for file in folder.iterdir():
                file.rename(used / file.name)

    put(first)
    made = await serve(Tls(cert_file=str(used / "cert.pem"), key_file=str(used / "key.pem")))
    watching = asyncio.create_task(made.watch())
    _, before = await ask(made, client(authority))
    reader, writer = await asyncio.open_connection(*made.bound[0], ssl=client(authority), server_hostname="localhost")
    put(second)

    async def is_new():
        return (await ask(made, client(authority)))[1] != before

    await until(is_new)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"hello" in await reader.read()
    writer.close()
    watching.cancel()
    assert made.tls_error == ""


def test_a_broken_certificate_leaves_the_old(authority, tmp_path, caplog):
    """A file that cannot be used is logged once, counted and told, until it is right again; the old one stays."""
    right = authority.issue("right")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(right.file.read_bytes())
    key.write_bytes(right.key.read_bytes())
    known = Certificates()
    assert list(known.families()) == []
    known.take(load(Tls(cert_file=str(cert), key_file=str(key))))
    context = known.loaded.context
    key.write_bytes(authority.issue("other").key.read_bytes())
    for _ in range(3):
        known.look()
    assert known.loaded.context is context
    assert "the key is not that of the certificate" in known.error
    told = {family.name: family.samples[()] for family in known.families()}
    assert told["agentd_tls_reload_failures_total"] == 1
    assert told["agentd_tls_last_reload_successful"] == 0
    assert told["agentd_tls_certificate_expiry_timestamp_seconds"] == known.loaded.expires
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "PRIVATE" not in record.getMessage()
    key.write_bytes(right.key.read_bytes())
    known.look()
    assert (known.error, known.loaded.context is context) == ("", False)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("cert", "no certificate or no key in PEM"),
        ("key", "no certificate or no key in PEM"),
        ("gone", "no such file"),
        ("passphrase", "has a passphrase"),
        ("ca", "client-ca"),
    ],
)
async def test_what_cannot_be_used_at_the_start(serve, authority, certificate, tmp_path, broken, said):
    """The agent does not listen without the certificates that it was told to use; the error names the file."""
    cert, key, more = certificate.file, certificate.key, {}
    nothing = tmp_path / "client-ca.pem"
    nothing.write_text("nothing")
    if broken == "cert":
        cert = nothing
    elif broken == "key":
        key = nothing
    elif broken == "gone":
        key = tmp_path / "gone"
    elif broken == "ca":
        more = {"client_ca_file": str(nothing), "client_auth_type": "RequireAndVerifyClientCert"}
    else:
        key = tmp_path / "locked.key"
        command = [authority._program, "ec", "-aes128", "-passout", "pass:x", "-in", certificate.key, "-out", key]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
    with pytest.raises(ListenError, match=said):
        await serve(Tls(cert_file=str(cert), key_file=str(key), **more))


async def test_handshakes_that_come_to_nothing(serve, authority, certificate, monkeypatch):
    """A client that begins no handshake, or does not end it, is dropped; each is counted, and others are answered."""
    monkeypatch.setattr(handshake, "WITHIN", 0.3)
    made = await serve(options(certificate))
    silent = await asyncio.open_connection(*made.bound[0])
    half = await asyncio.open_connection(*made.bound[0])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    spoken = client(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        spoken.do_handshake()
    half[1].write(outgoing.read())
    plain = await asyncio.open_connection(*made.bound[0])
    plain[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    gone = await asyncio.open_connection(*made.bound[0])
    gone[1].transport.abort()
    for reader, writer in (silent, half, plain):
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert (await ask(made, client(authority)))[0]

    async def is_over():
        return (made._certificates.handshakes_failed, made._connections._handshakes, made._connections._open) == (
            4,
            {},
            0,
        )

    await until(is_over)


async def test_too_many_handshakes(serve, authority, certificate, monkeypatch):
    """Where too many are under way the oldest is dropped: whoever holds them up keeps nobody else out."""
    monkeypatch.setattr(connections, "HANDSHAKES", 5)
    made = await serve(options(certificate))
    held = [await asyncio.open_connection(*made.bound[0]) for _ in range(20)]
    assert (await ask(made, client(authority)))[0]
    for reader, _ in held[:15]:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
    for _, writer in held:
        writer.close()


async def test_handshakes_that_come_together_are_few(serve, authority, certificate, monkeypatch):
    """However many begin in the same moment, each further one ends another, and the connections are counted right."""
    monkeypatch.setattr(connections, "HANDSHAKES", 5)
    made = await serve(options(certificate))
    held = [socket.create_connection(made.bound[0], 20) for _ in range(20)]  # none is accepted before the last
    await until_begun(made, 5)
    for silent in held[:15]:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.to_thread(silent.recv, 1) == b""
    assert made._connections._open == 5
    assert (await ask(made, client(authority)))[0]
    for each in held:
        each.close()


async def until_begun(made, number):
    """Wait until so many handshakes are under way."""
    async with asyncio.timeout(20):
        while len(made._connections._handshakes) != number:  # noqa: ASYNC110  # there is nothing to wait for
            await asyncio.sleep(0.01)


async def test_too_many_connections_are_refused(serve, authority, certificate, monkeypatch):
    """Handshakes count among the connections of which there may be only so many."""
    monkeypatch.setattr(connections, "most_connections", lambda _descriptors: 2)
    made = await serve(options(certificate))
    held = [await asyncio.open_connection(*made.bound[0]) for _ in range(2)]
    assert await refused(made, client(authority))
    for _, writer in held:
        writer.close()

    async def is_answered():
        return not await refused(made, client(authority))

    await until(is_answered)


async def test_stop_ends_handshakes(serve, certificate):
    """A handshake that is under way does not hold up the end."""
    made = await serve(options(certificate))
    reader, writer = await asyncio.open_connection(*made.bound[0])
    await asyncio.sleep(0.05)
    await asyncio.wait_for(made.stop(), 5)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("days", "options"), [(1, ()), (40_000, ())])
def test_when_a_certificate_ends(authority, days, options):
    """The end of a certificate is read in both forms of time that certificates have, before and after 2050."""
    made = authority.issue("x", *options, days=days)
    command = [authority._program, "x509", "-in", made.file, "-noout", "-enddate"]
    said = subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout
    expected = datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert not_after(b"junk before\n" + made.file.read_bytes()) == expected.timestamp()


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_what_is_no_certificate_has_no_end(data):
    """Whatever stands between the marks of a certificate: it is one, or an error that says so."""
    pem = ssl.DER_cert_to_PEM_cert(b"\x30\x81" + data).encode()
    with pytest.raises(TlsError):
        not_after(pem)


@pytest.mark.parametrize(
    ("held", "names", "allowed"),
    [
        ([("DNS", "a.lan")], [], True),
        ([("DNS", "A.lan"), ("DNS", "b.lan")], ["b.LAN"], True),
        ([("IP Address", "2001:DB8:0:0:0:0:0:1")], ["2001:db8::1"], True),
        ([("URI", "spiffe://x")], ["spiffe://x"], True),
        ([("DNS", "*.lan")], ["a.lan"], False),
        ([("DNS", "a.lan")], ["b.lan"], False),
        ([], ["a.lan"], False),
    ],
)
def test_names_of_clients(held, names, allowed):
    """A certificate is allowed that has one of the names as it is written; one without any name is not."""
    assert is_allowed({"subjectAltName": tuple(held), "subject": "x"}, names) is allowed
