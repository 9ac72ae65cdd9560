"""The collector `missions` alone, with a real Redis and a real journal."""

import asyncio
import json

import pytest

from agentd.config import JournalSettings
from agentd.options import Duration
from agentd_plugins.collectors.missions import Missions

STREAM = "brain.events.missions"


def total(lab, collector):
    """Return how many entries were counted by status."""
    return sum((lab.told(collector, "mission_status_total") or {}).values())


async def test_each_form_of_entry_counts(lab, store):
    """Envelopes, objects with a status and flat fields count by status; what has none is counted apart."""
    add = store.client.xadd
    envelope = {"id": "1", "type": "mission.completed", "source": "brain", "payload": {"mission_id": "m1"}}
    add(STREAM, {"event_type": "mission.started", "mission_id": "m1"})
    add(STREAM, {"data": json.dumps({"status": "running", "mission_id": "m1"})})
    add(STREAM, {"data": json.dumps(envelope), "type": "mission.completed", "id": "1"})
    add(STREAM, {"data": json.dumps({"type": "mission.updated", "payload": {"status": "failed", "mission_id": "m2"}})})
    add(STREAM, {"something": "else"})
    add(STREAM, {"data": "{broken"})
    collector = await lab.start(Missions)
    await lab.until(lambda: lab.told(collector, "mission_entries_unreadable_total") == 2)
    assert lab.told(collector, "mission_status_total") == {"started": 1, "running": 1, "completed": 1, "failed": 1}
    assert lab.told(collector, "missions_active") == 0
    histogram = lab.told(collector, "mission_duration_seconds")
    assert histogram.count == 1
    assert 0 <= histogram.sum < 20
    assert 0 <= lab.told(collector, "mission_read_age_seconds") < 20


async def test_several_streams_and_one_that_comes_later(lab, store):
    """Streams are counted together, one that does not exist yet from its first entry."""
    store.add("completed", "completed", stream="a")
    collector = await lab.start(Missions, streams=["a", "b"])
    await lab.until(lambda: total(lab, collector) == 2)
    store.add("failed", stream="b")
    await lab.until(lambda: total(lab, collector) == 3)
    assert lab.told(collector, "mission_stream_lost_entries_total") == {"a": 0, "b": 0}


async def test_active_missions_and_durations_survive_a_restart(lab, store):
    """What was counted, which missions are open and when they began is known after the agent's next start."""
    store.client.xadd(STREAM, {"event_type": "mission.started", "mission_id": "m1"}, id="1000-0")
    store.client.xadd(STREAM, {"event_type": "mission.started", "mission_id": "m2"}, id="2000-0")
    collector = await lab.start(Missions, forget_after=Duration(1e11))
    await lab.until(lambda: lab.told(collector, "missions_active") == 2)
    await lab.until(lambda: "open/m2" in collector.state)
    await lab.life()
    collector = await lab.start(Missions, forget_after=Duration(1e11))
    assert lab.told(collector, "mission_status_total") == {"started": 2}
    assert lab.told(collector, "missions_active") == 2
    store.client.xadd(STREAM, {"event_type": "mission.completed", "mission_id": "m1"}, id="8500-0")
    await lab.until(lambda: lab.told(collector, "missions_active") == 1)
    histogram = lab.told(collector, "mission_duration_seconds")
    assert (histogram.count, histogram.sum) == (1, 7.5)
    assert dict(histogram.buckets)[5.0] == 0
    assert dict(histogram.buckets)[15.0] == 1
    await lab.until(lambda: "open/m1" not in collector.state)


async def test_a_new_stream_is_read_from_where_the_options_say(lab, store):
    """With start = "now", what a stream had before is not counted; neither is it a gap."""
    store.add("completed", "completed")
    collector = await lab.start(Missions, start="now")
    await lab.until(lambda: lab.told(collector, "mission_stream_gaps_total") == {STREAM: 0})
    store.add("failed")
    await lab.until(lambda: total(lab, collector) == 1)
    assert lab.told(collector, "mission_status_total") == {"failed": 1}
    assert lab.told(collector, "mission_stream_lost_entries_total") == {STREAM: 0}


