"""The routes by which an operator steers the agent: reload, and pausing plugins."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from aiohttp import web

from agentd.changes import Changes
from agentd.options import Duration
from agentd.routes import Answer, Handler, Parameter, Principal, Route, Scope
from agentd.web.answers import AGO

LONGEST = Duration(7 * 86400)

Key = Annotated[str, msgspec.Meta(pattern=r"^(collectors|exporters|sinks)\.[A-Za-z0-9_-]+$")]
HowLong = Annotated[str, msgspec.Meta(pattern=rf"^({AGO})?$", examples=["1h"])]


class Refusal(msgspec.Struct):
    """Why something was not done; for a configuration, a line for each thing that is wrong with it."""

    error: str


class Paused(msgspec.Struct):
    """Which plugin runs again by itself, and when: in seconds since 1970. Null where it is to run now."""

    plugin: str
    paused_until: float | None


def routes(
    changes: Callable[[], Awaitable[Changes]],
    reload: Callable[[], Awaitable[Changes]],
    pause: Callable[[str, float], Awaitable[float]],
    resume: Callable[[str], Awaitable[None]],
    refused: type[Exception],
) -> list[Route]:
    """Return the routes; what reads a configuration raises ``refused``, what is given no plugin's name ``KeyError``."""

    def telling(ask: Callable[[], Awaitable[Changes]]) -> Handler:
        async def handle(_request: web.BaseRequest, _principal: Principal) -> web.Response:
            try:
                return _json(await ask())
            except refused as error:
                return _json(Refusal(str(error)), 409)

        return handle

    async def rest(request: web.BaseRequest, _principal: Principal) -> web.Response:
        for name in request.query:
            if name != "for":
                return _json(Refusal(f"{name[:100]}: no such parameter; there is: for"), 400)
        try:
            seconds = Duration.parse(request.query.get("for") or "1h")
            if not 0 < seconds <= LONGEST:
                raise ValueError('expected more than "0s" and at most "7d"')
        except ValueError as error:
            return _json(Refusal(f"for: {error}"), 400)
        return await on(request, lambda key: pause(key, seconds))

    async def go_on(request: web.BaseRequest, _principal: Principal) -> web.Response:
        return await on(request, resume)

    async def on(request: web.BaseRequest, act: Callable[[str], Awaitable[float | None]]) -> web.Response:
        key = str(request["plugin"])
        try:
            return _json(Paused(key, await act(key)))
        except KeyError:
            return _json(Refusal(f"there is no plugin {key!r}: GET /api/v1/status lists them"), 404)

    tags = ("agent",)
    read = (
        Answer(200, "What changes.", Changes),
        Answer(409, "The configuration cannot be used; the agent goes on as it was.", Refusal),
    )
    steered = (Answer(200, "How it is now.", Paused), Answer(404, "There is no such plugin.", Refusal))
    named = Parameter("plugin", Key, "Its kind and name, `collectors.cpu`.", "path")
    how_long = Parameter("for", HowLong, "How long, `90s` or `1h`; an hour where it is left out.")
    return [
        Route(
            *("GET", "/api/v1/reload", telling(changes), Scope.ADMIN, "what a reload would change; changes nothing"),
            tags=tags,
            answers=read,
        ),
        Route(
            *("POST", "/api/v1/reload", telling(reload), Scope.ADMIN, "read the configuration and go over to it"),
            tags=tags,
            answers=read,
        ),
        Route(
            *("POST", "/api/v1/plugins/{plugin}/pause", rest, Scope.ADMIN, "stop a plugin for a while"),
            tags=tags,
            parameters=(named, how_long),
            answers=(*steered, Answer(400, "The time is none.", Refusal)),
        ),
        Route(
            *("POST", "/api/v1/plugins/{plugin}/resume", go_on, Scope.ADMIN, "start a plugin that was paused"),
            tags=tags,
            parameters=(named,),
            answers=steered,
        ),
    ]


def _json(answer: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(answer), content_type="application/json")
