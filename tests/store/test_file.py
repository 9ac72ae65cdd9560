"""Journals whose file is removed, replaced or hidden while they are open: what was acknowledged stays."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess

import pytest

from agentd.plugin import NotDurable
from agentd.store import database
from agentd.store import writer as module

NAMES = ("journal.db", "journal.db-wal", "journal.db-shm")


def on_disk(folder):
    """Return how many events another program finds at the journal's name."""
    connection = sqlite3.connect(f"file:{folder}/journal.db?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
    finally:
        connection.close()


def remove(*names):
    def take(folder):
        for name in names:
            (folder / name).unlink()

    return take


def vanish(folder):
    """Remove the whole directory, at one moment."""
    shutil.rmtree(folder.rename(folder.with_name("gone")))


def replace(folder):
    """Put another journal there, as whoever restores an old copy does."""
    other = folder / "other.db"
    connection = database.connect(other)
    connection.execute("INSERT INTO events VALUES (1, 'other.event', 'other', 0, 0, x'00')")
    connection.close()
    other.replace(folder / "journal.db")


def move(folder):
    """Move the whole directory away, while its files are open."""
    folder.rename(folder.with_name("away"))


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (remove("journal.db"), "removed"), (remove(*NAMES), "removed"), (remove("journal.db-wal"), "removed"),
        (vanish, "removed"), (move, "removed"), (replace, "taken its place"),
    ],
    ids=("file", "all", "log", "directory", "moved", "replaced"),
)  # fmt: skip
async def test_what_is_lost_at_its_name_is_written_anew(lab, tmp_path, take, reason):
    """A commit after the file was removed returns when it and all before it are at the journal's name, once each."""
    folder = tmp_path / "state"
    folder.mkdir()
    journal = await lab.open(folder)
    lab.emit(journal, *range(3000), size=200)
    await lab.commit(journal, 3000, state={"position": 5})
    journal.move("sinks.one", 7)
    assert await lab.numbers(journal) == list(range(3001))  # a reader has the old file open
    await lab.until(lambda: not journal._moved and not journal._saving)
    take(folder)
    await lab.commit(journal, 3001, state={"position": 6})
    assert on_disk(folder) == 3002
    (aside,) = journal.asides()
    assert reason in aside.reason
    assert bool(aside.path) == (take is replace)
    if aside.path:
        with contextlib.closing(database.reader(aside.path)) as other:
            assert other.execute("SELECT type FROM events").fetchall() == [("other.event",)]
    assert await lab.numbers(journal) == list(range(3002))
    await lab.commit(journal, 3002)
    assert (folder / "journal.db-wal").exists(), "the old connections removed the new log when they were closed"
    assert on_disk(folder) == 3003
    assert journal.asides() == []
    journal = await lab.open(folder)
    assert await lab.numbers(journal) == list(range(3003))
    assert (journal.state("plugin"), journal.cursor("sinks.one")) == ({"position": 6}, 7)
    others = {each.name for each in folder.iterdir()} - {*NAMES, "agent.json"}
    assert all(aside.path and name.startswith(aside.path.name) for name in others)


