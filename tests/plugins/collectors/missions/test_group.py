"""Several agents that count the entries of one stream together, by a consumer group."""

import asyncio
import contextlib
import json
import random

from agentd.options import Duration
from agentd_plugins.collectors.missions import Missions

STREAM = "brain.events.missions"


async def join(lab, name, **options):
    """Start an agent of the group."""
    options = {"claim_after": Duration(0.1), "job_every": Duration(0.1)} | options
    return await lab.start(Missions, name=f"collectors.{name}", group="agents", consumer=name, **options)


def total(lab, *collectors):
    """Return how many entries all of them have counted."""
    return sum(sum((lab.told(each, "mission_status_total") or {}).values()) for each in collectors)


def active(lab, *collectors):
    """Return how many missions are open, summed as Prometheus would."""
    return sum(lab.told(each, "missions_active") or 0 for each in collectors)


def _take(lab, consumer):
    import redis

    with redis.Redis.from_url(lab.url) as client:
        answer = client.xreadgroup("agents", consumer, {STREAM: ">"}, count=50)
    return len(answer[0][1]) if answer else 0


async def test_each_entry_counts_once(lab, store):
    """Three agents count different entries; their sum is what was added, and all was acknowledged."""
    agents = [await join(lab, name) for name in ("a", "b", "c")]
    for _ in range(20):
        store.add(*["completed"] * 100)
        await asyncio.sleep(0.02)
    await lab.until(lambda: total(lab, *agents) == 2000)
    assert store.client.xpending(STREAM, "agents")["pending"] == 0
    assert all(lab.told(each, "mission_stream_lost_entries_total") == {STREAM: 0} for each in agents)


async def test_what_a_dead_agent_took_is_counted_by_another(lab, store):
    """Entries that an agent took before it died are taken over, once; nothing it had counted is counted again."""
    dead, alive = await join(lab, "dead"), await join(lab, "alive")
    store.add(*["completed"] * 300)
    await lab.until(lambda: total(lab, dead, alive) == 300)
    await alive.stop()
    lab.running.remove(alive)
    await dead.stop()
    lab.running.remove(dead)
    store.add(*["completed"] * 100)
    assert await asyncio.to_thread(_take, lab, "dead") == 50
    alive = await join(lab, "alive")
    counted_by_dead = total(lab, dead)
    await lab.until(lambda: total(lab, alive) + counted_by_dead == 400)
    await asyncio.sleep(0.3)
    assert total(lab, alive) + counted_by_dead == 400
    again = await join(lab, "dead")  # which was not dead after all, and has its part
    await lab.until(lambda: total(lab, again) == counted_by_dead)
    assert store.client.xpending(STREAM, "agents")["pending"] == 0


async def test_an_entry_that_two_agents_hold_counts_once(lab, store):
    """Where an agent was only slow, and another took its entries over, neither counts what the other has counted."""
    slow = await join(lab, "slow")
    await lab.until(lambda: lab.told(slow, "mission_stream_gaps_total") is not None)
    store.add(*["completed"] * 50)
    await lab.until(lambda: total(lab, slow) == 50)
    await slow.stop()
    lab.running.remove(slow)
    store.add(*["failed"] * 50)
    found = store.client.xreadgroup("agents", "slow", {STREAM: ">"}, count=50)[0][1]
    fast = await join(lab, "fast")
    await lab.until(lambda: total(lab, fast) == 50)
    await slow._link.open()
    entries = [[id_, [part for pair in fields.items() for part in pair]] for id_, fields in found]
    await slow._way.count({STREAM: entries})
    await slow.stop()
    assert total(lab, slow, fast) == 100
    assert lab.told(slow, "mission_status_total") == {"completed": 50}


async def test_what_an_agent_took_before_it_was_killed_it_counts_itself(lab, store):
    """After its own restart an agent counts what it had taken and not counted."""
    agent = await join(lab, "a")
    store.add("completed")
    await lab.until(lambda: total(lab, agent) == 1)
    await lab.end()
    store.add(*["completed"] * 30)
    assert await asyncio.to_thread(_take, lab, "a") == 30
    agent = await join(lab, "a", claim_after=Duration(3600))
    await lab.until(lambda: total(lab, agent) == 31)


