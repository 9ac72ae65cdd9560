"""What is posted over HTTP: one frame or many, each no larger than one on a WebSocket may be."""

from typing import Any

import msgspec
from aiohttp import web

from agentd.plugin import Size
from agentd_plugins.collectors.robots import schemas
from agentd_plugins.collectors.robots.protocol import ProtocolError

BATCH = 1000
"""Frames that may be posted at once."""

AT_ONCE = Size(1 << 20)
"""What may be posted at once; more where a single frame may be larger."""


class TooLargeError(Exception):
    """More was posted than may be; the text says how much may."""


async def body_of(request: web.BaseRequest, max_frame: Size) -> bytes:
    """Return what was posted. Raises ``TooLargeError``."""
    most = max(AT_ONCE, max_frame)
    try:
        return await request.clone(client_max_size=most).read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLargeError(f"at most {most} may be posted at once, and {max_frame} in a frame") from None


def frames_of(body: bytes, max_frame: Size) -> list[schemas.Posted]:
    """Return the frames of a body: an object of metrics, a frame with ``metrics``, or a list of either.

    Raises ``ProtocolError``, and ``TooLargeError`` where one is larger than ``max_frame``.
    """
    many = body.lstrip()[:1] == b"["
    if not many:
        _check_size(body, max_frame, "the frame")
    try:
        found = msgspec.json.decode(body)
        items = found if many else [found]
        if len(items) > BATCH:
            raise ProtocolError(f"expected at most {BATCH} frames at once, found {len(items)}")
        raws = msgspec.json.decode(body, type=list[msgspec.Raw]) if many else [msgspec.Raw(body)]
        for number, raw in enumerate(raws, 1):
            _check_size(raw, max_frame, f"frame {number}")
        return [_posted(item, raw) for item, raw in zip(items, raws, strict=True)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)[:200]) from None


def _check_size(frame: bytes | msgspec.Raw, most: Size, what: str) -> None:
    size = memoryview(frame).nbytes
    if size > most:
        raise TooLargeError(f"{what} has {size} bytes: max_frame is {most}")


def _posted(item: Any, raw: msgspec.Raw) -> schemas.Posted:
    if not isinstance(item, dict):
        raise ProtocolError(f"expected an object of metrics, found {type(item).__name__}")
    if isinstance(item.get("metrics"), dict) or "events" in item:
        return msgspec.json.decode(raw, type=schemas.Posted)
    return schemas.Posted(metrics=item)