async def test_it_is_noticed_though_nothing_comes(lab, monkeypatch):
    """A file that is removed while no events come is written anew within seconds, and at the end at the latest."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    journal = await lab.open()
    await lab.commit(journal, *range(10))
    remove(*NAMES)(lab.folder)
    await lab.until(lambda: journal._writer.file.aside)
    assert on_disk(lab.folder) == 10
    monkeypatch.setattr(module, "LOOK_EVERY", 60.0)
    await asyncio.sleep(0.2)
    await lab.commit(journal, 10)
    remove(*NAMES)(lab.folder)
    journal = await lab.open()
    assert await lab.numbers(journal) == list(range(11))


async def test_a_file_that_is_removed_within_a_transaction(lab, monkeypatch):
    """Where the file goes between the beginning and the end of a transaction, that is made once more."""
    journal = await lab.open()
    await lab.commit(journal, 0)
    real, files = module.crc32, [lab.folder / name for name in NAMES]

    def removing(data):
        while files:
            files.pop().unlink()
        return real(data)

    monkeypatch.setattr(module, "crc32", removing)
    await lab.commit(journal, 1)
    assert not files
    assert on_disk(lab.folder) == 2
    await lab.commit(journal, 2)
    assert await lab.numbers(journal) == [0, 1, 2]


async def test_nothing_is_lost_while_it_cannot_be_written_anew(lab, tmp_path, monkeypatch):
    """While the new file cannot be written, nothing is confirmed, and the only copy stays open, whatever fails."""
    folder = tmp_path / "state"
    folder.mkdir()
    journal = await lab.open(folder)
    await lab.commit(journal, *range(100))
    real, failures = database.copy, [sqlite3.OperationalError("disk I/O error"), sqlite3.DatabaseError("no such table"),
                                     PermissionError(13, "Permission denied")]  # fmt: skip

    def copy(connection, new):
        if len(failures) > 1:
            raise failures.pop()
        if failures:
            raise failures[0]
        real(connection, new)

    monkeypatch.setattr(database, "copy", copy)
    monkeypatch.setattr(module, "RETRY", (0.01, 0.01))
    vanish(folder)
    with pytest.raises(NotDurable):
        await lab.commit(journal, 100)
    lab.emit(journal, 101)
    await lab.until(lambda: len(failures) == 1)
    with pytest.raises(NotDurable):
        await lab.commit(journal, 102)
    assert await lab.numbers(journal) == [], "what waits was read before what came before it"
    failures.clear()
    await lab.insist(journal, 103)
    assert await lab.numbers(journal) == [*range(100), 101, 103]
    assert on_disk(folder) == 102


def unmounted(folder):
    """Take the disk away, though files on it are open."""
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_disk_that_is_mounted_above_it(lab, tmp_path, mount):
    """A disk that comes over the directory gets the journal; when it goes away again, all that came is there, too."""
    folder = tmp_path / "state"
    folder.mkdir()
    journal = await lab.open(folder)
    await lab.commit(journal, 0)
    mount(folder, "8m")
    await lab.commit(journal, 1)
    assert on_disk(folder) == 2
    unmounted(folder)
    await lab.commit(journal, 2)
    assert on_disk(folder) == 3
    assert len(list(folder.glob("journal.db.*Z"))) == 1
    assert await lab.numbers(journal) == [0, 1, 2]


def test_an_unfinished_copy_is_never_taken_for_a_journal(tmp_path, monkeypatch):
    """Whatever ends the copying, there is no new file, and what there was of it is removed: at once or at the start."""
    path = tmp_path / "journal.db"
    connection = database.connect(path)
    new = database.beside(path, ".new")
    full = sqlite3.connect(tmp_path / "full.db")
    full.execute("PRAGMA max_page_count = 2")
    monkeypatch.setattr(database, "_open", lambda _name: full)
    with pytest.raises(sqlite3.Error, match="full"):
        database.copy(connection, new)
    monkeypatch.undo()
    database.copy(connection, new)
    new.rename(database.beside(new, "-copy"))
    connection.close()
    path.unlink()
    assert not database.begun(path)
    assert [each.name for each in tmp_path.iterdir()] == ["full.db"]


def test_a_lock_is_that_of_a_directory(tmp_path):
    """A lock of a directory that was made anew is known to be none any more, so that it can be taken again."""
    folder = tmp_path / "state"
    folder.mkdir()
    first = database.lock(folder)
    assert database.holds(first, folder)
    shutil.rmtree(folder)
    assert not database.holds(first, folder)
    folder.mkdir()
    second = database.lock(folder)
    assert not database.holds(first, folder)
    assert database.holds(second, folder)
    database.unlock(first)
    with pytest.raises(database.StoreBusyError):
        database.lock(folder)
    database.unlock(second)
