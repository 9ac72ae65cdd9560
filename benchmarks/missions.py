"""Missions: entries of a stream counted and written down, beside a bare loop of redis-py that reads them."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from agentd.config import JournalSettings
from agentd.events.flow import Flow
from agentd.options import Url
from agentd.plugin import Context
from benchmarks.figures import row, spread, title
from benchmarks.processes import free_port

ENTRIES = 200_000
MANY = 1_000_000
ROUNDS = 5
COUNT = 1000
STREAM = "brain.events.missions"
STATUSES = ("started", "running", "completed", "failed")


def run() -> None:
    """Compare all of it."""
    title(f"{ENTRIES} mission entries from Redis, each with an envelope as JSON")
    if not shutil.which("redis-server"):
        row("this needs the Debian package redis-server", "")
        return
    with redis() as port:
        fill(port, ENTRIES)
        rates = [(asyncio.run(counted(port, ENTRIES)), asyncio.run(bare(port)), plain(port)) for _ in range(ROUNDS)]
        row("entries a second, agentd, counted and on disk", spread([ours for ours, _, _ in rates], digits=0))
        row("entries a second, a bare XREAD loop, redis.asyncio", spread([theirs for _, theirs, _ in rates], digits=0))
        row("entries a second, a bare XREAD loop, redis", spread([theirs for _, _, theirs in rates], digits=0))
        row("ratio to that of redis.asyncio", spread([ours / theirs for ours, theirs, _ in rates]), "reach 0.7")
        row("ratio to that of redis", spread([ours / theirs for ours, _, theirs in rates]))
        shared = [asyncio.run(counted(port, ENTRIES, group=f"g{number}")) for number in range(3)]
        row("entries a second, as one of a group", spread(shared, digits=0))
        fill(port, MANY - ENTRIES)
        rate = asyncio.run(counted(port, MANY))
        row(f"a stream of {MANY} entries", f"{MANY / rate:.1f} s, {rate:.0f} entries a second", "all counted")


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """Start a Redis; yield its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield port
    finally:
        server.terminate()
        server.wait()


def fill(port: int, entries: int) -> None:
    """Add entries: missions that begin, go on, and end."""
    from redis import Redis

    with Redis(port=port) as client:
        for first in range(0, entries, 1000):
            pipeline = client.pipeline(transaction=False)
            for number in range(first, first + 1000):
                payload = {"mission_id": f"m{number // 4}", "robot_id": "r1", "progress": 0.5}
                envelope = {"id": f"{number:032x}", "type": f"mission.{STATUSES[number % 4]}", "source": "brain"}
                data = msgspec.json.encode(envelope | {"timestamp": 1.7e9, "payload": payload, "meta": {"host": "h"}})
                pipeline.xadd(STREAM, {"data": data})
            pipeline.execute()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Flow]:
    """Yield the events of an agent, on a real disk."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    flow = Flow(JournalSettings(), folder, {}, None)
    flow.open()
    try:
        yield flow
    finally:
        await flow.close(10.0)
        shutil.rmtree(folder)


async def counted(port: int, entries: int, group: str | None = None) -> float:
    """Return how many entries a second are counted and on disk."""
    from agentd_plugins.collectors.missions import Missions

    async with opened() as flow:
        name = "collectors.missions"
        context = Context(name=name, emit=flow.bus.emit, commit=flow.commit_for(name), state=flow.journal.state(name))
        config = Missions.config_type(url=Url(f"redis://127.0.0.1:{port}/0"), group=group)
        collector = Missions(config, context)
        began = time.perf_counter()
        await collector.start()
        while total(collector) < entries:  # noqa: ASYNC110  # whoever is measured is not to be asked to tell
            await asyncio.sleep(0.01)
        took = time.perf_counter() - began
        await collector.stop()
        assert total(collector) == entries
        return entries / took


def total(collector: object) -> float:
    """Return how many entries were written down as counted."""
    figures = collector._way.figures()  # type: ignore[attr-defined]  # noqa: SLF001  # without making families
    return sum(figures.statuses.values()) if figures else 0


async def bare(port: int) -> float:
    """Return how many entries a second a loop reads that does nothing with them."""
    from redis.asyncio import Redis

    client = Redis(port=port)
    began, last, read = time.perf_counter(), b"0-0", 0
    while answer := await client.xread({STREAM: last}, count=COUNT):
        entries = answer[0][1]
        last, read = entries[-1][0], read + len(entries)
    took = time.perf_counter() - began
    await client.aclose()
    return read / took


def plain(port: int) -> float:
    """Return the same of a loop that is not asynchronous."""
    from redis import Redis

    with Redis(port=port) as client:
        began, last, read = time.perf_counter(), b"0-0", 0
        while answer := client.xread({STREAM: last}, count=COUNT):
            entries = answer[0][1]
            last, read = entries[-1][0], read + len(entries)
        return read / (time.perf_counter() - began)
