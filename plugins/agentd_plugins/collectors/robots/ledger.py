"""What robots are told is safe: events and sequence numbers are written down together, for many robots at once.

Whatever came while one transaction was under way goes into the next, so a thousand robots cost one write.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from agentd.plugin import Event, NotDurable
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.streams import Kept

log = logging.getLogger(__name__)

MOST = 50_000
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

    def __init__(self, commit: Commit, most_bytes: int, time: Callable[[], float]) -> None:
        self._time = time
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
            if len(self._entries) < MOST:  # else it lags behind
                await asyncio.sleep(LINGER)
            entries, self._entries = self._entries[:MOST], self._entries[MOST:]
            if not self._entries:
                self._wake.clear()
            try:
                await self._write(entries)
            except NotDurable as error:
                self._give_back(entries, str(error))
            except Exception as error:
                log.exception("cannot write down what robots sent")
                self._give_back(entries, f"internal error: {type(error).__name__}")
            finally:
                self.size -= sum(entry.size for entry in entries)

    async def _write(self, entries: Sequence[Entry]) -> None:
        """Write frames down, and tell their robots. Raises ``NotDurable``: those that were not told have to come again.

        Where one of them is no event after all, it is found by halves: the others must not wait long for it.
        """
        shares = _shares(entries)
        at = self._time()
        state = {
            robot.state_key: msgspec.to_builtins(Kept(robot.streams.marked(share.marks), at))
            for robot, share in shares.items()
        }
        try:
            await self._commit([event for entry in entries for event in entry.events], state)
        except (ValueError, TypeError) as error:
            if len(entries) > 1:
                middle = len(entries) // 2
                await self._write(entries[:middle])
                await self._write(entries[middle:])
            elif entries[0].events:
                (entry,) = entries
                link = entry.robot.connection
                if link is not None and link.stream == entry.stream:
                    link.refused(entry.seq, str(error))
                await self._write([entry._replace(events=())])
            else:  # then it is not the events
                raise
        else:
            for robot, share in shares.items():
                robot.streams.written(share.marks, share.frames, share.size)
                link = robot.connection  # which need not be the one that the frame came by
                if link is not None and link.stream in share.marks:
                    link.safe(share.marks[link.stream])

    def _give_back(self, entries: Sequence[Entry], why: str) -> None:
        # What came after them would leave a hole: it goes as well.
        lost = [*entries, *self._entries]
        self.size -= sum(entry.size for entry in self._entries)
        self._entries = []
        self._wake.clear()
        for robot in {entry.robot for entry in lost}:
            if robot.streams.frames:  # else all of its own were written
                robot.streams.roll_back()
                if robot.connection is not None:
                    robot.connection.unsafe(why)


class _Share:
    """What one robot has in a transaction."""

    __slots__ = ("frames", "marks", "size")

    def __init__(self) -> None:
        self.marks: dict[str, int] = {}
        self.frames = self.size = 0


def _shares(entries: Sequence[Entry]) -> dict[Robot, _Share]:
    shares: dict[Robot, _Share] = {}
    for robot, stream, seq, _, size in entries:
        share = shares.get(robot)
        if share is None:
            share = shares[robot] = _Share()
        share.marks[stream] = seq
        share.frames += 1
        share.size += size
    return shares
