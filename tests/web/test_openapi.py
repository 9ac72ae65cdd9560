"""The API document."""

import json
from typing import Annotated

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator

from agentd.routes import Answer, Parameter, Route, Scope
from agentd.web.openapi import document


async def handler(_request, _principal):
    """Answer nothing: the document asks no handler."""


class Door(msgspec.Struct):
    """A door that says ``open``."""

    name: Annotated[str, msgspec.Meta(max_length=10)]
    inner: "list[Door]" = []


def told(*routes):
    """Return the document of these routes, which is valid, and the same as JSON."""
    made = document(routes, "1.2.3")
    assert list(map(str, OpenAPIV31SpecValidator(made).iter_errors())) == []
    assert json.loads(json.dumps(made)) == made
    return made


def test_what_a_route_declares():
    """Parameters, bodies and answers of a route are in the document, types with a name as components."""
    made = told(
        Route(
            *("PUT", "/doors/{door}", handler, Scope.ROBOTS_WRITE, "one door"),
            description="Opens it.",
            tags=("doors",),
            parameters=(
                Parameter("wide", bool, "How wide."),
                Parameter("door", Annotated[str, msgspec.Meta(pattern="^d")], where="path"),
                Parameter("X-Key", int, where="header"),
            ),
            body=Door | list[Door],
            answers=(
                Answer(200, "Open.", Door),
                Answer(200, "Open.", str, "text/plain"),
                Answer(204, "Was open."),
                Answer(403, "Not you.", Door),
            ),
        )
    )
    operation = made["paths"]["/doors/{door}"]["put"]
    assert (operation["summary"], operation["description"], operation["tags"]) == ("one door", "Opens it.", ["doors"])
    assert operation["parameters"] == [
        {"name": "door", "in": "path", "schema": {"type": "string", "pattern": "^d"}, "required": True},
        {"name": "wide", "in": "query", "schema": {"type": "boolean"}, "description": "How wide."},
        {"name": "X-Key", "in": "header", "schema": {"type": "integer"}},
    ]
    reference = {"$ref": "#/components/schemas/Door"}
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert reference in body["anyOf"]
    assert operation["responses"]["200"]["content"] == {
        "application/json": {"schema": reference},
        "text/plain": {"schema": {"type": "string"}},
    }
    assert operation["responses"]["204"] == {"description": "Was open."}
    assert operation["responses"]["403"]["description"] == "Not you."
    assert sorted(operation["responses"]) == ["200", "204", "401", "403", "500"]
    assert operation["security"] == [{"token": ["robots:write"]}, {}]
    assert made["components"]["schemas"]["Door"]["description"] == "A door that says `open`."
    assert made["info"]["version"] == "1.2.3"


def test_a_route_that_declares_nothing():
    """Of a route that declares nothing there is its path with its parts, and what the server itself answers."""
    operation = told(Route("GET", "/a/{b}/{c}", handler, None))["paths"]["/a/{b}/{c}"]["get"]
    assert [(each["name"], each["in"], each["required"]) for each in operation["parameters"]] == [
        ("b", "path", True),
        ("c", "path", True),
    ]
    assert sorted(operation["responses"]) == ["401", "500", "default"]
    assert operation["security"] == []


def test_methods_share_a_path():
    """Several methods of one path stand under it; one that OpenAPI does not know is left out."""
    made = told(*(Route(method, "/a", handler, None) for method in ("GET", "POST", "PROPFIND")))
    assert sorted(made["paths"]["/a"]) == ["get", "post"]
    assert len({operation["operationId"] for operation in made["paths"]["/a"].values()}) == 2


def test_a_type_without_a_schema_costs_itself_alone():
    """What is no type that JSON has is left open, and all else is told as ever."""
    odd = Route("GET", "/odd", handler, None, answers=(Answer(200, "Odd.", complex),), body=handler)
    made = told(odd, Route("GET", "/fine", handler, None, answers=(Answer(200, "Fine.", Door),)))
    assert made["paths"]["/odd"]["get"]["responses"]["200"]["content"]["application/json"] == {"schema": {}}
    assert "Door" in made["components"]["schemas"]


def test_types_of_one_name_are_told_apart():
    """Two types of one name are two components."""
    other = msgspec.defstruct("Door", [("key", int)], module="elsewhere")
    made = told(
        Route("GET", "/a", handler, None, answers=(Answer(200, "A.", Door),)),
        Route("GET", "/b", handler, None, answers=(Answer(200, "B.", other),)),
    )
    found = [
        made["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        for path in ("/a", "/b")
    ]
    assert found[0] != found[1]
    assert len(made["components"]["schemas"]) == 2


def test_a_websocket():
    """What a WebSocket speaks is told in prose, under the status 101."""
    socket = Route("GET", "/ws", handler, Scope.ADMIN, description="Speaks.", answers=(Answer(101, "It speaks."),))
    operation = told(socket)["paths"]["/ws"]["get"]
    assert operation["description"] == "Speaks."
    assert operation["responses"]["101"] == {"description": "It speaks."}
