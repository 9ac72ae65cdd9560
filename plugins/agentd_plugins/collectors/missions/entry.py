"""What an entry of a mission stream says: which mission, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

LONGEST_STATUS = 64
LONGEST_MISSION = 200


class Said(NamedTuple):
    """What an entry says."""

    status: str
    mission: str | None
    """The mission's id; None where the entry names none, or one that is too long."""


class _Payload(msgspec.Struct):
    status: str | None = None
    mission_id: str | int | None = None


class _Data(_Payload):
    type: str | None = None
    event_type: str | None = None
    payload: _Payload | None = None


_typed = msgspec.json.Decoder(_Data).decode
_any = msgspec.json.Decoder().decode


def said(fields: Sequence[bytes]) -> Said | None:
    """Return what the fields and values of an entry say, which come in turns; None where there is no status in them.

    In the field ``data`` may be JSON: an envelope (``type``, and ``status`` and ``mission_id`` in its ``payload``), or
    an object with ``status`` and ``mission_id``. Or they are fields of the entry itself. Where no ``status`` is given,
    the last part of ``type`` or ``event_type`` is one: ``mission.completed``.
    """
    if fields[0] == b"data" and len(fields) == 2:  # as most are: nothing to look for
        return _of_json(fields[1])
    flat = dict(zip(fields[::2], fields[1::2], strict=False))
    data = flat.get(b"data")
    if data is not None and (found := _of_json(data)) is not None:
        return found
    texts = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in flat.items()}
    return _of_mapping(texts)


def _of_json(data: bytes) -> Said | None:
    try:
        typed = _typed(data)
    except msgspec.ValidationError:
        return _loosely(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inner = typed.payload or typed
    status = inner.status or typed.status or _last(typed.type or typed.event_type)
    mission = typed.mission_id if inner.mission_id is None else inner.mission_id
    return _checked(status, mission)


def _loosely(data: bytes) -> Said | None:
    """Return what JSON says of which some part has another type than expected: that part is passed over."""
    try:
        found = _any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _of_mapping(found) if isinstance(found, dict) else None


def _of_mapping(outer: Mapping[str, Any]) -> Said | None:
    payload = outer.get("payload")
    inner = payload if isinstance(payload, dict) else {}
    names = (outer.get("type"), outer.get("event_type"))
    texts = (inner.get("status"), outer.get("status"), *map(_last, names))
    ids = (inner.get("mission_id"), outer.get("mission_id"))
    status = next((text for text in texts if text and isinstance(text, str)), None)
    mission = next((id_ for id_ in ids if isinstance(id_, str | int) and not isinstance(id_, bool)), None)
    return _checked(status, mission)


def _last(type_: object) -> str | None:
    return type_.rpartition(".")[2] if isinstance(type_, str) else None


def _checked(status: str | None, mission: str | int | None) -> Said | None:
    if not status or len(status) > LONGEST_STATUS or not status.isprintable():
        return None
    if mission is not None:
        mission = mission if isinstance(mission, str) else str(mission)
        if not mission or len(mission) > LONGEST_MISSION or not mission.isprintable():
            mission = None
    return Said(status, mission)
