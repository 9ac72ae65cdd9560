"""Events as rows of an SQLite database, each once, however often it is sent."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from agentd.plugin import Config, Duration, Record, Sink, hookimpl


class LogbookConfig(Config):
    """Options of the sink: keys of its section."""

    path: str
    """The database; it is made where it is not there."""
    keep: Duration = Duration(30 * 86400)
    """How long an event is kept, by the time at which it happened."""


class Logbook(Sink[LogbookConfig]):
    """Writes events into an SQLite database."""

    name = "logbook"

    async def send(self, events: Sequence[Record]) -> None:
        """Write events down. What SQLite raises has the agent send them again later."""
        await self.in_worker(write, self.config.path, events, self.clock.time() - self.config.keep)

    async def probe(self) -> str:
        """Say whether the database could be written, and change nothing."""
        await self.in_worker(check, Path(self.config.path))
        return f"{self.config.path} can be written"


def check(path: Path) -> None:
    """Raise ``OSError`` where a file, or the folder that it would be made in, cannot be written."""
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise OSError(f"{target} cannot be written")


def write(path: str, events: Sequence[Record], oldest: float) -> None:
    """Write events in one transaction, and delete those from before ``oldest``, in seconds since 1970."""
    rows = [
        (event.id, event.timestamp, event.type, event.target, record.json.decode())
        for record in events
        for event in [record.event]
    ]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, time REAL, type TEXT, target TEXT, event TEXT)"
        )
        database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)", rows)
        database.execute("DELETE FROM events WHERE time < ?", (oldest,))


@hookimpl
def agentd_sinks() -> list[type[Logbook]]:
    """Register the sink."""
    return [Logbook]
