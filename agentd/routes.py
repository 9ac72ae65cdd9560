"""Who may ask for what: scopes, principals, and the routes that the agent and its plugins answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, StreamResponse


class Scope(StrEnum):
    """What a principal may do. A route names the one that it needs."""

    METRICS_READ = "metrics:read"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    ROBOTS_WRITE = "robots:write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request is made.

    ``robots`` are patterns of the ids of robots that it may write as. ``expires`` is when it ends, in seconds since
    1970 (None: never): a connection that stays open is to be closed then.
    """

    name: str
    scopes: frozenset[Scope]
    robots: tuple[str, ...] = ()
    expires: float | None = None

    def may(self, scope: Scope | None) -> bool:
        """Say whether this principal has a scope; ``admin`` has all, and ``None`` is open to everybody."""
        return scope is None or scope in self.scopes or Scope.ADMIN in self.scopes

    def writes_as(self, robot: str) -> bool:
        """Say whether this principal may write as a robot: ``admin`` as any, others as those of their patterns.

        In a pattern ``*`` is any text, ``?`` any character, and all else is itself; capitals count.
        """
        if Scope.ADMIN in self.scopes:
            return True
        return Scope.ROBOTS_WRITE in self.scopes and any(
            fnmatchcase(robot, pattern.replace("[", "[[]")) for pattern in self.robots
        )


Handler = Callable[["BaseRequest", Principal], Awaitable["StreamResponse"]]
"""Answers a request on behalf of a principal. What ``{name}`` matched in the path is ``request["name"]``."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a request may say beside its body, as the API document tells it. Parts of the path are always required."""

    name: str
    type: Any = str
    """As msgspec has types: ``Annotated[int, msgspec.Meta(ge=1)]``, or ``list[str]`` for one that may be repeated."""
    description: str = ""
    where: Literal["query", "header", "path"] = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route may answer under one status, as the API document tells it. Two with one status differ in content."""

    status: int
    description: str
    type: Any = None
    """The type of the body: what msgspec makes JSON of, ``str`` for a text; None where there is no body."""
    content: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that somebody answers. ``{name}`` in it matches one segment, found under that name in the request.

    ``scope`` is what the principal must have; ``None`` opens the route to everybody who can reach the port.
    What follows is for the API document alone: nothing is checked by it. What the server itself may answer (a wrong
    credential, a lacking scope, a handler that fails) need not be told. Of a WebSocket, what it speaks stands in
    ``description``, and its answer has the status 101.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    summary: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """The type of the request's body, which is JSON; None where there is none."""
    answers: tuple[Answer, ...] = ()
    public: bool = False
    """Answered to other machines without a credential, too, where none is needed for the metrics. This one is no mere
    word for the document: all other routes with a scope are not."""
