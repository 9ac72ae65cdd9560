"""A server that answers as a test has written it down, and keeps what it was asked."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from aiohttp import web

LARGEST = 64 << 20
"""Bytes of a request that are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. ``close`` and ``hang`` take the request, and answer nothing."""

    status: int = 200
    body: str | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds to wait first."""
    close: bool = False
    """End the connection instead of answering."""
    hang: bool = False
    """Never answer, until whoever asked gives up or the server ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server was asked, and what it answered."""

    method: str
    path: str
    """With the query."""
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes
    reply: Reply

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return msgspec.json.decode(self.body)


class ScriptedServer:
    """An HTTP server on a free port of the loopback, within ``async with``.

    It gives the replies in turn, whatever is asked, and ``then`` to all further requests. A number is a status.
    """

    def __init__(self, replies: Iterable[Reply | int] = (), *, then: Reply | int = 200) -> None:
        self.requests: list[Request] = []
        """What was asked, in the order in which it came."""
        self.port = 0
        self.hanging = asyncio.Event()
        """Set as soon as a request hangs."""
        self._replies = [_reply(each) for each in replies]
        self._then = _reply(then)
        self._runner: web.AppRunner | None = None
        self._ending = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is, ``http://127.0.0.1:20123``."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        number = len(self.requests)
        reply = self._replies[number] if number < len(self._replies) else self._then
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(
            Request(method=request.method, path=request.path_qs, headers=headers, body=body, reply=reply)
        )
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.hang:
            self.hanging.set()
            await self._ending.wait()
        if (reply.close or reply.hang) and request.transport is not None:
            request.transport.abort()
        content = reply.body.encode() if isinstance(reply.body, str) else reply.body
        return web.Response(status=reply.status, body=content, headers=reply.headers)


def _reply(given: Reply | int) -> Reply:
    return Reply(status=given) if isinstance(given, int) else given
