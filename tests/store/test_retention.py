"""What goes when the journal is too large or its events too old."""

import os
import time
from types import SimpleNamespace

import pytest

from agentd.store import database
from agentd.store.retention import Limits, Retention, default_size


class Shop:
    """A database, its retention, and a clock that is set by hand."""

    def __init__(self, monkeypatch, path, size=1 << 30, age=1000.0):
        self.connection, self.now, self.synchronised, self.gone = database.connect(path), 1e9, True, []
        self.retention = Retention(size, age, lambda: self.synchronised, self.gone.extend)
        monkeypatch.setattr(time, "time", lambda: self.now)

    def add(self, *numbers, size=100):
        stored = self.now if self.synchronised is not False else 0.0
        rows = [(number, "a.b", "s", stored, 1, b"x" * size) for number in numbers]
        with database.transaction(self.connection):
            self.connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)

    def left(self):
        while self.retention.keep_up(self.connection):
            pass
        return [seq for (seq,) in self.connection.execute("SELECT seq FROM events ORDER BY seq")]


@pytest.fixture
def shop(monkeypatch, tmp_path):
    """Return what makes a shop; its database is closed at the end."""
    made = []

    def make(**options):
        made.append(Shop(monkeypatch, tmp_path / f"{len(made)}.db", **options))
        return made[-1]

    yield make
    for each in made:
        each.connection.close()


def test_what_is_too_old_goes(shop):
    """Events go at their age, and those who lose them are told which."""
    shop = shop()
    shop.add(1, 2)
    shop.now += 600
    shop.add(3)
    assert shop.left() == [1, 2, 3]
    shop.now += 600
    assert shop.left() == [3]
    assert shop.gone == [(1, "a.b", "s"), (2, "a.b", "s")]


def test_the_newest_stays(shop):
    """However old it is, the last event is kept: the next life of the agent counts on from its number."""
    shop = shop()
    shop.add(1, 2)
    shop.now += 1e6
    assert shop.left() == [2]


def test_a_clock_that_is_not_synchronised_drops_nothing(shop):
    """However old events seem by a clock that nobody has set, they stay; they go with others' age once it is set."""
    shop = shop()
    shop.add(1)
    shop.synchronised, shop.now = False, 5e9
    shop.add(2)
    assert shop.left() == [1, 2]
    shop.synchronised = True
    shop.add(3)
    shop.now += 600
    assert shop.left() == [2, 3], "the first is old by a clock that is right, of the second nothing is known"
    shop.now += 600
    shop.add(4)
    assert shop.left() == [4]


def test_a_clock_that_goes_back(shop):
    """Events from a future that was a mistake stay until later ones are too old, and go with these."""
    shop = shop()
    shop.now += 1e6
    shop.add(1)
    shop.now -= 1e6
    shop.add(2)
    assert shop.left() == [1, 2]
    shop.now += 1001
    shop.add(3)
    assert shop.left() == [3]


def test_what_is_too_much_goes(shop):
    """The oldest events go until the rest fits, and not many more; the file becomes smaller."""
    shop = shop(size=2 << 20)
    shop.add(*range(1, 5001), size=1000)
    left = shop.left()
    assert left == list(range(left[0], 5001))
    assert 1500 < len(left) < 2100
    assert shop.retention.used <= 2 << 20
    assert [seq for seq, _, _ in shop.gone] == list(range(1, left[0]))
    (pages,) = shop.connection.execute("PRAGMA page_count").fetchone()
    assert pages * 4096 < 3 << 20


def test_large_events_go_one_at_a_time(shop):
    """Where a few events fill the journal, no more of them go than have to."""
    shop = shop(size=4 << 20)
    shop.add(*range(1, 12), size=400_000)
    assert 8 <= len(shop.left()) <= 10


def test_dead_letters_do_not_drive_out_the_events(shop):
    """Dead letters may fill a quarter of the file when it is full; then the oldest of them go."""
    shop = shop(size=2 << 20)
    rows = [(n, "sinks.one", n, 1.0, "why", "a.b", "s", b"x" * 10_000) for n in range(1, 301)]
    shop.connection.executemany("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    shop.add(*range(1, 101), size=1000)
    assert shop.left() == list(range(1, 101))
    dead = [number for (number,) in shop.connection.execute("SELECT number FROM dead ORDER BY number")]
    assert 20 < len(dead) < 200
    assert dead[-1] == 300


async def test_what_a_sink_lost_is_counted(lab):
    """A sink is told how many of the events that it wants went before it had them, and no others."""
    journal = await lab.open(limits=Limits(1 << 20, 1e9, 4 << 20))
    journal.watch("sinks.slow", lambda kind, _: kind == "test.number")
    journal.watch("sinks.other", lambda kind, _: kind == "test.other")
    journal.watch("sinks.gone", lambda *_: True)
    journal.watch("sinks.gone", None)
    journal.move("sinks.slow", 100)
    lab.emit(journal, *range(3000), size=1000)
    await lab.until(lambda: journal.last == 3000)
    await lab.until(lambda: journal._writer._since_upkeep == 0 and 0 < journal.size <= 1 << 20)
    left = await lab.records(journal)
    assert journal.losses() == {"sinks.slow": left[0].seq - 1 - 100}
    assert journal.losses() == {}


def test_the_size_by_default(tmp_path, monkeypatch):
    """It is a part of the disk, at most 256 MiB, and of a small disk more than a twentieth, but at most a quarter."""
    assert 1 << 20 <= default_size(tmp_path) <= 256 << 20
    for disk, size in ((1 << 20, 1 << 18), (4 << 20, 1 << 20), (16 << 20, 1 << 20), (100 << 20, 5 << 20)):
        monkeypatch.setattr(os, "statvfs", lambda _, disk=disk: SimpleNamespace(f_blocks=disk >> 12, f_frsize=4096))
        assert default_size(tmp_path) == size
