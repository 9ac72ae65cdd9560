"""The envelope of every event (Charter 1.0), its check, and its form as a CloudEvent."""

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Any

import msgspec

TYPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
LONGEST_NAME = 200
"""Characters that a type, source, target or id may have at most."""

LARGEST = 1 << 20
"""Bytes that an envelope may have at most."""


DEEPEST = 500
"""Objects and lists that may be within each other in a payload or a meta, which is one itself. Readers of other
versions of Python, and those that are deep in calls themselves, have to take what was taken: half of the 1,000 that
3.11 allows calls and values together is left to them."""
PLAIN = {str, int, float, bool, type(None)}
"""Types of values that have no other values in them."""


class EventError(ValueError):
    """What was given is no event; the text names the field and says what would be right."""


class Event(msgspec.Struct, kw_only=True):
    """Something that happened. Whoever makes one gives at least ``type``; the agent fills in the rest."""

    id: str = ""
    """What tells it from every other event: a UUID of version 7 (RFC 9562) where its maker gave none."""
    type: str
    """What happened, in words with dots between them, ``telemetry.connection_closed`` say."""
    source: str = ""
    """Who says so: an instance of a plugin (``collectors.fleet``), ``agentd``, or any other service."""
    target: str | None = None
    """Whom it is about or meant for, a robot's id say."""
    timestamp: float = 0.0
    """When it happened, in seconds since 1970, UTC."""
    payload: dict[str, Any] = {}
    """What there is to say about it; JSON."""
    meta: dict[str, Any] = {}
    """Where it came from: ``host``, ``agent_id``, ``boot_id``, ``seq``, ``clock_synchronised`` and ``labels`` are the
    agent's, whatever else somebody put here is kept."""


class Record:
    """An event as the journal has it, on its way to a sink: the envelope's bytes, and the event if it is asked for."""

    def __init__(self, seq: int, type: str, source: str, json: bytes) -> None:
        self.seq = seq
        """Its place in the order of all events of this agent; grows, with gaps."""
        self.type = type
        """What happened, as in the event."""
        self.source = source
        """Who says so, as in the event."""
        self.json = json
        """The whole envelope as JSON in UTF-8, on one line."""

    @cached_property
    def event(self) -> Event:
        """The event itself."""
        return _decode(self.json)

    @property
    def sound(self) -> bool:
        """Whether the envelope can be understood."""
        try:
            return self.event is not None
        except (msgspec.MsgspecError, RecursionError):
            return False

    @property
    def id(self) -> str:
        """The event's id, by which a receiver knows a repeat."""
        return self.event.id

    def __repr__(self) -> str:
        return f"<Record {self.seq}: {self.type} of {self.source}>"


class _Posted(Event, kw_only=True, forbid_unknown_fields=True):
    """What somebody sends: a misspelt field would be lost without a word."""