async def test_jobs_are_told_with_their_fields(lab, store):
    """Each job is told by two events of the source metrics_service, with the fields of the issue and no other."""
    store.add(*["completed"] * 2500)
    collector = await lab.start(Missions, job_every=Duration(0.2))
    await lab.until(lambda: total(lab, collector) == 2500)
    async with asyncio.timeout(60):
        said = []
        while said.count("metrics.aggregation_completed") < 2:  # one at least that found nothing
            said = [event.type for event in await lab.said()]
    await collector.stop()
    events = await lab.said()
    started = [event for event in events if event.type == "metrics.aggregation_started"]
    completed = [event for event in events if event.type == "metrics.aggregation_completed"]
    assert {event.source for event in events} == {"metrics_service"}
    assert {frozenset(event.payload) for event in started} == {frozenset({"job_id", "started_at"})}
    fields = frozenset({"job_id", "entries_processed", "duration_ms", "completed_at"})
    assert {frozenset(event.payload) for event in completed} == {fields}
    assert len(completed) >= 2
    assert [event.payload["job_id"] for event in started] == [event.payload["job_id"] for event in completed]
    assert sum(event.payload["entries_processed"] for event in completed) == 2500


async def test_too_many_statuses_are_counted_as_other(lab, store, caplog):
    """Beyond max_statuses a status counts as "other", which the log says once; known ones go on."""
    store.add("a", "b", "c", "d", "a", "d")
    collector = await lab.start(Missions, max_statuses=2)
    await lab.until(lambda: total(lab, collector) == 6)
    assert lab.told(collector, "mission_status_total") == {"a": 2, "b": 1, "other": 3}
    await lab.until(lambda: "max_statuses = 2" in caplog.text)
    store.add("e", "a")
    await lab.until(lambda: total(lab, collector) == 8)
    assert caplog.text.count("max_statuses") == 1


async def test_open_missions_are_bounded_and_forgotten(lab, store):
    """Of more missions than max_open the oldest are forgotten, and all of which nothing is heard; both are counted."""
    for number in range(10):
        store.client.xadd(STREAM, {"event_type": "mission.started", "mission_id": f"m{number}"})
    collector = await lab.start(Missions, max_open=4, forget_after=Duration(6), job_every=Duration(0.1))
    await lab.until(lambda: lab.told(collector, "missions_active") == 4)
    await lab.until(lambda: lab.told(collector, "missions_active") == 0)
    assert lab.told(collector, "missions_forgotten_total") == 10
    await lab.until(lambda: not [key for key in collector.state if key.startswith("open/")])


async def test_a_trimmed_stream_is_noticed(lab, store):
    """Entries that were trimmed before they were read are counted as lost, those that were read before are not."""
    store.add(*["completed"] * 50)
    collector = await lab.start(Missions)
    await lab.until(lambda: total(lab, collector) == 50)
    store.client.xtrim(STREAM, maxlen=10, approximate=False)
    store.add("completed")
    await lab.until(lambda: total(lab, collector) == 51)
    await lab.until(lambda: collector.state[f"stream/{STREAM}"]["added"] == 51)
    assert lab.told(collector, "mission_stream_lost_entries_total") == {STREAM: 0}
    await lab.end()
    store.add(*["completed"] * 100)
    store.client.xtrim(STREAM, maxlen=30, approximate=False)
    collector = await lab.start(Missions)
    await lab.until(lambda: total(lab, collector) == 81)
    await lab.until(lambda: lab.told(collector, "mission_stream_lost_entries_total") == {STREAM: 70})
    assert lab.told(collector, "mission_stream_gaps_total") == {STREAM: 1}


async def test_nothing_is_missed_while_a_stream_is_trimmed_all_the_time(lab, store):
    """Where a producer trims as it writes, what was counted and what was lost come to what was added."""
    collector = await lab.start(Missions, pause=Duration(1))
    for _ in range(20):
        pipeline = store.client.pipeline(transaction=False)
        for _ in range(100):
            pipeline.xadd(STREAM, {"data": '{"status": "completed"}'}, maxlen=150, approximate=False)
        pipeline.execute()
        await asyncio.sleep(0.05)
    lost = "mission_stream_lost_entries_total"
    await lab.until(lambda: total(lab, collector) + (lab.told(collector, lost) or {}).get(STREAM, 0) == 2000)
    assert lab.told(collector, lost)[STREAM] > 0


