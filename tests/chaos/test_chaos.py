"""The long run (`make chaos`): for each sink the agent is killed again and again, and its way disturbed."""

import asyncio
import contextlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from agentd.testing.accounting import Trial, numbers
from agentd.testing.agent import AgentProcess, free_port
from agentd.testing.proxy import Proxy
from agentd.testing.robots import RobotTrial

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("AGENTD_CHAOS_KILLS", "40"))

SECTION = '[collectors]\ndisable = ["hwmon"]\n[sinks.tried]\nplugin = "{}"\nstart = "beginning"\ntimeout = "2s"\n'


@dataclass
class Place:
    """Where events go: the options of the sink, the server's port, and what has arrived there."""

    plugin: str
    port: int = field(default_factory=free_port)
    envelopes: list = field(default_factory=list)

    async def arrived(self):
        """Return the envelopes that have arrived, in their order."""
        return self.envelopes


@contextlib.asynccontextmanager
async def program(name, *arguments, cwd):
    """Run a server."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    process = await asyncio.create_subprocess_exec(name, *arguments, cwd=cwd, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def answers(port):
    """Wait until somebody listens on a port."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@contextlib.asynccontextmanager
async def webhook(_folder):
    place = Place("webhook")

    async def take(request):
        place.envelopes += map(json.dumps, await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", place.port).start()
    try:
        yield place, 'format = "json"\nurl = "http://127.0.0.1:PORT/"\n'
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def redis(folder):
    from redis.asyncio import Redis

    place = Place("redis")
    options = ("--port", str(place.port), "--save", "", "--bind", "127.0.0.1")
    async with program("redis-server", *options, cwd=folder):
        await answers(place.port)
        client = Redis(port=place.port)

        async def arrived():
            return [fields[b"data"] for _, fields in await client.xrange("all")]

        place.arrived = arrived
        yield place, 'stream = "all"\nurl = "redis://127.0.0.1:PORT/0"\n'
        await client.aclose()


@contextlib.asynccontextmanager
async def mqtt(folder):
    import aiomqtt

    place = Place("mqtt")
    (folder / "broker.conf").write_text(
        f"listener {place.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
    )
    async with program("mosquitto", "-c", str(folder / "broker.conf"), cwd=folder):
        await answers(place.port)
        async with aiomqtt.Client("127.0.0.1", place.port) as client:
            await client.subscribe("#", qos=1)

            async def listen():
                async for message in client.messages:
                    place.envelopes.append(message.payload)

            listening = asyncio.create_task(listen())
            yield place, 'url = "mqtt://127.0.0.1:PORT"\n'
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@contextlib.asynccontextmanager
async def nats(folder):
    import nats as library

    place = Place("nats")
    options = ("-js", "-a", "127.0.0.1", "-p", str(place.port), "-sd", str(folder))
    async with program("nats-server", *options, cwd=folder):
        await answers(place.port)
        client = await library.connect(f"nats://127.0.0.1:{place.port}")
        stream = client.jetstream()
        await stream.add_stream(name="all", subjects=["all"])

        async def arrived():
            subscription = await stream.subscribe("all", ordered_consumer=True)
            found = []
            with contextlib.suppress(library.errors.TimeoutError):
                while True:
                    found.append((await subscription.next_msg(timeout=1)).data)
            await subscription.unsubscribe()
            return found

        place.arrived = arrived
        yield place, 'subject = "all"\nurl = "nats://127.0.0.1:PORT"\n'
        await client.close()


@contextlib.asynccontextmanager
async def file(folder):
    place = Place("file")

    async def arrived():
        return (folder / "events.jsonl").read_bytes().split(b"\n")[:-1]

    place.arrived = arrived
    yield place, f'path = "{folder}/events.jsonl"\nmax_size = "0B"\n'


@pytest.mark.parametrize("sink", [file, webhook, redis, mqtt, nats], ids=lambda sink: sink.__name__)
async def test_every_acknowledged_event_arrives(sink, tmp_path: Path):
    """Whatever is killed and cut off, every event that was acknowledged arrives at the sink's server, in order."""
    async with sink(tmp_path) as (place, options):
        proxy = Proxy(("127.0.0.1", place.port), seed=KILLS)
        await proxy.start()
        section = SECTION.format(place.plugin) + options.replace("PORT", str(proxy.port))
        agent = AgentProcess(tmp_path / "agent", section)

        async def arrived():
            return numbers(await place.arrived())

        disturbed = None if place.plugin == "file" else proxy
        try:
            result = await Trial(agent, disturbed, seed=KILLS).run(kills=KILLS, arrived=arrived, within=30.0)
        finally:
            await proxy.stop()
    print(f"{place.plugin}: {result}")
    assert result.right, result


async def test_every_acknowledged_event_of_robots_is_there_once(tmp_path: Path):
    """Whatever is killed and cut off, each event that robots sent is in the journal once, in order."""
    trial = RobotTrial(AgentProcess(tmp_path / "agent", "[collectors.robots]\nrate_limit = 100000\n"), seed=KILLS)
    result = await trial.run(kills=KILLS)
    print(f"robots: {result}")
    assert result.right, result
    assert result.repeats == 0, result
    assert not any(stream.backwards or stream.consumed for stream in trial.streams)
