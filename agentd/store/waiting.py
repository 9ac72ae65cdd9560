"""What waits to be written down: events, and what is to be done with them, in the order of their numbers."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

ROW = 200
"""Bytes that an event takes in memory beside its envelope."""

Row = tuple[int, str, str, bytes]
"""An event to be written down: number, type, source, envelope. A named tuple would take as long to make as all else."""


class Job(NamedTuple):
    """Something to be done in a transaction, with events of its own, and who waits for it."""

    work: Callable[[sqlite3.Connection], object]
    rows: Sequence[Row]
    done: "asyncio.Future[object] | None"


def size(rows: Sequence[Row]) -> int:
    """Return how many bytes events take."""
    return sum(len(row[3]) + ROW for row in rows)


def take(rows: deque[Row], jobs: deque[Job], most: int) -> tuple[list[Row], list[Job]]:
    """Take what comes first from both, up to so many bytes, but at least one: in the order of the numbers.

    Readers go by the highest number that is written down: none may come later that is below it.
    """
    first: list[Row] = []
    work: list[Job] = []
    while most > 0 and (rows or jobs):
        if jobs and (not rows or not jobs[0].rows or jobs[0].rows[0][0] < rows[0][0]):
            work.append(jobs.popleft())
            most -= size(work[-1].rows)
        else:
            first.append(rows.popleft())
            most -= len(first[-1][3]) + ROW
    return first, work


def renumbered(row: Row, seq: int) -> Row:
    """Return an event with another number, which its envelope ends with, too."""
    _, type_, source, data = row
    return seq, type_, source, data[: data.rindex(b":")] + b":%d}}" % seq
