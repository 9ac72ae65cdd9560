"""The agent's own routes: is it alive, is it ready, how is it."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from agentd.routes import Answer, Principal, Route, Scope
from agentd.status import Status


def routes(status: Callable[[], Status]) -> list[Route]:
    """Return the routes that tell about the agent as a whole."""

    async def livez(_request: web.BaseRequest, _principal: Principal) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.BaseRequest, principal: Principal) -> web.Response:
        now = status()
        if not now.ready:
            return web.Response(status=503, text="not ready: the first collection is not done\n")
        trusted = principal.may(Scope.ADMIN)  # an error may name servers and users, which is nobody else's business
        bad = [
            f"{sink.sink} has not delivered for long: {(trusted and sink.error) or sink.state}\n"
            for sink in now.sinks
            if not sink.healthy
        ]
        bad += [f"degraded: {each.plugin} {each.error}\n" for each in now.plugins if each.paused_until and each.error]
        if now.degraded:
            bad.append(f"degraded: the configuration has errors, the last that had none is used: {now.config_error}\n")
        return web.Response(status=503 if bad else 200, text="".join(bad) or "ok\n")

    async def show(_request: web.BaseRequest, _principal: Principal) -> web.Response:
        return web.Response(body=msgspec.json.encode(status()), content_type="application/json")

    tags = ("agent",)
    live = (Answer(200, "It answers.", str, "text/plain"),)
    ready = (
        Answer(
            200,
            "It is ready: every sink delivers, no plugin is left out, and the configuration is the files'.",
            str,
            "text/plain",
        ),
        Answer(503, "It is not; the text says why.", str, "text/plain"),
    )
    told = (Answer(200, "How it is.", Status),)
    return [
        Route("GET", "/livez", livez, None, "whether the agent answers at all", tags=tags, answers=live),
        Route("GET", "/readyz", readyz, None, "whether it is ready to be scraped", tags=tags, answers=ready),
        Route(
            *("GET", "/api/v1/status", show, Scope.ADMIN, "plugins, their last runs and errors, as JSON"),
            tags=tags,
            answers=told,
        ),
    ]
