"""What can be saved from a database that was set aside."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from agentd.store import database
from agentd.store.identity import LAST

TABLES = {
    "cursors": ("sink", "seq"),
    "state": ("plugin", "key", "value"),
    "dead": ("number", "sink", "seq", "time", "reason", "type", "source", "data"),
    "events": ("seq", "type", "source", "stored", "crc", "data"),
}
"""The tables and columns that are saved, in the order of their worth."""

KEYS = {"cursors": 1, "state": 2, "dead": 1, "events": 1}
"""How many columns are the key of each."""

TYPES = {
    "cursors": (str, int),
    "state": (str, str, bytes),
    "dead": (int, str, int, float, str, str, str, bytes),
    "events": (int, str, str, float, int, bytes),
}

MOST = 50_000
"""Rows of a table that are saved at most: it is done while events wait in memory."""

LARGEST = 32 << 20
"""Bytes of a table that are saved at most: they are in memory for a while."""


@dataclass(slots=True)
class Salvaged:
    """Rows of the tables, as far as they could be read."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """The highest sequence number that was seen."""
        numbers = [row[0] for row in self.rows.get("events", ())] + [row[1] for row in self.rows.get("cursors", ())]
        return max(numbers, default=0)

    def restore(self, connection: sqlite3.Connection) -> None:
        """Write what was saved into a new database."""
        for table, rows in self.rows.items():
            columns = TABLES[table]
            marks = ", ".join("?" * len(columns))
            # Both are of the table above.
            insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
            connection.executemany(insert, rows)

    def __str__(self) -> str:
        counts = [f"{len(rows)} {name}" for name, rows in self.rows.items() if rows]
        return "what could be saved: " + (", ".join(counts) or "nothing")


def sound(seq: int, type: object, source: object, data: object, crc: object) -> bool:
    """Say whether an event is as it was written down, and where: its envelope ends with its number."""
    return (
        isinstance(data, bytes)
        and crc32(data) == crc
        and data.endswith(b":%d}}" % seq)
        and isinstance(type, str)
        and isinstance(source, str)
    )


def salvage(path: Path) -> Salvaged:
    """Return what can be read of a database; of a newer agent's, the tables that are known.

    Raises ``sqlite3.Error`` where the file cannot be looked into now, but may be later.
    """
    saved = Salvaged()
    try:
        connection = database.reader(path)
    except database.ERRORS as error:
        if database.code(error) in database.NOT_NOW:
            raise
        return saved
    with contextlib.closing(connection):
        for table, columns in TABLES.items():
            rows = {row[: KEYS[table]]: row for row in _rows(connection, table, columns) if _whole(table, row)}
            saved.rows[table] = sorted(rows.values())
    return saved


def _rows(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    # From both ends, the newest first: a damaged page hides what lies behind it, not what lies before.
    left = LARGEST
    for direction in ("DESC", "ASC"):
        by = ", ".join(f"{column} {direction}" for column in columns[: KEYS[table]])
        try:
            # All are of the tables above.
            query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {by} LIMIT {MOST}"  # noqa: S608
            for row in connection.execute(query):
                yield row
                left -= sum(len(value) for value in row if isinstance(value, bytes))
                if left < 0:
                    return
        except database.ERRORS as error:
            if database.code(error) in database.NOT_NOW:
                raise
            continue
        return


def _whole(table: str, row: tuple[Any, ...]) -> bool:
    """Say whether a row is what the table takes, and its number one that was given out."""
    if tuple(map(type, row)) != TYPES[table]:
        return False
    if table == "events":
        return sound(row[0], row[1], row[2], row[5], row[4])
    return table != "cursors" or 0 <= row[1] <= LAST
