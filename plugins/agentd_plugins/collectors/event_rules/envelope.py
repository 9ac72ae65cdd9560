"""Events as rules look at them: the envelope as plain JSON, whichever form it came in."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Envelope = Mapping[str, Any]

LONGEST_LABEL = 128

_decode = msgspec.json.Decoder().decode


def of_json(data: bytes) -> Envelope | None:
    """Return the envelope that stands in JSON, or None. An object that is no envelope is taken for a payload."""
    try:
        found = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("payload"), dict):
        return found
    return {"type": found.get("type") or found.get("event_type"), "source": found.get("source"), "payload": found}


def of_entry(fields: Sequence[bytes]) -> Envelope | None:
    """Return the event that an entry of a stream is: JSON in its field ``data``, or its fields as a payload."""
    flat = dict(zip(fields[::2], fields[1::2], strict=False))
    if b"data" in flat and (found := of_json(flat[b"data"])) is not None:
        return found
    payload = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in flat.items()}
    return {"type": payload.get("event_type") or payload.get("type"), "payload": payload}


def at(envelope: Envelope, path: str) -> Any:
    """Return what stands at a dotted path, ``payload.robot.id`` say; None where there is nothing."""
    found: Any = envelope
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def text(value: Any) -> str | None:
    """Return a value as a label has it; None for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return repr(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_LABEL else None


def number(value: Any) -> float | None:
    """Return a value as a number, which may stand in quotes as in the fields of an entry; None for what is none."""
    if not isinstance(value, int | float | str) or (isinstance(value, str) and len(value) > LONGEST_LABEL):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
