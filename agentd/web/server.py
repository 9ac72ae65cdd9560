"""Listens, finds the route and the principal of each request, and keeps what a client may cost within limits."""

import asyncio
import errno
import logging
import os
import socket
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from aiohttp import web

from agentd.config import WebSettings
from agentd.errors import described
from agentd.routes import Principal, Route, Scope
from agentd.web.connections import SENDING, Connections
from agentd.web.handed import Handed
from agentd.web.table import Table
from agentd.web.tokens import Tokens

log = logging.getLogger(__name__)

SHUTDOWN = 0.5
"""Seconds that requests under way get to end when the server stops."""

LOCAL = Principal("anonymous", frozenset({Scope.ADMIN}))
REMOTE = Principal("anonymous", frozenset({Scope.METRICS_READ}))
_FORWARDED = ("Origin", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")


class ListenError(Exception):
    """The agent cannot listen where it was told to."""


class WebServer:
    """The agent's web server, on TCP addresses and on the Unix socket of the local command line."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        unix_socket: Path | None = None,
        tokens: Tokens | None = None,
        *,
        handed: Handed | None = None,
        sections: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``sections``: by path, the section of the configuration by which somebody answers there."""
        self.bound: list[tuple[str, int]] = []
        """The addresses that it really listens on: where port 0 was asked for, the port that was free."""
        self._addresses = addresses
        self._unix_socket = unix_socket
        self._unix_bound = False
        self._handed = Handed() if handed is None else handed
        self._tokens = Tokens() if tokens is None else tokens
        self._sections = sections
        self._table = Table(())
        self._server: Connections | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def routes(self) -> Sequence[Route]:
        """What is answered now."""
        return self._table.routes

    def set_routes(self, routes: Iterable[Route]) -> None:
        """Replace all routes at once; requests under way end as they began. Raises ``ValueError`` for double ones."""
        self._table = Table(routes)

    async def start(self) -> None:
        """Begin to listen. Raises ``ListenError`` in one clear line."""
        self._server = Connections(self._handle)
        asyncio.get_running_loop().set_exception_handler(self._server.complain)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        try:
            for host, port in self._addresses:
                await self._listen(self._runner, host, port)
            for address in self._handed.left():
                log.warning("systemd has opened %s, which [web] listen does not name: nobody answers there", address)
            if self._unix_socket is not None:
                await self._listen_locally(self._runner, self._unix_socket)
        except ListenError:
            await self.stop()
            raise

    async def apply(self, settings: WebSettings) -> None:
        """Go over to other settings."""

    async def stop(self) -> None:
        """Stop listening, and end the connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._unix_socket is not None and self._unix_bound:
            self._unix_socket.unlink(missing_ok=True)
            self._unix_bound = False
        self.bound = []

    async def _listen(self, runner: web.ServerRunner, host: str, port: int) -> None:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        handed = self._handed.take(host, port)
        sites: list[web.BaseSite] = [web.SockSite(runner, each) for each in handed]
        sites = sites or [web.TCPSite(runner, host or None, port)]
        try:
            for site in sites:
                await site.start()
        except UnicodeError as error:  # as a host's name it cannot be looked up
            raise ListenError(f"cannot listen on {shown}: {host!r} is no name of a host") from error
        except OSError as error:
            reason = (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)).lower()
            advice = ""
            if error.errno == errno.EADDRINUSE:
                advice = "; another program (or another agentd) has that port: choose one with --listen or [web] listen"
            raise ListenError(f"cannot listen on {shown}: {reason}{advice}") from error
        for site in sites:
            server = site._server  # noqa: SLF001  # aiohttp shows the real port in no other way
            for listening in getattr(server, "sockets", ()):
                self.bound.append(listening.getsockname()[:2])

    async def _listen_locally(self, runner: web.ServerRunner, path: Path) -> None:
        try:
            _clear(path)
            await web.UnixSite(runner, str(path)).start()
            self._unix_bound = True
            os.chmod(path, 0o660)
        except OSError as error:
            raise ListenError(f"cannot listen on the socket {path}: {error.strerror or error}") from error

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._server is not None:
            self._server.heard(request.protocol)
        response = await self._answer(request)
        transport = request.transport
        if transport is None:
            return response
        timer = asyncio.get_running_loop().call_later(SENDING, transport.abort)
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:  # the client has gone, or was dropped
            pass
        finally:
            timer.cancel()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        principal = self._principal(request)
        if principal is None:
            return self._unauthorized(request)
        route, parts, methods = self._table.resolve(request.method, request.rel_url.raw_path)
        if route is None:
            if methods:
                allowed = ", ".join(sorted(methods))
                return web.Response(status=405, text=f"use {allowed}\n", headers={"Allow": allowed})
            return web.Response(
                status=404, text=f"there is nothing at {request.path[:200]}{self._advice(request.path)}\n"
            )
        if not principal.may(route.scope):
            return _forbidden(principal, route)
        if parts:
            with warnings.catch_warnings():  # aiohttp would like keys of a type that its older versions do not have
                warnings.simplefilter("ignore")
                request.update(parts)
        try:
            response = await route.handler(request, principal)
            if not isinstance(response, web.StreamResponse):
                raise TypeError(f"the handler returned {type(response).__name__}, which is no response")
        except web.HTTPException:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
            if self._server is not None:
                self._server.say(f"{route.method} {route.path} failed: {described(error)}", error)
            return web.Response(status=500, text="internal error: see the agent's log\n")
        return response

    def _advice(self, path: str) -> str:
        """Return what to do about a path at which a plugin would answer if it ran; nothing for any other."""
        for root, section in self._sections.items():
            if f"{path}/".startswith(f"{root}/") and not any(each.path.startswith(root) for each in self.routes):
                return (
                    f": that takes [{section}] in the configuration. If it is there, `agentd status` says what is wrong"
                )
        return ""

    def _principal(self, request: web.BaseRequest) -> Principal | None:
        """Return who asks. A credential is judged alone, wherever it comes from: a wrong one is nobody's (None)."""
        credentials = request.headers.getall("Authorization", None)
        return principal_of(request) if credentials is None else self._tokens.bearer(credentials)

    def _unauthorized(self, request: web.BaseRequest) -> web.Response:
        if self._server is not None:
            peer = request.remote or "the Unix socket"
            text = f"refused a request from {peer}: its credential (the header Authorization) is nobody's, or expired"
            self._server.say(text, about="credentials", level=logging.WARNING)
        text = "the credential in the header Authorization is nobody's, or has expired: expected Bearer TOKEN\n"
        return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})


