"""Damaged files: what can be saved of them, and that the agent goes on whatever is in them."""

import asyncio
import random
import shutil
import sqlite3

import pytest

from agentd.events.envelope import Record
from agentd.plugin import NotDurable
from agentd.store import database
from agentd.store import file as module
from agentd.store.identity import GENERATION
from agentd.store.salvage import salvage


async def filled(lab, events=3000):
    """Fill the journal of the lab, close it, and return its path."""
    journal = await lab.open()
    lab.emit(journal, *range(events), size=200)
    await lab.commit(journal, events, state={"position": 5})
    journal.move("sinks.one", 1000)
    await journal.bury("sinks.one", [Record(1, "a.b", "s", b"{}")], "why")
    await lab.close()
    return lab.folder / "journal.db"


async def test_a_damaged_page_found_by_a_reader(lab):
    """A reader's finding has the file set aside under its time; all that can be read, and what is kept, is saved."""
    path = await filled(lab)
    lab.flip(path, random.Random(1), 4000, 300_000, 330_000)
    journal = await lab.open()
    at = 0
    async with asyncio.timeout(60):
        while not (asides := journal.asides()):
            at = (await journal.read(at)).reached
            await asyncio.sleep(0.01)
    (aside,) = asides
    assert aside.path.exists()
    assert aside.path.name.startswith("journal.db.2")
    assert "damaged" in aside.reason
    assert (journal.cursor("sinks.one"), journal.state("plugin")) == (1000, {"position": 5})
    await lab.until(lambda: not journal.problem)
    assert await journal.count_dead() == {"sinks.one": 1}
    await lab.insist(journal, 5000)
    numbers = await lab.numbers(journal)
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 2500
    assert (await lab.records(journal))[-1].seq > GENERATION
    assert journal.asides() == []
    journal = await lab.open()
    assert (journal.cursor("sinks.one"), journal.state("plugin")) == (1000, {"position": 5})
    assert await lab.numbers(journal) == numbers


@pytest.mark.parametrize("seed", range(25))
async def test_random_damage(lab, seed):
    """Wherever bits were flipped or the end is missing, the journal takes events, and what it gives is what it got."""
    path, chance = await filled(lab, 800), random.Random(seed)
    if seed % 3:
        lab.flip(path, chance, chance.choice((1, 10, 1000)))
    else:
        with path.open("r+b") as file:
            file.truncate(chance.randrange(path.stat().st_size))
    journal = await lab.open()
    at, records = 0, []
    while (found := await asyncio.wait_for(journal.read(at), 60)).reached > at:
        at = found.reached
        records += found.records
        await asyncio.sleep(0.02)
    lab.emit(journal, 9999)
    await lab.until(lambda: not journal.problem)
    for attempt in range(3):  # one may be told of what a reader found meanwhile
        try:
            await lab.commit(journal, 10_000 + attempt)
            break
        except NotDurable:
            await lab.until(lambda: not journal.problem)
    for record in records:
        assert record.event.payload["n"] == record.seq - 1
    after = await lab.records(journal, 801)
    assert 9999 in [record.event.payload["n"] for record in after]
    assert after[-1].event.payload["n"] >= 10_000
    assert after[-1].seq < 4 * GENERATION


@pytest.mark.parametrize("what", ["text", "zeros", "foreign", "newer", "directory"])
async def test_what_is_no_journal(lab, what):
    """Texts, zeros, others' and newer databases are set aside as they are; numbers go on above the old ones."""
    path = await filled(lab, 10)
    if what == "text":
        path.write_text("hello\n" * 999)
    elif what == "zeros":
        path.write_bytes(b"\0" * 8192)
    elif what == "foreign":
        path.unlink()
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE events (seq)")
        other.commit()
        other.close()
    elif what == "newer":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        path.unlink()
        path.mkdir()
        journal = await lab.open()
        assert journal.problem
        lab.emit(journal, 1)
        path.rmdir()
        await lab.until(lambda: not journal.problem)
        return
    before = path.read_bytes()
    journal = await lab.open()
    (aside,) = journal.asides()
    if what != "newer":  # of which the write-ahead log is folded in while it is read
        assert aside.path.read_bytes() == before
    assert not journal.problem
    await lab.commit(journal, 77)
    records = await lab.records(journal)
    assert records[-1].seq == GENERATION + 1
    assert len(records) == (12 if what == "newer" else 1)
    assert journal.state("plugin") == ({"position": 5} if what == "newer" else {})


