"""What happens while nobody says anything: silent robots and connections, tokens that are withdrawn, old numbers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentd.plugin import NotDurable, Principal
from agentd_plugins.collectors.robots.connection import Connection
from agentd_plugins.collectors.robots.fleet import Fleet
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.ledger import Commit
from agentd_plugins.collectors.robots.protocol import Close
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at all connections and robots."""

JUDGE_EVERY = 30.0
"""Seconds between two looks at whether the token of a connection still holds."""

TIDY_EVERY, TIDY_MOST = 60.0, 1000
"""Seconds between two looks for robots whose numbers need not be kept any more, and how many go at once."""


class Watch:
    """Looks after all robots, and all connections."""

    def __init__(
        self,
        fleet: Fleet,
        connections: Iterable[Connection],
        intake: Intake,
        config: RobotsConfig,
        *,
        commit: Commit,
        authenticate: Callable[[str], Principal | None],
    ) -> None:
        self._fleet = fleet
        self._connections = connections
        self._intake = intake
        self._config = config
        self._commit = commit
        self._authenticate = authenticate
        self._began = self._window_began = intake.now()
        self._tidy_at = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look_around(self._intake.now())
            except Exception:  # a bug here must not end the watch over all robots
                log.exception("looking after robots failed")

    async def _look_around(self, now: float) -> None:
        for connection in list(self._connections):
            connection.look(now)
            if connection.token is not None and now >= connection.judge_at:
                connection.judge_at = now + JUDGE_EVERY
                self._judge(connection, connection.token)
        for number, robot in enumerate(self._fleet):
            self._look(robot, now)
            if number % 1000 == 999:
                await asyncio.sleep(0)
        for name in self._fleet.forget_silent(now):
            self._intake.forget(name)
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY
            await self._tidy()
        every = self._config.data_received_every
        if every and now - self._window_began >= every:
            self._window_began, began = now, self._window_began
            for event in self._received(now - began):
                self._intake.say("telemetry.data_received", event.pop("robot"), **event)
                await asyncio.sleep(0)

    def _judge(self, connection: Connection, token: str) -> None:
        """End a connection whose token has been withdrawn, or is for other robots now."""
        principal = self._authenticate(token)
        if principal is None or not principal.writes_as(connection.robot.id):
            connection.end(Close.CREDENTIAL, "withdrawn", "the token is not valid any more")
        else:
            connection.principal = principal

    async def _tidy(self) -> None:
        """Forget numbers that nobody needs any more."""
        keys = self._fleet.outdated(self._intake.time() - self._config.forget_numbers_after, TIDY_MOST)
        if keys:
            with contextlib.suppress(NotDurable):  # later, then
                await self._commit((), dict.fromkeys(keys))

    def _look(self, robot: Robot, now: float) -> None:
        """Tell when a robot falls silent, and when it is back."""
        if robot.connection is not None:
            robot.own("last_seen_timestamp_seconds", robot.connection.transport).value = self._intake.heard_at(robot)
        fresh = self._fleet.is_fresh(robot, now)
        expected = robot.id in self._fleet.expected
        if not fresh and not robot.stale_told and (robot.fresh or (expected and self._late_for(robot, now))):
            robot.stale_told = True
            age = now - robot.fresh if robot.fresh else None
            self._intake.say("robot.stale", robot.id, age_seconds=age, connected=robot.connection is not None)
        elif fresh and robot.stale_told:
            robot.stale_told = False
            self._intake.say("robot.recovered", robot.id)
        robot.check_sign()

    def _late_for(self, robot: Robot, now: float) -> bool:
        """Say whether an expected robot that has told nothing yet, connected or not, should have by now."""
        return now - (robot.awaited or self._began) > self._config.stale_after

    def _received(self, seconds: float) -> Iterator[dict[str, Any]]:
        for robot in self._fleet:
            frames, bytes_ = robot.frames, robot.bytes
            robot.frames = robot.bytes = 0
            if frames:
                yield {
                    "robot": robot.id,
                    "window_seconds": seconds,
                    "frames": frames,
                    "bytes": bytes_,
                    "lost": robot.lost_since(),
                    "round_trip_seconds": robot.round_trip(),
                }
