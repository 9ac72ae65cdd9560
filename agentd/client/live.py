"""Values of now, on their way: not kept, but for the newest of each kind."""

from collections.abc import Iterable

MOST = 64
"""Kinds of which the newest waits at most."""

OLDEST = 30.0
"""Seconds after which a value is none of now: the agent would show it as fresh."""


class LiveValues:
    """Holds the newest message of each kind, until it is taken; messages with the same names are of one kind.

    So a program that tells its battery here and its position there loses neither, and an old value is never sent with
    the time of a newer one.
    """

    def __init__(self) -> None:
        self._waiting: dict[frozenset[str], tuple[float, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, names: Iterable[str], message: str, now: float) -> None:
        """Let a message take the place of the one of its kind; with too many kinds the oldest message goes."""
        kind = frozenset(names)
        self._waiting.pop(kind, None)
        self._waiting[kind] = now, message
        if len(self._waiting) > MOST:
            del self._waiting[next(iter(self._waiting))]

    def take(self, now: float) -> str | None:
        """Remove the oldest message, and return it; None where it is none of now any more."""
        then, message = self._waiting.pop(next(iter(self._waiting)))
        return message if now - then <= OLDEST else None
