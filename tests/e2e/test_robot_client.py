"""The client of a robot, an agent that is killed, and a way that is disturbed: nothing is lost or doubled."""

import asyncio
import json
import random
from collections import Counter

import pytest

from agentd.client import FileQueue, MemoryQueue, TelemetryClient
from agentd.testing.proxy import Proxy

CONFIGURATION = "[collectors]\ndisable = ['hwmon']\n[collectors.robots]\n"

TYPE = "test.number"


@pytest.fixture
async def proxy(robot_agent):
    """The way to the agent."""
    proxy = Proxy(("127.0.0.1", robot_agent.port))
    await proxy.start()
    yield proxy
    await proxy.stop()


async def journal(robot_agent, session):
    """Return robot and number of all events in the agent's journal, in their order."""
    found, before = [], None
    while True:
        query = {"type": TYPE, "limit": "1000", **({"before": str(before)} if before else {})}
        async with session.get(f"{robot_agent.api}/events", params=query) as answer:
            page = json.loads(await answer.read())
        found += [(event["source"], event["payload"]["number"]) for event in page["events"]]
        before = page.get("next")
        if not before:
            return found[::-1]


async def robot(name, url, folder, ending, chance):
    """Be a robot that tells numbers until the end, and is itself started again now and then; return how many it told.

    Its attempts to connect come quickly, for a test that shall not take minutes.
    """
    number = 0
    while True:
        async with TelemetryClient(
            url, name, queue=FileQueue(folder / name, sync=False), spread=lambda _low, _high: 0.05, close_within=0.0
        ) as client:
            for _ in range(chance.randrange(50, 200)):
                events = [
                    {"type": TYPE, "payload": {"number": number + place}} for place in range(chance.choice((1, 3)))
                ]
                number += len(events)
                await client.send({"battery_level": 80}, events=events)
                client.live({"cpu_usage": 10})
                await asyncio.sleep(chance.uniform(0, 0.01))
                if ending.is_set():
                    await client.flush(60)
                    return number


async def test_each_event_arrives_once(robot_agent, proxy, session, tmp_path):
    """The agent is killed with -9 six times, connections are cut, reset and silenced between, and robots are started
    again: at the end each event of each robot is in the journal once, in order.
    """
    chance, ending = random.Random(5), asyncio.Event()
    url = f"http://127.0.0.1:{proxy.port}"
    names = [f"amr-{number}" for number in range(3)]
    running = [asyncio.create_task(robot(name, url, tmp_path, ending, random.Random(name))) for name in names]
    for _ in range(6):
        await proxy.become(chance.choice(("pass", "cut", "reset", "delay", "refuse")))
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        await proxy.become("pass")
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        await robot_agent.kill()
        await robot_agent.start(session)
    await asyncio.sleep(0.5)
    ending.set()
    told = await asyncio.gather(*running)
    found = await journal(robot_agent, session)
    assert {name: count for name, count in Counter(found).items() if count > 1} == {}
    for name, count in zip(names, told, strict=True):
        assert [number for who, number in found if who == name] == list(range(count))
    assert sum(told) > 100


async def test_a_gap_larger_than_the_credit(robot_agent):
    """A robot whose queue has dropped hundreds of frames goes on with those that it has."""
    url, queue = f"http://127.0.0.1:{robot_agent.port}", MemoryQueue(max_frames=300, when_full="drop_oldest")
    async with TelemetryClient(url, "amr-1", queue=queue) as robot:
        await robot.send({"a": 1})
        await robot.flush(60)
    async with TelemetryClient("http://127.0.0.1:1", "amr-1", queue=queue, close_within=0.0) as robot:
        for number in range(1000):
            await robot.send({"a": number})
    async with TelemetryClient(url, "amr-1", queue=queue, spread=lambda *_: 0.05, close_within=0.0) as robot:
        await robot.flush(60)
