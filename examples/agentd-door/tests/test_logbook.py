"""The sink logbook."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
from agentd_door.logbook import Logbook, LogbookConfig

from agentd.testing import check_plugin, run_sink


def rows(path):
    """Return the type and the target of each row."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT type, target FROM events ORDER BY rowid").fetchall()


def test_events_are_rows(tmp_path):
    """Each event is a row, in order; one that comes again stays one row, and what is too old goes."""
    path = str(tmp_path / "book.db")
    old = {"id": "1", "type": "door.open", "timestamp": time.time() - 3600}
    events = [old, {"id": "2", "type": "door.left_open", "target": "gate"}, "door.closed"]
    for _ in range(2):
        found = run_sink(Logbook, events[:2], config={"path": path, "keep": "1h"})
        assert len(found.delivered) == 2
    run_sink(Logbook, events[2:], config={"path": path})
    assert rows(path) == [("door.left_open", "gate"), ("door.closed", None)]


def test_a_database_that_cannot_be_written_is_tried_again(tmp_path):
    """Nothing is rejected: the agent keeps what could not be written."""
    found = run_sink(Logbook, ["door.open"], config={"path": str(tmp_path / "missing" / "book.db")})
    assert "unable to open" in found.retried[0].why
    assert found.rejected == {}
    assert len(found.left) == 1


def test_the_probe(tmp_path):
    """It says whether the database could be written, and makes none."""
    path = tmp_path / "book.db"
    assert asyncio.run(Logbook(LogbookConfig(path=str(path))).probe()) == f"{path} can be written"
    assert not path.exists()
    with pytest.raises(OSError, match="missing cannot be written"):
        asyncio.run(Logbook(LogbookConfig(path=str(tmp_path / "missing" / "book.db"))).probe())


def test_the_contract(tmp_path):
    """It is all that agentd asks of a plugin."""
    check_plugin(Logbook, config={"path": str(tmp_path / "book.db")}, events=["door.open"])
