"""The writer's thread: one transaction for many, failures that end, and what cannot happen at all."""

import asyncio
import sqlite3
import threading
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import NotDurable
from agentd.store import waiting
from agentd.store import writer as module
from agentd.store.retention import Limits


async def test_many_share_a_transaction(lab):
    """What is committed at once is flushed together, and each commit takes a flush, not a wait for company."""
    journal = await lab.open()
    await lab.commit(journal, 0)
    journal.commit_durations()
    await asyncio.gather(*(lab.commit(journal, number) for number in range(1, 101)))
    assert len(journal.commit_durations()) < 50
    assert await lab.numbers(journal) == list(range(101))
    assert journal.commit_durations() == []


async def test_a_commit_that_fails_leaves_nothing(lab, monkeypatch):
    """Where a transaction fails, nothing of the commits in it is written, but what was emitted is when it works."""
    journal = await lab.open()
    await lab.commit(journal, 0)
    real, broken = module.database.transaction, [True]

    class Breaks:
        def __init__(self, connection):
            self.connection = connection

        def __enter__(self):
            self.connection.execute("BEGIN IMMEDIATE")

        def __exit__(self, *_):
            self.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(module.database, "transaction", lambda c: Breaks(c) if broken else real(c))
    lab.emit(journal, 1)
    with pytest.raises(NotDurable, match="I/O"):
        await lab.commit(journal, 2, state={"x": 1})
    with pytest.raises(NotDurable, match="I/O"):
        await lab.commit(journal, 2, state={"x": 1})
    assert await lab.numbers(journal) == [0, 1]
    broken.clear()
    await lab.until(lambda: not journal.problem)
    await lab.commit(journal, 3)
    assert await lab.numbers(journal) == [0, 1, 3]
    assert journal.state("plugin") == {}


async def test_emitting_never_waits_for_the_disk(lab, monkeypatch):
    """While a transaction is under way, however long it takes, hundreds of events are emitted."""
    journal = await lab.open()
    await lab.commit(journal, 0)
    within, gate, real = threading.Event(), threading.Event(), module.crc32
    monkeypatch.setattr(module, "crc32", lambda data: (within.set(), gate.wait(20), real(data))[2])
    lab.emit(journal, 1)
    await lab.until(within.is_set)
    lab.emit(journal, *range(2, 300))
    assert journal.written == 1, "the transaction has ended: whoever emitted waited for it"
    gate.set()
    await lab.until(lambda: journal.last == 300)
    assert await lab.numbers(journal) == list(range(300))


async def test_upkeep_is_done_under_load(lab):
    """A journal that is written to without a pause stays within its size all the same."""
    journal = await lab.open(limits=Limits(1 << 20, 1e9, 4 << 20))
    for _ in range(70):
        lab.emit(journal, *range(50), size=2000)
        await asyncio.sleep(0.05)
    await lab.until(lambda: journal.size <= 1 << 20)
    assert (lab.folder / "journal.db").stat().st_size < 6 << 20
    assert journal.dropped == 0


async def test_a_failing_upkeep_does_not_stop_commits(lab, monkeypatch):
    """Where looking after the size fails once, what is committed later is written nevertheless."""
    journal = await lab.open()
    failures = [sqlite3.OperationalError("disk I/O error"), TypeError("a bug")]
    real = journal._retention.keep_up
    monkeypatch.setattr(
        journal._writer, "_upkeep", lambda c: (_ for _ in ()).throw(failures.pop()) if failures else real(c)
    )
    journal._writer._due = 0.0
    lab.emit(journal, 1)
    await lab.until(lambda: len(failures) < 2)
    await lab.until(lambda: not journal.problem)
    await lab.commit(journal, 2)
    assert await lab.numbers(journal) == [1, 2]


async def test_closing_writes_what_there_is(lab):
    """What was emitted just before the end is there at the next start."""
    journal = await lab.open()
    lab.emit(journal, *range(5000))
    journal = await lab.open()
    assert await lab.numbers(journal) == list(range(5000))


async def test_another_process_that_holds_the_database(lab):
    """While somebody's shell has the database locked, events wait; they are written when it lets go."""
    journal = await lab.open()
    await lab.commit(journal, 0)
    shell = sqlite3.connect(lab.folder / "journal.db", isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotDurable, match="locked"):
        await lab.commit(journal, 1)
    assert journal.problem.endswith("; end the program that has the journal open")
    lab.emit(journal, 2)
    shell.execute("ROLLBACK")
    shell.close()
    await lab.until(lambda: not journal.problem and journal.last == 3)
    assert await lab.numbers(journal) == [0, 2]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 900)), max_size=30), st.integers(1, 3000))
def test_what_is_taken_first_has_the_lowest_numbers(made, most):
    """Whatever part is taken, nothing that is left has a lower number, and at most one is beyond the bound."""
    rows, jobs, number = deque(), deque(), 0
    for many, length in made:  # an emitted event, or a job with several, or none
        new = [(number + at, "a", "b", b"x" * length) for at in range(many if many >= 0 else 1)]
        number += len(new)
        if many < 0:
            rows.extend(new)
        else:
            jobs.append(waiting.Job(lambda _: None, new, None))
    every = sorted([*rows, *(row for job in jobs for row in job.rows)])
    found, work = [], []
    while rows or jobs:
        first, done = waiting.take(rows, jobs, most)
        part = sorted([*first, *(row for job in done for row in job.rows)])
        assert first or done
        last = len(done[-1].rows) if done and done[-1].rows and done[-1].rows[-1] == part[-1] else 1
        assert waiting.size(part[:-last]) < most
        found += part
        work += done
    assert found == every
    assert [job.rows for job in work if job.rows] == sorted(job.rows for job in work if job.rows)
