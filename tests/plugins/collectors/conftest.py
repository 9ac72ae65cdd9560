"""A real Redis with streams, collectors that read them, and a journal in which they keep what they counted."""

import asyncio
import contextlib
import json
import subprocess

import pytest

from agentd.config import JournalSettings
from agentd.events.flow import Flow
from agentd.options import Duration, Url
from agentd.plugin import Context, NotDurable

redis = pytest.importorskip("redis")

STREAM = "brain.events.missions"


class Store:
    """A Redis that a test may kill, and the client of whoever writes to its streams."""

    def __init__(self, serve, check, port):
        self._serve = serve
        self._check = check
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.server = None
        self.start()

    def start(self):
        """Start it, with what it had written down before."""
        options = ("--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", "")
        self.server = self._serve("redis-server", "--port", self.port, *options, port=self.port)
        self.server.until(lambda: "Ready to accept connections" in self.server.log())
        self.client = redis.Redis(port=self.port)

    def kill(self):
        """End it at once.

        What it was writing may be cut off within a command of a transaction. Redis 7.0 drops that command at its next
        start and keeps the transaction's beginning, to which all belongs that is added then: killed once more, it
        drops that too, though it was acknowledged. Its own tool takes away the whole transaction.
        """
        self.client.close()
        self.server.process.kill()
        self.server.process.wait()
        (written,) = self.server.folder.glob("**/*.manifest")
        subprocess.run([self._check, "--fix", written], input=b"y\n", stdout=subprocess.DEVNULL, check=True)

    def add(self, *statuses, stream=STREAM, mission=None, at_once=False):
        """Add an entry for each status, as an object with the status as JSON; ``at_once``: in one transaction."""
        pipeline = self.client.pipeline(transaction=at_once)
        for status in statuses:
            pipeline.xadd(stream, {"data": json.dumps({"status": status, "mission_id": mission})})
        pipeline.execute()


@pytest.fixture
def store(serve, server_binary, free_port):
    """A Redis, for one test alone."""
    started = Store(serve, server_binary("redis-check-aof"), free_port)
    yield started
    started.client.close()


class Lab:
    """Starts collectors as an agent does, with one journal whose lives it decides upon."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        self.flow = None
        self.running = []

    async def life(self, settings=None):
        """End the present life of the agent, and begin the next."""
        await self.end()
        self.flow = Flow(settings or JournalSettings(), self.folder, {}, None)
        self.flow.open()

    async def end(self):
        """End the agent."""
        for collector in self.running:
            await collector.stop()
        self.running.clear()
        if self.flow is not None:
            await self.flow.close(60.0)
            self.flow = None

    async def start(self, kind, name=None, **options):
        """Start a collector that works without waiting between its jobs."""
        if self.flow is None:
            await self.life()
        name = name or f"collectors.{kind.name}"
        context = Context(
            name=name,
            emit=self.flow.bus.emit,
            commit=self.flow.commit_for(name),
            follow=self.flow.follow,
            state=self.flow.journal.state(name),
        )
        given = {"pause": Duration(0.01), "url": Url(self.url)} | options
        collector = kind(kind.config_type(**given), context)
        await collector.start()
        self.running.append(collector)
        return collector

    async def said(self, pattern="metrics."):
        """Return the events that were written down, of types that begin so."""
        with contextlib.suppress(NotDurable):
            await self.flow.bus.commit([])
        records, after = [], 0
        while True:
            found = await self.flow.journal.read(after)
            if found.reached == after:
                return [record.event for record in records if record.type.startswith(pattern)]
            records, after = records + found.records, found.reached

    @staticmethod
    def told(collector, name):
        """Return the samples of a family; with one label or none, plainly."""
        for family in collector.collect():
            if family.name == name:
                plain = {key[0] if len(key) == 1 else key: value for key, value in family.samples.items()}
                return plain.get((), plain)
        return None

    @staticmethod
    async def until(condition, within=60.0):
        """Wait until something is so."""
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def lab(tmp_path, store):
    """Starts collectors that read the store."""
    (tmp_path / "state").mkdir()
    made = Lab(tmp_path / "state", store.url)
    yield made
    await made.end()
