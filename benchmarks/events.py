"""Events: writing them down beside a bare SQLite loop, and sending them to Redis beside a bare pipeline."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from agentd.config import SinkKeys
from agentd.events.bus import Bus
from agentd.events.delivery import Delivery
from agentd.events.envelope import Event, Record, new_id
from agentd.plugin import Config, Context, Sink
from agentd.store import identity
from agentd.store.journal import Journal
from agentd.store.retention import Limits
from benchmarks.figures import row, spread, title
from benchmarks.processes import agentd, free_port

EVENTS = 100_000
ROUNDS = 5
PAYLOAD = {"battery": 0.5, "x": 1.0, "y": 2.0, "state": "moving"}
META = {"host": "host", "agent_id": new_id(0.0), "boot_id": new_id(0.0), "labels": {"site": "hall-3"}}
LARGE = "x" * 4000


def run() -> None:
    """Compare all of it."""
    title(f"{EVENTS} events, written down")
    writing = [(written(), bare()) for _ in range(ROUNDS)]
    row("events a second, agentd", spread([ours for ours, _ in writing], digits=0))
    row("events a second, a bare SQLite loop", spread([theirs for _, theirs in writing], digits=0))
    row("ratio", spread([ours / theirs for ours, theirs in writing]), "reach 0.6")
    taken = [asyncio.run(emitting()) for _ in range(ROUNDS)]
    row("emit in the caller, median", spread([middle for middle, _ in taken], " µs"), "reach 5 µs")
    row("emit in the caller, 99th percentile", spread([high for _, high in taken], " µs"), "reach 100 µs")

    title(f"{EVENTS} events to sinks that take everything")
    for number in (1, 2, 4, 8):
        writes, cost = asyncio.run(delivering(number))
        row(f"{number} sinks: written, CPU per event and sink", f"{writes:.0f} a second, {cost:.2f} µs", "constant")

    title(f"{EVENTS} events to Redis")
    if shutil.which("redis-server"):
        redis()
    else:
        row("this needs the Debian package redis-server", "")

    title("A backlog of 2 GB")
    empty, full = backlog(0), backlog(500_000)
    row("resident memory, without and with", f"{empty:.1f} MiB, {full:.1f} MiB: {full - empty:+.1f} MiB", "reach +10")


@contextlib.contextmanager
def folder():
    """Yield a folder on a real disk."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.asynccontextmanager
async def opened(path: Path):
    """Yield a journal and a bus."""
    who = identity.load(path, "machine")
    journal = Journal(path, Limits(8 << 30, 1e9, 1 << 30), who=who)
    journal.open()
    try:
        yield journal, Bus(journal, who, boot_id=new_id(0.0), labels={"site": "hall-3"})
    finally:
        await journal.close(60.0)


def event() -> Event:
    """Return an event as a plugin makes it."""
    return Event(type="telemetry.sample", source="collectors.fleet", target="r1", payload=PAYLOAD)


def written() -> float:
    """Return how many events a second are emitted and on disk."""

    async def write(path: Path) -> float:
        async with opened(path) as (_, bus):
            began = time.perf_counter()
            for _ in range(EVENTS):
                bus.emit(event())
            await bus.commit([event()])
            return EVENTS / (time.perf_counter() - began)

    with folder() as path:
        return asyncio.run(write(path))


def bare() -> float:
    """Return how many of the same envelopes a second a loop without anything else writes, a thousand at a time."""
    with folder() as path:
        connection = sqlite3.connect(path / "bare.db", isolation_level=None)
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, type TEXT, source TEXT, data BLOB)")
        began = time.perf_counter()
        for first in range(0, EVENTS, 1000):
            rows = [
                (seq, "telemetry.sample", "collectors.fleet", msgspec.json.encode(envelope(seq)))
                for seq in range(first, first + 1000)
            ]
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        took = time.perf_counter() - began
        connection.close()
        return EVENTS / took


def envelope(seq: int) -> Event:
    """Return an event as it is written down."""
    made = event()
    made.timestamp = time.time()
    made.id, made.meta = new_id(made.timestamp), {**META, "seq": seq}
    return made


