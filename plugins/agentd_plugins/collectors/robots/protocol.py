"""The telemetry protocol: what a robot and the agent say to each other over a WebSocket, and the codes that end it.

With the subprotocol ``agentd.telemetry.v1`` each message is one JSON object in a text frame, with
``agentd.telemetry.v1+msgpack`` one MessagePack map in a binary frame; ``type`` says which. A robot begins with
``hello`` and waits for ``welcome``. Docs: docs/robots.md.
"""

import re
from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from typing import Annotated, Any

import msgspec

JSON, MSGPACK = "agentd.telemetry.v1", "agentd.telemetry.v1+msgpack"
SUBPROTOCOLS = (JSON, MSGPACK)

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A sequence number: a double, which is all that some languages have, still tells each from the next."""

StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

_ROBOT_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_DATA = re.compile(rb'"type"\s*:\s*"data"')
_SEQ = re.compile(rb'"seq"\s*:\s*([0-9]{1,16})\b')


class Close(IntEnum):
    """Why the agent ends a connection; each code says what a robot should do."""

    UNSUPPORTED = 1003
    """The frame is not of the kind that the subprotocol takes: mend the client."""
    TOO_BIG = 1009
    """The frame is larger than ``max_frame``: send less at once."""
    RESTART = 1012
    """The agent stops: come again after ``retry_after_ms`` of the error before."""
    TRY_LATER = 1013
    """There is no room, or nothing can be written down: come again later."""
    PROTOCOL = 4400
    """What was sent is against the protocol: mend the client."""
    CREDENTIAL = 4401
    """The token is missing, wrong or expired: get another."""
    FORBIDDEN = 4403
    """The token is not for this robot."""
    NO_HELLO = 4408
    """No hello came in time."""
    CONFLICT = 4409
    """Several robots use this id: wait five minutes."""


class Hello(msgspec.Struct, tag="hello", tag_field="type", kw_only=True):
    """The first message of a robot."""

    stream_id: StreamId
    """Random; lives as long as the robot's own queue of numbered frames."""
    last_seq: Number = 0
    """The last number that the robot has given; 0 where it has given none."""
    first_seq: Number | None = None
    """The lowest number that it still keeps; 0 where it keeps none. Left out, nobody knows."""
    clock: float | None = None
    """What the robot's clock says, in seconds since 1970."""
    token: str | None = None
    """The token, where it cannot be sent in the header ``Authorization``, as in a browser."""
    client: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """Name and version of the robot's software."""


class Live(msgspec.Struct, tag="live", tag_field="type", kw_only=True):
    """Values of now. Not numbered and not acknowledged: the next makes up for one that is lost."""

    metrics: dict[str, Any]
    timestamp: float | None = None
    """What the robot's clock says."""


class Data(msgspec.Struct, tag="data", tag_field="type", kw_only=True):
    """A numbered frame, kept by the robot until it is acknowledged."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    timestamp: float | None = None
    """When the metrics were measured, by the robot's clock."""
    clock: float | None = None
    """What the robot's clock says as it sends this."""
    metrics: dict[str, Any] = {}
    events: list[msgspec.Raw] = []
    """Events in the form of the envelope; each needs ``type`` alone."""


class Ping(msgspec.Struct, tag="ping", tag_field="type", kw_only=True):
    """Asks for a ``pong``: browsers cannot send the pings of WebSocket."""

    id: Annotated[str, msgspec.Meta(max_length=64)] | Number | None = None


class Pong(msgspec.Struct, tag="pong", tag_field="type", kw_only=True):
    """Answers a ``ping`` with its ``id``, and the agent's time."""

    id: Any = None
    time: float | None = None


class Credit(msgspec.Struct, kw_only=True):
    """How many numbered frames, and bytes of them, may be under way beyond the last acknowledged one."""

    frames: int
    bytes: int


class Welcome(msgspec.Struct, tag="welcome", tag_field="type", kw_only=True):
    """The answer to ``hello``."""

    connection_id: str
    resume_from: int
    """The number from which to send: all before are safe."""
    agent_epoch: str
    """Another than before where the agent has lost what it knew of sequence numbers."""
    credit: Credit
    time: float
    """The agent's clock."""


class Ack(msgspec.Struct, tag="ack", tag_field="type", kw_only=True):
    """All numbered frames up to ``seq`` are safe: they need not be kept."""

    seq: int
    credit: Credit


class Error(msgspec.Struct, tag="error", tag_field="type", kw_only=True, omit_defaults=True):
    """Something was refused. ``fatal``: the connection is closed. Else a frame with this ``seq`` counts as consumed:
    it must not be sent again.
    """

    reason: str
    message: str = ""
    fatal: bool = msgspec.field(default=False)
    seq: int | None = None
    retry_after_ms: int | None = None


Message = Hello | Live | Data | Ping | Pong
"""What a robot may send."""


class ProtocolError(ValueError):
    """What was sent cannot be understood.

    ``seq`` is the number of the frame, where it can be told; else it is one out of ``perhaps``, or none of them: a
    broken frame may also have a metric of that name.
    """

    def __init__(self, text: str, seq: int | None = None, perhaps: Collection[int] = ()) -> None:
        super().__init__(text)
        self.seq = seq
        self.perhaps = perhaps


class Codec:
    """One of the two forms of the messages."""

    def __init__(self, subprotocol: str = JSON) -> None:
        self.binary = subprotocol == MSGPACK
        library: Any = msgspec.msgpack if self.binary else msgspec.json
        self.encode: Callable[[Any], bytes] = library.Encoder().encode
        self._decode: Callable[[bytes], Message] = library.Decoder(Message).decode
        self._loose: Callable[[bytes], Any] = library.Decoder().decode

    def decode(self, frame: bytes) -> Message:
        """Return a message. Raises ``ProtocolError``."""
        try:
            return self._decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise self._poison(frame, _reason(error)) from None

    def plain(self, frame: bytes) -> Mapping[str, Any]:
        """Return the metrics that a client without the subprotocol sends. Raises ``ProtocolError``."""
        try:
            found = self._loose(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ProtocolError(_reason(error)) from None
        if not isinstance(found, dict):
            raise ProtocolError(f"expected an object of metrics, found {type(found).__name__}")
        return found

    def event(self, raw: msgspec.Raw) -> bytes:
        """Return what a robot sent as an event, as JSON. Raises ``ProtocolError``."""
        if not self.binary:
            return bytes(raw)
        try:
            return msgspec.json.encode(self._loose(bytes(raw)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
            raise ProtocolError(_reason(error)) from None

    def _poison(self, frame: bytes, reason: str) -> ProtocolError:
        """Return the error of a frame, with its number: it is to be consumed, or it would come for ever."""
        try:
            found = self._loose(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            if self.binary or _DATA.search(frame) is None:
                return ProtocolError(reason)
            return ProtocolError(reason, perhaps={int(digits) for digits in _SEQ.findall(frame)})
        number = found.get("seq") if isinstance(found, dict) and found.get("type") == "data" else None
        return ProtocolError(reason, number if type(number) is int and 1 <= number < 2**53 else None)


def is_robot_id(text: str) -> bool:
    """Say whether a text may be the id of a robot: it becomes part of paths, labels and keys."""
    return _ROBOT_ID.fullmatch(text) is not None and text not in (".", "..")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