async def test_a_stream_that_was_made_anew_is_counted_from_its_beginning(lab, store):
    """Where a stream is deleted and another one has its name, even with lower ids, all of the new one counts."""
    store.add(*["completed"] * 5)
    collector = await lab.start(Missions, job_every=Duration(0.1))
    await lab.until(lambda: total(lab, collector) == 5)
    store.client.delete(STREAM)
    store.client.xadd(STREAM, {"event_type": "mission.failed"}, id="1-1")
    await lab.until(lambda: total(lab, collector) == 6)
    store.client.xadd(STREAM, {"event_type": "mission.failed"}, id="1-2")
    await lab.until(lambda: total(lab, collector) == 7)
    assert lab.told(collector, "mission_stream_lost_entries_total") == {STREAM: 0}
    assert lab.told(collector, "mission_stream_gaps_total") == {STREAM: 1}


async def test_redis_is_killed_and_comes_back(lab, store, monkeypatch):
    """While Redis is away the counts stay, their age grows, one failure is told; then reading goes on where it was."""
    monkeypatch.setattr("agentd_plugins.collectors.missions.RETRY", (0.05, 0.1))
    collector = await lab.start(Missions)
    for round_ in range(1, 4):
        store.add(*["completed"] * 1500)
        if round_ == 2:  # somewhere in the middle
            await asyncio.sleep(0.01)
        else:
            await lab.until(lambda sought=1500 * round_: total(lab, collector) == sought)
        store.kill()
        await lab.until(lambda: lab.told(collector, "mission_read_age_seconds") > 0.2)
        assert total(lab, collector) > 0
        await asyncio.to_thread(store.start)
    await lab.until(lambda: total(lab, collector) == 4500)
    failed = [event for event in await lab.said() if event.type == "metrics.aggregation_failed"]
    assert len(failed) >= 1
    assert {frozenset(event.payload) for event in failed} == {
        frozenset({"job_id", "error_message", "error_type", "failed_at"})
    }
    assert failed[0].payload["error_type"] == "Failure"
    assert f"127.0.0.1:{store.port}" in failed[0].payload["error_message"]


async def test_what_is_not_known_is_not_told(lab, store):
    """Where Redis was never reached, there are no zeros that nobody counted."""
    store.kill()
    collector = await lab.start(Missions)
    await asyncio.sleep(0.2)
    assert collector.collect() == []
    await asyncio.to_thread(store.start)
    await lab.until(lambda: lab.told(collector, "missions_active") == 0)


async def test_the_agent_starts_without_redis(lab, store):
    """Where Redis is away at the start, the collector runs, tells what it had counted, and reads when it comes."""
    store.add("completed")
    collector = await lab.start(Missions)
    await lab.until(lambda: total(lab, collector) == 1)
    await lab.life()
    store.kill()
    collector = await lab.start(Missions)
    await asyncio.sleep(0.1)
    assert total(lab, collector) == 1
    assert lab.told(collector, "mission_read_age_seconds") is None
    await asyncio.to_thread(store.start)
    store.add("completed")
    await lab.until(lambda: total(lab, collector) == 2)


async def test_without_a_journal_it_is_said_and_nothing_counts_twice(lab, store, caplog):
    """Where nothing can be written down, entries count in memory, once, and the log says so."""
    await lab.life(JournalSettings(enabled=False))
    store.add(*["completed"] * 1200)
    collector = await lab.start(Missions, job_every=Duration(0.1))
    await lab.until(lambda: total(lab, collector) == 1200)
    await asyncio.sleep(0.3)
    store.add("completed")
    await lab.until(lambda: total(lab, collector) == 1201)
    assert caplog.text.count("cannot be written down, and is kept in memory") == 1
    assert len([event for event in await lab.said() if event.type == "metrics.aggregation_failed"]) == 1