async def emitting() -> tuple[float, float]:
    """Return the median and the 99th percentile of the microseconds that one ``emit`` takes."""
    with folder() as path:
        async with opened(path) as (_, bus):
            took = []
            for number in range(20_000):
                made = event()
                began = time.perf_counter_ns()
                bus.emit(made)
                took.append((time.perf_counter_ns() - began) / 1000)
                if number % 20 == 0:
                    await asyncio.sleep(0.001)
    took.sort()
    return median(took), took[len(took) * 99 // 100]


class Counting(Sink[Config]):
    """Takes everything."""

    count = 0

    async def send(self, events: list[Record]) -> None:
        self.count += len(events)


async def delivering(number: int) -> tuple[float, float]:
    """Return events written a second, and the CPU microseconds per event and sink of delivering them afterwards."""
    with folder() as path:
        async with opened(path) as (journal, bus):
            began = time.perf_counter()
            for _ in range(EVENTS):
                bus.emit(event())
            await bus.commit([event()])
            writes = EVENTS / (time.perf_counter() - began)
            sinks = [Counting(None, Context(name=f"sinks.s{place}")) for place in range(number)]
            cpu = time.process_time()
            deliveries = []
            for sink in sinks:
                deliveries.append(
                    Delivery(sink, SinkKeys(start="beginning"), journal, plugin="counting", emit=lambda _event: None)
                )
                deliveries[-1].start()
            await until(lambda: all(sink.count >= EVENTS for sink in sinks))
            cost = (time.process_time() - cpu) / EVENTS / number * 1e6
            for delivery in deliveries:
                await delivery.stop(1.0)
            return writes, cost


async def until(condition: Callable[[], bool]) -> None:
    """Return when something holds."""
    while not condition():  # noqa: ASYNC110  # whoever is measured is not to be asked to tell
        await asyncio.sleep(0.01)


def redis() -> None:
    """Send the journal's events to a Redis, and the same envelopes by a bare pipeline."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        rates = [asyncio.run(to_redis(port)) for _ in range(ROUNDS)]
    finally:
        server.terminate()
        server.wait()
    row("events a second, agentd", spread([ours for ours, _ in rates], digits=0))
    row("events a second, a bare pipeline of 500", spread([theirs for _, theirs in rates], digits=0))
    row("ratio", spread([ours / theirs for ours, theirs in rates]), "reach 0.8")


async def to_redis(port: int) -> tuple[float, float]:
    """Return events a second from the journal to Redis, and by a bare pipeline."""
    from redis.asyncio import Redis

    from agentd_plugins.sinks.redis import agentd_sinks

    (kind,) = agentd_sinks()
    with folder() as path:
        async with opened(path) as (journal, bus):
            for _ in range(EVENTS):
                bus.emit(event())
            await bus.commit([event()])
            config = msgspec.convert(
                {"url": f"redis://127.0.0.1:{port}/0", "stream": "bench.events"}, kind.config_type, dec_hook=_option
            )
            client = Redis(port=port)
            while True:
                with contextlib.suppress(Exception):
                    await client.flushall()
                    break
                await asyncio.sleep(0.01)
            sink = kind(config, Context(name="sinks.redis"))
            delivery = Delivery(sink, SinkKeys(start="beginning"), journal, plugin="redis", emit=lambda _event: None)
            began = time.perf_counter()
            delivery.start()
            await until(lambda: delivery.status().sent >= EVENTS)
            ours = EVENTS / (time.perf_counter() - began)
            await delivery.stop(1.0)
            at, envelopes = 0, []
            while len(envelopes) < EVENTS:
                found = await journal.read(at)
                at = found.reached
                envelopes += [(record.json, record.type, record.id) for record in found.records]
        began = time.perf_counter()
        for first in range(0, EVENTS, 500):
            pipeline = client.pipeline(transaction=False)
            for data, type_, id_ in envelopes[first : first + 500]:
                pipeline.xadd("bench.bare", {"data": data, "type": type_, "id": id_})
            await pipeline.execute()
        theirs = EVENTS / (time.perf_counter() - began)
        await client.aclose()
        return ours, theirs


def _option(type_: type, value: object) -> object:
    from agentd.options import decode

    return decode(type_, value)


def backlog(events: int) -> float:
    """Return the resident memory, in MiB, of an agent that has so many events of 4 kB for a server that is away."""
    configuration = f"""
        [journal]
        max_size = "4GiB"
        [sinks.away]
        plugin = "webhook"
        url = "http://127.0.0.1:{free_port()}/"
        start = "beginning"
    """

    async def fill(path: Path) -> None:
        async with opened(path) as (_, bus):
            for number in range(events):
                bus.emit(Event(type="bench.large", source="bench", payload={"text": LARGE}))
                if number % 1000 == 999:
                    await bus.commit([])

    def prepare(path: Path) -> None:
        asyncio.run(fill(path))

    with agentd(configuration, prepare=prepare) as server:
        for _ in range(20):
            server.scrape()
            time.sleep(0.25)
        return server.resident()
