"""What the paths of robots take and answer, as the API document tells it."""

from typing import Annotated, Any, Literal

import msgspec

from agentd.plugin import Answer, Parameter

ROBOT_ID = Parameter("robot_id", Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:@-]{1,128}$")], where="path")

WEBSOCKET = """A WebSocket. With the subprotocol `agentd.telemetry.v1` (JSON text) or `agentd.telemetry.v1+msgpack`
(binary) a robot says `hello` and gets `welcome`. It sends unnumbered `live` frames, and numbered `data` frames, which
are acknowledged by `ack` when they are safe. Without a subprotocol each frame is a JSON object of metrics. See
docs/robots.md."""


class Posted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A frame as it may be posted, where it is more than metrics."""

    metrics: dict[str, Any] = {}
    timestamp: float | None = None
    clock: float | None = None
    events: list[msgspec.Raw] = []


class Info(msgspec.Struct):
    """What this service is."""

    name: str
    version: str
    features: list[str]
    subprotocols: list[str]
    active_connections: int
    robots: int
    stale: int
    """Robots of which nothing was heard for ``stale_after``."""


class Summary(msgspec.Struct):
    """How a robot is."""

    robot_id: str
    state: Literal["up", "stale"]
    connected: bool
    last_seen: float | None
    """When it was heard last, in seconds since 1970."""
    series: int
    client: str | None
    """Name and version of its software, where it has said so."""


class Robots(msgspec.Struct):
    """A page of robots; ``next`` goes into ``after`` to get the following one."""

    robots: list[Summary]
    next: str | None
    total: int


class Reading(msgspec.Struct):
    """A value that a robot has told, under its canonical name."""

    name: str
    labels: dict[str, str]
    value: float
    unit: str
    age_seconds: float
    stale: bool


class Accepted(msgspec.Struct):
    """How many frames were taken."""

    accepted: int


TEXT = "text/plain"
UNKNOWN = Answer(404, "there is no such robot", str, TEXT)
WRONG = Answer(400, "the text says what is wrong", str, TEXT)
LATER = Answer(503, "no room, or nothing can be written down: `Retry-After` says when to come again", str, TEXT)
FORBIDDEN = Answer(403, "this credential is not for this robot", str, TEXT)

INFO = (Answer(200, "what this service is", Info),)
LIST = (Answer(200, "robots in the order of their ids", Robots), WRONG)
METRICS = (
    Answer(200, "the last values: as the robot named them, and under `metrics` by canonical name", dict[str, Any]),
    UNKNOWN,
)
OFTEN = Answer(429, "more frames in a second than `rate_limit` allows", str, TEXT)
LARGE = Answer(
    413, "a frame is larger than `max_frame` allows, or all of them together are larger than 1 MiB", str, TEXT
)
TAKEN = (Answer(200, "taken; events are on disk", Accepted), WRONG, FORBIDDEN, LARGE, OFTEN, LATER)
FORGOTTEN = (Answer(204, "forgotten"), UNKNOWN, LATER)
SOCKET = (
    Answer(101, "the WebSocket begins"),
    WRONG,
    Answer(401, "writing takes a token", str, TEXT),
    FORBIDDEN,
    LATER,
)
PAGE = (
    Parameter("state", Literal["up", "stale", "connected"], "only robots in this state"),
    Parameter("limit", Annotated[int, msgspec.Meta(ge=1, le=1000)], "robots in the answer, 100 where it is left out"),
    Parameter("after", str, "only robots whose id comes behind this one"),
)
