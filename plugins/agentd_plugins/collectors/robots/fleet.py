"""All robots: who is known, who is silent, and what is shown of them."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from agentd.plugin import Family, Frame, Histogram, Layout, Metric, gauge
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import Term, meaning, overridden
from agentd_plugins.collectors.robots.robot import OWN, Robot
from agentd_plugins.collectors.robots.series import Series
from agentd_plugins.collectors.robots.settings import RobotsConfig
from agentd_plugins.collectors.robots.signals import CUSTOM, ENERGY, ROBOT, SIGNALS, Signal
from agentd_plugins.collectors.robots.streams import KEPT_AS, kept_of

STATE = gauge(
    "robot_signal_state", "Whether a robot's metric is live (2), stale (1) or was never seen (0).", (ROBOT, "signal")
)
RTT = Metric("robot_fleet_link_rtt_seconds", "histogram", "Times that pings to robots and back took.", ("transport",))
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

SHOWN: tuple[Signal, ...] = (*OWN.values(), *SIGNALS.values(), ENERGY, CUSTOM)
"""The families of robots, in their order."""

_stamp: Callable[[Series], float] = attrgetter("stamp")
_value: Callable[[Series], float] = attrgetter("value")


class TooManyRobots(Exception):
    """There are as many robots as there may be."""


class Fleet:
    """The robots that are known. Belongs to the event loop; ``frame`` may be called in a worker."""

    def __init__(self, config: RobotsConfig, state: Mapping[str, Any], warn: Callable[..., None]) -> None:
        self._warn = warn
        self._config = config
        self._most: int = config.max_robots
        self._state = state
        self._robots: dict[str, Robot] = {}
        self._lexicons: dict[tuple[bool, ...], Lexicon] = {}
        self._version = 0
        self._shown: tuple[int, list[Series]] = (-1, [])
        self._fresh: list[bool] = []
        self._layout = Layout()
        self._links = [0] * (len(BUCKETS) + 1)
        self._links_sum = 0.0
        self._wants = re.compile("|".join(map(fnmatch.translate, config.diagnostics)) or "(?!)").match
        self.expected = frozenset(config.expected_robots)
        for name in self.expected:
            self.robot(name).own("connected", "websocket")

    def __len__(self) -> int:
        return len(self._robots)

    def __iter__(self) -> Iterator[Robot]:
        return iter(list(self._robots.values()))

    def get(self, name: str) -> Robot | None:
        """Return a robot that is known."""
        return self._robots.get(name)

    def has_room(self, name: str) -> bool:
        """Say whether a robot is known, or may become so."""
        return name in self._robots or len(self._robots) < self._most

    def robot(self, name: str) -> Robot:
        """Return a robot; one that is new is known from now on. Raises ``TooManyRobots``."""
        robot = self._robots.get(name)
        if robot is None:
            if not self.has_room(name):
                raise TooManyRobots(f"{len(self._robots)} robots are known, as many as {self.allowing} allows")
            kept = kept_of(self._state.get(f"{KEPT_AS}{name}"))
            streams = kept.streams if kept is not None else {}
            budget, lexicon = self._config.max_robot_series, self._lexicon(name)
            robot = Robot(
                *(name, budget, lexicon, streams),
                grew=self._grew,
                warn=self._warn,
                wants=self._wants,
                longest=self._config.stale_after,
            )
            self._robots[name] = robot
            robot.own("up")
            self._version += 1
        return robot

    @property
    def allowing(self) -> str:
        """What decides how many robots there may be."""
        return "max_robots" if self._most == self._config.max_robots else "memory"

    def shed(self, *, short: bool) -> None:
        """Where memory is short, let in no more robots than there are, and drop what those told that are not there."""
        self._most = len(self._robots) if short else self._config.max_robots
        if short:
            self._shown = (-1, [])  # found again at the next scrape
            for robot in self._robots.values():
                if robot.connection is None:
                    robot.readings.drop()

    def forget(self, name: str) -> bool:
        """Forget a robot; say whether it was known."""
        robot = self._robots.pop(name, None)
        if robot is not None:
            robot.readings.end()
        self._version += 1  # last: a worker that sees this must not find the robot any more
        return robot is not None

    def forget_silent(self, now: float) -> list[str]:
        """Forget robots that have said nothing for too long, and are not expected; return their names."""
        silent = [
            robot.id
            for robot in self._robots.values()
            if robot.connection is None
            and now - robot.seen > self._config.forget_after
            and robot.id not in self.expected
        ]
        for name in silent:
            self.forget(name)
        return silent

    def outdated(self, since: float, most: int) -> list[str]:
        """Return keys of the state that nobody needs: of robots that are not known, and have sent nothing ``since``."""
        return [
            key
            for key, value in self._state.items()
            if key.startswith(KEPT_AS)
            and key.removeprefix(KEPT_AS) not in self._robots
            and ((kept := kept_of(value)) is None or kept.at < since)
        ][:most]

    def is_fresh(self, robot: Robot, now: float) -> bool:
        """Say whether a robot has told something lately."""
        return robot.fresh > 0 and now - robot.fresh <= self._config.stale_after

    def shows(self, series: Series, now: float) -> bool:
        """Say whether a value is young enough to be shown."""
        return series.stamp > 0 and now - series.stamp <= self._config.stale_after

    def ponged(self, transport: str, seconds: float) -> None:
        """Note how long a ping took."""
        index = next((place for place, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self._links[index] += 1
        self._links_sum += seconds

    def frame(self, now: float) -> Frame:
        """Return what is to be shown: no value that is older than ``stale_after``."""
        version = self._version  # first: what grows meanwhile is found the next time
        robots = list(self._robots.values())
        for robot in robots:
            robot.own("up").value = 1.0 if self.is_fresh(robot, now) else 0.0
        shown = self._shown
        changed = version != shown[0]
        if changed:
            shown = self._shown = (version, _ordered(robots))
        every = shown[1]
        limit = now - self._config.stale_after
        fresh = [stamp >= limit for stamp in map(_stamp, every)]
        if changed or fresh != self._fresh:
            self._fresh = fresh
            self._layout = Layout(_families(series for series, shows in zip(every, fresh, strict=True) if shows))
        values = list(map(_value, every))
        if len(values) != self._layout.series:
            values = [value for value, shows in zip(values, fresh, strict=True) if shows]
        return self._layout.fill(values)

    def others(self, now: float) -> list[Family]:
        """Return what is told of the fleet beside the robots' own series."""
        families = []
        if self._config.signal_state:
            families.append(STATE(self._states(now)))
        links = list(self._links)  # which grow meanwhile
        if count := sum(links):
            buckets = tuple((bound, float(sum(links[: n + 1]))) for n, bound in enumerate(BUCKETS))
            families.append(RTT({("websocket",): Histogram(buckets, float(count), self._links_sum)}))
        return families

    def _states(self, now: float) -> dict[tuple[str, ...], float]:
        names = [f"robot_{name.removeprefix('robot_')}" for name in self._config.signal_state]
        states: dict[tuple[str, ...], float] = {}
        for robot in list(self._robots.values()):
            newest = dict.fromkeys(names, 0.0)
            for (name, _), series in list(robot.readings.series.items()):
                if name in newest:
                    newest[name] = max(newest[name], series.stamp)
            for name, stamp in newest.items():
                live = stamp > 0 and now - stamp <= self._config.stale_after
                states[robot.id, name] = 2.0 if live else 1.0 if stamp > 0 else 0.0
        return states

    def _lexicon(self, robot: str) -> Lexicon:
        """Return what fields mean to a robot: the same for all to which the same overrides apply."""
        applies = tuple(fnmatch.fnmatchcase(robot, override.robots) for override in self._config.overrides)
        if applies not in self._lexicons:
            mine = {o.field.lower(): o for o, does in zip(self._config.overrides, applies, strict=True) if does}

            def means(field: str) -> Term | None:
                override = mine.get(field.lower())
                return meaning(field) if override is None else overridden(meaning(field), override)

            self._lexicons[applies] = Lexicon(means)
        return self._lexicons[applies]

    def _grew(self) -> None:
        self._version += 1


def _ordered(robots: Iterable[Robot]) -> list[Series]:
    """Return the series of all robots, those of a family together."""
    by_family: dict[str, list[Series]] = {signal.name: [] for signal in SHOWN}
    for robot in robots:
        for series in robot.series():
            by_family[series.signal.name].append(series)
    return [series for family in by_family.values() for series in family]


def _families(shown: Iterable[Series]) -> list[Family]:
    families: list[Family] = []
    signal: Signal | None = None
    samples: dict[Any, Any] = {}
    for series in shown:
        if series.signal is not signal:
            signal, samples = series.signal, {}
            metric = signal.metric
            families.append(Family(metric.name, metric.kind, metric.help, metric.labels, samples))
        samples[series.key] = 0.0
    return families
