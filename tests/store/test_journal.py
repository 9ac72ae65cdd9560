"""The journal as a whole: what was acknowledged is there, whatever happens to the process, the disk and the clock."""

import asyncio
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from agentd.events.bus import Bus
from agentd.events.envelope import Event, Record
from agentd.plugin import NotDurable
from agentd.store import database, identity, writer
from agentd.store.identity import GENERATION
from agentd.store.journal import Journal
from agentd.store.retention import Limits, default_size

LIMITS = Limits(size=64 << 20, age=1e9, memory=4 << 20)

CHILD = """
import asyncio, os, sys
from pathlib import Path
from agentd.events.bus import Bus
from agentd.events.envelope import Event
from agentd.store import identity
from agentd.store.journal import Journal
from agentd.store.retention import Limits

async def main(folder, first, stop):
    who = identity.load(folder, "")
    journal = Journal(folder, Limits(64 << 20, 1e9, 4 << 20), who=who)
    journal.open()
    bus = Bus(journal, who)
    print("open", flush=True)
    for number in range(first, stop):
        bus.emit(Event(type="test.emitted", payload={"e": number, "filling": "x" * 500}))
        await bus.commit([Event(type="test.number", payload={"n": number})], {"last": number}, plugin="child")
        journal.move("sinks.child", journal.last)
        print(number, flush=True)
    if stop == 30:
        await asyncio.sleep(0.6)
        os._exit(1)
    await journal.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_what_is_emitted_is_read_in_order(lab):
    """Emitted and committed events are read in the order in which they came, over a restart, too."""
    journal = await lab.open()
    lab.emit(journal, 1, 2, 3)
    await lab.commit(journal, 4, 5)
    lab.emit(journal, 6)
    await lab.until(lambda: journal.last >= 6)
    assert await lab.numbers(journal) == [1, 2, 3, 4, 5, 6]
    journal = await lab.open()
    lab.emit(journal, 7)
    await lab.until(lambda: journal.last >= 7)
    assert [record.seq for record in await lab.records(journal)] == [1, 2, 3, 4, 5, 6, 7]
    assert [record.event.meta["seq"] for record in await lab.records(journal)] == [1, 2, 3, 4, 5, 6, 7]
    found = await journal.search(None, events=3)
    assert [record.seq for record in found.records] == [7, 6, 5]
    assert [record.seq for record in (await journal.search(found.reached)).records] == [4, 3, 2, 1]


async def test_events_are_counted(lab):
    """Those between two numbers that somebody wants are counted, however many they are and whatever lies between."""
    journal = await lab.open()
    lab.emit(journal, *range(2500))
    lab.emit(journal, *range(10), type="other.number")
    lab.emit(journal, *range(5))
    await lab.until(lambda: journal.last == 2515)
    assert await journal.count(0, 2515, lambda type_, _source: type_ == "test.number") == 2505
    assert await journal.count(2499, 2502, lambda type_, _source: type_ == "test.number") == 1
    assert await journal.count(2515, 2515, lambda _type, _source: True) == 0


async def test_emitting_from_many_threads(lab):
    """Of eight threads that emit while others commit, nothing is missing, and each one's events keep their order."""
    journal = await lab.open()
    bus = Bus(journal, identity.Identity("some"))

    def flood(thread):
        for number in range(1500):
            bus.emit(Event(type="test.thread", source=f"t{thread}", payload={"n": number}))

    threads = [threading.Thread(target=flood, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for number in range(100):
        await bus.commit([Event(type="test.thread", source="loop", payload={"n": number})])
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await lab.until(lambda: journal.last == 8 * 1500 + 100)
    records = await lab.records(journal)
    assert [record.seq for record in records] == list(range(1, 8 * 1500 + 101))
    assert all(record.event.meta["seq"] == record.seq for record in records)
    for source in ("loop", *(f"t{n}" for n in range(8))):
        mine = [record.event.payload["n"] for record in records if record.source == source]
        assert mine == list(range(100 if source == "loop" else 1500))


async def test_state_and_events_are_written_together(lab):
    """State is there at the next start; a key with no value is forgotten; what is no JSON changes nothing at all."""
    journal = await lab.open()
    state = journal.state("plugin")
    await lab.commit(journal, 1, state={"position": 5, "name": "a"})
    assert state == {"position": 5, "name": "a"}
    await lab.commit(journal, 2, state={"name": None})
    for wrong in ({"x": object()}, {1: 2}, {"\ud800": 1}, {"x": "\ud800"}):
        with pytest.raises((TypeError, ValueError)):
            await lab.commit(journal, 3, state=wrong)
    journal = await lab.open()
    assert journal.state("plugin") == {"position": 5}
    assert journal.state("another") == {}
    assert await lab.numbers(journal) == [1, 2]


async def test_state_of_a_commit_that_nobody_awaits_any_more(lab):
    """A plugin that is cancelled while it commits finds in memory what is on disk."""
    journal = await lab.open()
    task = asyncio.ensure_future(lab.commit(journal, 1, state={"position": 1}))
    await asyncio.sleep(0)
    task.cancel()
    await lab.until(lambda: journal.last == 1)
    await lab.until(lambda: journal.state("plugin") == {"position": 1})
    assert (await lab.open()).state("plugin") == {"position": 1}


async def test_cursors_are_kept(lab):
    """How far each sink has come is known at the next start, and soon on disk though nothing else happens."""
    journal = await lab.open()
    lab.emit(journal, *range(10))
    assert journal.cursor("sinks.one") is None
    for seq in range(1, 8):
        journal.move("sinks.one", seq)
    look = database.reader(lab.folder / "journal.db")
    await lab.until(lambda: look.execute("SELECT seq FROM cursors").fetchall() == [(7,)])
    look.close()
    journal.move("sinks.two", 3)
    journal = await lab.open()
    assert (journal.cursor("sinks.one"), journal.cursor("sinks.two")) == (7, 3)


async def test_dead_letters(lab):
    """Dead letters are kept for each sink with what was the reason, whatever that says, and forgotten when asked."""
    journal = await lab.open()
    await journal.bury("sinks.one", [Record(1, "a.b", "s", b"{}"), Record(2, "a.c", "s", b"{}")], "no \ud800 way" * 999)
    await journal.bury("sinks.two", [Record(1, "a.b", "s", b"{}")], "")
    journal = await lab.open()
    assert await journal.count_dead() == {"sinks.one": 2, "sinks.two": 1}
    first, second = await journal.dead("sinks.one")
    assert (first.record.seq, first.record.type, first.reason[:8]) == (1, "a.b", "no ? way")
    assert len(first.reason) <= 1000
    assert [letter.number for letter in await journal.dead("sinks.one", first.number)] == [second.number]
    await journal.bury_no_more("sinks.one", [first.number, first.number + 2])
    assert await journal.count_dead() == {"sinks.one": 1, "sinks.two": 1}


async def test_memory_alone(lab):
    """Without a disk events are read as with one, the oldest go when there are too many, and commit is refused."""
    journal = await lab.open(None, Limits(1 << 30, 1e9, 1 << 20))
    assert not journal.durable
    lab.emit(journal, *range(5000), size=1000)
    await lab.until(lambda: journal.last >= 5000 and journal.taken == 5000)
    await lab.until(lambda: journal._writer._since_upkeep == 0 and 0 < journal.size <= 1 << 20)
    numbers = await lab.numbers(journal)
    assert numbers == list(range(5000 - len(numbers), 5000))
    assert 200 < len(numbers) < 1100
    with pytest.raises(NotDurable, match="enabled = false"):
        await lab.commit(journal, 1)
    await journal.bury("sinks.one", [Record(1, "a.b", "s", b"{}")], "why")
    assert await journal.count_dead() == {"sinks.one": 1}


async def test_a_lagging_reader(lab):
    """A reader that is far behind gets all, in bounded portions, while more is written; what is unwanted is skipped."""
    journal = await lab.open()
    lab.emit(journal, *range(4000), size=100)
    at, got, more = 0, [], True
    while len(got) < 4500:
        found = await journal.read(at, wanted=lambda kind, _: kind == "test.number", events=50, size=20_000)
        assert len(found.records) <= 50
        assert sum(len(record.json) for record in found.records) <= 20_000
        got += [record.event.payload["n"] for record in found.records]
        if more and len(got) > 1000:
            lab.emit(journal, *range(1500), type="test.unwanted")
            lab.emit(journal, *range(4000, 4500))
            more = False
        if found.reached == at:
            await asyncio.wait_for(journal.wait(at), 60)
        at = found.reached
    assert got == list(range(4500))
    found = await journal.read(0, size=1)
    assert len(found.records) == 1


async def test_waiting_for_events(lab):
    """Whoever waits is woken by what comes, and not before; at the end nobody hangs."""
    journal = await lab.open()
    waiting = asyncio.ensure_future(journal.wait(0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    lab.emit(journal, 1)
    await asyncio.wait_for(waiting, 60)
    waiting = asyncio.ensure_future(journal.wait(1))
    await asyncio.sleep(0.05)
    await lab.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(NotDurable, match="closed"):
        await asyncio.wait_for(lab.commit(journal, 2), 60)
    lab.emit(journal, 3)


def run(folder, first, stop=10**9, **options):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(first), str(stop)], stdout=subprocess.PIPE, text=True, **options
    )


def test_killed_at_any_moment(tmp_path):
    """Thirty times killed while it commits, each acknowledged event is there once, with its state, in order."""
    chance, acknowledged = random.Random(5), -1
    for _ in range(30):
        child = run(tmp_path, acknowledged + 1)
        assert child.stdout.readline() == "open\n"
        lines = [child.stdout.readline().strip() for _ in range(chance.randrange(30))]
        time.sleep(chance.uniform(0.0, 0.02))
        child.kill()
        lines += child.communicate()[0].split("\n")[:-1]
        acknowledged = int(lines[-1]) if lines else acknowledged
        connection = sqlite3.connect(tmp_path / "journal.db")
        rows = connection.execute("SELECT seq, data FROM events WHERE type = 'test.number' ORDER BY seq").fetchall()
        numbers = [Record(seq, "", "", data).event.payload["n"] for seq, data in rows]
        (state,) = connection.execute("SELECT value FROM state").fetchone() or (b"-1",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        assert numbers == list(range(len(numbers)))
        assert int(state) == len(numbers) - 1 >= acknowledged
        acknowledged = len(numbers) - 1
    assert acknowledged > 100


@pytest.fixture
def disk(tmp_path, mount):
    """A disk of 3 MiB."""
    return mount(tmp_path / "disk", "3m")


def remount(disk, how):
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def fill(disk):
    with (disk / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass


async def test_a_full_disk_and_its_end(lab, disk):
    """On a full disk commit is refused, events wait in memory and are read there, and all is on disk afterwards."""
    journal = await lab.open(disk)
    await lab.commit(journal, 0, state={"n": 0})
    fill(disk)
    lab.emit(journal, *range(1, 1001), size=1000)
    await lab.until(lambda: journal.problem)
    assert journal.problem.endswith("full; make room on the disk of the state directory")
    with pytest.raises(NotDurable):
        await lab.commit(journal, -1, state={"n": -1})
    assert journal.state("plugin") == {"n": 0}
    assert await lab.numbers(journal) == list(range(1001))
    assert await journal.count(0, journal.last, lambda _type, source: source == "test") == 1000
    lab.emit(journal, 1001)
    await lab.until(lambda: journal.last == 1002)
    await asyncio.wait_for(journal.wait(1001), 60)
    (disk / "filling").unlink()
    await lab.until(lambda: not journal.problem)
    await lab.commit(journal, 1002)
    assert journal.dropped == 0
    journal = await lab.open(disk)
    assert await lab.numbers(journal) == list(range(1003))
    assert journal.state("plugin") == {"n": 0}


async def test_a_full_disk_ends_though_nothing_comes(lab, disk):
    """That there is space again is noticed without any new event: who commits was told to come again."""
    journal = await lab.open(disk)
    await lab.commit(journal, 0)
    fill(disk)
    for number in range(1000):
        try:
            await lab.commit(journal, number, state={"x": "y" * 5000})
        except NotDurable:
            break
    assert journal.problem
    await asyncio.sleep(0.8)
    assert journal.problem, "it must not be said that all is well as long as it is not"
    (disk / "filling").unlink()
    await lab.until(lambda: not journal.problem)
    await lab.commit(journal, 1)


async def test_a_start_on_a_full_disk(lab, disk):
    """Cursors, state and numbers go on from what is on a disk that is full at the start, as after a power cut."""
    run(disk, 0, 30).communicate()
    assert (disk / "journal.db-wal").stat().st_size
    (disk / "journal.db-shm").unlink()
    fill(disk)
    journal = await lab.open(disk)
    assert journal.problem
    assert (journal.cursor("sinks.child"), journal.state("child"), journal.last) == (60, {"last": 29}, 60)
    lab.emit(journal, 1)
    assert [record.seq for record in await lab.records(journal, 60)] == [61]
    (disk / "filling").unlink()
    await lab.until(lambda: not journal.problem)
    assert [record.seq for record in await lab.records(journal)] == list(range(1, 62))


async def test_a_small_disk_is_never_full(lab, disk):
    """With the size that a small disk gives, the journal stays within it, whatever comes: commits, bursts, readers."""
    limits = Limits(default_size(disk), 1e9, 16 << 20)
    journal = await lab.open(disk, limits)
    read = asyncio.create_task(forever(journal))
    for start in range(0, 1500, 100):
        await asyncio.gather(*(commit_large(journal, number) for number in range(start, start + 100)))
        assert journal.problem == ""
    lab.emit(journal, *range(5000), size=2000)  # more than the disk has
    await lab.commit(journal, 5000)
    read.cancel()
    assert journal.dropped == 0
    used = sum(path.stat().st_size for path in disk.iterdir())
    assert used < 2 << 20
    assert (await lab.numbers(journal))[-100:] == list(range(4901, 5001))
    journal = await lab.open(disk, limits)
    assert (await lab.numbers(journal))[-1] == 5000


async def commit_large(journal, number):
    event = Event(type="test.number", payload={"n": number, "filling": "x" * 2000})
    await Bus(journal, identity.Identity("some")).commit([event])


async def forever(journal):
    """Read from the beginning, again and again."""
    while True:
        after = 0
        while (found := await journal.read(after)).reached > after:
            after = found.reached


async def test_a_long_time_without_a_disk_ends_soon(lab, disk, monkeypatch):
    """However long nothing could be written, it is tried every few seconds, and all that waited is written in parts."""
    assert writer.RETRY[1] <= 5
    monkeypatch.setattr(writer, "RETRY", (0.01, 0.02))
    journal = await lab.open(disk, Limits(1 << 20, 1e9, 16 << 20))
    await lab.commit(journal, 0)
    fill(disk)
    lab.emit(journal, *range(1, 4000), size=2000)  # more than the disk has when it is empty
    await lab.until(lambda: journal.problem)
    (disk / "filling").unlink()
    await lab.until(lambda: not journal.problem and journal._writer.durable == 4000)
    assert journal.dropped == 0
    assert (await lab.numbers(journal))[-100:] == list(range(3900, 4000))


async def test_a_disk_that_becomes_read_only(lab, disk):
    """A disk that is made read-only, and writable again, is written to again; so is one that was so at the start."""
    journal = await lab.open(disk)
    await lab.commit(journal, 0, state={"n": 0})
    journal.move("sinks.one", 1)
    await lab.open(disk)
    await lab.close(disk)
    remount(disk, "ro")
    journal = await lab.open(disk)
    assert journal.problem.endswith("; let the agent's user write to the state directory")
    assert (journal.cursor("sinks.one"), journal.state("plugin")) == (1, {"n": 0})
    lab.emit(journal, 1, 2)
    with pytest.raises(NotDurable):
        await lab.commit(journal, 3)
    assert [record.seq for record in await lab.records(journal, 1)] == [2, 3]
    remount(disk, "rw")
    await lab.until(lambda: not journal.problem)
    assert await lab.numbers(journal) == [0, 1, 2]
    await lab.commit(journal, 3)


async def test_a_disk_that_comes_later(lab, tmp_path):
    """Events that came while the directory was not there get numbers above those that turn out to be in it."""
    folder = tmp_path / "state"
    folder.mkdir()
    journal = await lab.open(folder)
    await lab.commit(journal, *range(10), state={"n": 9})
    who = identity.load(folder, "")
    await lab.close(folder)
    folder.rename(tmp_path / "away")
    journal = Journal(folder, LIMITS, who=who)
    journal.open()
    assert journal.problem
    lab.emit(journal, 10, 11, 12)
    (tmp_path / "away").rename(folder)
    lab.emit(journal, 13)
    await lab.until(lambda: not journal.problem and journal.last == 14)
    assert await lab.numbers(journal) == list(range(14))
    records = await lab.records(journal)
    assert [record.seq for record in records] == list(range(1, 15)) == [r.event.meta["seq"] for r in records]
    assert journal.state("plugin") == {"n": 9}
    await lab.commit(journal, 14)
    assert (await lab.numbers(journal))[-1] == 14
    await journal.close()


async def test_memory_is_bounded_while_the_disk_refuses(lab, disk):
    """However much is emitted while nothing can be written, memory stays bounded, and what was lost is counted."""
    journal = await lab.open(disk, Limits(64 << 20, 1e9, 1 << 20))
    fill(disk)
    lab.emit(journal, 0, size=1000)
    await lab.until(lambda: journal.problem)
    lab.emit(journal, *range(1, 3000), size=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(3000, 43000, 1000):
        lab.emit(journal, *range(start, start + 1000), size=1000)
        await asyncio.sleep(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 << 10
    # An attempt to write holds old events while newer ones are dropped; when it fails, the old ones are dropped first.
    await lab.until(lambda: not journal._writer._writing)
    numbers = await lab.numbers(journal)
    assert numbers == list(range(43000 - len(numbers), 43000))
    assert 500 < len(numbers) < 1100
    assert journal.dropped + len(numbers) == 43000
    (disk / "filling").unlink()
    await lab.until(lambda: not journal.problem)
    assert await lab.numbers(journal) == numbers


# ---- power cuts ------------------------------------------------------------------------------------------------------

TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Disk:
    """A disk as the system calls of a process leave it when the power is cut: what was not flushed may be lost.

    Of each file it has what the process sees, what is safe, and the writes since the last flush, of which any may
    have reached the disk. Names are taken to be safe at once, as file systems with a journal have them in order.
    """

    def __init__(self, folder):
        self.files, self.safe, self.pending, self.names, self.open = {}, {}, {}, {}, {}
        self.prefix = f"{folder}/"

    def take(self, name, rest, texts, result):
        """Take a system call that went well."""
        paths = [text.decode().removeprefix(self.prefix) for text in texts] if rest[:1] in 'A"' else []
        inside = bool(paths) and texts[0].decode().startswith(self.prefix)
        if name == "openat":
            self.open.pop(result, None)
            if inside:
                self.open[result] = number = self.names.setdefault(paths[0], len(self.files))
                if number not in self.files:
                    self.files[number], self.safe[number], self.pending[number] = bytearray(), bytearray(), []
                if "O_TRUNC" in rest:
                    self.change(number, cut_to(0))
        elif name == "rename" and inside:
            self.names[paths[1]] = self.names.pop(paths[0])
        elif name.startswith("unlink") and inside:
            self.names.pop(paths[0], None)
        elif name == "close":
            self.open.pop(int(rest), None)
        elif not paths and (number := self.open.get(int(rest.split(",")[0]))) is not None:
            self.take_writing(name, rest, texts, number)

    def take_writing(self, name, rest, texts, number):
        if name == "pwrite64":
            self.change(number, put(int(rest.rsplit(", ", 1)[1]), texts[0]))
        elif name == "write":
            self.change(number, put(len(self.files[number]), texts[0]))
        elif name == "ftruncate":
            self.change(number, cut_to(int(rest.split(",")[1])))
        else:
            self.flush(number)

    def change(self, number, change):
        change(self.files[number])
        self.pending[number].append(change)

    def flush(self, number):
        self.safe[number] = bytearray(self.files[number])
        self.pending[number] = []

    def cut(self, folder, chance):
        folder.mkdir()
        for name, number in self.names.items():
            content = bytearray(self.safe[number])
            for change in self.pending[number]:
                if chance.random() < 0.5:
                    change(content)
            (folder / name).write_bytes(content)


def put(offset, data):
    def change(content):
        content.extend(b"\0" * max(0, offset + len(data) - len(content)))
        content[offset : offset + len(data)] = data

    return change


def cut_to(size):
    def change(content):
        del content[size:]
        content.extend(b"\0" * (size - len(content)))

    return change


def calls(trace):
    """Yield the calls that ended, in the order in which they did, with what was interrupted put together again."""
    begun = {}
    for line in trace.read_text(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if resumed:
            rest = begun.pop(pid) + resumed[1]
        if found := re.match(r"(\w+)\((.*)\) += (-?\d+)", rest):
            yield found[1], found[2], int(found[3])


def test_a_power_cut_at_any_moment(tmp_path):
    """Whatever the disk had not been told to flush may be lost or there: each acknowledged event is there."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: what reaches the disk cannot be seen")
    folder, trace, chance = tmp_path / "state", tmp_path / "trace", random.Random(7)
    folder.mkdir()
    wanted = "openat,close,write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink,unlinkat"
    child = subprocess.run(
        ["strace", "-f", "-o", trace, "-s", "1000000", "-xx", "-e", f"trace={wanted}",
         sys.executable, "-c", CHILD, folder, "0", "60"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    if child.returncode:
        pytest.skip(f"processes cannot be watched here: {child.stderr[-200:]!r}")
    disk, acknowledged, cuts = Disk(folder), -1, 0
    for name, rest, result in calls(trace):
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in TEXT.findall(rest)]
        if name == "write" and rest.startswith("1,"):
            acknowledged = max([acknowledged, *map(int, re.findall(rb"\d+", texts[0]))])
        elif result >= 0:
            disk.take(name, rest, texts, result)
        if acknowledged >= 0 and chance.random() < (0.06 if acknowledged < 59 else 0.5):
            cuts += 1
            survives(disk, tmp_path / f"cut{cuts}", chance, acknowledged)
    assert acknowledged == 59
    assert cuts > 20


def survives(disk, folder, chance, acknowledged):
    disk.cut(folder, chance)
    (folder / "journal.db-shm").unlink(missing_ok=True)
    who = identity.load(folder, "")
    assert who.generation == 1
    connection = database.connect(folder / "journal.db")
    rows = connection.execute("SELECT seq, data FROM events WHERE type = 'test.number' ORDER BY seq").fetchall()
    numbers = [Record(seq, "", "", data).event.payload["n"] for seq, data in rows]
    (state,) = connection.execute("SELECT value FROM state").fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert numbers == list(range(len(numbers)))
    assert int(state) == len(numbers) - 1 >= acknowledged


async def test_a_journal_that_is_gone(lab):
    """Where the file was deleted, or is empty, new events get numbers above all that it can have given out."""
    for generation, lose in enumerate((lambda path: path.unlink(), lambda path: path.write_bytes(b"")), 1):
        journal = await lab.open()
        await lab.commit(journal, 1, 2, 3)
        await lab.close()
        lose(lab.folder / "journal.db")
        journal = await lab.open()
        await lab.commit(journal, 4)
        assert [record.seq for record in await lab.records(journal)] == [generation * GENERATION + 1]
