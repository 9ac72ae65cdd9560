"""What can be saved from a database that was set aside."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

TABLES = {
    "cursors": ("sink", "seq"),
    "state": ("plugin", "key", "value"),
    "dead": ("number", "sink", "seq", "time", "reason", "type", "source", "data"),
    "events": ("seq", "type", "source", "stored", "crc", "data"),
}
"""The tables and columns that are saved, in the order of their worth."""

MOST = 50_000
"""Rows of a table that are saved at most: it is done while events wait in memory."""


@dataclass(slots=True)
class Salvaged:
    """Rows of the tables, as far as they could be read."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """The highest sequence number that was seen."""
        numbers = [row[0] for row in self.rows.get("events", ())] + [row[1] for row in self.rows.get("cursors", ())]
        return max((number for number in numbers if isinstance(number, int)), default=0)

    def restore(self, connection: sqlite3.Connection) -> None:
        """Write what was saved into a new database."""
        for table, rows in self.rows.items():
            columns = TABLES[table]
            marks = ", ".join("?" * len(columns))
            # Both are of the table above.
            insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
            for row in rows:
                with contextlib.suppress(sqlite3.IntegrityError):  # of a type that the table does not take
                    connection.execute(insert, row)

    def __str__(self) -> str:
        counts = [f"{len(rows)} {name}" for name, rows in self.rows.items() if rows]
        return "what could be saved: " + (", ".join(counts) or "nothing")


def salvage(path: Path) -> Salvaged:
    """Return what can be read of a database; of a newer agent's, the tables that are known."""
    saved = Salvaged()
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        return saved
    with contextlib.closing(connection):
        for table, columns in TABLES.items():
            rows = list(_rows(connection, table, columns))
            if table == "events":
                rows = sorted({row[0]: row for row in rows if _whole(row)}.values())
            saved.rows[table] = rows
    return saved


def _rows(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    # From both ends: a broken page hides what lies behind it, not what lies before.
    order = ("DESC", "ASC") if table == "events" else ("",)
    for direction in order:
        by = f"ORDER BY seq {direction}" if direction else ""
        try:
            # All three are of the tables above.
            query = f"SELECT {', '.join(columns)} FROM {table} {by} LIMIT {MOST}"  # noqa: S608
            yield from connection.execute(query)
        except (sqlite3.Error, OverflowError, UnicodeDecodeError):
            continue
        return


def _whole(row: tuple[Any, ...]) -> bool:
    return isinstance(row[0], int) and isinstance(row[5], bytes) and crc32(row[5]) == row[4]
