"""The API document: OpenAPI 3.1 of all routes, from what they declare (https://spec.openapis.org/oas/v3.1.0)."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from agentd.routes import Answer, Parameter, Principal, Route, Scope

PATH = "/api/openapi.json"

ABOUT = """\
What the agent answers, its plugins included. Over the loopback interface and the Unix socket no credential is needed; \
elsewhere only the metrics, and routes without a scope, are answered without one. A wrong credential is answered \
401 everywhere. A page of an origin that is not allowed is refused with 403, a request for a host that is not with \
421, and one with a password with 429 while too many are being checked. HEAD is answered like GET, without the body."""

_METHODS = {"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}
"""What the document has a place for."""
_REFERENCE = "#/components/schemas/{name}"
_TEXT = "text/plain"
_COMMON = (
    Answer(401, "There is no credential, or it is nobody's, or has expired.", str, _TEXT),
    Answer(500, "The handler failed; the agent's log says why.", str, _TEXT),
)
_FORBIDDEN = Answer(403, "Whoever asks lacks the scope.", str, _TEXT)


def routes(all_routes: Callable[[], Sequence[Route]], version: str) -> list[Route]:
    """Return the route of the document about all routes that there are when it is asked for."""

    async def show(_request: web.BaseRequest, _principal: Principal) -> web.Response:
        body = msgspec.json.encode(document(all_routes(), version))
        return web.Response(body=body, content_type="application/json")

    answers = (Answer(200, "An OpenAPI document of version 3.1.", dict[str, Any]),)
    return [Route("GET", PATH, show, Scope.ADMIN, "this document", tags=("agent",), answers=answers)]


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the document of these routes. A type that msgspec has no schema of is left open, and raises nothing."""
    routes = list(routes)
    schemas = _Schemas(type_ for route in routes for type_ in _types(route))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.method not in _METHODS:
            continue
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "agentd", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `[web.tokens]` or of `tokens_file`; the scopes are what it has to have.",
                }
            },
        },
    }


class _Schemas:
    """The schemas of types: those that have a name stand among the components, and are referred to."""

    def __init__(self, types: Iterable[Any]) -> None:
        self._types: list[Any] = []
        for type_ in types:
            if not any(type_ is known or type_ == known for known in self._types) and _has_schema(type_):
                self._types.append(type_)
        self._schemas, self.components = msgspec.json.schema_components(self._types, ref_template=_REFERENCE)
        for component in self.components.values():
            if "description" in component:
                component["description"] = component["description"].replace("``", "`")  # Markdown

    def __getitem__(self, type_: Any) -> dict[str, Any]:
        for known, schema in zip(self._types, self._schemas, strict=True):
            if type_ is known or type_ == known:
                return schema
        return {}


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    name = re.sub("[^A-Za-z0-9]+", "_", f"{route.method.lower()} {route.path}").strip("_")
    about = {"summary": route.summary, "description": route.description, "tags": list(route.tags)}
    operation: dict[str, Any] = {"operationId": name} | {key: value for key, value in about.items() if value}
    told = {each.name: each for each in route.parameters if each.where == "path"}
    parts = [told.get(part) or Parameter(part, where="path") for part in re.findall(r"{([^{}/]*)}", route.path)]
    others = [each for each in route.parameters if each.where != "path"]
    if parts or others:
        operation["parameters"] = [_parameter(each, schemas) for each in (*parts, *others)]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[route.body]}}}
    common = _COMMON if route.scope is None else (*_COMMON, _FORBIDDEN)
    known = {answer.status for answer in route.answers}
    answers = (*route.answers, *(answer for answer in common if answer.status not in known))
    operation["responses"] = _responses(answers, schemas)
    if not route.answers:
        operation["responses"]["default"] = {"description": "What the plugin answers."}
    # The empty requirement: over the loopback interface no credential is needed.
    operation["security"] = [] if route.scope is None else [{"token": [str(route.scope)]}, {}]
    return operation


def _parameter(parameter: Parameter, schemas: _Schemas) -> dict[str, Any]:
    result: dict[str, Any] = {"name": parameter.name, "in": parameter.where, "schema": schemas[parameter.type]}
    if parameter.where == "path":
        result["required"] = True
    if parameter.description:
        result["description"] = parameter.description
    return result


def _responses(answers: Iterable[Answer], schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for answer in answers:
        response = responses.setdefault(str(answer.status), {"description": answer.description})
        if answer.type is not None:
            response.setdefault("content", {})[answer.content] = {"schema": schemas[answer.type]}
    return dict(sorted(responses.items()))


def _types(route: Route) -> Iterable[Any]:
    yield from (parameter.type for parameter in route.parameters)
    yield from (answer.type for answer in route.answers if answer.type is not None)
    yield from () if route.body is None else (route.body,)
    yield str  # what is not told is a text: parts of the path, the server's own answers


def _has_schema(type_: Any) -> bool:
    try:
        msgspec.json.schema_components([type_], ref_template=_REFERENCE)
    except Exception:  # noqa: BLE001  # what plugins declare may be anything, and costs no more than its own schema
        return False
    return True
