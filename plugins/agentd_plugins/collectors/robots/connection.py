"""One WebSocket of a robot, from its first message to its last."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from agentd.plugin import Principal
from agentd_plugins.collectors.robots.frames import Frames
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.ledger import Ledger
from agentd_plugins.collectors.robots.protocol import (
    Close,
    Codec,
    Hello,
    ProtocolError,
    Welcome,
)
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig

log = logging.getLogger(__name__)

IN_TURN = 0.005
"""Seconds for which one robot's frames are taken before others have their turn: of the smallest, or of pings, so many
come at once that all would wait for half a second."""

PINGS = 10
"""Pings and pongs that may come before the hello: whoever sends thousands is nobody who is known."""

RESTART_WITHIN = 60_000
"""Milliseconds over which robots spread their return when the agent restarts."""


class Connection(Frames):
    """A robot's WebSocket, after its upgrade."""

    transport = "websocket"

    def __init__(
        self,
        socket: web.WebSocketResponse,
        codec: Codec | None,
        *,
        intake: Intake,
        ledger: Ledger,
        config: RobotsConfig,
        epoch: str,
        peer: str,
        transport: asyncio.Transport,
        ponged: Callable[[str, float], None],
    ) -> None:
        super().__init__(socket, transport, codec, intake=intake, ledger=ledger, config=config)
        self.id = secrets.token_hex(8)
        self._ponged_in = ponged
        self.stream = f"plain:{peer}"
        self.principal: Principal | None = None
        self.token: str | None = None
        """The token that it came by, if any; it may be withdrawn."""
        self.judge_at = float("inf")
        """When to look at the token again."""
        self.began = self.heard
        self._epoch = epoch
        self._clock: float | None = None
        self._client: str | None = None
        self._gone = 0
        self._by_its_like = False
        self._ping: tuple[bytes, float] | None = None
        self._ping_due = self.began + config.ping_every

    @property
    def says_hello(self) -> bool:
        """Whether the robot speaks the protocol, and begins with ``hello``."""
        return self._codec is not None

    async def hello(self, may: Callable[[str | None], Principal | Close]) -> bool:
        """Wait for the first message, and say whether the robot may go on. ``may`` judges its token."""
        assert self._codec is not None  # noqa: S101  # plain clients do not say hello
        try:
            async with asyncio.timeout(self._config.hello_within):
                message = await self._first()
        except TimeoutError:
            return self._refuse(Close.NO_HELLO, "no_hello", "no hello came in time")
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            self._note_end(message)
            return False
        if message.type is not self._wanted:
            return self._refuse(Close.UNSUPPORTED, "wrong_frame", "the subprotocol has frames of another kind")
        try:
            hello = self._codec.decode(_data(message))
        except ProtocolError as error:
            return self._refuse(Close.PROTOCOL, "protocol", str(error))
        if not isinstance(hello, Hello):
            return self._refuse(Close.PROTOCOL, "protocol", "expected hello as the first message")
        allowed = may(hello.token)
        if isinstance(allowed, Close):
            text = "this token is not for this robot" if allowed is Close.FORBIDDEN else "the token is missing or wrong"
            return self._refuse(allowed, allowed.name.lower(), text)
        self.principal = allowed
        self.stream, self._first_seq = hello.stream_id, hello.first_seq or 0
        if hello.first_seq is not None:
            self._gone = (hello.first_seq or hello.last_seq + 1) - 1
        self._client = hello.client or None
        self._clock = hello.clock
        return True

    def begin(self, robot: Robot) -> None:
        """Take up what a robot says from now on."""
        self.robot = robot
        robot.client = self._client
        lost = robot.streams.gone(self.stream, self._gone)
        if lost:
            robot.count("messages_lost_total", "data", by=lost)
            text = "robot %s does not have %d frames any more that never came, up to number %d: is its queue too small?"
            log.warning(text, robot.id, lost, self._gone)
        self._intake.clock(robot, self._clock, hello=True)

    async def welcome(self) -> None:
        """Tell the robot where to go on: what has come, and is not safe yet, may still be lost."""
        await self._send(
            Welcome(
                connection_id=self.id,
                resume_from=self.robot.streams.safe(self.stream) + 1,
                agent_epoch=self._epoch,
                credit=self._credit(),
                time=self._intake.time(),
            )
        )

    async def run(self) -> None:
        """Take what the robot sends until the connection ends."""
        # Kept here and not in the object: what refers to itself would wait for the garbage collector.
        take: Callable[[bytes], Awaitable[None] | None] = self._plain if self._codec is None else self._frame
        receive, wanted = self._socket.receive, self._wanted
        turn = time.monotonic()
        while not self.ending:  # what still comes then is not acknowledged: after a loss it would leave a hole
            message = await receive()
            if time.monotonic() - turn > IN_TURN:
                await asyncio.sleep(0)
                turn = time.monotonic()
            if message.type is wanted:
                waiting = take(_data(message))
                if waiting is not None:
                    await waiting
            elif message.type is WSMsgType.PING:
                self.heard = self._intake.now()
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._ponged(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.end(Close.UNSUPPORTED, "wrong_frame", "the subprotocol has frames of another kind")
            else:
                self._note_end(message)
                return

    @property
    def lived(self) -> bool:
        """Whether it is a plain client's that was replaced by one of the same address although it was alive, as it has
        answered the end: then there are two of them. What a robot has left behind does not answer.
        """
        return self._by_its_like and self._socket.close_code not in (None, WSCloseCode.ABNORMAL_CLOSURE)

    def replace(self, stream: str) -> None:
        """End, because a newer connection of the robot has come, by this stream."""
        self._by_its_like = stream == self.stream and not self.says_hello
        self.end(1000, "replaced", "a newer connection of this robot has come")

    def forget(self) -> None:
        """End, because somebody wants the robot to be forgotten."""
        self.end(1000, "forgotten", "this robot was forgotten, as somebody asked for")

    def restart(self) -> None:
        """End, because the agent does."""
        wait = random.randint(0, RESTART_WITHIN)  # spreads load, hides nothing
        self.end(Close.RESTART, "restart", "the agent stops", retry_after_ms=wait)

    def look(self, now: float) -> None:
        """Ping when it is time, and drop who does not answer; end what may no longer be."""
        every = self._config.ping_every
        if self._ping is not None:
            # Who sends is there: on a slow link its pong waits behind its frames.
            if now - max(self._ping[1], self.heard) > every / 2:
                self.drop("no_pong")
        elif now >= self._ping_due:
            self._ping, self._ping_due = (secrets.token_bytes(8), now), now + every
            self._at_once(self._socket.ping(self._ping[0]))
        expires = self.principal.expires if self.principal is not None else None
        if expires is not None and expires <= self._intake.time():
            self.end(Close.CREDENTIAL, "expired", "the token has expired")

    def _ponged(self, data: bytes) -> None:
        self.heard = now = self._intake.now()
        if self._ping is not None and self._ping[0] == data:
            took = now - self._ping[1]
            # While pings are answered the last answer is as good as new, also where they are rarer than stale_after.
            longer = max(0.0, 1.5 * self._config.ping_every - self._config.stale_after)
            self.robot.measured("link_rtt_seconds", self.transport, value=took, at=now + longer)
            self._ponged_in(self.transport, took)
            self._ping = None

    def _refuse(self, code: Close, reason: str, text: str) -> bool:
        self.end(code, reason, text)
        return False

    async def _first(self) -> WSMessage:
        """Return the first message that is no ping; the last of many pings, which are no hello."""
        for _ in range(PINGS):
            message = await self._socket.receive()
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                break
        return message

    def _note_end(self, message: WSMessage) -> None:
        """Note why the other side has ended the connection, or what it sent that no WebSocket has."""
        if message.type is WSMsgType.ERROR:
            code = getattr(message.data, "code", None)
            self.reason = self.reason or ("too_big" if code == Close.TOO_BIG else "protocol")
        self.reason = self.reason or ("closed" if self._socket.close_code == 1000 else "gone")


def _data(message: WSMessage) -> bytes:
    data: bytes = message.data
    return data
