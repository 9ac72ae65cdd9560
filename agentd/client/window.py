"""How much may be under way: the credit that the agent gives."""


class Window:
    """Numbered frames that were sent over a connection and are not acknowledged, and room for more."""

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._bytes = size
        self._under_way: dict[int, int] = {}
        self._size = 0
        self.highest = 0
        """The highest number that was sent."""

    @property
    def under_way(self) -> list[int]:
        """The numbers that are under way."""
        return list(self._under_way)

    def room(self, size: int) -> bool:
        """Say whether a frame of so many bytes may be sent. One larger than all credit may be on its own."""
        if not self._under_way:
            return self._frames > 0 and self._bytes > 0
        return len(self._under_way) < self._frames and self._size + size <= self._bytes

    def sent(self, seq: int, size: int) -> None:
        """Note a frame that goes out."""
        self._under_way[seq] = size
        self._size += size
        self.highest = seq

    def acknowledged(self, seq: int, frames: int, size: int) -> None:
        """Note that all up to a number arrived, and the new credit."""
        self._frames, self._bytes = frames, size
        for each in [each for each in self._under_way if each <= seq]:
            self.consumed(each)

    def consumed(self, seq: int) -> None:
        """Note that one frame is under way no more."""
        self._size -= self._under_way.pop(seq, 0)
