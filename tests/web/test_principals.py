"""Who asks, by what a request shows and where it comes from."""

import asyncio
import base64
import os
import socket
import struct

import bcrypt
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import BasicAuth, Listener, Token, WebSettings
from agentd.options import Secret
from agentd.routes import Principal, Route, Scope
from agentd.web.peers import is_allowed_host, may_administer, networks, peer_of
from agentd.web.principals import LOCAL, NOBODY, REMOTE, Principals, admits, limited
from agentd.web.tokens import Tokens

TOKEN = "t0ken-" * 6
HOME = ("127.0.0.1", 5)
AWAY = ("192.0.2.1", 5)
ANY = Listener(address=":9797")


def request_from(peer, headers=()):
    """Return a request with these headers that comes from this peer."""

    class Transport(asyncio.Transport):
        def get_extra_info(self, name, default=None):
            return peer if name == "peername" else default

    fields = {"Host": "localhost:9797", **dict(headers)}
    return make_mocked_request("GET", "/", headers=fields, transport=Transport())


async def who(peer, headers=(), web=None, listener=ANY, local=None):
    """Return who asks."""
    web = WebSettings() if web is None else web
    principals = Principals(web, Tokens(web.tokens))
    return (await principals.who(request_from(peer, headers), listener, local)).principal


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("127.0.0.1", 5), LOCAL),
        (("127.8.9.10", 5), LOCAL),
        (("::1", 5, 0, 0), LOCAL),
        (("::ffff:127.0.0.1", 5, 0, 0), LOCAL),
        (("192.0.2.1", 5), REMOTE),
        (("::ffff:192.0.2.1", 5, 0, 0), REMOTE),
        (("2001:db8::1", 5, 0, 0), REMOTE),
        (("fe80::1%eth0", 5, 0, 2), REMOTE),
        (("::127.0.0.1", 5, 0, 0), REMOTE),
        (("", 0), REMOTE),
        (None, REMOTE),
    ],
)
async def test_by_address(peer, expected):
    """Who asks over loopback is this machine; anybody else may read what is public."""
    assert await who(peer) is expected


@pytest.mark.parametrize(
    "header",
    [
        *("Origin", "Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-FORWARDED-PROTO", "X-Real-IP", "Via"),
        "Sec-Fetch-Site",
    ],
)
async def test_what_was_passed_on(header):
    """What a browser or a proxy passed on is not local, wherever it comes from and whatever the header says."""
    assert await who(HOME, {header: "cross-site"}) is REMOTE
    if header != "Sec-Fetch-Site":
        assert await who(HOME, {header: ""}) is REMOTE
        assert await who(None, {header: "x"}, listener=None, local=LOCAL) is REMOTE


@pytest.mark.parametrize(
    ("site", "mode", "expected"),
    [
        *(("none", "navigate", LOCAL), ("same-origin", "cors", LOCAL), ("cross-site", "navigate", LOCAL)),
        *(("cross-site", "no-cors", REMOTE), ("same-site", "websocket", REMOTE)),
    ],
)
async def test_what_a_browser_says_of_a_page(site, mode, expected):
    """What a page has a browser fetch is not local, though it carries no origin; what somebody follows to is."""
    assert await who(HOME, {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:9797", LOCAL),
        ("LOCALHOST", LOCAL),
        ("[::1]:9797", LOCAL),
        ("evil.example:9797", REMOTE),
        ("127.0.0.1.evil.example", REMOTE),
        ("127.evil.example.com", REMOTE),
        ("localhost.evil.example", REMOTE),
        ("[", REMOTE),
        ("", REMOTE),
    ],
)
async def test_by_the_host_that_was_asked_for(host, expected):
    """A name that somebody made to mean this machine does not make a web page local (DNS rebinding)."""
    assert await who(HOME, {"Host": host}) is expected


def test_a_connection_that_is_gone():
    """Of a request whose connection is gone nobody can say where it came from."""
    request = make_mocked_request("GET", "/")
    request._protocol.transport = None
    assert not peer_of(request, (), ()).local


def test_what_principals_may():
    """This machine may everything; others are answered what is public; nobody but what needs no scope."""
    routes = {scope: Route("GET", "/", None, scope) for scope in (*Scope, None)}
    public = Route("GET", "/", None, Scope.METRICS_READ, public=True)
    assert all(admits(LOCAL, route) for route in (*routes.values(), public))
    assert [scope for scope, route in routes.items() if admits(REMOTE, route)] == [None]
    assert admits(REMOTE, public)
    assert not admits(NOBODY, public)
    assert Principal("nobody", frozenset()).may(None)


async def test_what_a_listener_allows():
    """No one may do more than the listener allows, whatever is shown, in a message of a connection neither."""
    token = Token(token=Secret(TOKEN), scopes=[Scope.ADMIN])
    web = WebSettings(tokens={"t": token})
    listener = Listener(address=":1", scopes=[Scope.METRICS_READ, Scope.ROBOTS_WRITE])
    shown = {"Authorization": f"Bearer {TOKEN}"}
    principals = Principals(web, Tokens(web.tokens))
    asking = await principals.who(request_from(AWAY, shown), listener, None)
    assert asking.principal == Principal("t", frozenset({Scope.METRICS_READ, Scope.ROBOTS_WRITE}), ("*",))
    assert principals.authenticate(TOKEN) == asking.principal
    narrow = Listener(address=":1", scopes=[Scope.EVENTS_READ])
    assert await who(HOME, listener=narrow) == Principal("anonymous", frozenset({Scope.EVENTS_READ}), ("*",))
    assert await who(AWAY, listener=narrow) is NOBODY
    assert await who(AWAY, listener=listener) is REMOTE


