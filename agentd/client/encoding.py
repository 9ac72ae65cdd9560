"""What a robot says, as JSON: checked before it is kept, for what cannot be sent would be refused for ever."""

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

DEEPEST = 8
"""Objects and lists within each other that a frame may have, itself among them."""

ROBOT_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
EVENT_TYPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def message(type_: str, **fields: Any) -> str:
    """Return a message of the protocol; fields that are None are left out."""
    return _dumps({"type": type_, **{name: value for name, value in fields.items() if value is not None}})


def content(metrics: Mapping[str, Any], events: Iterable[Mapping[str, Any]], timestamp: float) -> bytes:
    """Return what a numbered frame holds beside its number, as one line of JSON in UTF-8.

    Raises ``ValueError``, which names the place, where something of it cannot be sent.
    """
    frame = {"timestamp": _time(timestamp), "metrics": _metrics(metrics)}
    several = [_event(each, f"events[{place}]", timestamp) for place, each in enumerate(events)]
    return _text({**frame, "events": several} if several else frame).encode()


def numbered(seq: int, body: bytes, clock: float) -> str:
    """Return the message of a numbered frame that is sent when the robot's clock says this."""
    return f'{{"type":"data","seq":{seq},"clock":{clock:.3f},{body[1:].decode()}'


def live(metrics: Mapping[str, Any], timestamp: float) -> str:
    """Return the message with values of now. Raises ``ValueError`` as ``content`` does."""
    return _text({"type": "live", "timestamp": _time(timestamp), "metrics": _metrics(metrics)})


def event(type_: str, payload: Mapping[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """Return an event with an id of its own; fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {"type": type_, "payload": dict(payload or {}), **given}


def check_robot_id(text: str) -> None:
    """Raise ``ValueError`` where a text cannot be the id of a robot."""
    if ROBOT_ID.fullmatch(text) is None or text in (".", ".."):
        raise ValueError(f"a robot id is 1 to 128 of A-Z a-z 0-9 . _ : @ - and neither . nor ..; found {text!r}")


def _time(timestamp: float) -> float:
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        raise ValueError(f"timestamp: expected seconds since 1970, found {timestamp!r}")
    return timestamp


def _metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(metrics, Mapping):
        raise ValueError(f"metrics: expected names and values, found {type(metrics).__name__}")
    return dict(metrics)


def _event(given: Mapping[str, Any], path: str, timestamp: float) -> dict[str, Any]:
    """Return an event as it is kept: with an id, by which its receivers know a repeat."""
    type_ = given.get("type") if isinstance(given, Mapping) else None
    if not isinstance(type_, str) or len(type_) > 200 or EVENT_TYPE.fullmatch(type_) is None:
        raise ValueError(f"{path}: expected a type such as mission.completed, found {type_!r}")
    return {"id": str(uuid.uuid4()), "timestamp": timestamp, **given}


def _text(frame: dict[str, Any]) -> str:
    _check(frame, "", DEEPEST)
    try:
        text = _dumps(frame)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character (a lone surrogate), which is no UTF-8") from None
    except (TypeError, ValueError) as error:  # a number whose type is not Python's own
        raise ValueError(f"cannot be sent as JSON: {error}") from None
    return text


def _check(value: Any, path: str, depth: int) -> None:
    match value:
        case None | bool() | int() | str():
            pass
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path[1:]}: {value} is no number that JSON has; leave out what is not known")
        case dict() | list() | tuple():
            if not depth:
                raise ValueError(f"{path[1:]}: nested too deeply, a frame has at most {DEEPEST} levels")
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(value, dict) and not isinstance(key, str):
                    raise ValueError(f"{path[1:]}: expected names that are texts, found {key!r}")
                _check(inner, f"{path}.{key}", depth - 1)
        case _:
            raise ValueError(
                f"{path[1:]}: expected a number, text, boolean, None, list or dict, found {type(value).__name__}"
            )
