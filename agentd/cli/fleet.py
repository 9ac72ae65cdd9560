"""A fleet that there is not: robots that drive through a hall, work, run low, charge, and fail now and then."""

import math
import random
from typing import Any, Literal

HALL = (60.0, 40.0)
"""Metres from west to east, and from south to north."""

SPEED = 1.2
"""Metres a second."""

DRAIN = {"driving": 0.06, "idle": 0.01, "failed": 0.01}
"""Percent of the battery's charge that a second costs: faster than real ones, so that there is something to see."""

CHARGE, LOW, FULL = 0.4, 25.0, 95.0
"""Percent a second; below which a robot goes to charge; and from which on it works again."""

Event = dict[str, Any]


class SimulatedRobot:
    """One robot. ``step`` moves it on; the same seed makes it do the same."""

    def __init__(self, number: int, seed: object) -> None:
        self.id = f"sim-{number:03d}"
        self.away = 0.0
        """Seconds for which it is switched off from now on."""
        self._random = rng = random.Random(f"{seed}:{number}")
        self._state: Literal["idle", "driving", "charging", "failed"] = "idle"
        self._dock = (2.0 + number * 1.5 % (HALL[0] - 4.0), 1.0)
        self._position = (rng.uniform(0, HALL[0]), rng.uniform(0, HALL[1]))
        self._goal = self._position
        self._heading = 0.0
        self._speed = 0.0
        self._odometer = rng.uniform(1e3, 1e6)
        self._battery = rng.uniform(LOW, 100.0)
        self._cpu, self._memory = rng.uniform(10, 40), rng.uniform(30, 60)
        self._mission: str | None = None
        self._for = 0.0  # seconds in this state
        self._rest = rng.uniform(0, 10)  # seconds of it, where it has an end by itself

    def step(self, seconds: float) -> tuple[dict[str, Any], list[Event]]:
        """Let time pass; return what it measures then, and what has happened meanwhile."""
        self._for += seconds
        events = getattr(self, f"_{self._state}")(seconds)
        if self._state != "driving":
            self._speed = 0.0
        charging = self._state == "charging"
        change = CHARGE if charging else -DRAIN[self._state]
        self._battery = min(100.0, max(1.0, self._battery + change * seconds))
        if self._state == "idle" and self._random.random() < seconds / 300:
            self.away = self._random.uniform(35, 90)
        return self._metrics(charging=charging), events

    def _idle(self, _seconds: float) -> list[Event]:
        if self._battery < LOW:
            self._drive(self._dock)
        elif self._for >= self._rest:
            self._drive((self._random.uniform(0, HALL[0]), self._random.uniform(0, HALL[1])))
            self._mission = f"{self.id}-{self._random.getrandbits(40):010x}"
            return [self._event("mission.started", mission_id=self._mission, destination=self._rounded(self._goal))]
        return []

    def _driving(self, seconds: float) -> list[Event]:
        east, north = (goal - here for goal, here in zip(self._goal, self._position, strict=True))
        left = math.hypot(east, north)
        way = min(left, SPEED * seconds)
        if left:
            self._heading = math.atan2(north, east)
            self._position = (self._position[0] + east * way / left, self._position[1] + north * way / left)
        self._odometer += way
        self._speed = way / seconds
        if self._mission is not None and self._random.random() < seconds / 400:
            return self._fail()
        if left > way:
            return []
        if self._mission is None:
            self._become("charging")
            return []
        return [self._end("mission.completed")]

    def _charging(self, _seconds: float) -> list[Event]:
        if self._battery >= FULL:
            self._become("idle", self._random.uniform(0, 5))
        return []

    def _failed(self, _seconds: float) -> list[Event]:
        if self._for < self._rest:
            return []
        self._become("idle", 2.0)
        return [self._event("robot.error_cleared")]

    def _fail(self) -> list[Event]:
        code, text = self._random.choice((("E101", "path blocked"), ("E207", "lost localization"), ("E310", "gripper")))
        failed = [self._event("robot.error", code=code, message=text), self._end("mission.failed", reason=text)]
        self._become("failed", self._random.uniform(5, 20))
        return failed

    def _drive(self, goal: tuple[float, float]) -> None:
        self._goal = goal
        self._become("driving")

    def _end(self, type_: str, **payload: Any) -> Event:
        event = self._event(type_, mission_id=self._mission, duration_seconds=round(self._for, 3), **payload)
        self._mission = None
        self._become("idle", self._random.uniform(2, 15))
        return event

    def _become(self, state: Literal["idle", "driving", "charging", "failed"], rest: float = 0.0) -> None:
        self._state, self._for, self._rest = state, 0.0, rest

    def _event(self, type_: str, **payload: Any) -> Event:
        return {"type": type_, "target": self.id, "payload": {"robot_id": self.id, **payload, "simulated": True}}

    def _metrics(self, *, charging: bool) -> dict[str, Any]:
        rng = self._random
        self._cpu = min(99.0, max(3.0, self._cpu + rng.uniform(-4, 4) + (0.5 if self._speed else -0.5)))
        self._memory = min(95.0, max(10.0, self._memory + rng.uniform(-0.3, 0.3)))
        voltage = 22.0 + 4.0 * self._battery / 100
        power = 25.0 + 140.0 * self._speed / SPEED + self._cpu * 0.3
        return {
            "battery": {
                "level": round(self._battery, 2),
                "voltage": round(voltage, 2),
                "current": round(12.0 if charging else -power / voltage, 2),
                "temperature": round(24.0 + (6.0 if charging else 0.0) + self._speed * 3, 1),
                "charging": charging,
            },
            "cpu_usage": round(self._cpu, 1),
            "memory_usage": round(self._memory, 1),
            "network": {"latency_ms": round(rng.lognormvariate(2.5, 0.5), 1)},
            "position": {**self._rounded(self._position), "theta": round(self._heading, 3)},
            "velocity": {"vx": round(self._speed, 3)},
            "odometer": round(self._odometer, 2),
            "power": round(power, 1),
            "state": self._state,
            "errors_active": {"error": int(self._state == "failed")},
        }

    def _rounded(self, place: tuple[float, float]) -> dict[str, float]:
        return {"x": round(place[0], 2), "y": round(place[1], 2)}
