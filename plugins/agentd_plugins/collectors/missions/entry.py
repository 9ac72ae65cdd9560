"""What an entry of a mission stream says: which mission, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

LONGEST_STATUS = 64
LONGEST_MISSION = 200


Said = tuple[str, str | None]
"""What an entry says: a status, and a mission's id; None where it names none, or one that is too long."""


class _Payload(msgspec.Struct, gc=False):
    mission_id: str | int | None = None
    status: str | None = None


class _Data(msgspec.Struct, gc=False):
    type: str | None = None
    payload: _Payload | None = None
    mission_id: str | int | None = None
    status: str | None = None
    event_type: str | None = None


_typed = msgspec.json.Decoder(_Data).decode
_any = msgspec.json.Decoder().decode


def said(fields: Sequence[bytes]) -> Said | None:
    """Return what the fields and values of an entry say, which come in turns; None where there is no status in them.

    In the field ``data`` may be JSON: an envelope (``type``, and ``status`` and ``mission_id`` in its ``payload``), or
    an object with ``status`` and ``mission_id``. Or they are fields of the entry itself. Where no ``status`` is given,
    the last part of ``type`` or ``event_type`` is one: ``mission.completed``.
    """
    if len(fields) != 2 or fields[0] != b"data":  # most entries have nothing else
        return _of_fields(fields)
    try:
        typed = _typed(fields[1])
    except msgspec.ValidationError:
        return _loosely(fields[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inner = typed.payload or typed
    mission = inner.mission_id
    if mission is None:
        mission = typed.mission_id
    status = inner.status or typed.status
    if status is None:
        status = (typed.type or typed.event_type or "").rpartition(".")[2]
    return _checked(status, mission)


def _of_fields(fields: Sequence[bytes]) -> Said | None:
    flat = dict(zip(fields[::2], fields[1::2], strict=False))
    data = flat.get(b"data")
    if data is not None and (found := said((b"data", data))) is not None:
        return found
    texts = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in flat.items()}
    return _of_mapping(texts)


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
    if mission is None:
        return status, None
    if not isinstance(mission, str):
        mission = str(mission)
    return status, mission if mission and len(mission) <= LONGEST_MISSION and mission.isprintable() else None
