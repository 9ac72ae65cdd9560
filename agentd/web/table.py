"""Which route answers a request."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from agentd.routes import Route


class Resolved(NamedTuple):
    """What was found for a request: a route with the open parts of its path, or the methods that the path knows."""

    route: Route | None
    parts: dict[str, str]
    methods: frozenset[str]


class Table:
    """An immutable table of routes: to replace them, make a new one. Raises ``ValueError`` for double routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[tuple[str, ...], dict[str, Route]] = {}
        self._open: dict[int, list[tuple[tuple[str, ...], dict[str, Route]]]] = {}
        for route in self.routes:
            by_method = self._methods(route.path)
            if route.method in by_method:
                raise ValueError(f"two routes for {route.method} {route.path}")
            by_method[route.method] = route

    def resolve(self, method: str, path: str) -> Resolved:
        """Find the route for a request, by its path as it came: what ``%2F`` stands for divides nothing.

        A path without open parts goes before one with; HEAD is answered like GET.
        """
        known: set[str] = set()
        for by_method, parts in self._candidates([*map(unquote, path.split("/"))]):
            route = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)
            if route is not None:
                return Resolved(route, parts, frozenset())
            known.update(by_method)
        return Resolved(None, {}, frozenset(known))

    def _candidates(self, segments: list[str]) -> Iterable[tuple[dict[str, Route], dict[str, str]]]:
        exact = self._exact.get(tuple(segments))
        if exact is not None:
            yield exact, {}
        for pattern, by_method in self._open.get(len(segments), ()):
            parts = {}
            for wanted, found in zip(pattern, segments, strict=True):
                if wanted.startswith("{") and found:
                    parts[wanted[1:-1]] = found
                elif wanted != found:
                    break
            else:
                yield by_method, parts

    def _methods(self, path: str) -> dict[str, Route]:
        pattern = tuple(path.split("/"))
        if "{" not in path:
            return self._exact.setdefault(pattern, {})
        group = self._open.setdefault(len(pattern), [])
        for known, by_method in group:
            if known == pattern:
                return by_method
        group.append((pattern, {}))
        return group[-1][1]
