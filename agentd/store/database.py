"""The database file: its schema and versions, what makes it safe, and what becomes of one that cannot be used."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

VERSIONS = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, type TEXT NOT NULL, source TEXT NOT NULL,
        stored REAL NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE cursors (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE state (
        plugin TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (plugin, key)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE dead (
        number INTEGER PRIMARY KEY, sink TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL,
        type TEXT NOT NULL, source TEXT NOT NULL, data BLOB NOT NULL
    ) STRICT;
    """,
)
"""What each version of the schema adds to the one before. ``stored`` is when a row was written, in seconds since 1970,
or 0 where the clock was not synchronised; ``crc`` is the CRC-32 of the envelope."""

APPLICATION = 0x61676574
"""What tells the file from other databases (PRAGMA application_id): ``aget``."""

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreBusyError(Exception):
    """Another agent uses the state directory."""


class UnusableError(Exception):
    """The file is no database that this agent could use: the text says why."""


def damaged(error: sqlite3.Error) -> bool:
    """Say whether an error says that the file itself is broken, rather than the disk full or not to be written to."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in DAMAGED or "no such table" in str(error) or "no such column" in str(error)


def lock(directory: Path) -> int:
    """Take the state directory for this process, until it ends; return the descriptor that holds it.

    Raises ``StoreBusyError`` where another process has it.
    """
    path = directory / "agent.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(OSError):
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreBusyError(
            f"another agentd{f' (process {pid})' if pid else ''} uses the state directory {directory}: stop it, or "
            "give this one a directory of its own by STATE_DIRECTORY"
        ) from None
    with contextlib.suppress(OSError):  # it is for people only
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def unlock(descriptor: int) -> None:
    """Let the state directory go."""
    os.close(descriptor)


def connect(path: Path | None) -> sqlite3.Connection:
    """Open the database for writing, making or upgrading it where that is needed; None makes one in memory.

    Raises ``UnusableError`` for a file that has to be set aside, and ``sqlite3.Error`` or ``OSError`` where the disk
    does not let it be opened now.
    """
    connection = _open(str(path) if path else ":memory:")
    try:
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        if damaged(error):
            raise UnusableError(f"it is damaged: {error}") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open the database for reading only."""
    connection = _open(f"file:{_quoted(path)}?mode=ro", uri=True)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _open(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # Transactions are begun and ended by hand; another thread may use a connection, one at a time.
    connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False, uri=uri, timeout=1.0)
    connection.execute("PRAGMA cache_size = -1024")  # KiB: whatever the backlog, memory stays as it is
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION:
        raise UnusableError("it is a database of another program")
    if version > len(VERSIONS):
        raise UnusableError(f"a newer agentd made it: its schema is version {version}, this one knows {len(VERSIONS)}")
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect before the first table alone
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL could take back at a power cut what was acknowledged, and with group commit is no faster.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {4 << 20}")
    if version < len(VERSIONS):
        with transaction(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            for script in VERSIONS[version:]:
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")
    for table in ("events", "cursors", "state", "dead"):  # a file whose first pages are broken says so now
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608  # the names are these
    connection.execute("SELECT * FROM events ORDER BY seq DESC LIMIT 1").fetchone()


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of what is inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise


def set_aside(path: Path) -> Path:
    """Rename a database that cannot be used, with what belongs to it; return its new name, which says when."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.{when}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{when}-{number}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
