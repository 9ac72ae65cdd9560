"""The database file: its schema and versions, what makes it safe, and what becomes of one that cannot be used."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentd.store.identity import LAST

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

ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What asking a database may raise: an error's own text, of a damaged schema, may be none that Python takes."""

NOT_NOW = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM)
"""What the disk or the machine refuses now, and may allow later; says nothing about the file."""


LOG = 4 << 20
"""Bytes of the write-ahead log, at most, after which it is written back. A transaction may make it longer."""

COMPANIONS = ("-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside a database."""


class StoreBusyError(Exception):
    """Another agent uses the state directory."""


class UnusableError(Exception):
    """The file is no database that this agent could use: the text says why."""


def damaged(error: Exception) -> bool:
    """Say whether an error says that the file itself is damaged, rather than the disk full or not to be written to."""
    if isinstance(error, UnicodeDecodeError):
        return True
    return code(error) in DAMAGED or "no such table" in str(error) or "no such column" in str(error)


def code(error: Exception) -> int:
    """Return SQLite's primary code of an error; 0 where SQLite has not raised it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def lock(directory: Path) -> int:
    """Take the state directory for this process, until it ends; return the descriptor that holds it.

    Raises ``StoreBusyError`` where another process has it.
    """
    path = directory / "agent.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = ""
        with contextlib.suppress(OSError):
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreBusyError(
            f"another agentd{f' (process {pid})' if pid else ''} uses the state directory {directory}: stop it, or "
            "give this one a directory of its own by STATE_DIRECTORY"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    with contextlib.suppress(OSError):  # it is for people only
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def holds(descriptor: int, directory: Path) -> bool:
    """Say whether a lock that was taken still is that of the directory, which may have been made anew since."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(directory / "agent.lock"))
    except FileNotFoundError:
        return False


def unlock(descriptor: int) -> None:
    """Let the state directory go."""
    os.close(descriptor)


def connect(path: Path | None, log_size: int = LOG) -> sqlite3.Connection:
    """Open the database for writing, making or upgrading it where that is needed; None makes one in memory.

    Its write-ahead log is written back when it has so many bytes, and made smaller again where it had more.

    Raises ``UnusableError`` for a file that has to be set aside, and ``sqlite3.Error`` or ``OSError`` where the disk
    does not let it be opened now.
    """
    connection = _open(str(path) if path else ":memory:")
    try:
        _prepare(connection, min(LOG, log_size))
    except ERRORS as error:
        connection.close()
        # What is asked here is right: an error without a code of its own says that the file is not what it claims.
        if damaged(error) or code(error) == sqlite3.SQLITE_ERROR or _claims_to_be_read_only(error, path):
            raise UnusableError(f"it is damaged: {error}") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open the database for reading only."""
    connection = _open(f"file:{_quoted(path)}?mode=ro", uri=True)
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def glance(path: Path) -> sqlite3.Connection:
    """Open the database for reading where nothing can be written, not even what readers share; nobody else may."""
    ahead = beside(path, "-wal").exists()
    connection = _open(f"file:{_quoted(path)}?{'mode=rw' if ahead else 'immutable=1'}", uri=True)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the write-ahead log is in memory then
    return connection


def begun(path: Path) -> bool:
    """Say whether there is a database, after finishing what a sudden end interrupted in ``replace``."""
    new = beside(path, ".new")
    remove(beside(new, "-copy"))
    if not path.exists() and new.exists():
        put_in_place(new, path)
    return path.exists() and path.stat().st_size > 0


def beside(path: Path, suffix: str) -> Path:
    """Return the name of a file that belongs to a database."""
    return path.with_name(path.name + suffix)


def places(path: Path) -> list[tuple[int, int] | None]:
    """Return where a database and its write-ahead log are, as device and inode; None for what is not there."""
    name = str(path)
    return [_place(name), _place(f"{name}-wal")]


def copy(connection: sqlite3.Connection, new: Path) -> None:
    """Write all that a connection has into a new file, which has it on disk, or is not there, whatever happens."""
    unfinished = beside(new, "-copy")
    remove(unfinished)
    try:
        with contextlib.closing(_open(str(unfinished))) as target:
            target.execute("PRAGMA journal_mode = MEMORY")  # there is nothing to go back to
            connection.backup(target)
        unfinished.rename(new)
    except BaseException:
        remove(unfinished)  # it may be what fills the disk
        raise


def remove(path: Path) -> None:
    """Remove a database, with what belongs to it."""
    for suffix in ("", *COMPANIONS):
        beside(path, suffix).unlink(missing_ok=True)


def _open(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # Transactions are begun and ended by hand; another thread may use a connection, one at a time.
    connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False, uri=uri, timeout=1.0)
    connection.text_factory = _text
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    """Say how the database is to be used; this may be what finds it damaged."""
    connection.execute("PRAGMA cache_size = -1024")  # KiB: whatever the backlog, memory stays as it is
    connection.execute("PRAGMA cell_size_check = ON")


def _prepare(connection: sqlite3.Connection, log_size: int) -> None:
    _set_up(connection)
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
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(16, log_size // page)}")
    connection.execute(f"PRAGMA journal_size_limit = {log_size}")
    try:
        with transaction(connection):
            for script in VERSIONS[version:]:
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
            touch(connection)  # a disk or a header that allows no writing says so now
    except sqlite3.OperationalError as error:
        if version < len(VERSIONS) or code(error) != sqlite3.SQLITE_FULL:
            raise  # what is there can be read, though, while the disk is full
    for table in ("events", "cursors", "state", "dead"):  # a file whose first pages are damaged says so now
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608  # the names are these
    connection.execute("SELECT * FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    if not 0 <= highest(connection) <= LAST:
        raise UnusableError("it is damaged: it has a number that no event has")


def highest(connection: sqlite3.Connection) -> int:
    """Return the highest number that was ever written down, as far as the database knows."""
    query = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(seq) FROM cursors), 0))"
    (number,) = connection.execute(query).fetchone()
    return int(number)


def touch(connection: sqlite3.Connection) -> None:
    """Write the version of the schema, though it may be there already: some page has to be written."""
    connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")


def checkpoint(connection: sqlite3.Connection) -> None:
    """Write the write-ahead log back, and make it empty, as far as the disk and readers allow it now."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


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


def replace(path: Path, new: Path, companions: Sequence[str] = COMPANIONS) -> Path:
    """Put a new database, closed, in the place of one that cannot be used, and that aside; return where that is.

    ``companions`` are those beside it that are its own. The name says when. Wherever this is interrupted, ``begun``
    finishes it.
    """
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.{when}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{when}-{number}")
    for suffix in ("", *companions):  # first the file itself: from then on the new one counts
        with contextlib.suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(aside, suffix))
    put_in_place(new, path)
    return aside


def put_in_place(new: Path, path: Path) -> None:
    """Give a new database, closed, the name of one that is gone or of no use any more."""
    for suffix in COMPANIONS:  # SQLite would take another's write-ahead log for this one's
        beside(path, suffix).unlink(missing_ok=True)
    new.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _claims_to_be_read_only(error: Exception, path: Path | None) -> bool:
    """Say whether it is the file's header that forbids writing, and not the disk."""
    return code(error) == sqlite3.SQLITE_READONLY and path is not None and os.access(path, os.W_OK)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")  # of a damaged event; one must not hide all behind it


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def text(key: object) -> str:
    """Return a key of a plugin's state. Raises ``TypeError`` for what is none."""
    if not isinstance(key, str) or storable(key) != key:
        raise TypeError(f"state: expected texts as keys; found {key!r}")
    return key


def storable(given: str) -> str:
    """Return a text without what UTF-8 does not have."""
    return given.encode(errors="replace").decode()
