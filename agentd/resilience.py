"""What keeps a failing neighbour from hurting: pure, with the time handed in."""

import random
from collections.abc import Callable
from typing import Literal


class Backoff:
    """How long to wait before the next attempt: twice as long each time, at a random point of that (full jitter).

    All who lost the same server at the same moment come back spread over the whole wait.
    """

    def __init__(self, first: float, longest: float, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._first = first
        self._longest = longest
        self._spread = spread
        self._failures = 0

    def next(self) -> float:
        """Return the seconds to wait after one more failure."""
        limit = min(self._longest, self._first * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return self._spread(0.0, limit)

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._failures = 0


class CircuitBreaker:
    """Closed while all is well; open, after some failures in a row, for a while; then half open for one attempt.

    That attempt closes it, or opens it for twice as long.
    """

    def __init__(self, failures: int, seconds: float, longest: float) -> None:
        """Open after so many ``failures``, for so many ``seconds`` at first and ``longest`` at last."""
        self._threshold = failures
        self._seconds = seconds
        self._longest = longest
        self._failures = 0
        self._openings = 0
        self._until = 0.0

    def state(self, now: float) -> Literal["closed", "open", "half open"]:
        """Return how it stands at a moment of the monotonic clock."""
        if not self._openings:
            return "closed"
        return "open" if now < self._until else "half open"

    def wait(self, now: float) -> float:
        """Return for how many seconds it is still open."""
        return max(0.0, self._until - now) if self._openings else 0.0

    def failed(self, now: float) -> None:
        """Note an attempt that came to nothing."""
        self._failures += 1
        if self._openings or self._failures >= self._threshold:
            self._until = now + min(self._longest, self._seconds * 2.0 ** min(self._openings, 60))
            self._openings += 1

    def succeeded(self) -> None:
        """Note an attempt that went well."""
        self._failures = self._openings = 0


class RateLimiter:
    """A bucket of permissions that fills steadily and holds those of one second; unused ones are lost."""

    def __init__(self, rate: float, now: float) -> None:
        """Allow ``rate`` a second on average."""
        self._rate = rate
        self._most = max(1.0, rate)
        self._left = self._most
        self._at = now

    def take(self, number: int, now: float) -> float:
        """Take so many permissions, and return after how many seconds one may go on; more than there are is a debt."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= number
        return max(0.0, -self._left / self._rate)
