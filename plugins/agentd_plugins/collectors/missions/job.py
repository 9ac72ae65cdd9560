"""One run of counting, and the events by which others learn of it."""

import uuid

from agentd.plugin import Clock, Event

SOURCE = "metrics_service"
"""The source of this collector's events: that of the software whose place it takes."""

EVENT = "metrics.aggregation_"
"""What the types of its events begin with."""


class Job:
    """One run of counting, and the events that tell of it."""

    def __init__(self, clock: Clock) -> None:
        self.entries = 0
        self.done = False
        self.events: list[Event] = []
        """What has happened and was not told yet."""
        self._clock = clock
        self._began = clock.monotonic()
        self._id = str(uuid.uuid4())
        self._say("started")

    def complete(self) -> None:
        """Note that all was counted."""
        self.done = True
        took = (self._clock.monotonic() - self._began) * 1000
        self._say("completed", entries_processed=self.entries, duration_ms=took)

    def fail(self, error: Exception) -> None:
        """Note that it came to nothing; it did not complete."""
        self.events = [event for event in self.events if event.type != f"{EVENT}completed"]
        self._say("failed", error_message=str(error), error_type=type(error).__name__)

    def _say(self, what: str, **fields: object) -> None:
        now = self._clock.time()
        payload = {"job_id": self._id, **fields, f"{what}_at": now}
        self.events.append(Event(type=EVENT + what, source=SOURCE, timestamp=now, payload=payload))
