"""Numbered frames that a robot keeps until the agent has them safe: in memory."""

import uuid
from collections import OrderedDict
from typing import Literal, NamedTuple

WhenFull = Literal["wait", "drop_oldest"]

MAX_FRAMES = 10_000
MAX_BYTES = 16 << 20


class Frame(NamedTuple):
    """One numbered frame: ``body`` is all of it but its number, as JSON."""

    seq: int
    body: bytes


class MemoryQueue:
    """Keeps frames in the order of their numbers, and gives out the numbers.

    What it keeps is bounded. When it is full, ``when_full`` says what happens: with ``"wait"`` nothing is lost and
    ``TelemetryClient.send`` waits for room; with ``"drop_oldest"`` the oldest frames make room, are counted in
    ``dropped``, and the agent sees a gap in the numbers, which it counts as lost.
    """

    def __init__(
        self, *, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES, when_full: WhenFull = "wait"
    ) -> None:
        if max_frames < 1 or max_bytes < 1:
            raise ValueError("max_frames and max_bytes are at least 1")
        if when_full not in ("wait", "drop_oldest"):
            raise ValueError(f"when_full: expected wait or drop_oldest, found {when_full!r}")
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.when_full = when_full
        self.stream_id = new_stream_id()
        """Random; as old as the numbering."""
        self.last_seq = 0
        """The last number that was given; 0 where none was."""
        self.size = 0
        """Bytes of the frames that are kept."""
        self.dropped = 0
        """How many frames had to make room, since the start of the program."""
        self._frames: OrderedDict[int, bytes] = OrderedDict()  # a plain dict that shrinks at its front is slow there

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def first_seq(self) -> int:
        """The lowest number that is kept; 0 where none is."""
        return next(iter(self._frames), 0)

    def fits(self, size: int) -> bool:
        """Say whether there is room for a frame of so many bytes, or can be made.

        Raises ``ValueError`` where there never will be.
        """
        if size > self.max_bytes:
            raise ValueError(f"a frame of {size} bytes does not fit into a queue of {self.max_bytes} (max_bytes)")
        return self.when_full == "drop_oldest" or self._has_room(size)

    def append(self, body: bytes) -> int:
        """Keep a frame, and return its number. The room for it has to be there: see ``fits``.

        Raises ``OSError`` where it cannot be written down; then it is not kept.
        """
        while self._frames and not self._has_room(len(body)):
            self.discard(self.first_seq)
            self.dropped += 1
        seq = self.last_seq + 1
        self._note(b"F %d %b" % (seq, body), must=True)
        self.last_seq = seq
        self._keep(seq, body)
        return seq

    def next(self, after: int) -> Frame | None:
        """Return the first frame with a higher number."""
        if self._frames:
            for seq in range(max(after + 1, self.first_seq), self.last_seq + 1):
                if seq in self._frames:
                    return Frame(seq, self._frames[seq])
        return None

    def acknowledge(self, seq: int) -> None:
        """Forget all frames up to a number: they are safe."""
        if 0 < self.first_seq <= seq:
            while 0 < self.first_seq <= seq:
                self._forget(self.first_seq)
            self._note(b"A %d" % seq)

    def discard(self, seq: int) -> None:
        """Forget one frame: it is not wanted, or has to make room."""
        if seq in self._frames:
            self._forget(seq)
            self._note(b"D %d" % seq)

    def renew(self) -> None:
        """Begin a new numbering: what is kept gets new numbers under a new stream id."""
        frames = list(self._frames.values())
        self._frames.clear()
        self.size = 0
        self.stream_id = new_stream_id()
        self.last_seq = len(frames)
        for seq, body in enumerate(frames, 1):
            self._keep(seq, body)

    async def settle(self) -> None:
        """Return when all that is kept would survive what this queue is to survive. Raises ``OSError``."""

    def close(self) -> None:
        """Give back what the queue holds open."""

    def _has_room(self, size: int) -> bool:
        return len(self._frames) < self.max_frames and self.size + size <= self.max_bytes

    def _keep(self, seq: int, body: bytes) -> None:
        self._frames[seq] = body
        self.size += len(body)

    def _forget(self, seq: int) -> None:
        self.size -= len(self._frames.pop(seq))

    def _note(self, record: bytes, *, must: bool = False) -> None:
        """Write down a change, where the queue is written down; one that ``must`` be raises ``OSError`` otherwise."""


def new_stream_id() -> str:
    """Return a random id."""
    return uuid.uuid4().hex
