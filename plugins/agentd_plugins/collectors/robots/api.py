"""The paths under ``/api/telemetry`` that are no WebSocket: what robots post, and what others ask about robots."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from agentd.plugin import Answer, Event, EventError, NotDurable, Principal, Route, Scope, Snapshot
from agentd_plugins.collectors.robots import schemas
from agentd_plugins.collectors.robots.energy import Energy, energy
from agentd_plugins.collectors.robots.fleet import Fleet, TooManyRobots
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.posted import TooLargeError, body_of, frames_of
from agentd_plugins.collectors.robots.protocol import SUBPROTOCOLS, ProtocolError, is_robot_id
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig

ROOT = "/api/telemetry"
IN_TURN = 50
"""Frames of a batch that are taken before others have their turn: a whole one may take a third of a second."""

PAGE, MOST = 100, 1000
"""Robots in an answer: by default, and at most."""

NO_ID = "a robot's id is 1 to 128 of A-Z a-z 0-9 . _ : @ -, and neither . nor .."


class Api:
    """Answers what robots post, and what others ask about them."""

    def __init__(
        self,
        fleet: Fleet,
        intake: Intake,
        config: RobotsConfig,
        *,
        commit: Callable[[Iterable[Event], Mapping[str, Any]], Awaitable[None]],
        gather: Callable[..., Awaitable[Snapshot]],
        version: str,
    ) -> None:
        self._fleet = fleet
        self._intake = intake
        self._config = config
        self._commit = commit
        self._gather = gather
        self._version = version

    def routes(self) -> list[Route]:
        """Return the routes."""
        robot = f"{ROOT}/robots/{{robot_id}}"
        read, write = Scope.METRICS_READ, Scope.ROBOTS_WRITE
        of_robot, tags = (schemas.ROBOT_ID,), ("robots",)
        return [
            Route(
                *("GET", f"{ROOT}/info", self._info, read, "what this service is"),
                tags=tags,
                answers=schemas.INFO,
            ),
            Route(
                *("GET", f"{ROOT}/robots", self._list, read, "the robots that are known"),
                tags=tags,
                parameters=schemas.PAGE,
                answers=schemas.LIST,
            ),
            Route(
                *("GET", f"{robot}/metrics", self._metrics, read, "what a robot has told last"),
                tags=tags,
                parameters=of_robot,
                answers=schemas.METRICS,
            ),
            Route(
                *("POST", f"{robot}/metrics", self._post, write, "metrics and events of a robot"),
                tags=tags,
                parameters=of_robot,
                body=dict[str, Any] | list[dict[str, Any]],
                answers=schemas.TAKEN,
            ),
            Route(
                *("DELETE", robot, self._forget, Scope.ADMIN, "forget a robot"),
                tags=tags,
                parameters=of_robot,
                answers=schemas.FORGOTTEN,
            ),
            Route(
                *("GET", f"{ROOT}/energy", self._energy, read, "what the machine and the robots tell of energy"),
                tags=tags,
                answers=(Answer(200, "all that is known of energy now", Energy),),
            ),
        ]

    async def _info(self, _request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        robots, now = list(self._fleet), self._intake.now()
        return _json(
            schemas.Info(
                name="agentd telemetry",
                version=self._version,
                features=["websocket", "http", "numbered_frames", "events", "energy"],
                subprotocols=list(SUBPROTOCOLS),
                active_connections=sum(robot.connection is not None for robot in robots),
                robots=len(robots),
                stale=sum(self._is(robot, "stale", now) for robot in robots),
            )
        )

    async def _list(self, request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        state = request.query.get("state")
        if state not in (None, "up", "stale", "connected"):
            return _refusal(400, f"state: expected up, stale or connected; found {state[:40]!r}")
        limit = request.query.get("limit", str(PAGE))
        if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= MOST:
            return _refusal(400, f"limit: expected a number from 1 to {MOST}; found {limit[:40]!r}")
        after, now = request.query.get("after", ""), self._intake.now()
        found = sorted(robot.id for robot in self._fleet if robot.id > after and self._is(robot, state, now))
        page = found[: int(limit)]
        robots = [self._summary(robot, now) for name in page if (robot := self._fleet.get(name)) is not None]
        return _json(
            {"robots": robots, "next": page[-1] if len(found) > len(page) else None, "total": len(self._fleet)}
        )

    def _is(self, robot: Robot, state: str | None, now: float) -> bool:
        up = self._fleet.is_fresh(robot, now)
        return {"up": up, "stale": not up, "connected": robot.connection is not None}.get(state or "", True)

    def _summary(self, robot: Robot, now: float) -> schemas.Summary:
        return schemas.Summary(
            robot.id,
            "up" if self._fleet.is_fresh(robot, now) else "stale",
            robot.connection is not None,
            self._intake.heard_at(robot) if robot.seen else None,
            len(robot.readings.series),
            robot.client,
        )

    async def _metrics(self, request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        if not is_robot_id(request["robot_id"]):
            return _refusal(400, NO_ID)
        robot = self._fleet.get(request["robot_id"])
        if robot is None:
            return _refusal(404, "this robot is not known")
        now = self._intake.now()
        said: dict[str, Any] = {}
        canonical = []
        for series in robot.readings.series.values():
            if not series.stamp:
                continue
            if series.raw is not None and not (
                isinstance(series.raw, str) and not series.value
            ):  # the one of a few texts that it says now
                _put(said, series.field, series.raw)
            labels = dict(zip(series.signal.metric.labels[1:], series.key[1:], strict=True))
            canonical.append(
                schemas.Reading(
                    series.signal.name,
                    {name: value for name, value in labels.items() if value is not None},
                    series.value,
                    series.signal.unit,
                    round(max(0.0, now - series.stamp), 3),
                    now - series.stamp > self._config.stale_after,
                )
            )
        if self._config.metrics_published == "query":
            self._intake.publish(robot, said)
        return _json({**said, "robot_id": robot.id, "metrics": canonical})

    async def _post(self, request: web.BaseRequest, principal: Principal) -> web.StreamResponse:
        name = request["robot_id"]
        if not is_robot_id(name):
            return _refusal(400, NO_ID)
        if not principal.writes_as(name):
            return _refusal(403, f"{principal.name} may not write as this robot")
        try:
            body = await body_of(request, self._config.max_frame)
            frames = frames_of(body, self._config.max_frame)
            robot = self._fleet.robot(name)
        except ProtocolError as error:
            self._count(name, "frame")
            return _refusal(400, str(error))
        except TooLargeError as error:
            self._count(name, "too_big")
            return _refusal(413, str(error))
        except TooManyRobots as error:
            return _refusal(503, str(error), retry_after=60)
        now = self._intake.now()
        robot.heard(now, 0, 0)
        if robot.exceeds(self._config.rate_limit):
            robot.count("telemetry_refused_total", "rate")
            return _refusal(429, f"more than {self._config.rate_limit} frames in a second", retry_after=1)
        robot.heard(now, len(frames), len(body))
        try:
            events = [
                event for frame in frames for event in self._intake.events(robot, [bytes(e) for e in frame.events])
            ]
        except EventError as error:
            return _refusal(400, f"events: {error}")
        # They came together: the newest is what its clock said as it sent them.
        self._intake.clock(robot, max((frame.clock for frame in frames if frame.clock is not None), default=None))
        robot.own("last_seen_timestamp_seconds", "http").value = self._intake.time()
        events += await self._taken(robot, frames, now)
        if events:
            try:
                await self._commit(events, {})
            except NotDurable as error:
                return _refusal(503, str(error), retry_after=5)
            except (ValueError, TypeError) as error:
                return _refusal(400, f"events: {error}")
        return _json(schemas.Accepted(len(frames)))

    async def _taken(self, robot: Robot, frames: Iterable[schemas.Posted], now: float) -> list[Event]:
        """Take what was measured, and give way to others now and then; return what is to be kept as history."""
        events = []
        for number, frame in enumerate(frames, 1):
            events += self._intake.data(robot, frame.metrics, frame.timestamp, now, numbered=False)
            if number % IN_TURN == 0:
                await asyncio.sleep(0)
        return events

    def _count(self, name: str, reason: str) -> None:
        """Count what was refused; that does not make a robot known."""
        robot = self._fleet.get(name)
        if robot is not None:
            robot.count("telemetry_refused_total", reason)

    async def _forget(self, request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        name = request["robot_id"]
        if not is_robot_id(name):
            return _refusal(400, NO_ID)
        robot = self._fleet.get(name)
        if robot is None:
            return _refusal(404, "this robot is not known")
        if robot.connection is not None:
            robot.connection.forget()
        self._fleet.forget(name)
        self._intake.forget(name)
        try:
            await self._commit((), {robot.state_key: None})
        except NotDurable as error:
            return _refusal(503, f"forgotten until the agent starts again: {error}", retry_after=5)
        return web.Response(status=204)

    async def _energy(self, _request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        return _json(await energy(self._fleet, self._gather, self._intake.now(), self._intake.time()))


def _put(said: dict[str, Any], field: str, value: Any) -> None:
    """Put a value under the name that the robot used, nested as it was."""
    *groups, last = field.split(".")
    place = said
    for group in groups:
        inner = place.setdefault(group, {})
        if not isinstance(inner, dict):
            place[field] = value
            return
        place = inner
    place[last] = value


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


def _refusal(status: int, text: str, *, retry_after: int | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(status=status, text=text + "\n", headers=headers)
