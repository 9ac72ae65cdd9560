"""How connections end, and what to do then: pure."""

from dataclasses import dataclass

CONFLICT_WAIT = 300.0
"""Seconds after an identity conflict, and after a refusal that waiting does not mend: somebody has to look at it."""

LONGEST_ASKED = 600.0
"""Seconds that an agent may ask to wait at most."""

RESTART, TOO_BIG, CREDENTIAL, CONFLICT = 1012, 1009, 4401, 4409

REASONS = {
    1003: "the agent does not take this kind of frame",
    TOO_BIG: "a frame is too large for the agent",
    RESTART: "the agent restarts",
    1013: "the agent has no room now",
    4400: "what was sent is against the protocol: agent and client do not fit together",
    CREDENTIAL: "the token is missing, wrong or expired",
    4403: "the token is not for this robot",
    4408: "the agent got no hello in time",
    CONFLICT: "another connection uses this robot id",
}
"""What the codes with which an agent closes mean."""

STATUSES = {
    400: "the agent takes neither this robot id nor this request",
    401: REASONS[CREDENTIAL],
    403: REASONS[4403],
    404: "the agent takes no telemetry of robots: add [collectors.robots] to its configuration",
    429: REASONS[1013],
    503: REASONS[1013],
}
"""What an agent means that does not open a WebSocket."""


class TelemetryError(Exception):
    """What ``TelemetryClient`` raises."""


class RefusedError(TelemetryError):
    """The agent refuses this robot, and will until somebody changes something.

    ``code`` is its close code, or the status of HTTP.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ending:
    """Why there is no connection (any more)."""

    text: str
    """In a sentence."""
    code: int = 0
    """With which the agent closed; 0 where it did not."""
    status: int = 0
    """Of HTTP, where there was no WebSocket; 0 otherwise."""
    retry_after: float | None = None
    """Seconds that the agent asked to wait."""

    @property
    def number(self) -> int:
        """The close code, or the status of HTTP; 0 where there is neither."""
        return self.code or self.status

    def refused(self, *, renewable: bool) -> bool:
        """Say whether only a person can mend this. ``renewable``: the next attempt has another token."""
        if self.code == CREDENTIAL or self.status == 401:
            return not renewable
        return self.code in (1003, 4400, 4403, CONFLICT) or self.status in (400, 403, 404, 405)

    def wait(self, *, renewable: bool) -> float | None:
        """Return the seconds to wait at least before the next attempt; None: as long as the backoff says."""
        if self.refused(renewable=renewable):
            return CONFLICT_WAIT
        if self.retry_after is not None:
            return min(max(self.retry_after, 0.0), LONGEST_ASKED)
        return None


def closed(code: int, said: str, *, retry_after: float | None = None) -> Ending:
    """Return the ending that a close code means, with what the agent said beside it."""
    meaning = REASONS.get(code, f"the connection was closed ({code})")
    return Ending(f"{meaning}: {said}" if said else meaning, code=code, retry_after=retry_after)


def not_opened(status: int, retry_after: str | None) -> Ending:
    """Return the ending that an answer means which is no WebSocket."""
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    meaning = STATUSES.get(status, "the agent opens no WebSocket")
    return Ending(f"{meaning} (HTTP {status})", status=status, retry_after=seconds)