def _plain(value: object) -> float:
    """Return a number of a type of its own, a ``Duration`` or a ``Size`` of some options say, as one that JSON has.

    Raises ``TypeError`` where it is none.
    """
    for type_ in (float, int):
        if isinstance(value, type_):
            return type_(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_decode = msgspec.json.Decoder(Event).decode
_decode_posted = msgspec.json.Decoder(_Posted).decode

_TOO_DEEP = f"{{}}: more than {DEEPEST} lists and objects within each other"

_VERSION = 7 << 76 | 0b10 << 62
_RANDOM = (1 << 76) - 1 & ~(0b11 << 62)
"""Where a UUID has its version and variant, and which of its bits are random (RFC 9562, section 5.7)."""


def new_id(now: float) -> str:
    """Return a UUID of version 7: it begins with the time, so that databases have new ones side by side."""
    # Mersenne's numbers, seeded by the system, are random enough to be told apart; a system call each is not needed.
    number = int(now * 1000) << 80 | _VERSION | random.getrandbits(76) & _RANDOM
    digits = number.to_bytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def check(event: Event) -> None:
    """Raise ``EventError`` where an event has something that its receivers could not work with."""
    check_names(event.type, event.source, event.target)
    check_given(event)


def check_names(type: str, source: str, target: str | None) -> None:
    """Raise ``EventError`` where one of the names is none."""
    if not TYPE.fullmatch(type):
        raise EventError(
            f'type: expected words of letters, digits, _ and - with dots between them, such as "mission.finished"; '
            f"found {type[:LONGEST_NAME]!r}"
        )
    for field, name in (("type", type), ("source", source), ("target", target)):
        _check_name(field, name)


def check_given(event: Event) -> None:
    """Raise ``EventError`` where the id or the time that somebody gave an event is none."""
    _check_name("id", event.id)
    if not isinstance(event.timestamp, float | int) or not 0 <= event.timestamp < 1e11:
        raise EventError(f"timestamp: expected seconds since 1970; found {event.timestamp!r}")


def as_json(field: str, value: object) -> bytes:
    """Return the JSON of a payload or a meta, on one line.

    Raises ``EventError`` where it is no object that all who read the event can read, and ``TypeError`` where it has
    something that is no JSON.
    """
    try:
        json = _encode(value)
    except RecursionError:
        raise EventError(_TOO_DEEP.format(field)) from None
    if type(value) is dict and PLAIN.issuperset(map(type, value.values())):
        return json  # as most are: nothing within it could be wrong
    return checked(field, value, json)


def checked(field: str, value: object, json: bytes) -> bytes:
    """Return the JSON of whatever somebody gave on one line. Raises ``EventError`` where others could not read it."""
    if json[:1] != b"{":
        raise EventError(f"{field}: expected an object; found {type(value).__name__}")
    try:
        # An encoder writes what it is given as msgspec.Raw as it is, whatever that is.
        found = msgspec.json.decode(json)
    except RecursionError:
        raise EventError(_TOO_DEEP.format(field)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise EventError(f"{field}: expected JSON in each msgspec.Raw; found something else") from None
    if json.count(b"[") + json.count(b"{") > DEEPEST and _is_too_deep(found):
        raise EventError(_TOO_DEEP.format(field))
    return _encode(found) if b"\n" in json or b"\r" in json else json


def _is_too_deep(value: object) -> bool:
    """Say whether there are more lists and objects within each other than may be; asks nothing of Python's limit."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        held = chain.from_iterable(outer.values() if type(outer) is dict else outer for outer in level)
        level = [inner for inner in held if type(inner) in (dict, list)]
        if not level:
            return False
    return True


def _check_name(field: str, name: str | None) -> None:
    if name is not None and (len(name) > LONGEST_NAME or not name.isprintable()):
        raise EventError(f"{field}: expected at most {LONGEST_NAME} printable characters; found {name[:40]!r}")


def decode(data: bytes) -> Event:
    """Return the event that somebody sent as JSON. Raises ``EventError``."""
    try:
        event = Event(**msgspec.structs.asdict(_decode_posted(data)))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$.")
        if unknown := re.fullmatch("Object contains unknown field `(.*)`", what):
            what = f"there is no field {unknown[1]!r}; an event has {', '.join(Event.__struct_fields__)}"
        raise EventError(f"{field}: {what}" if field else what) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"expected an event as JSON: {error}") from None
    check(event)
    return event


def cloud_event(event: Event) -> dict[str, Any]:
    """Return an event as a CloudEvent 1.0 in structured mode (https://cloudevents.io).

    ``target`` becomes the subject and ``payload`` the data. Of ``meta``, ``host``, ``agent_id``, ``boot_id`` and
    ``seq`` become extension attributes (whose names have neither capitals nor underscores, section 3.1), and each label
    one of its name where that is allowed.
    """
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source or "agentd",
        "time": datetime.fromtimestamp(event.timestamp, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
    if event.target is not None:
        attributes["subject"] = event.target
    labels = event.meta.get("labels")
    extensions = dict(labels) if isinstance(labels, Mapping) else {}
    for name in ("host", "agent_id", "boot_id", "seq"):
        extensions[name.replace("_", "")] = event.meta.get(name)
    for name, value in extensions.items():
        if re.fullmatch("[a-z0-9]{1,20}", name) and name not in attributes and isinstance(value, str | int | bool):
            # Integers of CloudEvents have 32 bits: a sequence number is a text, as in the extension `sequence`.
            attributes[name] = str(value) if name == "seq" else value
    attributes["data"] = event.payload
    return attributes
