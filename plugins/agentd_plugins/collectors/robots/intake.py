"""What a frame does: values for the exposition, events for the journal, numbers that are accounted for.

The same for all ways on which robots send: WebSocket with and without the subprotocol, and HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from agentd.plugin import Clock, Event, event_from_json
from agentd_plugins.collectors.robots.readings import flattened
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig

SOURCE = "telemetry_service"

AHEAD = 1.0
"""Seconds that a timestamp may lie in the future, after the robot's clock was corrected."""

LONG_AGO = 946684800.0
"""The year 2000: no robot measured anything before."""

HISTORY = "telemetry.history"
"""The type of the event that keeps metrics which came too late to be shown."""


class Intake:
    """Takes in what robots send."""

    def __init__(self, config: RobotsConfig, clock: Clock, emit: Callable[[Event], None]) -> None:
        self.now: Callable[[], float] = clock.monotonic
        self.time: Callable[[], float] = clock.time
        self._config = config
        self._clock = clock
        self._emit = emit
        self._published: dict[str, float] = {}

    def event(self, type: str, robot: str, payload: Mapping[str, Any]) -> Event:
        """Return an event of the service's own about a robot."""
        now = self._clock.time()
        return Event(type=type, source=SOURCE, target=robot, timestamp=now, payload={"robot_id": robot, **payload})

    def say(self, type: str, robot: str, **payload: Any) -> None:
        """Emit an event of the service's own about a robot."""
        self._emit(self.event(type, robot, payload))

    def heard_at(self, robot: Robot) -> float:
        """Return when a robot was heard last, in seconds since 1970."""
        return self._clock.time() - (self._clock.monotonic() - robot.seen)

    def clock(self, robot: Robot, said: float | None, *, hello: bool = False) -> None:
        """Take what a robot says its clock shows now; None and what is no number say nothing."""
        if said is None or not isfinite(said):
            return
        ahead, now = said - self._clock.time(), self._clock.monotonic()
        if hello:
            robot.clock.begin(ahead, now)
        else:
            robot.clock.hear(ahead, now)
        if robot.clock.seconds is not None:
            robot.measured("clock_offset_seconds", value=robot.clock.seconds, at=now)

    def live(self, robot: Robot, metrics: Mapping[str, Any], now: float) -> None:
        """Take values of now."""
        robot.readings.apply(metrics, now, live=True)
        robot.fresh = now
        if self._config.metrics_published == "frame":
            self.publish(robot, metrics)

    def data(
        self, robot: Robot, metrics: Mapping[str, Any], timestamp: float | None, now: float, *, numbered: bool = True
    ) -> list[Event]:
        """Take values that may have been measured earlier; return what is to be kept of them as history."""
        if not metrics:
            return []
        age = 0.0 if timestamp is None else self._age(robot, timestamp)
        stamp = now - age
        late = age > self._config.stale_after
        if not late:
            late = robot.readings.apply(metrics, stamp, live=False, numbered=numbered)
            robot.fresh = max(robot.fresh, stamp)
        if self._config.metrics_published == "frame" and not late:
            self.publish(robot, metrics)
        if not late:
            return []
        robot.count("messages_late_total")
        measured = self._clock.time() - age
        return [
            self.event(HISTORY, robot.id, {"measured_at": measured, "timestamp": timestamp, "metrics": dict(metrics)})
        ]

    def _age(self, robot: Robot, timestamp: float) -> float:
        """Return how long ago something was measured, by the robot's clock and what is known of that."""
        offset = robot.clock.seconds or 0.0
        age = self._clock.time() - (timestamp - offset)
        if not age >= -AHEAD:  # also NaN
            robot.suspect("future_timestamp", "timestamp")
            return 0.0
        if timestamp < LONG_AGO and robot.clock.seconds is None:
            robot.suspect("past_timestamp", "timestamp")
            return 0.0
        return max(0.0, age)

    def events(self, robot: Robot, raws: Sequence[bytes]) -> list[Event]:
        """Return the events that a robot sent, as its own. Raises ``EventError``."""
        return [self._of(robot, event_from_json(raw)) for raw in raws]

    def _of(self, robot: Robot, event: Event) -> Event:
        if event.source and event.source != robot.id:
            event.meta["source"] = event.source
        event.source = robot.id
        event.meta["robot"] = robot.id
        now = self._clock.time()
        if not event.timestamp:
            event.timestamp = now
        elif event.timestamp - (robot.clock.seconds or 0.0) > now + AHEAD:
            robot.suspect("future_timestamp", "timestamp")
            event.meta["claimed_timestamp"] = event.timestamp
            event.timestamp = now
        return event

    def publish(self, robot: Robot, metrics: Mapping[str, Any]) -> None:
        """Emit what a robot has told, not too often."""
        now = self._clock.monotonic()
        if now - self._published.get(robot.id, -1e9) >= self._config.metrics_published_every:
            self._published[robot.id] = now
            told = {field.replace(".", "_"): value for field, value in flattened(metrics)}
            self.say("telemetry.metrics_published", robot.id, metrics=told, published_at=self._clock.time())

    def forget(self, name: str) -> None:
        """Forget what is kept of a robot."""
        self._published.pop(name, None)