@given(st.frozensets(st.sampled_from(Scope)), st.frozensets(st.sampled_from(Scope)))
@settings(max_examples=100, deadline=None)
def test_a_limit_adds_nothing(scopes, ceiling):
    """Within a limit a principal may what it might and the limit allows, and nothing else."""
    before = Principal("x", scopes, ("r1",))
    after = limited(before, ceiling)
    for scope in Scope:
        allowed = scope in ceiling or Scope.ADMIN in ceiling
        assert after.may(scope) == (before.may(scope) and allowed)
    assert not (after.writes_as("r2") and not before.writes_as("r2"))


async def test_what_a_listener_gives_without_a_credential():
    """What ``anonymous`` says goes for all without a credential, this machine too; not for pages of other origins."""
    listener = Listener(address=":1", anonymous=[Scope.EVENTS_READ])
    expected = Principal("anonymous", frozenset({Scope.EVENTS_READ}))
    assert [await who(peer, listener=listener) for peer in (HOME, AWAY)] == [expected] * 2
    assert await who(AWAY, {"Origin": "http://elsewhere.example"}, listener=listener) is NOBODY
    closed = Listener(address=":1", anonymous=[])
    assert not (await who(HOME, listener=closed)).scopes


HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def basic(name, password):
    """Return the headers of a request that shows a name and a password."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


async def test_where_there_are_users():
    """With users, other machines read nothing without a credential; a page of another origin cannot use a password."""
    web = WebSettings(basic_auth=BasicAuth(users={"p": Secret(HASH)}, scopes={"p": [Scope.EVENTS_READ]}))
    assert await who(AWAY, web=web) is NOBODY
    assert await who(HOME, web=web) is LOCAL
    shown = basic("p", "secret")
    assert await who(AWAY, shown, web) == Principal("p", frozenset({Scope.EVENTS_READ}))
    assert await who(AWAY, basic("p", "wrong"), web) is None
    assert await who(AWAY, {**shown, "Origin": "http://elsewhere.example"}, web) is NOBODY
    assert await who(AWAY, {**shown, "Host": "robot:1", "Origin": "http://robot:1"}, web) is not NOBODY


@pytest.mark.parametrize(
    ("headers", "address", "scheme"),
    [
        ({}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "192.0.2.9"}, "192.0.2.9", "http"),
        ({"X-Forwarded-For": "6.6.6.6, 192.0.2.9, 10.0.0.8"}, "192.0.2.9", "http"),
        ({"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}, "127.0.0.1", "https"),
        ({"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "http, https"}, "192.0.2.9", "https"),
        ({"X-Forwarded-Proto": "gopher"}, "10.0.0.7", "http"),
        ({"Forwarded": 'for=6.6.6.6, for="[2001:db8::9]:99";proto=https'}, "2001:db8::9", "https"),
        ({"Forwarded": "for=unknown"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "192.0.2.9", "Forwarded": "for=6.6.6.6"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "192.0.2.9:1234"}, "192.0.2.9", "http"),
        ({"X-Forwarded-For": "nonsense"}, "10.0.0.7", "http"),
    ],
)
def test_what_a_trusted_proxy_says(headers, address, scheme):
    """Of what a trusted proxy passes on, the last address that is none of its own is whose request it is."""
    peer = peer_of(request_from(("10.0.0.7", 5), headers), networks(["10.0.0.0/24"]), ())
    assert (peer.address, peer.scheme, peer.local) == (address, scheme, False)


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}])
def test_what_anybody_else_says_of_others(headers):
    """Whoever is no trusted proxy is believed nothing; and one on this machine does not make all who ask local."""
    assert peer_of(request_from(AWAY, headers), networks(["10.0.0.0/24"]), ()).address == "192.0.2.1"
    assert not peer_of(request_from(HOME, headers), networks(["127.0.0.0/8"]), ()).local


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("robot.example.org", True), ("ROBOT.example.org.:9797", True), ("a.b.lan", True), ("b.lan:1", True)),
        *(("lan", False), ("example.org", False), ("xrobot.example.org", False), ("", False), ("evil.example", False)),
        *(("localhost:9797", True), ("192.0.2.1:9797", True), ("[2001:db8::1]:9797", True), ("1.2.3.4.evil", False)),
    ],
)
def test_hosts_that_are_allowed(host, allowed):
    """A host is one of the names, below one, or an address: an address needs no name server that somebody owns."""
    assert is_allowed_host(host, ["robot.example.org", "*.lan"]) is allowed


class Ended:
    """The end of a Unix socket of a process of some user, group and further groups."""

    def __init__(self, user, group, *groups):
        self.credentials = struct.pack("iII", 7, user, group)
        self.groups = struct.pack(f"{len(groups)}I", *groups)

    def getsockopt(self, _level, option, _size):
        return self.credentials if option == socket.SO_PEERCRED else self.groups


def test_who_may_administer_over_the_socket(monkeypatch):
    """Root, the agent's own user and the members of its group may; nobody else, and nobody who cannot be told."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 2000)
    allowed = [Ended(0, 0), Ended(1000, 5), Ended(5, 2000), Ended(5, 5, 7, 2000)]
    others = [Ended(5, 5), Ended(5, 5, 1000), Ended(2000, 1000)]
    assert [may_administer(end) for end in (*allowed, *others)] == [True] * 4 + [False] * 3
    with socket.socket(socket.AF_INET) as none:
        assert may_administer(none) is False


def test_a_real_socket_tells_its_peer():
    """The process at the other end of a socket pair is this one, whose user is the agent's own."""
    here, there = socket.socketpair()
    with here, there:
        assert may_administer(here)
