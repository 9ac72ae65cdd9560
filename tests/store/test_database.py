"""The file: its lock, its versions, and which files are refused."""

import random
import sqlite3
import subprocess
import sys

import pytest

from agentd.store import database

HOLDER = """
import sys, time
from pathlib import Path
from agentd.store import database
held = database.lock(Path(sys.argv[1]))
print("has it", flush=True)
sys.stdin.read()
"""


def test_two_agents_on_one_directory(tmp_path):
    """The second agent is told which process has the directory; when that is killed, it is free at once."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"has it\n"
        with pytest.raises(database.StoreBusyError, match=f"process {child.pid}.*STATE_DIRECTORY"):
            database.lock(tmp_path)
    finally:
        child.kill()
        child.communicate()
    database.unlock(database.lock(tmp_path))
    database.unlock(database.lock(tmp_path))


def test_what_is_no_lock_is_not_taken_for_another_agent(tmp_path, monkeypatch):
    """A file system that knows no locks is said to be what it is."""

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(database.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks"):
        database.lock(tmp_path)


def test_a_new_database_is_safe(tmp_path):
    """It is written ahead, flushed at each commit, shrinks, and says whose it is."""
    connection = database.connect(tmp_path / "j.db")
    ask = lambda name: connection.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: E731
    assert (ask("journal_mode"), ask("synchronous"), ask("auto_vacuum")) == ("wal", 2, 2)
    assert (ask("application_id"), ask("user_version")) == (database.APPLICATION, len(database.VERSIONS))
    connection.close()
    database.connect(tmp_path / "j.db").close()


def test_an_older_schema_is_upgraded(tmp_path):
    """A database of each version before gets what is missing, and keeps what it has."""
    for version in range(1, len(database.VERSIONS)):
        path = tmp_path / f"{version}.db"
        old = sqlite3.connect(path)
        for script in database.VERSIONS[:version]:
            old.executescript(script)
        old.execute(f"PRAGMA application_id = {database.APPLICATION}")
        old.execute(f"PRAGMA user_version = {version}")
        old.execute("INSERT INTO cursors VALUES ('sinks.one', 17)")
        old.commit()
        old.close()
        new = database.connect(path)
        assert new.execute("SELECT * FROM cursors").fetchall() == [("sinks.one", 17)]
        assert new.execute("PRAGMA user_version").fetchone() == (len(database.VERSIONS),)
        assert new.execute("SELECT count(*) FROM dead").fetchone() == (0,)
        new.close()


def foreign(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE something (else_ TEXT)")
    other.commit()
    other.close()


def newer(path):
    connection = database.connect(path)
    connection.execute(f"PRAGMA user_version = {len(database.VERSIONS) + 1}")
    connection.close()


def absurd(path):
    connection = database.connect(path)
    connection.execute("INSERT INTO cursors VALUES ('sinks.one', ?)", (1 << 60,))
    connection.close()


def lower(path):
    connection = database.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("a text\n" * 1000), "not a database"),
        (lambda path: path.write_bytes(b"\0" * 8192), "not a database"),
        (foreign, "another program"),
        (newer, "newer agentd"),
        (absurd, "number that no event has"),
        (lower, "already exists"),
    ],
)
def test_what_cannot_be_used_is_said_to_be_so(tmp_path, make, why):
    """Texts, others' databases, those of newer agents and damaged ones are told apart, and left as they are."""
    path = tmp_path / "j.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(database.UnusableError, match=why):
        database.connect(path)
    assert len(path.read_bytes()) == len(before)


def test_a_damaged_header_never_stops_the_agent_for_good(tmp_path):
    """Whichever bit of the file's header is wrong, the database works, or is said to be damaged."""
    path = tmp_path / "j.db"
    connection = database.connect(path)
    connection.execute("INSERT INTO cursors VALUES ('sinks.one', 17)")
    connection.close()
    good = path.read_bytes()
    for bit in range(0, 800, 1):
        for suffix in database.COMPANIONS:
            database.beside(path, suffix).unlink(missing_ok=True)
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            connection = database.connect(path)
        except database.UnusableError:
            continue
        connection.execute("INSERT INTO cursors VALUES ('sinks.two', 18)")
        connection.close()


def test_a_sudden_end_while_a_file_is_replaced(tmp_path, monkeypatch):
    """Wherever the agent is killed while it puts a new file in the place of a damaged one, the next start has it."""
    for steps in range(8):
        folder = tmp_path / str(steps)
        folder.mkdir()
        path, new = folder / "j.db", folder / "j.db.new"
        before, after = database.connect(path), database.connect(new)
        for cursor, connection in enumerate((before, after), 1):
            connection.execute("INSERT INTO cursors VALUES ('sinks.one', ?)", (cursor,))
        after.close()  # and not the other, whose write-ahead log would be gone
        left = iter(range(steps))
        with monkeypatch.context() as patched:
            for operation in ("rename", "unlink"):
                real = getattr(type(path), operation)

                def step(self, *rest, real=real, left=left, **named):
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return real(self, *rest, **named)

                patched.setattr(type(path), operation, step)
            try:
                database.replace(path, new)
                ended = True
            except KeyboardInterrupt:
                ended = False
        assert database.begun(path)
        connection = database.connect(path)
        (cursor,) = connection.execute("SELECT seq FROM cursors").fetchone()
        assert cursor == (1 if steps == 0 else 2)
        connection.close()
        before.close()
    assert ended


def test_names_of_directories_mean_nothing(tmp_path):
    """A state directory may have any name: question marks and percent signs are no options of SQLite's."""
    folder = tmp_path / "a?mode=memory%20#b"
    folder.mkdir()
    database.connect(folder / "j.db").close()
    for look in (database.reader, database.glance):
        connection = look(folder / "j.db")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        connection.close()


def test_random_damage_is_an_error_of_sqlite(tmp_path):
    """A file with flipped bits opens, or is unusable; nothing else is raised."""
    path = tmp_path / "j.db"
    connection = database.connect(path)
    rows = [(n, "t", "s", 1.0, 1, b"x" * 300) for n in range(1, 400)]
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    good, chance, refused = path.read_bytes(), random.Random(3), 0
    for _ in range(150):
        for suffix in database.COMPANIONS:
            database.beside(path, suffix).unlink(missing_ok=True)
        data = bytearray(good)
        for _ in range(30):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            database.connect(path).close()
        except database.UnusableError:
            refused += 1
    assert 0 < refused < 150
