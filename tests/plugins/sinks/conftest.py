"""Servers that sinks send to, as real processes, and events to send."""

import asyncio
import contextlib
import importlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from agentd.plugin import Context, Event, Record, Retry, Url


def make(count, *, begin=0, type="test.happened", source="tests", target=None, text="größer ✓"):
    """Return events as the journal has them."""
    made = []
    for seq in range(begin, begin + count):
        fields = {"id": f"id-{seq}", "type": type, "source": source, "target": target, "timestamp": 1.5 + seq}
        fields |= {"payload": {"n": seq, "text": text}, "meta": {"host": "h"}}
        Event(**fields)
        made.append(Record(seq, type, source, json.dumps(fields, ensure_ascii=False).encode()))
    return made


@pytest.fixture(scope="session")
def events():
    """Makes events: see ``make``."""
    return make


@pytest.fixture
async def ending():
    """Takes sinks that end with the test, which may be more than once."""
    taken = []

    def take(sink):
        taken.append(sink)
        return sink

    yield take
    for sink in taken:
        await sink.stop()
        await sink.stop()


@pytest.fixture
def sink_to(request, ending):
    """Makes sinks of the plugin that a module's PLUGIN names, each to a server's URL; they end with the test."""
    (sink,) = importlib.import_module(f"agentd_plugins.sinks.{request.module.PLUGIN}").agentd_sinks()

    def make(url, **options):
        return ending(sink(sink.config_type(url=Url(url), **options), Context(name="sinks.fleet")))

    return make


async def insist(sink, batch, *, patience=60.0, gate=None):
    """Send a batch as the agent does: again and again, without what has arrived, until all has. Return the retries.

    Where there is a ``gate``, an asyncio.Event, each attempt waits for it.
    """
    end, retries = time.monotonic() + patience, []
    while batch:
        if gate is not None:
            await gate.wait()
        try:
            await sink.send(batch)
        except Retry as error:
            retries.append(error)
            batch = batch[error.accepted :]
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)
        else:
            break
    return retries


@pytest.fixture(scope="session")
def deliver():
    """Sends until all has arrived: see ``insist``."""
    return insist


ENDLESS = 256 << 20
"""Bytes after which a server that sends without end gives up."""


@pytest.fixture
async def endless():
    """Starts a server that greets, and then sends a beginning and parts until it is cut off, or has sent ``ENDLESS``.

    Returns its port, and a queue that gets how many bytes each connection took.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def start(greet, beginning, part):
            taken = asyncio.Queue()

            async def serve(reader, writer):
                sent = 0
                with contextlib.suppress(ConnectionError), contextlib.closing(writer):
                    await greet(reader, writer)
                    writer.write(beginning)
                    while sent < ENDLESS:
                        writer.write(part)
                        await writer.drain()
                        sent += len(part)
                taken.put_nowait(sent)

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return server.sockets[0].getsockname()[1], taken

        yield start


@pytest.fixture(scope="session")
def certificates(server_binary, tmp_path_factory) -> Path:
    """A folder with ``ca.pem``, and with a certificate and its key that it signed for localhost and for a client.

    The authority is one as people make it: it does not say what its key is for, which Python 3.13 began to ask.
    """
    folder = tmp_path_factory.mktemp("certificates")
    openssl = server_binary("openssl")

    def run(*arguments):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout")
    named = "subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    (folder / "extensions").write_text(named)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2")
    run("req", "-x509", *key, "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
    for name in ("server", "client"):
        run("req", *key, f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder
