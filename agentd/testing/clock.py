"""A clock that stands still until a test moves it."""

from agentd.plugin import Clock


class FakeClock(Clock):
    """The time of a plugin under test: it goes on when ``advance`` or ``set`` say so, and never by itself."""

    def __init__(self, now: float = 1_700_000_000.0, *, since_start: float = 1000.0) -> None:
        """Stand at ``now`` seconds since 1970, and at ``since_start`` seconds of the clock that never goes back."""
        self._time = now
        self._monotonic = since_start
        self.time = lambda: self._time
        self.monotonic = lambda: self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ``ValueError`` for a negative number: ``set`` is how the time of day goes back."""
        if seconds < 0:
            raise ValueError(f"time passes forwards only: advance({seconds!r}); set() changes the time of day alone")
        self._time += seconds
        self._monotonic += seconds

    def set(self, now: float) -> None:
        """Change the time of day, as whoever sets a machine's clock does: no time has passed by that."""
        self._time = now
