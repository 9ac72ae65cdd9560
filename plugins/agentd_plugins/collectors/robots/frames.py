"""One WebSocket of a robot, as far as its frames are taken in, acknowledged and refused."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web

from agentd.plugin import EventError
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.ledger import Entry, Ledger
from agentd_plugins.collectors.robots.protocol import (
    Ack,
    Close,
    Codec,
    Credit,
    Data,
    Error,
    Hello,
    Live,
    Ping,
    Pong,
    ProtocolError,
)
from agentd_plugins.collectors.robots.robot import Robot
from agentd_plugins.collectors.robots.settings import RobotsConfig
from agentd_plugins.collectors.robots.wire import Wire

LENIENCE = 2
"""Times the credit that a robot may use before its connection is closed."""

_PLAIN = Codec()


class Frames(Wire):
    """A robot's WebSocket on which its frames come."""

    robot: Robot
    """Whose it is; known when it may go on, and not before: whoever has no token makes no robot known."""

    stream: str
    """Which numbering its frames have."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        tcp: asyncio.Transport,
        codec: Codec | None,
        *,
        intake: Intake,
        ledger: Ledger,
        config: RobotsConfig,
    ) -> None:
        super().__init__(socket, tcp, codec)
        self.heard = intake.now()
        """When anything came, by the monotonic clock."""
        self._intake = intake
        self._ledger = ledger
        self._config = config
        self._first_seq = 0

    def safe(self, seq: int) -> None:
        """Acknowledge: all numbered frames up to this one are on disk."""
        self._post(Ack(seq=seq, credit=self._credit()))

    def refused(self, seq: int, why: str) -> None:
        """Tell that a frame is consumed, and why nothing became of it."""
        self.robot.count("telemetry_refused_total", "frame")
        self._post(Error(reason="poison", message=why, seq=seq))

    def unsafe(self, why: str) -> None:
        """Nothing can be written down now: the robot has to keep what was not acknowledged, and to come again."""
        self.end(Close.TRY_LATER, "not_durable", why, retry_after_ms=5000)

    def _frame(self, data: bytes) -> Awaitable[None] | None:
        assert self._codec is not None  # noqa: S101  # a plain client's frames go elsewhere
        now = self._arrived(data)
        try:
            message = self._codec.decode(data)
        except ProtocolError as error:
            self._poison(error, len(data))
            return None
        if type(message) is Live:
            self._intake.clock(self.robot, message.timestamp)
            if self._within_rate():
                self._intake.live(self.robot, message.metrics, now)
        elif type(message) is Data:
            self._intake.clock(self.robot, message.clock)
            self._data(message, data, now)
        elif type(message) is Ping:
            self._post(Pong(id=message.id, time=self._intake.time()))
        elif type(message) is Hello:
            self.end(Close.PROTOCOL, "protocol", "hello was said before")
        return None

    def _data(self, message: Data, data: bytes, now: float) -> None:
        robot, seq = self.robot, message.seq
        last = robot.streams.last(self.stream)
        if last is not None and seq <= last:
            robot.count("messages_repeated_total", "data")
            safe = robot.streams.safe(self.stream)
            if seq <= safe:  # else it is acknowledged when it is
                self.safe(safe)
            return
        if not self._has_room():
            return
        lost = robot.streams.lost(self.stream, seq)
        if lost:
            robot.count("messages_lost_total", "data", by=lost)
        robot.streams.accept(self.stream, seq, len(data))
        try:
            events = self._intake.events(robot, [self._codec.event(raw) for raw in message.events])  # type: ignore[union-attr]  # checked by who calls
        except (EventError, ProtocolError) as error:
            self.refused(seq, str(error))
            events = []
        events += self._intake.data(robot, message.metrics, message.timestamp, now)
        self._ledger.add(Entry(robot, self.stream, seq, events, len(data)))

    def _has_room(self) -> bool:
        """Say whether a further numbered frame can be taken; end where it cannot."""
        streams, config = self.robot.streams, self._config
        over = streams.frames >= LENIENCE * config.credit_frames or streams.bytes >= LENIENCE * config.credit_bytes
        if over or self._ledger.full:
            text = "more is under way than the credit allows" if over else "too much waits to be written down"
            self.end(Close.TRY_LATER, "credit" if over else "busy", text, retry_after_ms=1000)
            return False
        return True

    def _poison(self, error: ProtocolError, size: int) -> None:
        """Consume a frame that cannot be understood, where its number can be told; else end."""
        streams = self.robot.streams
        last = streams.last(self.stream) or 0
        seq = error.seq
        if seq is None:  # frames come in order: what would leave a gap is something else of that name
            repeated = max((number for number in error.perhaps if 0 < number <= last), default=None)
            expected = max(last + 1, self._first_seq)
            seq = expected if expected in error.perhaps else repeated
        if seq is None:
            self.end(Close.PROTOCOL, "protocol", str(error))
            return
        if seq > last:
            if not self._has_room():
                return
            streams.accept(self.stream, seq, size)
            self._ledger.add(Entry(self.robot, self.stream, seq, (), size))
        self.refused(seq, str(error))

    def _plain(self, data: bytes) -> Awaitable[None] | None:
        """Take what a client without the subprotocol sends: an object of metrics."""
        now = self._arrived(data)
        if not self._within_rate():
            return None
        try:
            metrics = _PLAIN.plain(data)
        except ProtocolError as error:
            self.robot.count("telemetry_refused_total", "frame")
            return self._send({"error": str(error)})
        self._intake.live(self.robot, metrics, now)
        if self._config.plain_reply == "none":
            return None
        return self._send({"status": "ok"} if self._config.plain_reply == "ack" else metrics)

    def _arrived(self, data: bytes) -> float:
        self.heard = now = self._intake.now()
        self.robot.heard(now, 1, len(data))
        return now

    def _within_rate(self) -> bool:
        if self.robot.exceeds(self._config.rate_limit):
            self.robot.count("telemetry_refused_total", "rate")
            return False
        return True

    def _credit(self) -> Credit:
        """Return what may be under way: nothing more for whoever is over its rate, or while too much waits."""
        if self._ledger.full or self.robot.exceeds(self._config.rate_limit):
            return Credit(frames=1, bytes=int(self._config.max_frame))
        return Credit(frames=self._config.credit_frames, bytes=int(self._config.credit_bytes))
