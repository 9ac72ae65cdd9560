"""What a journal's file has, in numbers: for somebody who has to find out what is wrong without seeing the events."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from agentd.store import database

TYPES = 100
"""Types of events that are counted, the most frequent first."""


def statistics(path: Path) -> dict[str, Any]:
    """Return sizes, rows, cursors and dead letters. What cannot be read is told in the place of the numbers."""
    found: dict[str, Any] = {"files": {}}
    for suffix in ("", *database.COMPANIONS):
        with contextlib.suppress(OSError):
            found["files"][path.name + suffix] = database.beside(path, suffix).stat().st_size
    if not found["files"]:
        return found | {"error": f"{path} is not there"}
    try:
        with contextlib.closing(_connect(path)) as connection:
            return found | _ask(connection)
    except (*database.ERRORS, OSError) as error:
        return found | {"error": f"{path} cannot be read: {error}"}


def _connect(path: Path) -> sqlite3.Connection:
    if database.beside(path, "-wal").exists():
        return database.reader(path)
    # Nobody uses it. Read as any other, it would get companions.
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)


def _ask(connection: sqlite3.Connection) -> dict[str, Any]:
    def one(query: str) -> dict[str, Any]:
        cursor = connection.execute(query)
        return dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))

    def pairs(query: str, *parameters: object) -> dict[str, Any]:
        return {str(key): value for key, value in connection.execute(query, parameters).fetchall()}

    pragmas = ("user_version", "page_size", "page_count", "freelist_count", "auto_vacuum")
    return {
        "database": {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas},
        "events": one(
            "SELECT count(*) AS rows, min(seq) AS first, max(seq) AS last, total(length(data)) AS bytes, "
            "min(nullif(stored, 0)) AS oldest, max(stored) AS newest FROM events"
        ),
        "types": pairs("SELECT type, count(*) FROM events GROUP BY type ORDER BY 2 DESC LIMIT ?", TYPES),
        "cursors": pairs("SELECT sink, seq FROM cursors"),
        "dead_letters": pairs("SELECT sink, count(*) FROM dead GROUP BY sink"),
        "state_bytes": pairs("SELECT plugin, total(length(value)) FROM state GROUP BY plugin"),
    }
