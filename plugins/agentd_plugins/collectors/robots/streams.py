"""Up to which number the frames of a robot are safe, now and in what is written down of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

KEPT_AS = "robot:"
"""What the keys of robots in the collector's state begin with."""

STREAMS = 4
"""Streams of a robot whose numbers are remembered: it has one, and another after its queue was lost."""


class Streams:
    """Up to which number the frames of a robot's streams have come, and up to which they are safe."""

    __slots__ = ("_accepted", "_committed", "_gone", "bytes", "frames")

    def __init__(self, committed: Mapping[str, int]) -> None:
        self._committed = dict(committed)
        self._accepted: dict[str, int] = {}
        self._gone = ("", 0)
        self.frames = self.bytes = 0
        """How much has come and is not safe yet."""

    def last(self, stream: str) -> int | None:
        """Return the number of the last frame that came, or None for a stream that is new."""
        return self._accepted.get(stream) or self._committed.get(stream)

    def safe(self, stream: str) -> int:
        """Return the number up to which all frames are on disk."""
        return self._committed.get(stream, 0)

    def lost(self, stream: str, seq: int) -> int:
        """Return how many frames before this one have not come, and were not told as ``gone`` either."""
        last, (of, gone) = self.last(stream), self._gone
        return 0 if last is None else max(0, seq - 1 - max(last, gone if of == stream else 0))

    def gone(self, stream: str, seq: int) -> int:
        """Note that the robot has no frame up to this number any more; return how many are lost by that.

        Of a stream that is new nobody knows what came before.
        """
        lost = self.lost(stream, seq + 1)
        if lost:
            self._gone = (stream, seq)
        return lost

    def accept(self, stream: str, seq: int, size: int) -> None:
        """Note that a frame has come."""
        self._accepted[stream] = seq
        self.frames += 1
        self.bytes += size

    def marked(self, marks: Mapping[str, int]) -> dict[str, int]:
        """Return what has to be written down of the streams where frames up to these numbers are."""
        others = {stream: seq for stream, seq in self._committed.items() if stream not in marks}
        return dict([*others.items(), *marks.items()][-STREAMS:])

    def written(self, marks: Mapping[str, int], frames: int, size: int) -> None:
        """Note that frames up to these numbers are on disk."""
        self._committed = self.marked(marks)
        self.frames -= frames
        self.bytes -= size
        for stream, seq in marks.items():
            if self._accepted.get(stream) == seq:
                del self._accepted[stream]

    def roll_back(self) -> None:
        """Forget what was not written down."""
        self._accepted.clear()
        self.frames = self.bytes = 0


class Kept(msgspec.Struct):
    """What is written down of a robot: up to which number the frames of its streams are safe, and since when."""

    streams: dict[str, int]
    at: float
    """When it was written, in seconds since 1970."""


def kept_of(state: Any) -> Kept | None:
    """Return what was written down of a robot, as far as it can be understood."""
    try:
        return msgspec.convert(state, Kept)
    except msgspec.ValidationError:
        return None
