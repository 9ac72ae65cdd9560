"""Listens, finds the route and the principal of each request, and keeps what a client may cost within limits."""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from aiohttp import web
from multidict import CIMultiDict

from agentd.config import Listener, WebSettings
from agentd.errors import described
from agentd.metrics.frame import Frame
from agentd.routes import Principal, Route
from agentd.web import connections
from agentd.web.burden import Burden
from agentd.web.connections import SENDING, Connection, Connections
from agentd.web.handed import Handed
from agentd.web.listeners import ListenError, Listeners, Listening, spelled
from agentd.web.principals import Asking, Principals, admits
from agentd.web.requests import below, in_pieces, malformed, preflight
from agentd.web.table import Table
from agentd.web.tls import Certificates, Loaded, TlsError, load
from agentd.web.tokens import LOOK_EVERY, Tokens
from agentd.web.users import BusyError, InWorker

__all__ = ["ListenError", "WebServer"]

log = logging.getLogger(__name__)

SHUTDOWN = 0.5
"""Seconds that requests under way get to end when the server stops."""

COME_AGAIN = "2"
"""Seconds after which to come again where too many passwords are being checked."""


class WebServer:
    """The agent's web server, on TCP addresses and on the Unix socket of the local command line."""

    def __init__(
        self,
        settings: WebSettings | None = None,
        unix_socket: Path | None = None,
        tokens: Tokens | None = None,
        in_worker: InWorker = asyncio.to_thread,
        *,
        handed: Handed | None = None,
        sections: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """``sections`` tells, by path, the section of the configuration by which somebody answers there: asked each
        time, as a reload may bring others.
        """
        self._settings = WebSettings() if settings is None else settings
        self._unix_socket = unix_socket
        self._in_worker = in_worker
        self._tokens = Tokens.of(self._settings) if tokens is None else tokens
        self._principals = Principals(self._settings, self._tokens, in_worker)
        self._certificates = Certificates()
        self._connections: Connections | None = None
        self._listeners: Listeners | None = None
        self._handed = Handed() if handed is None else handed
        self._sections = sections
        self._table = Table(())
        self._shown: dict[asyncio.Transport, tuple[str, Route]] = {}  # by requests under way, and where

    @property
    def bound(self) -> list[tuple[str, int]]:
        """The addresses that it really listens on: where port 0 was asked for, the port that was free."""
        return [address for each in self._open for address in each.bound]

    @property
    def urls(self) -> list[str]:
        """What paths are put behind to ask for them: scheme, address and prefix."""
        prefix = self._settings.route_prefix
        return [
            f"http{'s' if each.tls else ''}://{spelled(address)}{prefix}"
            for each in self._open
            for address in each.bound
        ]

    @property
    def tls_error(self) -> str:
        """Why the certificates cannot be used as they are; those before still count."""
        return self._certificates.error

    @property
    def routes(self) -> Sequence[Route]:
        """What is answered now."""
        return self._table.routes

    def set_routes(self, routes: Iterable[Route]) -> None:
        """Replace all routes at once; requests under way end as they began. Raises ``ValueError`` for double ones."""
        self._table = Table(routes)

    def authenticate(self, token: str) -> Principal | None:
        """Return who shows a token in a message of a connection; None where nobody has it, or it has expired."""
        return self._principals.authenticate(token)

    async def start(self) -> None:
        """Begin to listen. Raises ``ListenError`` in one clear line."""
        self._connections = Connections(self._handle, self._certificates)
        self._connections.limit(self._settings.max_connections)
        self._listeners = Listeners(self._connections.protocol, self._handed)
        asyncio.get_running_loop().set_exception_handler(self._connections.complain)
        try:
            self._certificates.take(await self._loaded(self._settings))
            await self._listen(self._settings)
            for address in self._handed.left():
                log.warning("systemd has opened %s, which [web] listen does not name: nobody answers there", address)
            if self._unix_socket is not None:
                await self._listeners.listen_locally(self._unix_socket)
        except ListenError:
            await self.stop()
            raise

    async def apply(self, settings: WebSettings) -> None:
        """Go by other settings from the next request on.

        Listeners of the same address keep their sockets and connections; others are opened before old ones are closed,
        whose connections end with the request under way. Raises ``ListenError`` where a listener cannot be opened or
        certificates not be used; then all is as it was.
        """
        before, known = self._settings, self._certificates.loaded
        unchanged = known is not None and known.settings == settings.tls  # what is in the files is seen by watch()
        loaded = known if unchanged else await self._loaded(settings)
        principals = Principals(settings, self._tokens, self._in_worker)
        if settings.basic_auth == before.basic_auth:
            principals.users = self._principals.users  # with all that it remembers
        else:
            principals.users.succeed(self._principals.users)
        if loaded is not None and not unchanged:
            self._certificates.take(loaded)
        try:
            ended = await self._listen(settings)
        except ListenError:
            if not unchanged:
                self._certificates.take(known)
            raise
        if loaded is None:
            self._certificates.take(None)
        await self._in_worker(self._tokens.replace, settings.tokens, settings.tokens_file)
        self._settings, self._principals = settings, principals
        if settings.tls != before.tls:
            ended += [each for each in self._open if each.tls]
        if self._connections is not None:
            self._connections.limit(settings.max_connections)
            self._connections.end(ended)

    async def stop(self) -> None:
        """Stop listening, and end the connections."""
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None
        if self._connections is not None:
            await asyncio.sleep(0)  # what has been accepted becomes a connection before
            self._connections.pre_shutdown()
            await self._connections.shutdown(SHUTDOWN)

    async def watch(self) -> None:
        """Look every second at whether the file of tokens or the certificates have changed, until cancelled.

        Requests under way whose credential has ended, or is not enough any more, end with it: streams, say.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._tokens.file is not None or self._certificates.loaded is not None:
                with contextlib.suppress(RuntimeError):  # there can be no further thread now
                    await self._in_worker(self._look)
            for transport, (shown, route) in list(self._shown.items()):
                protocol = transport.get_protocol()
                listener = protocol.listening.listener if isinstance(protocol, Connection) else None
                if not self._principals.holds(shown, route, listener):
                    transport.abort()

    @property
    def sources(self) -> Sequence[Callable[[], Frame]]:
        """What tells about tokens and certificates."""
        return self._tokens.families, self._certificates.families

    @property
    def _open(self) -> list[Listening]:
        return [] if self._listeners is None else self._listeners.open

    def _look(self) -> None:
        self._tokens.look()
        self._certificates.look()

    async def _loaded(self, settings: WebSettings) -> Loaded | None:
        if settings.tls is None:
            return None
        try:
            return await self._in_worker(load, settings.tls)  # type: ignore[no-any-return]  # what load returns
        except TlsError as error:
            raise ListenError(f"cannot speak TLS: {error}") from error

    async def _listen(self, settings: WebSettings) -> list[Listening]:
        if self._listeners is None or self._connections is None:
            return []
        known = {address for each in self._open for address in each.reachable}
        ended = await self._listeners.replace(
            (each, settings.tls is not None if each.tls is None else each.tls) for each in settings.listeners()
        )
        self._connections.origins = frozenset(settings.cors_origins)
        for each in self._open:
            new = [address for address in each.reachable if address not in known]
            if new:
                log.info("%s: %s", ", ".join(map(spelled, new)), self._said_of(each, settings))
        return ended

    def _said_of(self, listening: Listening, settings: WebSettings) -> str:
        """Return what other machines are answered, for the log."""
        listener = listening.listener
        if listener is not None and listener.anonymous is not None:
            open_to = f"what takes {', '.join(listener.anonymous) or 'no scope'}"
        else:
            public = not settings.basic_auth or not settings.basic_auth.users
            paths = [route.path for route in self.routes if route.scope is None or (route.public and public)]
            open_to = ", ".join(dict.fromkeys(paths)) or "nothing"
        text = f"other machines can reach it; without a credential they are answered {open_to}"
        return text if listening.tls else f"{text}. Without TLS, credentials can be read on the way"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connections_, transport = self._connections, request.transport
        if transport is None or connections_ is None:
            return await self._answer(request)
        connections_.heard(request.protocol)
        try:
            return await self._answered(request, transport, connections_.burden)
        finally:
            connections_.answered(request.protocol)
            broken = request.content.exception()
            if broken is not None:  # its traceback leads back to the body, which would wait for the garbage collector
                broken.__traceback__ = broken.__context__ = broken.__cause__ = None

    async def _answered(
        self, request: web.BaseRequest, transport: asyncio.Transport, burden: Burden
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        receiving = None if request.content.is_eof() else loop.call_later(connections.RECEIVING, transport.abort)
        if receiving is not None:
            request.content.on_eof(receiving.cancel)
            burden.bear(request.protocol, request.content.total_bytes)
        try:
            response = await self._answer(request)
        finally:
            if receiving is not None:
                receiving.cancel()
        if transport.get_extra_info("sslcontext") is not None:
            in_pieces(response)
        timer = loop.call_later(SENDING, transport.abort)
        burden.bear(request.protocol, connections.STUCK + (response.content_length or 0))
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:  # the client has gone, or was dropped
            pass
        finally:
            timer.cancel()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        local = protocol.local if isinstance(protocol, Connection) else None
        listener = protocol.listening.listener if isinstance(protocol, Connection) else None
        refusal = malformed(request, () if local else self._settings.allowed_hosts)
        if refusal is not None:
            return refusal
        prefix = "" if local else self._settings.route_prefix
        if prefix and request.rel_url.raw_path == prefix:  # links on its page are relative to the folder
            return web.Response(status=308, headers={"Location": f"{prefix}/"})
        path = below(prefix, request.rel_url.raw_path)
        route, parts, methods = self._table.resolve(request.method, "" if path is None else path)
        preflighted = preflight(request, self._settings.cors_origins, methods or {request.method})
        if preflighted is not None:
            return preflighted
        try:
            asking = await self._principals.who(request, listener, local)
        except BusyError:
            text = "too many passwords are being checked: come again\n"
            return web.Response(status=429, text=text, headers={"Retry-After": COME_AGAIN})
        if asking.principal is None:
            return self._unauthorized(asking)
        if route is None:
            if methods:
                allowed = ", ".join(sorted(methods))
                return web.Response(status=405, text=f"use {allowed}\n", headers={"Allow": allowed})
            return web.Response(status=404, text=f"there is nothing at {request.path[:200]}{self._advice(path)}\n")
        if not admits(asking.principal, route):
            return self._forbidden(asking, asking.principal, route, listener)
        if parts:
            with warnings.catch_warnings():  # aiohttp would like keys of a type that its older versions do not have
                warnings.simplefilter("ignore")
                request.update(parts)
        transport = request.transport
        shown = request.headers.get("Authorization", "") if asking.shown else ""
        looks_itself = route.scope is None and shown[:6].lower() != "basic "  # a robot's WebSocket, after its token
        if not shown or looks_itself or transport is None:
            return await self._handled(request, route, asking.principal)
        self._shown[transport] = shown, route
        try:
            return await self._handled(request, route, asking.principal)
        finally:
            del self._shown[transport]

    def _advice(self, path: str | None) -> str:
        """Return what to do about a path at which a plugin would answer if it ran; nothing for any other."""
        for root, section in self._sections().items():
            if f"{path}/".startswith(f"{root}/") and not any(each.path.startswith(root) for each in self.routes):
                return (
                    f": that takes [{section}] in the configuration. If it is there, `agentd status` says what is wrong"
                )
        return ""

    async def _handled(self, request: web.BaseRequest, route: Route, principal: Principal) -> web.StreamResponse:
        try:
            response = await route.handler(request, principal)
            if not isinstance(response, web.StreamResponse):
                raise TypeError(f"the handler returned {type(response).__name__}, which is no response")
        except web.HTTPException:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
            if self._connections is not None and request.transport is not None:  # else the client has gone meanwhile
                self._connections.say(f"{route.method} {route.path} failed: {described(error)}", error)
            return web.Response(status=500, text="internal error: see the agent's log\n")
        return response

    def _unauthorized(self, asking: Asking) -> web.Response:
        if self._connections is not None:
            peer = asking.peer.address or "the Unix socket"
            text = f"refused a request from {peer}: its credential (the header Authorization) is nobody's, or expired"
            self._connections.say(text, about="credentials", level=logging.WARNING)
        wanted = "Bearer TOKEN" + (", or a user and a password" if self._principals.users else "")
        text = f"the credential in the header Authorization is nobody's, or has expired: expected {wanted}"
        return self._challenge(text)

    def _forbidden(self, asking: Asking, principal: Principal, route: Route, listener: Listener | None) -> web.Response:
        if listener is not None and listener.scopes is not None and route.scope not in listener.scopes:
            return web.Response(status=403, text=f"nothing that takes the scope {route.scope} is answered here\n")
        if asking.shown:
            return web.Response(status=403, text=f"{principal.name} lacks the scope {route.scope}\n")
        if asking.peer.page:
            return web.Response(status=403, text=f"not for pages of other origins: it takes the scope {route.scope}\n")
        return self._challenge(f"it takes a credential with the scope {route.scope}")

    def _challenge(self, text: str) -> web.Response:
        offers = (("WWW-Authenticate", challenge) for challenge in self._principals.challenges)
        return web.Response(status=401, text=f"{text}\n", headers=CIMultiDict(offers))