async def test_missions_that_move_between_agents(lab, store):
    """A mission that one agent saw begin and another saw end has a duration; what all have open sums up to what is."""
    agents = [await join(lab, name) for name in ("a", "b", "c")]
    chance = random.Random(5)
    begun = [f"m{number}" for number in range(60)]
    for mission in begun:
        store.client.xadd(STREAM, {"event_type": "mission.started", "mission_id": mission})
        if chance.random() < 0.3:
            await asyncio.sleep(0.01)
    await lab.until(lambda: active(lab, *agents) == 60)
    for mission in begun[:40]:
        store.client.xadd(STREAM, {"data": json.dumps({"status": "completed", "mission_id": mission})})
        if chance.random() < 0.3:
            await asyncio.sleep(0.01)
    await lab.until(lambda: active(lab, *agents) == 20)
    histograms = [lab.told(each, "mission_duration_seconds") for each in agents]
    assert sum(each.count for each in histograms) == 40
    assert all(each.buckets[-1][1] == each.count for each in histograms)
    assert 0 < sum(each.sum for each in histograms) < 60 * 20
    assert store.client.hlen(f"agentd:missions:{{{STREAM}}}:agents:open") == 20


async def test_missions_are_forgotten_in_a_group(lab, store):
    """What is open in Redis is bounded as well: by number, and by age."""
    agent = await join(lab, "a", max_open=5, forget_after=Duration(6))
    for number in range(12):
        store.client.xadd(STREAM, {"event_type": "mission.started", "mission_id": f"m{number}"})
    await lab.until(lambda: lab.told(agent, "missions_forgotten_total") == 7)
    assert active(lab, agent) == 5
    await lab.until(lambda: lab.told(agent, "missions_forgotten_total") == 12)
    assert active(lab, agent) == 0
    assert store.client.zcard(f"agentd:missions:{{{STREAM}}}:agents:seen") == 0


async def test_trimmed_entries_are_counted_as_lost(lab, store):
    """What was trimmed before it was handed out, or after it was and before it was counted, is lost, once."""
    agent = await join(lab, "a")
    store.add(*["completed"] * 10)
    await lab.until(lambda: total(lab, agent) == 10)
    await lab.end()
    store.add(*["completed"] * 200)
    assert await asyncio.to_thread(_take, lab, "a") == 50
    store.client.xtrim(STREAM, maxlen=100, approximate=False)
    agents = [await join(lab, "a"), await join(lab, "b")]
    await lab.until(lambda: total(lab, *agents) == 110)
    lost = "mission_stream_lost_entries_total"
    await lab.until(lambda: sum(lab.told(each, lost)[STREAM] for each in agents) == 100)
    store.add("completed")
    await lab.until(lambda: total(lab, *agents) == 111)
    await asyncio.sleep(0.3)
    assert sum(lab.told(each, lost)[STREAM] for each in agents) == 100


async def test_redis_is_killed_under_a_group(lab, store, monkeypatch):
    """Redis is killed amid counting, again and again: what it had written down is counted once."""
    monkeypatch.setattr("agentd_plugins.collectors.missions.RETRY", (0.02, 0.05))
    agents = [await join(lab, name) for name in ("a", "b")]
    for _ in range(4):
        store.add(*["completed"] * 3000)
        await asyncio.sleep(0.02)
        store.kill()
        await asyncio.to_thread(store.start)
    with contextlib.suppress(TimeoutError):  # what it came to says more than that it took too long
        await lab.until(lambda: total(lab, *agents) == 12000)
    (group,) = store.client.xinfo_groups(STREAM)
    assert (total(lab, *agents), group["pending"], group["lag"]) == (12000, 0, 0), [each.collect() for each in agents]


async def test_too_many_statuses_in_a_group(lab, store):
    """The limit on statuses holds for each agent of a group, also after it was started again."""
    agent = await join(lab, "a", max_statuses=2)
    store.add("a", "b", "c")
    await lab.until(lambda: total(lab, agent) == 3)
    await lab.life()
    agent = await join(lab, "a", max_statuses=2)
    store.add("d", "a")
    await lab.until(lambda: total(lab, agent) == 5)
    assert lab.told(agent, "mission_status_total") == {"a": 2, "b": 1, "other": 2}
