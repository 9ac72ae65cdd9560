"""Which route answers a request."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.routes import Route
from agentd.web.table import Resolved, Table


async def answer(_request, _principal):
    """Stand in for a handler, which a table never calls."""
    raise AssertionError


def route(method, path):
    """Return a route that nobody answers."""
    return Route(method, path, answer, None)


PLAIN = route("GET", "/robots")
NEW = route("POST", "/robots")
ONE = route("GET", "/robots/{robot}")
BEST = route("GET", "/robots/best")
REMOVE = route("DELETE", "/robots/{robot}")
PART = route("GET", "/robots/{robot}/parts/{part}")
TABLE = Table([PLAIN, NEW, ONE, BEST, REMOVE, PART])


@pytest.mark.parametrize(
    ("method", "path", "wanted", "parts"),
    [
        ("GET", "/robots", PLAIN, {}),
        ("POST", "/robots", NEW, {}),
        ("GET", "/robots/r2", ONE, {"robot": "r2"}),
        ("DELETE", "/robots/r2", REMOVE, {"robot": "r2"}),
        ("GET", "/robots/best", BEST, {}),
        ("DELETE", "/robots/best", REMOVE, {"robot": "best"}),
        ("GET", "/robots/r2/parts/arm", PART, {"robot": "r2", "part": "arm"}),
        ("GET", "/robots/{robot}", ONE, {"robot": "{robot}"}),
        ("GET", "/robots/a%2Fb", ONE, {"robot": "a/b"}),
        ("GET", "/robots/%C3%A4%20b", ONE, {"robot": "ä b"}),
        ("GET", "/robots/%62est", BEST, {}),
    ],
)
def test_route_is_found_with_the_parts_of_its_path(method, path, wanted, parts):
    """A path finds its route; what stands for an open part is told, and a path that is spelled out goes first."""
    assert TABLE.resolve(method, path) == Resolved(wanted, parts, frozenset())


@pytest.mark.parametrize("path", ["/robots", "/robots/r2", "/robots/best"])
def test_head_is_answered_by_get(path):
    """A HEAD finds the route of GET."""
    assert TABLE.resolve("HEAD", path) == TABLE.resolve("GET", path)


def test_head_may_have_a_route_of_its_own():
    """Where somebody answers HEAD itself, that route is found."""
    own = route("HEAD", "/robots")
    assert Table([PLAIN, own]).resolve("HEAD", "/robots").route is own


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("DELETE", "/robots", {"GET", "POST"}),
        ("HEAD", "/only-post", {"POST"}),
        ("PUT", "/robots/best", {"GET", "DELETE"}),
        ("PUT", "/robots/r2/parts/arm", {"GET"}),
    ],
)
def test_method_that_a_path_does_not_know(method, path, methods):
    """Where only the method is wrong, the right ones are told."""
    table = Table([*TABLE.routes, route("POST", "/only-post")])
    assert table.resolve(method, path) == Resolved(None, {}, frozenset(methods))


@pytest.mark.parametrize(
    "path", ["", "/", "/robots/", "//robots", "/robots//parts/arm", "/robots/r2/parts/", "/Robots"]
)
def test_path_that_nobody_answers(path):
    """A path that is not known has no route and no methods; an open part is never empty."""
    assert TABLE.resolve("GET", path) == Resolved(None, {}, frozenset())


@pytest.mark.parametrize("path", ["/metrics", "/robots/{robot}"])
def test_double_routes_are_refused(path):
    """Two routes for one method and path are an error that names both."""
    with pytest.raises(ValueError, match=f"two routes for GET {path}"):
        Table([route("GET", path), route("GET", path)])


def test_one_route_twice_is_refused():
    """That it is the very same route makes it no less double."""
    with pytest.raises(ValueError, match="two routes"):
        Table([PLAIN, PLAIN])


def test_routes_are_told_in_their_order():
    """The table tells its routes as they came, for the landing page."""
    assert TABLE.routes == (PLAIN, NEW, ONE, BEST, REMOVE, PART)


@given(st.text(max_size=20), st.text(alphabet="/{}robtsnga", max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_request_breaks_the_table(method, path):
    """Whatever is asked for, there is an answer, and it is a route of the table or none."""
    found = TABLE.resolve(method, path)
    assert found.route is None or found.route in TABLE.routes
    assert all(found.parts.values())


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=2), min_size=1, max_size=4, unique=True))
@settings(max_examples=100, deadline=None)
def test_any_value_of_an_open_part_is_told(values):
    """Each open part has the segment that stands in its place."""
    pattern = "".join(f"/{{part{number}}}" for number in range(len(values)))
    parts = Table([route("GET", pattern)]).resolve("GET", "/" + "/".join(values)).parts
    assert list(parts.values()) == values
