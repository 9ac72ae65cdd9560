"""What a plugin raises to say more than that it failed."""

from __future__ import annotations

from collections.abc import Iterable


class NoData(Exception):
    """Raised by a collector for whose subject this machine simply lacks the thing (no such device, kernel too old)."""


class Refused(NoData):
    """Raised where the machine has the thing, but this process may not ask for it. Said once in the log: the text names
    what grants it.
    """


class UnknownCollectorError(LookupError):
    """Raised by ``gather`` where an exporter asks for a collector that does not run; its text is the name."""


class Retry(Exception):
    """Raised by a sink that could not deliver all now: it is given the rest again.

    ``accepted`` is how many of the first of the batch have arrived, ``after`` how many seconds to wait; left out, the
    agent waits longer each time.
    """

    def __init__(self, why: str = "", *, after: float | None = None, accepted: int = 0) -> None:
        super().__init__(why)
        self.after = after
        """Seconds to wait; None where that is left to the agent."""
        self.accepted = accepted
        """How many of the first of the batch have arrived."""


class Reject(Exception):
    """Raised by a sink that delivered all but these: their receiver will never accept them. They are set aside."""

    def __init__(self, ids: Iterable[str], why: str) -> None:
        super().__init__(why)
        self.ids: frozenset[str] = frozenset(ids)
        """The ids of the events that will never be accepted."""
