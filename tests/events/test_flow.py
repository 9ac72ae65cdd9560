"""The second flow as a whole: what it tells of itself."""

import asyncio
import sqlite3

import msgspec

from agentd.config import JournalSettings
from agentd.events.envelope import Event
from agentd.events.flow import Flow
from agentd.options import Size


async def test_what_was_lost_is_told_at_the_end(tmp_path, caplog):
    """Events for which there was no room are told of by an agent that stops before it looks the next time."""
    flow = Flow(JournalSettings(memory=Size(100_000)), tmp_path, {}, None)
    flow.open()
    await asyncio.sleep(0)  # the first look, at nothing
    for _ in range(1000):  # more than there is room for, before anything can be written down
        flow.bus.emit(Event(type="a.b", payload={"text": "x" * 10_000}))
    await flow.close(5.0)
    assert "events were lost" in caplog.text
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        ((data,),) = connection.execute("SELECT data FROM events WHERE type = 'journal.dropped'").fetchall()
    payload = msgspec.json.decode(data)["payload"]
    assert payload["reason"] == "memory"
    assert payload["events"] > 0
