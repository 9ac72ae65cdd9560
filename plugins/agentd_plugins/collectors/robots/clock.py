"""How far a robot's clock is ahead of the agent's, from what the robot says its clock shows while it sends."""

LAST = 5
"""Sayings that count."""

ENOUGH = 3
"""Sayings from which one can tell, where there is no ``hello``."""

APART = 1.0
"""Seconds between two sayings that count, at least: what a slow network held up comes all at once."""


class Offset:
    """An estimate that follows a clock which drifts or is set, and does not follow a single wrong stamp.

    What is said comes late and never early. So of the last few differences between what a robot said and when it came
    the largest would be the truest, had not a robot said something odd for once: it is the second largest that counts.
    A clock that is set forward shows with the second saying, one that is set back with the fourth.
    """

    __slots__ = ("_at", "_last", "seconds")

    def __init__(self) -> None:
        self._last: tuple[float, ...] = ()
        self._at = float("-inf")
        self.seconds: float | None = None
        """The estimate; None while there is none."""

    def begin(self, ahead: float, now: float) -> None:
        """Take what a robot said on purpose, in its ``hello``: that holds at once, and what was before is forgotten.

        ``ahead`` is by how much it was ahead of the agent's clock when it came, at ``now`` of the monotonic one.
        """
        self._last, self._at = (ahead,), now
        self.seconds = ahead

    def hear(self, ahead: float, now: float) -> None:
        """Take what came with a frame."""
        if now - self._at < APART:
            return
        self._last, self._at = (*self._last, ahead)[-LAST:], now
        if len(self._last) >= ENOUGH:
            self.seconds = sorted(self._last)[-2]