async def test_an_event_that_was_changed_is_left_out(lab):
    """An event whose envelope, number or names are not what was written is left out, and counted; all others come."""
    path = await filled(lab, 50)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE events SET data = CAST(replace(data, 'xxx', 'xyx') AS BLOB) WHERE seq = 7")
    connection.execute("UPDATE events SET seq = 700000 WHERE seq = 8")
    connection.execute("UPDATE events SET type = CAST(x'ff61' AS TEXT) WHERE seq = 9")
    connection.execute("UPDATE events SET stored = 1e300 WHERE seq = 10")
    connection.commit()
    connection.close()
    journal = await lab.open()
    assert [record.seq for record in await lab.records(journal)] == [n for n in range(1, 52) if n not in (7, 8)]
    assert journal.damaged >= 1
    await lab.commit(journal, 51)


async def test_two_findings_are_one(lab):
    """When several readers come upon the damage at once, one file is set aside, and the new one stays."""
    path = await filled(lab)
    lab.flip(path, random.Random(1), 9000, 100_000, 330_000)
    journal = await lab.open()
    await asyncio.gather(*(journal.read(at) for at in range(0, 3000, 50)), return_exceptions=True)
    await lab.until(lambda: journal._writer.file.aside and not journal.problem)
    await lab.insist(journal, 1)
    assert len(journal.asides()) == 1


async def test_nothing_is_lost_when_setting_aside_fails(lab, monkeypatch):
    """While there is no room for a new file, the damaged one stays as it is; when there is, all is saved from it."""
    path = await filled(lab)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    real, full = database.connect, [True]

    def connect(name, *more):
        if full and name.name.endswith(".new"):
            raise sqlite3.OperationalError("database or disk is full")
        return real(name, *more)

    monkeypatch.setattr(module.database, "connect", connect)
    journal = await lab.open()
    assert "full" in journal.problem
    assert journal.asides() == []
    lab.emit(journal, 5000)
    assert (journal.cursor("sinks.one"), journal.state("plugin")) == (1000, {"position": 5})
    full.clear()
    await lab.until(lambda: not journal.problem)
    assert len(journal.asides()) == 1
    await lab.until(lambda: not journal.problem)
    await lab.insist(journal, 5001)
    assert await lab.numbers(journal) == [*range(3001), 5000, 5001]


def test_salvaging_says_when_it_cannot_look(tmp_path):
    """A file that cannot be opened now is not taken for one of which nothing can be saved."""
    with pytest.raises(sqlite3.OperationalError):
        salvage(tmp_path / "nothing.db")


async def test_a_damaged_write_ahead_log(lab):
    """Whatever is in the write-ahead log, the journal goes on, with all events or a beginning of them."""
    path = await filled(lab, 300)
    connection = database.connect(path)
    for seq in range(302, 340):
        with database.transaction(connection):
            connection.execute("INSERT INTO cursors VALUES (?, ?)", (f"sinks.{seq}", seq))
    folder = lab.folder / "copy"
    for seed in range(8):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ("journal.db", "journal.db-wal", "agent.json"):
            shutil.copy(lab.folder / name, folder / name)
        lab.flip(folder / "journal.db-wal", random.Random(seed), 20)
        journal = await lab.open(folder)
        assert (await lab.numbers(journal))[:301] == list(range(301))
        await lab.commit(journal, 1)
        await lab.close(folder)
    connection.close()