def _forbidden(principal: Principal, route: Route) -> web.Response:
    if principal in (LOCAL, REMOTE):
        text = f"only for this machine: {principal.name} lacks the scope {route.scope} that it takes elsewhere\n"
    else:
        text = f"the token of {principal.name} lacks the scope {route.scope}\n"
    return web.Response(status=403, text=text)


def principal_of(request: web.BaseRequest) -> Principal:
    """Return who asks: this machine (by the socket or over loopback), or anybody else.

    A request that a browser or a proxy passed on does not count as local, wherever its connection comes from, nor does
    one for a host of another name: a web page's name may be made to mean this machine (DNS rebinding).
    """
    if any(name in request.headers for name in _FORWARDED):
        return REMOTE
    transport = request.transport
    if transport is None:
        return REMOTE
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return LOCAL
    peer = (transport.get_extra_info("peername") or ("",))[0]
    return LOCAL if _is_loopback(peer) and _is_loopback(_hostname(request.headers.get("Host", ""))) else REMOTE


def _is_loopback(host: str) -> bool:
    if host in ("::1", "localhost"):
        return True
    numbers = host.removeprefix("::ffff:").split(".")  # 127.evil.example is a name, not an address
    return numbers[0] == "127" and len(numbers) == 4 and all(map(str.isdecimal, numbers))


def _hostname(header: str) -> str:
    """Return the host of a Host header, ``[::1]:9797`` say, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _clear(path: Path) -> None:
    """Make way for a socket. Raises ``ListenError`` where somebody answers on it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                raise ListenError(
                    f"cannot listen on the socket {path}: something that is none is in its place"
                ) from None
            path.unlink(missing_ok=True)  # left behind by an agent that was killed
            return
    raise ListenError(
        f"another agentd is running: its socket {path} answers. Stop it, or give this one a runtime directory of its "
        "own (the environment variable RUNTIME_DIRECTORY)"
    )
