"""The second flow as a whole: what it tells of itself."""

import asyncio
import contextlib
import shutil
import sqlite3

import msgspec
import pytest

from agentd.config import JournalSettings
from agentd.events.envelope import Event
from agentd.events.flow import Flow
from agentd.options import Size
from agentd.plugin import NotDurable
from agentd.store import database, identity


async def test_what_was_lost_is_told_at_the_end(tmp_path, caplog):
    """Events for which there was no room are told of by an agent that stops before it looks the next time."""
    flow = Flow(JournalSettings(memory=Size(100_000)), tmp_path, {}, None)
    flow.open()
    await asyncio.sleep(0)  # the first look, at nothing
    for _ in range(1000):  # more than there is room for, before anything can be written down
        flow.bus.emit(Event(type="a.b", payload={"text": "x" * 10_000}))
    await flow.close(5.0)
    assert "events were lost" in caplog.text
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        ((data,),) = connection.execute("SELECT data FROM events WHERE type = 'journal.dropped'").fetchall()
    payload = msgspec.json.decode(data)["payload"]
    assert payload["reason"] == "memory"
    assert payload["events"] > 0


async def test_a_state_directory_that_is_removed(tmp_path):
    """The whole directory comes back with the agent's identity, its lock and its events, and it is told why."""
    folder = tmp_path / "state"
    folder.mkdir()
    flow = Flow(JournalSettings(), folder, {}, None)
    flow.open()
    who = identity.read(folder)
    await flow.bus.commit([Event(type="a.b")])
    shutil.rmtree(folder.rename(tmp_path / "gone"))
    await flow.bus.commit([Event(type="a.c")])
    assert identity.read(folder) == who
    with pytest.raises(database.StoreBusyError):
        database.lock(folder)
    await flow._look()
    await flow.close(5.0)
    database.unlock(database.lock(folder))
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection:
        rows = connection.execute("SELECT type, data FROM events ORDER BY seq").fetchall()
    assert [type_ for type_, _ in rows] == ["a.b", "a.c", "journal.restored"]
    payload = msgspec.json.decode(rows[-1][1])["payload"]
    assert payload == {"file": None, "reason": "it was removed while it was in use"}


async def test_a_directory_that_another_agent_has_taken(tmp_path):
    """Where another agent has begun in the directory that was removed, nothing is confirmed until it ends."""
    folder = tmp_path / "state"
    folder.mkdir()
    flow = Flow(JournalSettings(), folder, {}, None)
    flow.open()
    await flow.bus.commit([Event(type="a.b")])
    (tmp_path / "taken").mkdir()
    other = database.lock(tmp_path / "taken")
    folder.rename(tmp_path / "gone")
    (tmp_path / "taken").rename(folder)
    with pytest.raises(NotDurable, match="another agentd"):
        await flow.bus.commit([Event(type="a.c")])
    assert not (folder / "journal.db").exists()
    database.unlock(other)
    await flow.close(5.0)
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection:
        assert connection.execute("SELECT type FROM events").fetchall() == [("a.b",)]
