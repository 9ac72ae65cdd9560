"""One series of a robot."""

from typing import Any

from agentd_plugins.collectors.robots.signals import Signal

Key = tuple[str, tuple[str | None, ...]]
"""A metric, and the values of its labels beside ``robot``."""


class Series:
    """One series of a robot: its last value, when that was measured, and what the robot said."""

    __slots__ = ("field", "key", "live", "raw", "signal", "stamp", "value")

    def __init__(self, signal: Signal, key: tuple[str | None, ...], field: str) -> None:
        self.signal = signal
        self.key = key
        """The values of its labels, ``robot`` first."""
        self.field = field
        self.raw: Any = None
        """What the robot said, in its own unit; None where it is the agent that tells it."""
        self.value = 0.0
        self.stamp = 0.0
        """When it was measured, by the agent's monotonic clock; 0 for never, or for "not known"."""
        self.live = 0.0
        """When a live frame told it last: what is older, and comes later, is history."""
