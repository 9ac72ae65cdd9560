"""Whole agents, as processes, that are killed while they count: what they tell in the end is what was in the stream."""

import asyncio
import contextlib
import json
import random
import re
import sqlite3

import aiohttp
import pytest

from agentd.testing.agent import AgentProcess

STREAM = "brain.events.missions"

HEAD = '[collectors]\ndisable = ["hwmon"]\n'
SECTION = '[collectors.missions]\nurl = "{url}"\npause = "1ms"\njob_every = "200ms"\nclaim_after = "500ms"\n'
RULES = """
[collectors.event_rules]
url = "{url}"
start = "beginning"
pause = "1ms"
[[collectors.event_rules.rules]]
name = "entries_total"
stream = "brain.events.missions"
labels = {{ status = "payload.status" }}
[[collectors.event_rules.rules]]
name = "entries_reported_total"
when = ["metrics.aggregation_completed"]
value = "payload.entries_processed"
"""


@pytest.fixture
async def session():
    """An HTTP client."""
    async with aiohttp.ClientSession() as made:
        yield made


async def told(agent, session, name):
    """Return the sum of a metric that an agent exposes; None where it exposes none."""
    async with session.get(f"http://127.0.0.1:{agent.port}/metrics") as response:
        text = await response.text()
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found)) if found else None


async def until(condition, within=60.0):
    """Wait until something is so."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110  # the condition is another process's
            await asyncio.sleep(0.05)


def reported(journal):
    """Return how many entries the events of a journal report; jobs that find nothing add nothing."""
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT data FROM events WHERE type = 'metrics.aggregation_completed'")
        return sum(json.loads(data)["payload"]["entries_processed"] for (data,) in rows)


def fill(store, entries, batch=500):
    """Add missions that begin and end."""
    for first in range(0, entries, batch):
        pipeline = store.client.pipeline(transaction=False)
        for number in range(first, first + batch):
            status = "completed" if number % 2 else "started"
            pipeline.xadd(STREAM, {"data": json.dumps({"status": status, "mission_id": f"m{number // 2}"})})
        pipeline.execute()


async def test_an_agent_that_is_killed_again_and_again(store, session, tmp_path):
    """After kill -9 in the middle of counting, five times, counts, durations and rules come to what was added."""
    agent = AgentProcess(tmp_path, HEAD + (SECTION + RULES).format(url=store.url))
    chance, entries = random.Random(1), 0
    for _ in range(5):
        writing = asyncio.create_task(asyncio.to_thread(fill, store, 4000))
        await agent.start(session)
        await asyncio.sleep(chance.random() * 0.15)
        await agent.kill()
        await writing
        entries += 4000
    await agent.start(session)

    async def all_counted():
        return (await told(agent, session, "mission_status_total"), await told(agent, session, "entries_total")) == (
            entries,
            entries,
        )

    async def all_reported():
        return await told(agent, session, "entries_reported_total") == reported(tmp_path / "state/journal.db")

    await until(all_counted)
    await until(all_reported)
    assert 0 < await told(agent, session, "entries_reported_total") <= entries  # a job that was killed reports nothing
    await asyncio.sleep(0.5)
    assert await all_counted()
    assert await told(agent, session, "missions_active") == 0
    assert await told(agent, session, "mission_duration_seconds_count") == entries / 2
    assert await told(agent, session, "mission_stream_lost_entries_total") == 0
    await agent.stop()


async def test_one_of_a_group_is_killed(store, session, tmp_path):
    """Of two agents that share a stream one is killed again and again: their sum is exactly what was added."""
    agents = {
        name: AgentProcess(
            tmp_path / name, HEAD + SECTION.format(url=store.url) + f'group = "g"\nconsumer = "{name}"\n'
        )
        for name in ("stays", "dies")
    }
    chance, entries = random.Random(2), 0
    await agents["stays"].start(session)

    async def counts():
        return (await told(agents["dies"], session, "mission_status_total") or 0) > before

    for _ in range(3):
        await agents["dies"].start(session)
        before = await told(agents["dies"], session, "mission_status_total") or 0
        writing = asyncio.create_task(asyncio.to_thread(fill, store, 6000))
        await until(counts)
        await asyncio.sleep(chance.random() * 0.1)
        await agents["dies"].kill()
        await writing
        entries += 6000
    await asyncio.sleep(1)
    await until(lambda: nothing_pending(store))
    await agents["dies"].start(session)

    async def total(name):
        return sum([await told(agent, session, name) or 0 for agent in agents.values()])

    async def all_counted():
        return await total("mission_status_total") == entries

    await until(all_counted)
    assert await told(agents["dies"], session, "mission_status_total") > 0
    assert await total("mission_stream_lost_entries_total") == 0
    assert await total("missions_active") == store.client.hlen(f"agentd:missions:{{{STREAM}}}:g:open")
    for agent in agents.values():
        await agent.stop()


async def nothing_pending(store):
    """Say whether every entry was handed out and acknowledged."""
    (group,) = store.client.xinfo_groups(STREAM)
    return group["pending"] == 0 and group["lag"] == 0


@pytest.mark.chaos
async def test_a_million_entries(store, session, tmp_path):
    """A stream of 1,000,000 entries is counted whole by an agent that is killed in the middle, time after time."""
    await asyncio.to_thread(fill, store, 1_000_000, 5000)
    agent = AgentProcess(tmp_path, HEAD + SECTION.format(url=store.url))
    for _ in range(5):
        await agent.start(session)
        await asyncio.sleep(0.5)
        await agent.kill()
    await agent.start(session)

    async def all_counted():
        return await told(agent, session, "mission_status_total") == 1_000_000

    await until(all_counted, 300)
    assert await told(agent, session, "mission_duration_seconds_count") == 500_000
    await agent.stop()
