"""Clients that are slow on purpose, and such as speak TLS as it was years ago, against an agent that really runs."""

import asyncio
import contextlib
import json
import shutil
import ssl

import pytest

CONFIG = """
[web]
listen = [{{ address = "127.0.0.1:{plain}", tls = false }}, {{ address = "127.0.0.1:{secure}" }}]
[web.tls]
cert_file = "{folder}/cert.pem"
key_file = "{folder}/key.pem"
{more}
"""

AS_CONFIGURED = 'set -- "$1" "$2" "$3" "$4" "$5" "$6"; exec "$@"'
"""Leaves --listen out of the command."""

ANSWERED = b"HTTP/1.1 200"


@pytest.fixture
def agent(processes, authority, unused_ports, tmp_path):
    """An agent with a plain listener and one with TLS; ``configure`` has it go over to other options of TLS."""
    certificate = authority.issue("localhost")
    shutil.copy(certificate.file, tmp_path / "cert.pem")
    shutil.copy(certificate.key, tmp_path / "key.pem")
    plain, secure = unused_ports(2)

    def config(more=""):
        return CONFIG.format(plain=plain, secure=secure, folder=tmp_path, more=more)

    started = processes.agent(config(), port=plain, shell=AS_CONFIGURED)

    def configure(more):
        file = started.folder / "agentd.toml"
        head = file.read_text().partition("[web]")[0]
        file.write_text(head + config(more))
        answer = started.get("/api/v1/reload", method="POST")
        assert answer.status == 200, answer.text

    started.secure, started.configure = secure, configure
    return started


@pytest.fixture
def client(authority):
    """Makes what a client knows of TLS, with these versions and ciphers only."""

    def make(*, ciphers=None, **versions):
        context = ssl.create_default_context(cafile=authority.file)
        if ciphers is not None:
            context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        for name, value in versions.items():
            setattr(context, name, value)
        return context

    return make


async def ask(agent, context):
    """Return what a client gets that asks for a page over TLS, and the version and the cipher that it is told over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.secure, ssl=context, server_hostname="localhost")
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    spoken = writer.get_extra_info("ssl_object")
    writer.close()
    return answer[:12], spoken.version(), spoken.cipher()[0]


async def is_refused(agent, context):
    """Say whether there is no connection: neither an answer, nor a handshake that comes to an end."""
    try:
        await ask(agent, context)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
async def test_tls_is_not_talked_down(agent, client):
    """Old versions and weak ciphers come to no connection, by default and as configured, from a reload on; whoever
    speaks what is allowed is answered each time.
    """
    old = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1, "ciphers": "ALL"}
    twelve = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    weak = ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-SHA", "NULL-SHA256"]

    async def refuses(**known):
        return await is_refused(agent, client(**known))

    assert await refuses(**old)
    assert [cipher for cipher in weak if not await refuses(**twelve, ciphers=cipher)] == []
    answered, version, cipher = await ask(agent, client(**twelve, ciphers="ALL"))
    assert (answered, version) == (ANSWERED, "TLSv1.2")
    assert cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
    assert (await ask(agent, client()))[:2] == (ANSWERED, "TLSv1.3")

    agent.configure('cipher_suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]')
    assert await refuses(**twelve, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    assert await ask(agent, client(**twelve, ciphers="ALL")) == (ANSWERED, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")

    agent.configure('min_version = "TLS13"')
    assert await refuses(**old)
    assert await refuses(**twelve)
    assert await refuses(**twelve, ciphers="ALL")
    assert (await ask(agent, client()))[:2] == (ANSWERED, "TLSv1.3")

    # Each of these came as far as the agent: it was not the client's own library that refused.
    assert agent.get("/metrics").value("agentd_tls_handshake_failures_total") == len(weak) + 5
    assert "Traceback" not in agent.log()


async def dribbled(port, first, drop, context=None):
    """Send a request or a handshake drop by drop, for ever; return what came until the other side closed."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if context else None
    )
    received = b""

    async def send():
        writer.write(first)
        while True:
            await asyncio.sleep(0.5)
            writer.write(drop)

    sending = asyncio.create_task(send())
    with contextlib.suppress(ConnectionError):
        received = await asyncio.wait_for(reader.read(), 120)
    sending.cancel()
    writer.close()
    return received


async def test_slow_clients_are_dropped(agent, client):
    """Clients that never come to the end of a head, or of a handshake, are dropped one and all, with TLS and without;
    meanwhile everybody else is answered, and no descriptor stays open behind them.
    """
    before = agent.descriptors()
    head, hello = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"
    slow = [
        asyncio.ensure_future(each)
        for each in (
            *(dribbled(agent.port, head, b"X: y\r\n") for _ in range(150)),
            *(dribbled(agent.port, b"", b"G") for _ in range(50)),
            *(dribbled(agent.secure, head, b"X: y\r\n", client()) for _ in range(20)),
            *(dribbled(agent.secure, hello, b"\0") for _ in range(20)),
        )
    ]
    asked = 0
    while not all(each.done() for each in slow):
        assert (await asyncio.to_thread(agent.get, "/metrics?collect[]=loadavg")).status == 200
        assert (await ask(agent, client()))[0] == ANSWERED
        asked += 1
        await asyncio.sleep(0.5)
    assert asked > 5, "nobody was slow"
    assert [answer for answer in await asyncio.gather(*slow) if ANSWERED in answer] == []
    await asyncio.to_thread(agent.until, lambda: agent.descriptors() <= before + 3)
    plugins = json.loads(agent.get("/api/v1/status").text)["plugins"]
    assert [plugin["plugin"] for plugin in plugins if plugin["last_run"] == "failed"] == []
    assert "Traceback" not in agent.log()
    assert len(agent.log().splitlines()) < 60
