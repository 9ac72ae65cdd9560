"""What the API of events takes and answers, as the API document tells it."""

from typing import Annotated, Any, Literal

import msgspec

from agentd.events.envelope import LONGEST_NAME, TYPE, Event
from agentd.routes import Answer, Parameter
from agentd.status import SinkStatus

Number = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
AGO = r"([0-9]{1,12}(\.[0-9]+)?(ms|[smhdw]))+"
Moment = Annotated[
    str, msgspec.Meta(pattern=rf"^([0-9]{{1,12}}(\.[0-9]{{1,9}})?|{AGO})?$", examples=["10m", "1790000000.5"])
]


class NewEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An event as somebody posts it; what is left out is filled in. Names are of printable characters."""

    type: Annotated[str, msgspec.Meta(pattern=f"^{TYPE.pattern}$", max_length=LONGEST_NAME)]
    id: Name = ""
    source: Name = ""
    target: Name | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0, lt=1e11)] = 0.0
    payload: dict[str, Any] = {}
    meta: dict[str, Any] = {}


class Page(msgspec.Struct):
    """Events, the newest first. Where ``next`` is no null, there may be more: ask again with it as ``before``."""

    events: list[Event]
    next: Number | None


class Taken(msgspec.Struct):
    """The ids of the events that were written down, in the order in which they were posted."""

    ids: list[str]


class Letter(msgspec.Struct):
    """An event that a sink's receiver refused for good, when (in seconds since 1970) and why."""

    number: Number
    time: float
    reason: str
    event: Event


class Replaying(msgspec.Struct):
    """What is delivered once more."""

    replaying: Literal["events", "dead letters"]


class Skipped(msgspec.Struct):
    """How many events a sink will not get that it wants."""

    skipped: Number


class Problem(msgspec.Struct):
    """Why a request was refused, and what would be right."""

    error: str


_WRONG = Answer(400, "Something in the request is not right; unknown parameters are refused, too.", Problem)
_NO_SINK = Answer(404, "There is no such sink; the answer names those that there are.", Problem)
_UNWRITTEN = Answer(503, "Nothing can be written down now; the header Retry-After says when to come again.", Problem)
_TOO_LARGE = Answer(413, "The body is larger than 1 MiB.", Problem)
_LIMIT = Parameter(
    "limit", Annotated[int, msgspec.Meta(ge=1, lt=10**18)], "How many; 100 where it is left out, at most 1000."
)
_WHICH = (
    Parameter("type", str, "Patterns of types, separated by commas: `telemetry.*,door.opened` say."),
    Parameter("source", str, "Patterns of sources, separated by commas."),
)
_SINK = Parameter("name", str, "The sink, `fleet` or `sinks.fleet` say.", "path")

WHICH = (
    *_WHICH,
    Parameter("since", Moment, "The oldest moment: seconds since 1970, or how long ago."),
    Parameter("until", Moment, "The newest moment: seconds since 1970, or how long ago."),
    _LIMIT,
    Parameter("before", Number, "Only events with a lower number than this: the `next` of the page before."),
)
FOUND = (Answer(200, "A page of events, maybe an empty one.", Page), _WRONG)

FROM = (
    *_WHICH,
    Parameter("after", Number, "The number behind which to begin; left out, with what happens from now on."),
    Parameter("Last-Event-ID", Number, "The same, as browsers say it when they come again.", "header"),
)
STREAMED = (
    Answer(200, "Server-sent events without end: `id` is a number, `event` the type.", str, "text/event-stream"),
    _WRONG,
)
STREAM = "The `data` of each is an event as JSON. In silence a comment comes every 15 seconds."

POSTED = NewEvent | Annotated[list[NewEvent], msgspec.Meta(max_length=1000)]
TAKEN = (Answer(201, "All are written down.", Taken), _WRONG, _TOO_LARGE, _UNWRITTEN)

SINKS = (Answer(200, "Each sink.", list[SinkStatus]), _WRONG)
OF_SINK = (_SINK,)
LETTERS_OF_SINK = (_SINK, Parameter("after", Number, "The number of the letter behind which to begin."), _LIMIT)
LETTERS = (Answer(200, "Its dead letters, the oldest first.", list[Letter]), _WRONG, _NO_SINK)
REPLAY_OF_SINK = (
    _SINK,
    Parameter("after", Number, "The number behind which to deliver all events; left out, the dead letters."),
)
REPLAYING = (Answer(200, "It begins.", Replaying), _WRONG, _NO_SINK)
SKIPPED = (Answer(200, "It goes on with what happens from now on.", Skipped), _WRONG, _NO_SINK)
