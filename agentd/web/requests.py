"""What each request has to be like before anybody looks at it, and what each answer says to browsers."""

import re
from collections.abc import AsyncIterator, Collection
from typing import Any

from aiohttp import HttpVersion11, web

from agentd.web.peers import is_allowed_host

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of each answer that has none of that name."""

ASKED_ACROSS = "Authorization, Content-Type"
"""Headers that a page of an origin which is allowed may send."""

PIECE = 16 << 10
"""Bytes that are encrypted at once: a record of TLS."""

_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


class Request(web.BaseRequest):
    """A request whose answer gets the headers above, whoever makes it: a handler, a WebSocket, or aiohttp itself."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        headers = response.headers
        headers["Server"] = "agentd"  # aiohttp has put versions there
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        origins: frozenset[str] = getattr(self.protocol, "origins", frozenset())
        if origins:
            headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Origin")))
            origin = self.headers.get("Origin")
            if origin is not None and origin in origins:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def malformed(request: web.BaseRequest, allowed_hosts: Collection[str]) -> web.Response | None:
    """Return the refusal of a request that leaves open whom it asks, asks for somebody else, or has a packed body; None
    where it is well.

    RFC 9112, 3.2: one Host, and a target that says the same where it names one.
    """
    hosts = request.headers.getall("Host", ())
    if len(hosts) > 1 or (not hosts and request.version >= HttpVersion11):
        return _text(400, "expected one header Host")
    target = request.raw_path
    if not target.startswith("/"):
        match = _ABSOLUTE.match(target)
        if match is None or match[1].lower() != "".join(hosts).lower():
            return _text(400, "expected a path, or a URL of the host that the header Host names")
    if allowed_hosts and not is_allowed_host("".join(hosts), allowed_hosts):
        return _text(421, "this is not the host that was asked for: [web] allowed_hosts names those that it goes by")
    if any(coding.strip().lower() != "identity" for coding in request.headers.getall("Content-Encoding", ())):
        return _text(415, "bodies are not unpacked here: send this one without Content-Encoding")
    return None


def preflight(request: web.BaseRequest, origins: Collection[str], methods: Collection[str]) -> web.Response | None:
    """Return the answer to a browser that asks whether a page may send a request; None for any other request."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if request.headers.get("Origin") not in origins:
        return None
    headers: dict[str, Any] = {
        "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
        "Access-Control-Allow-Headers": ASKED_ACROSS,
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)


def below(prefix: str, path: str) -> str | None:
    """Return a path without the prefix of all paths; None for one that is not below it."""
    if not prefix:
        return path
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else None


def in_pieces(response: web.StreamResponse) -> None:
    """Have an answer written piece by piece, for TLS: what asyncio is given at once it encrypts at once, keeps for a
    client that does not read without anybody having to wait, and it keeps as much room for the next one.
    """
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(response, web.Response) and isinstance(body, bytes) and len(body) > PIECE:
        response.headers["Content-Length"] = str(len(body))
        response.body = _pieces(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
