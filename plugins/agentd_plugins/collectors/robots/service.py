"""The robots' side of the web server: upgrades, who may come in, and what is told of connections."""

import asyncio
import contextlib
import random
import socket
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from agentd.plugin import NotDurable, Principal, Scope
from agentd_plugins.collectors.robots.connection import RESTART_WITHIN, Connection
from agentd_plugins.collectors.robots.fleet import Fleet, TooManyRobots
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.ledger import Commit, Ledger
from agentd_plugins.collectors.robots.protocol import SUBPROTOCOLS, Close, Codec, is_robot_id
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig
from agentd_plugins.collectors.robots.watch import JUDGE_EVERY, Watch

UNACKNOWLEDGED = 30_000
"""Milliseconds for which the kernel waits for a robot to acknowledge what was sent (TCP_USER_TIMEOUT, tcp(7))."""

WAITING = 64 << 20
"""Bytes of frames that may wait to be written down; beyond that robots are asked to come again."""

HELLOS = 256
"""Connections that may be without a credential at once: each may have begun a frame of the largest size."""

EPOCH = "epoch"
"""The key of what tells robots that the agent has not lost what it knew of them."""


class Service:
    """Connections of robots."""

    def __init__(
        self,
        fleet: Fleet,
        intake: Intake,
        config: RobotsConfig,
        *,
        commit: Commit,
        authenticate: Callable[[str], Principal | None],
    ) -> None:
        self.refused: dict[str, int] = {}
        """Connections that were refused, by reason."""
        self._fleet = fleet
        self._intake = intake
        self._config = config
        self._commit = commit
        self._authenticate = authenticate
        self._ledger = Ledger(commit, WAITING, intake.time)
        self._connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}  # of whom there is no credential yet, the oldest first
        self._epoch = ""
        self._second = 0.0
        self._accepted = {True: 0, False: 0}  # within it, by whether a credential was shown
        self._most: int = config.max_connections
        self._watch = Watch(fleet, self._connections, intake, config, commit=commit, authenticate=authenticate)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self, epoch: Any) -> None:
        """Begin. ``epoch`` is what was written down as such, if anything was."""
        self._epoch = epoch if isinstance(epoch, str) else ""
        if not self._epoch:
            self._epoch = str(uuid.uuid4())
            with contextlib.suppress(NotDurable):  # robots get another, then, the next time
                await self._commit((), {EPOCH: self._epoch})
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._ledger.run()), loop.create_task(self._watch.run())]

    async def leave(self) -> None:
        """Tell all robots to come again later."""
        self._stopping = True
        for connection in list(self._connections):
            connection.restart()
        await asyncio.gather(*(connection.closed() for connection in list(self._connections)))

    async def stop(self) -> None:
        """End what runs."""
        await self.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def connect(self, request: web.BaseRequest, principal: Principal) -> web.StreamResponse:
        """Answer a robot that wants to talk over a WebSocket."""
        name = request["robot_id"]
        asked = {each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")}
        chosen = next((each for each in SUBPROTOCOLS if each in asked), None)
        refusal = self._refusal(name, principal, chosen)
        if refusal is not None:
            return refusal
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the robot has gone")
        websocket = web.WebSocketResponse(
            protocols=[chosen] if chosen else (),
            autoping=False,
            compress=False,
            max_msg_size=int(self._config.max_frame),
            timeout=1.0,
            decode_text=False,
        )
        await websocket.prepare(request)
        tcp = transport.get_extra_info("socket")
        if tcp is not None and tcp.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
        connection = Connection(
            websocket,
            Codec(chosen) if chosen else None,
            intake=self._intake,
            ledger=self._ledger,
            config=self._config,
            epoch=self._epoch,
            peer=str((transport.get_extra_info("peername") or ("local",))[0]),
            transport=transport,
            ponged=self._fleet.ponged,
        )
        self._connections.add(connection)
        try:
            await self._serve(connection, name, principal, _bearer(request))
        finally:
            connection.let_go()
            broken = websocket.exception()
            if broken is not None:
                # Its traceback leads back to the socket, which would wait for the garbage collector with all it has.
                broken.__traceback__ = broken.__context__ = None
        return websocket

    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    def shed(self, *, short: bool) -> None:
        """Where memory is short, let no more robots be connected than were then, nor be known, until it is no more."""
        if not short:
            self._most = self._config.max_connections
        elif self._most == self._config.max_connections:  # later ones let those that were there come back
            self._most = len(self._connections)
        self._fleet.shed(short=short)

    async def _serve(self, connection: Connection, name: str, principal: Principal, bearer: str | None) -> None:
        try:
            await self._talk(connection, name, principal, bearer)
        except asyncio.CancelledError:
            if not connection.woken():
                raise
        finally:
            self._connections.discard(connection)
        await connection.finish()
        if connection.lived:
            connection.robot.rivalled(self._intake.now())

    async def _talk(self, connection: Connection, name: str, principal: Principal, bearer: str | None) -> None:
        connection.principal = principal
        connection.token = bearer

        def may(token: str | None) -> Principal | Close:
            connection.token = token or connection.token
            judged = principal if token is None else self._authenticate(token)
            if judged is None or not judged.may(Scope.ROBOTS_WRITE):
                return Close.CREDENTIAL
            return judged if judged.writes_as(name) else Close.FORBIDDEN

        if connection.says_hello and not await self._greeted(connection, may):
            self._count(connection.reason)
            return
        try:  # not before: who may not write as a robot must not make it known
            robot = self._fleet.robot(name)
        except TooManyRobots as error:
            self._count("robots")
            connection.end(Close.TRY_LATER, "robots", str(error), retry_after_ms=random.randint(1000, RESTART_WITHIN))
            return
        if robot.flaps(self._intake.now(), connection.stream):
            self._intake.say("telemetry.identity_conflict", name, connection_id=connection.id)
            self._count("conflict")
            connection.end(Close.CONFLICT, "conflict", "several robots use this id: wait five minutes")
            return
        if robot.connection is not None:
            robot.connection.replace(connection.stream)
        connection.begin(robot)
        connection.judge_at = self._intake.now() + JUDGE_EVERY
        self._opened(robot, connection)
        try:
            if connection.says_hello:
                await connection.welcome()
            await connection.run()
        except ConnectionError:
            connection.reason = connection.reason or "gone"
        finally:
            self._closed(robot, connection)

    async def _greeted(self, connection: Connection, may: Callable[[str | None], Principal | Close]) -> bool:
        """Wait for the hello. Of too many without a credential the oldest ends: whoever sends none keeps none out."""
        if connection.principal is None or not connection.principal.may(Scope.ROBOTS_WRITE):
            self._strangers[connection] = None
            if len(self._strangers) > HELLOS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]  # now: it takes a moment to end, in which more may come
                oldest.drop("hellos")
        try:
            return await connection.hello(may)
        finally:
            self._strangers.pop(connection, None)

    def _opened(self, robot: Robot, connection: Connection) -> None:
        robot.connection = connection
        robot.seen = now = self._intake.now()
        robot.awaited = robot.awaited or now
        robot.own("connected", connection.transport).value = 1.0
        robot.own("last_seen_timestamp_seconds", connection.transport).value = self._intake.time()
        robot.count("connections_total", connection.transport)
        self._intake.say(
            "telemetry.connection_established",
            robot.id,
            connection_id=connection.id,
            connected_at=self._intake.time(),
        )

    def _closed(self, robot: Robot, connection: Connection) -> None:
        reason = connection.reason or ("restart" if self._stopping else "gone")
        robot.count("disconnections_total", connection.transport, reason)
        if robot.connection is connection:  # else a newer one is there, whose state is none of ours
            robot.connection = None
            robot.own("connected", connection.transport).value = 0.0
            robot.own("last_seen_timestamp_seconds", connection.transport).value = self._intake.heard_at(robot)
        self._intake.say(
            "telemetry.connection_closed",
            robot.id,
            connection_id=connection.id,
            duration_seconds=self._intake.now() - connection.began,
            reason=reason,
            disconnected_at=self._intake.time(),
        )

    def _refusal(self, name: str, principal: Principal, chosen: str | None) -> web.Response | None:
        """Return why a robot cannot come in now, or None where it may."""
        if not is_robot_id(name):
            return self._refuse(400, "id", "a robot's id is 1 to 128 of A-Z a-z 0-9 . _ : @ -")
        if self._stopping:
            return self._refuse(503, "restart", "the agent stops")
        if len(self._connections) >= self._most:
            allowing = "max_connections" if self._most == self._config.max_connections else "memory"
            return self._refuse(503, "connections", f"as many robots are connected as {allowing} allows")
        if not self._fleet.has_room(name):
            return self._refuse(503, "robots", f"as many robots are known as {self._fleet.allowing} allows")
        known = principal.may(Scope.ROBOTS_WRITE)
        if known and not principal.writes_as(name):
            return self._refuse(403, "forbidden", f"{principal.name} may not write as this robot")
        if not known and chosen is None:
            return self._refuse(401, "credential", "writing takes a token: Authorization: Bearer …")
        now = self._intake.now()
        if now >= self._second:
            self._second, self._accepted = now + 1.0, {True: 0, False: 0}
        self._accepted[known] += 1  # apart: whoever comes without a credential keeps none out who has one
        if self._accepted[known] > self._config.connects_per_second:
            return self._refuse(503, "connects", "too many robots come at once")
        return None

    def _refuse(self, status: int, reason: str, text: str) -> web.Response:
        self._count(reason)
        headers = {}
        if status == 503:
            headers["Retry-After"] = str(random.randint(1, RESTART_WITHIN // 1000))  # spreads load
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.Response(status=status, text=text + "\n", headers=headers)

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


def _bearer(request: web.BaseRequest) -> str | None:
    """Return the token of a request's header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None
