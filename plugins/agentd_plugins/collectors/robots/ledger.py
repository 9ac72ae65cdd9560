"""What robots are told is safe: events and sequence numbers are written down together, for many robots at once.

Whatever came while one transaction was under way goes into the next, so a thousand robots cost one write.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from agentd.plugin import Event, NotDurable
from agentd_plugins.collectors.robots.robot import Robot

MOST = 10_000
"""Frames in one transaction."""

LINGER = 0.05
"""Seconds that the first frame waits for others: one row and one acknowledgement do for all of a robot's."""

Commit = Callable[[Sequence[Event], Mapping[str, Any]], Awaitable[None]]


class Entry(NamedTuple):
    """A frame that is to be written down."""

    robot: Robot
    stream: str
    seq: int
    events: Sequence[Event]
    size: int


class Ledger:
    """Writes frames down, and tells their senders."""

    def __init__(self, commit: Commit, most_bytes: int) -> None:
        self._commit = commit
        self._entries: list[Entry] = []
        self._wake = asyncio.Event()
        self._most_bytes = most_bytes
        self.size = 0
        """Bytes of frames that wait."""

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be taken in."""
        return self.size >= self._most_bytes

    def add(self, entry: Entry) -> None:
        """Have a frame written down soon."""
        self._entries.append(entry)
        self.size += entry.size
        self._wake.set()

    async def run(self) -> None:
        """Write down what comes, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(LINGER)
            entries, self._entries = self._entries[:MOST], self._entries[MOST:]
            if not self._entries:
                self._wake.clear()
            try:
                await self._write(entries)
            finally:
                self.size -= sum(entry.size for entry in entries)

    async def _write(self, entries: Sequence[Entry]) -> None:
        marks: dict[Robot, dict[str, int]] = {}
        for entry in entries:
            marks.setdefault(entry.robot, {})[entry.stream] = entry.seq
        state = {robot.state_key: robot.streams.with_safe(streams) for robot, streams in marks.items()}
        try:
            await self._commit([event for entry in entries for event in entry.events], state)
        except NotDurable as error:
            self._give_back(entries, str(error))
        except (ValueError, TypeError) as error:  # one of them is no event after all
            if len(entries) > 1:
                for entry in entries:
                    if not entry.robot.streams.pending(entry.stream):  # given back, as one before it was
                        continue
                    await self._write([entry])
                return
            (entry,) = entries
            link = entry.robot.link(entry.stream)
            if link is not None:
                link.refused(entry.seq, str(error))
            await self._write([entry._replace(events=())])
        else:
            frames = Counter((entry.robot, entry.stream) for entry in entries)
            for (robot, stream), number in frames.items():
                seq = marks[robot][stream]
                robot.streams.commit(stream, seq, number)
                link = robot.link(stream)
                if link is not None:
                    link.safe(seq)

    def _give_back(self, entries: Sequence[Entry], why: str) -> None:
        # What came after them would leave a hole: it goes as well.
        lost = [*entries, *self._entries]
        self.size -= sum(entry.size for entry in self._entries)
        self._entries = []
        self._wake.clear()
        for robot, stream in {(entry.robot, entry.stream) for entry in lost}:
            robot.streams.roll_back()
            link = robot.link(stream)
            if link is not None:
                link.unsafe(why)