async def test_a_disk_that_refuses_for_a_while(lab, store, monkeypatch):
    """What was counted while the disk refused is written down with the next that it takes; a restart has it once."""
    monkeypatch.setattr("agentd.store.writer.RETRY", (0.05, 0.05))
    collector = await lab.start(Missions, job_every=Duration(0.1))
    store.add(*["completed"] * 10)
    await lab.until(lambda: total(lab, collector) == 10)
    await lab.until(lambda: collector.state.get("status/completed") == 10)  # written down, too
    writer, refused = lab.flow.journal._writer, [True]
    write = writer._write

    def refuse(*arguments):
        if refused:
            raise OSError(28, "no space left on device")
        return write(*arguments)

    writer._write = refuse
    store.add(*["completed"] * 10)
    await lab.until(lambda: total(lab, collector) == 20)
    await lab.until(lambda: lab.flow.journal.problem)
    assert collector.state["status/completed"] == 10
    refused.clear()
    await lab.until(lambda: collector.state["status/completed"] == 20)
    await lab.life()
    collector = await lab.start(Missions)
    store.add("completed")
    await lab.until(lambda: total(lab, collector) == 21)


async def test_a_disk_that_refuses_from_the_start(lab, store, monkeypatch):
    """What an earlier life wrote down, and this one could not read at first, counts on: nothing twice, nothing lost."""
    monkeypatch.setattr("agentd.store.writer.RETRY", (0.05, 0.05))
    store.add("completed", "completed", "failed")
    collector = await lab.start(Missions)
    await lab.until(lambda: "status/failed" in collector.state)
    await lab.end()
    store.client.xtrim(STREAM, maxlen=0)
    database = lab.folder / "journal.db"
    database.rename(lab.folder / "elsewhere")
    database.mkdir()  # which is no database
    await lab.life()
    store.add("completed")
    collector = await lab.start(Missions, job_every=Duration(0.1))
    await lab.until(lambda: total(lab, collector) == 1)
    database.rmdir()
    (lab.folder / "elsewhere").rename(database)
    await lab.until(lambda: lab.told(collector, "mission_status_total") == {"completed": 3, "failed": 1})
    await lab.until(lambda: collector.state.get("status/completed") == 3)


async def test_only_what_changed_is_written(lab, store):
    """A commit of 1,000 entries writes a few keys, not one for each entry, and not those of missions that stay open."""
    store.add(*["started"] * 3)
    for number in range(300):
        store.add("started", mission=f"m{number}")
    collector = await lab.start(Missions)
    await lab.until(lambda: lab.told(collector, "missions_active") == 300)
    await lab.until(lambda: len([key for key in collector.state if key.startswith("open/")]) == 300)
    written, commit = [], collector.context.commit

    async def watched(events, state):
        written.append(dict(state))
        await commit(events, state)

    collector.context.commit = watched
    store.add(*["started", "completed"] * 500, mission="short", at_once=True)
    await lab.until(lambda: total(lab, collector) == 1303 and collector.state.get("status/completed") == 500)
    keys = {key for state in written for key in state}
    assert keys == {f"stream/{STREAM}", "status/started", "status/completed", "durations"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"buckets": [2.0, 1.0]}, "buckets: expected numbers above 0 that grow"),
        ({"buckets": [float("nan")]}, "buckets: expected numbers above 0 that grow"),
        ({"pause": Duration(60)}, "pause must be"),
        ({"consumer": "x"}, "consumer needs group"),
        ({"claim_after": Duration(0)}, "claim_after must be longer than 0s"),
    ],
)
def test_options_that_contradict_each_other(options, words):
    """What cannot be meant is said, with the option's name."""
    with pytest.raises(ValueError, match=words):
        Missions.config_type(**options)


@pytest.mark.parametrize("group", [None, "counters"])
async def test_entries_too_large_to_be_read_together_are_read_in_turns(lab, store, monkeypatch, group):
    """Where so many entries at once are more than an answer may cost, fewer are asked for, and each counts once."""
    monkeypatch.setattr("agentd_plugins._redis_parser.LARGEST", 1 << 19)
    for number in range(300):
        data = json.dumps({"status": "completed", "mission_id": f"m{number}", "map": "x" * 10_000})
        store.client.xadd(STREAM, {"data": data})
    collector = await lab.start(Missions, start="beginning", group=group)
    await lab.until(lambda: total(lab, collector) == 300)
    await lab.until(lambda: lab.told(collector, "mission_stream_lost_entries_total") == {STREAM: 0})
    assert collector._link.count < 300
