"""On whose behalf a request is made: what it shows, or else where it comes from, within what its listener allows."""

import asyncio
import contextvars
from collections.abc import Collection
from typing import NamedTuple

from aiohttp import web

from agentd.config import Listener, WebSettings
from agentd.routes import Principal, Route, Scope
from agentd.web.peers import Peer, networks, passed_on, peer_of
from agentd.web.tokens import Tokens
from agentd.web.users import InWorker, Users

LOCAL = Principal("anonymous", frozenset({Scope.ADMIN}))
"""Whoever asks from this machine."""
REMOTE = Principal("anonymous", frozenset({Scope.METRICS_READ}))
"""Whoever asks from elsewhere, and is answered on public routes."""
NOBODY = Principal("anonymous", frozenset())
"""Whoever asks from elsewhere where a credential is needed."""

_ceiling: contextvars.ContextVar[frozenset[Scope] | None] = contextvars.ContextVar("ceiling", default=None)
"""What may be done at most on the listener by which the request under way has come."""


class Asking(NamedTuple):
    """Who asks, and where from."""

    principal: Principal | None
    """None where a credential is shown that is nobody's, or has expired."""
    peer: Peer
    shown: bool
    """Whether a credential was shown, and looked at."""


class Principals:
    """Judges requests by the settings of the web server."""

    def __init__(self, settings: WebSettings, tokens: Tokens, in_worker: InWorker = asyncio.to_thread) -> None:
        self.users = Users(settings.basic_auth, in_worker)
        self._tokens = tokens
        self._trusted = networks(settings.trusted_proxies)
        self._origins = frozenset(settings.cors_origins)
        self.challenges = ["Bearer", *(['Basic realm="agentd", charset="UTF-8"'] if self.users else [])]
        """What the header WWW-Authenticate offers."""

    async def who(self, request: web.BaseRequest, listener: Listener | None, local: Principal | None) -> Asking:
        """Return who asks. A credential is judged alone, wherever it comes from: a wrong one is nobody's.

        ``listener`` is None for the Unix socket, and ``local`` who is at its other end. Raises ``BusyError``.
        """
        if local is not None:
            peer = Peer("", "http", local=True, page=False)
        else:
            peer = peer_of(request, self._trusted, self._origins)
        ceiling = _ceiling_of(listener)
        _ceiling.set(ceiling)
        principal = await self._principal(request, peer, listener, local)
        shown = "Authorization" in request.headers and principal is not NOBODY
        return Asking(principal and limited(principal, ceiling), peer, shown)

    def authenticate(self, token: str) -> Principal | None:
        """Return who shows a token in a message of a connection, within what the connection's listener allows."""
        principal = self._tokens.authenticate(token)
        return principal and limited(principal, _ceiling.get())

    def holds(self, shown: str, route: Route, listener: Listener | None) -> bool:
        """Say whether what was shown in the header Authorization, and was enough for a route then, is so still."""
        scheme, _, credential = shown.partition(" ")
        basic = scheme.lower() == "basic"
        principal = self.users.recalled(credential) if basic else self._tokens.find(credential.strip(" "))
        return principal is not None and admits(limited(principal, _ceiling_of(listener)), route)

    async def _principal(
        self, request: web.BaseRequest, peer: Peer, listener: Listener | None, local: Principal | None
    ) -> Principal | None:
        shown = request.headers.getall("Authorization", None)
        if shown is None:
            return self._anonymous(request, peer, listener, local)
        scheme, _, credential = (shown[0] if len(shown) == 1 else "").partition(" ")
        if scheme.lower() != "basic" or not self.users:
            return self._tokens.bearer(shown)
        if peer.page:  # a browser adds passwords by itself, whoever has the page sent its request
            return NOBODY
        principal = await self.users.who(credential, peer.address)
        if principal is None:
            self._tokens.refuse()
        return principal

    def _anonymous(
        self, request: web.BaseRequest, peer: Peer, listener: Listener | None, local: Principal | None
    ) -> Principal:
        if local is not None:
            return REMOTE if passed_on(request) else local
        elsewhere = NOBODY if self.users else REMOTE
        if listener is None or listener.anonymous is None:
            return LOCAL if peer.local else elsewhere
        if peer.page:
            return elsewhere if Scope.METRICS_READ in listener.anonymous else NOBODY
        return Principal("anonymous", frozenset(listener.anonymous))


def _ceiling_of(listener: Listener | None) -> frozenset[Scope] | None:
    return None if listener is None or listener.scopes is None else frozenset(listener.scopes)


def admits(principal: Principal, route: Route) -> bool:
    """Say whether a principal is answered on a route: without a credential, other machines are on public ones alone."""
    if principal is REMOTE and route.scope is not None:
        return route.public
    return principal.may(route.scope)


def limited(principal: Principal, ceiling: Collection[Scope] | None) -> Principal:
    """Return a principal who may do no more than a listener allows."""
    if ceiling is None or Scope.ADMIN in ceiling:
        return principal
    if principal is REMOTE:
        return REMOTE if Scope.METRICS_READ in ceiling else NOBODY
    admin = Scope.ADMIN in principal.scopes
    scopes = frozenset(ceiling) if admin else principal.scopes.intersection(ceiling)
    return Principal(principal.name, scopes, ("*",) if admin else principal.robots, principal.expires)
