"""What somebody comes to who may not: every route of a running agent, with all that is not enough."""

import base64
import contextlib
import json
import os
import re
import socket
import ssl
import time
import zlib
from pathlib import Path

import aiohttp
import bcrypt
import pytest

SCOPES = ("metrics:read", "events:read", "events:write", "robots:write", "admin")
PUBLIC = {"/metrics"}
"""What other machines are answered without a credential though it has a scope."""
FREE = {"/livez", "/readyz", "/api/telemetry/ws/{robot_id}"}
"""What has no scope; a robot's WebSocket asks for a credential itself."""

ELSEWHERE = {"X-Forwarded-For": "192.0.2.1"}
PAGE = {"Origin": "http://elsewhere.example"}
FILLED = {"name": "tiny", "robot_id": "r1"}
BODIES = {"/api/v1/events": b'{"type": "a.b"}', "/api/telemetry/robots/{robot_id}/metrics": b'{"battery_level": 80}'}


def token(name):
    """Return the token of somebody."""
    return f"t0ken-of-{name.replace(':', '-')}-" + "x" * 20


def bearer(name):
    """Return the headers that show somebody's token."""
    return {"Authorization": f"Bearer {token(name)}"}


def basic(name, password):
    """Return the headers that show a name and a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def table(name, scopes, more=""):
    """Return the configuration of a token."""
    return f'[web.tokens."{name}"]\ntoken = "{token(name)}"\nscopes = {json.dumps(scopes)}\n{more}\n'


CONFIG = "\n".join(
    [
        *(table(scope, [scope], 'robots = ["*"]') for scope in SCOPES),
        *(table(f"all but {scope}", [s for s in SCOPES if s not in (scope, "admin")]) for scope in SCOPES),
        table("expired", ["admin"], "expires = 2020-01-01T00:00:00Z"),
        table("r2", ["robots:write"], 'robots = ["r2"]'),
        "[collectors.robots]",
        "[sinks.tiny]\nplugin = 'file'\npath = '/dev/null'",
    ]
).replace("all but ", "all-but-")


@pytest.fixture(scope="module")
def agent(standing):
    """A running agent with all routes that there are, and a principal for each scope."""
    return standing.agent(CONFIG)


@pytest.fixture(scope="module")
def operations(agent):
    """Each route with its method, its scope and the statuses that are documented, as the API document has them."""
    paths = json.loads(agent.get("/api/openapi.json").body)["paths"]
    return [
        (method.upper(), path, operation["security"][0]["token"][0] if operation["security"] else None, operation)
        for path, by_method in paths.items()
        for method, operation in by_method.items()
    ]


def send(port, data, context=None):
    """Send bytes, and return what comes until the other side closes, or pauses for a second behind a whole head."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
        if context is not None:
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while part := connection.recv(65536):
                received += part
                if b"\r\n\r\n" in received:
                    connection.settimeout(0.3)
        return received


def status(agent, method, path, headers, body=b""):
    """Return the status of an answer; how it goes on does not matter."""
    for name, value in FILLED.items():
        path = path.replace(f"{{{name}}}", value)
    fields = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", agent.port), 20) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return int(connection.makefile("rb").readline().split()[1])


def let_in(operation):
    """Return the statuses with which a route answers those who may ask it."""
    documented = {int(code) for code in operation["responses"] if code.isdecimal()}
    return {code for code in documented if code < 500 and code not in (401, 403)} | {400, 404}


def credentials(scope):
    """Yield headers, and the status that a route of this scope is to answer; None where it lets in."""
    yield "a wrong token", bearer("nobody"), 401
    yield "a wrong token, from elsewhere", {**bearer("nobody"), **ELSEWHERE}, 401
    yield "an expired token", bearer("expired"), 401
    yield "an expired token, from elsewhere", {**bearer("expired"), **ELSEWHERE}, 401
    yield "a password where nobody has one", basic("admin", "admin"), 401
    yield "another scheme", {"Authorization": f"Digest {token('admin')}"}, 401
    yield "nothing", {"Authorization": ""}, 401
    yield "a token in pieces", {"Authorization": f"Bearer {token('admin')} {token('admin')}"}, 401
    yield "admin", bearer("admin"), None
    yield "admin, from elsewhere", {**bearer("admin"), **ELSEWHERE}, None
    yield "admin, from a page", {**bearer("admin"), **PAGE}, None
    yield "this machine", {}, None
    for other in SCOPES[:-1]:
        allowed = scope in (None, other)
        yield f"the scope {other}", {**bearer(other), **ELSEWHERE}, None if allowed else 403
    if scope not in (None, "admin"):
        yield "all other scopes", bearer(f"all-but-{scope}"), 403


def test_every_route_with_every_credential(agent, operations):
    """Whatever is shown, each route answers exactly what it is to: a new route is tested by being there."""
    assert len(operations) >= 18
    assert {path for _, path, scope, _ in operations if scope is None} == FREE
    wrong = []
    asked = 0
    for method, path, scope, operation in operations:
        cases = list(credentials(scope))
        open_to_all = path in PUBLIC or scope is None
        for headers, refusal in (
            *((each, 401) for each in (ELSEWHERE, {"Forwarded": "for=x"}, {"Host": "evil.example"}, {"Via": "1.1 x"})),
            *((each, 401) for each in ({"X-Forwarded-Server": "x"}, {"x-forwarded-port": "80"})),
            *((each, 403) for each in (PAGE, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"})),
        ):
            cases.append((str(headers), headers, None if open_to_all else refusal))
        for what, headers, expected in cases:
            found = status(agent, method, path, headers, BODIES.get(path, b"") if method == "POST" else b"")
            asked += 1
            if expected is None and path in FREE - {"/livez", "/readyz"}:
                right = found in (400, 401, 403)  # without an upgrade it is no WebSocket, whoever asks
            else:
                right = found in let_in(operation) if expected is None else found == expected
            if not right:
                wrong.append(f"{method} {path} with {what}: {found}, expected {expected or let_in(operation)}")
    assert wrong == []
    assert asked > 300
    assert agent.process.poll() is None
    assert "failed" not in agent.log()


def test_heads_are_refused_as_whole_answers_are(agent, operations):
    """HEAD tells nobody more than GET, nor does a method that there is not."""
    for method, path, scope, _ in operations:
        if method == "GET" and path not in PUBLIC | FREE and scope is not None:
            assert status(agent, "HEAD", path, ELSEWHERE) == 401
            assert status(agent, "HEAD", path, {**ELSEWHERE, **bearer("nobody")}) == 401
        assert status(agent, "TRACE", path, ELSEWHERE) in (400, 405)


def test_a_robot_is_no_other(agent):
    """A robot's token writes as that robot, by HTTP and by WebSocket, and reads nothing."""
    path = "/api/telemetry/robots/{}/metrics"
    assert status(agent, "POST", path.format("r2"), bearer("r2"), b'{"battery_level": 80}') in (200, 202, 204)
    for other in ("r1", "R2", "r22", "r", "r2%20", "%2A", "r%3F", "r2%00", "..%2Fr2"):
        found = status(agent, "POST", path.format(other), bearer("r2"), b'{"battery_level": 80}')
        assert found in (400, 403), other
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = base64.b64encode(b"x" * 16).decode()
    socket_path = "/api/telemetry/ws/{}"
    assert status(agent, "GET", socket_path.format("r2"), {**upgrade, **bearer("r2")}) == 101
    assert status(agent, "GET", socket_path.format("r1"), {**upgrade, **bearer("r2")}) == 403
    assert status(agent, "GET", socket_path.format("r1"), {**upgrade, **PAGE}) == 401
    assert status(agent, "GET", socket_path.format("r1"), {**upgrade, **ELSEWHERE}) == 401
    assert status(agent, "GET", path.format("r2"), bearer("r2")) == 403


@pytest.mark.parametrize(
    "target",
    [
        *("/api/v1/status", "//api/v1/status", "/api//v1/status", "/./api/v1/status", "/metrics/../api/v1/status"),
        *("/metrics/%2e%2e/api/v1/status", "/metrics/..%2fapi%2fv1%2fstatus", "/%61pi/v1/status", "/api/v1/status/"),
        *("/api/v1/status%00", "/api/v1/status%00.html", "/api/v1/status;/metrics", "/api/v1/status?/metrics"),
        *("/api/v1/status#/metrics", "/API/V1/STATUS", "\\api\\v1\\status", "/api%2fv1%2fstatus", "/api/v1/st%61tus"),
        *(
            "/api/v1/status%20",
            "/%2e/api/v1/status",
            "/api/v1/status%2f",
            "/livez/../api/v1/status",
            "/;/api/v1/status",
        ),
        *("http://localhost/api/v1/status", "http://127.0.0.1/api/v1/status", "https://localhost/api/v1/status"),
        *("http://x@localhost/api/v1/status", "//localhost/api/v1/status", "ftp://localhost/api/v1/status"),
        *("*", "api/v1/status", "localhost:80", "?", "/%c0%ae%c0%ae/api/v1/status", "/%252e%252e/api/v1/status"),
    ],
)
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_no_path_leads_around(agent, target, host):
    """However a path is written: what somebody from elsewhere may not see is refused, or not there."""
    for more in ("X-Forwarded-For: 192.0.2.1\r\n", "Origin: http://elsewhere.example\r\n", "Via: 1.1 proxy\r\n"):
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        answer = send(agent.port, request.encode())
        assert answer[9:12] in (b"400", b"401", b"403", b"404", b"405"), answer[:200]
        assert b"config_files" not in answer


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://localhost/api/v1/status", "evil.example"),
        ("http://evil.example/api/v1/status", "localhost"),
        ("/api/v1/status", "localhost\r\nHost: evil.example"),
        ("/api/v1/status", "evil.example\r\nHost: localhost"),
        ("/api/v1/status", "localhost, evil.example"),
        ("/api/v1/status", "evil.example#localhost"),
        ("/api/v1/status", "localhost.evil.example"),
        ("/api/v1/status", "localhost@evil.example"),
        ("/api/v1/status", "127.0.0.1.evil.example"),
        ("/api/v1/status", "[::1].evil.example"),
        ("/api/v1/status", "[::1]evil.example:80"),
        ("/api/v1/status", "[::1"),
        ("/api/v1/status", "localhost:80:evil.example"),
        ("/api/v1/status", "localhost:evil.example"),
    ],
)
def test_no_host_pretends_to_be_this_machine(agent, target, host):
    """A request that says two things of whom it asks, or a name that only looks like this machine's, gets nothing."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert send(agent.port, request.encode())[9:12] in (b"400", b"401")


HIDDEN = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRONT = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4, 5",
        b"Content-Length: +4",
        b"Content-Length: 0x4",
        b"Content-Length: -1",
        b"Content-Length: 4\r\n\tx",
        b"Content-Length : 4",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding:\x0bchunked",
        b"X: y\r\n folded: z",
        b"X-Forwarded-For : 1.2.3.4",
        b"X: a\x00b",
        b"X: a\rTransfer-Encoding: chunked",
        b"X\x00: a",
        b": nothing",
        b"Host: localhost",
        b"Content-Length: 99999999999999999999999",
    ],
)
def test_nothing_is_smuggled(agent, headers):
    """What two readers could understand in two ways is refused, and what is behind it is not read as a request."""
    request = FRONT + headers + b"\r\n\r\n" + b"0\r\n\r\n" + HIDDEN
    answer = send(agent.port, request)
    assert answer[9:12] in (b"400", b"401", b""), answer[:300]
    assert len(re.findall(rb"HTTP/1\.1 [0-9]{3} ", answer)) <= 1, answer
    assert b"config_files" not in answer


@pytest.mark.parametrize(
    "shown",
    [
        f"Authorization: Bearer {token('nobody')}\r\nAuthorization: Bearer {token('admin')}",
        f"Authorization: Bearer {token('admin')}\r\nAuthorization: Bearer {token('nobody')}",
        f"Authorization: Bearer {token('admin')}\r\nauthorization: Bearer {token('admin')}",
        f"Authorization: Bearer {token('admin')}, Bearer {token('admin')}",
        f"Authorization:\r\n Bearer {token('admin')}",
    ],
)
def test_a_credential_is_shown_once(agent, shown):
    """Of several credentials none counts: who reads the first and who reads the last would not agree."""
    request = f"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{shown}\r\n\r\n"
    assert send(agent.port, request.encode())[9:12] in (b"400", b"401")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
def test_heads_of_any_size_are_refused(agent, request_):
    """A head beyond what is sensible is refused as it is read."""
    assert send(agent.port, request_)[9:12] in (b"400", b"414", b"431", b"")


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/telemetry/robots/r1/metrics"])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_any_size_are_refused(agent, path, chunked):
    """A body beyond the limit is refused, whether its size is announced or not."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {20 << 20}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n\r\n".encode()
    piece = b"x" * (1 << 20)
    answer = send(agent.port, head + (b"100000\r\n" + piece + b"\r\n" if chunked else piece) * 20)
    assert answer[9:12] in (b"400", b"413", b"")


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/events", "/nothing", "/api/telemetry/robots/r1/metrics"])
def test_no_packed_body_is_unpacked(agent, path):
    """A body that unpacks to a thousand times its size costs no more than any other, whoever sends it and where to."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, more = (packing.compress(bytes(1 << 20)) + packing.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    bomb = first + 1023 * more
    before = spent(agent)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Encoding: gzip\r\n"
    head += f"Content-Length: {len(bomb)}\r\n\r\n"
    again = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", agent.port), 60) as connection:
        connection.sendall(head.encode() + bomb + again)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer) == [b"415", b"200"]  # all of it has been read, then
    assert spent(agent) - before < 1.0  # unpacked it would be three


def spent(agent):
    """Return the seconds of CPU that an agent has had."""
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_every_answer_tells_browsers_to_be_careful(agent):
    """All answers, errors and what is no HTTP included, have the headers that keep browsers from mischief."""
    requests = [
        *(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            for path in ("/", "/metrics", "/none")
        ),
        *(f"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {each}\r\n\r\n" for each in "xy"),
        *("GET / HTTP/1.1\r\n\r\n", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "nonsense\r\n\r\n"),
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS /metrics HTTP/1.1\r\nHost: x\r\nOrigin: http://e\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    ]
    for request in requests:
        head = send(agent.port, request.encode()).partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-content-type-options: nosniff" in head, request
        assert b"\r\ncontent-security-policy: default-src 'none'; " in head
        assert b"\r\nreferrer-policy: no-referrer" in head
        assert b"\r\ncache-control: no-store" in head
        assert b"\r\nserver: agentd" in head
        assert b"access-control" not in head


@pytest.fixture(scope="module")
def closed(standing, authority, unused_ports):
    """An agent with TLS, users, a listener that is limited, and a name that it goes by."""
    certificate = authority.issue("localhost")
    folder = standing._folder / "certificates"
    folder.mkdir()
    for name, file in (("cert.pem", certificate.file), ("key.pem", certificate.key)):
        (folder / name).write_bytes(file.read_bytes())
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(6)).decode()
    secure, plain, narrow = unused_ports(3)
    config = f"""
    [web]
    allowed_hosts = ["robot.lan"]
    cors_origins = ["https://grafana.lan"]
    route_prefix = "/agentd"
    listen = [
      {{ address = "127.0.0.1:{secure}" }},
      {{ address = "127.0.0.1:{plain}", tls = false }},
      {{ address = "127.0.0.1:{narrow}", tls = false, scopes = ["metrics:read"] }},
    ]
    [web.tls]
    cert_file = "{folder}/cert.pem"
    key_file = "{folder}/key.pem"
    [web.basic_auth.users]
    prometheus = "{hashed}"
    maria = "{hashed}"
    [web.basic_auth.scopes]
    maria = ["admin"]
    """
    folder_of_agent = standing._folder / "closed"
    folder_of_agent.mkdir()
    agent = standing.agent(
        config + CONFIG, ready=False, port=plain, shell='set -- "$1" "$2" "$3" "$4" "$5" "$6"; exec "$@"'
    )
    agent.until(lambda: agent.get("/agentd/readyz").status == 200 if listens(plain) else False)
    agent.secure, agent.narrow, agent.certificates = secure, narrow, folder
    return agent


def listens(port):
    """Say whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def asked(port, path, headers=(), *, host="localhost", context=None, method="GET"):
    """Return the status, and the whole answer."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in dict(headers).items())
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
    answer = send(port, request.encode(), context)
    return int(answer[9:12] or 0), answer


def test_where_there_are_users_nothing_is_open(closed):
    """With users, other machines read the metrics by a password alone; what it may not is refused."""
    for path, none, prometheus, maria in (
        ("/agentd/metrics", 401, 200, 200),
        ("/agentd/livez", 200, 200, 200),
        ("/agentd/api/v1/status", 401, 403, 200),
        ("/agentd/nowhere", 404, 404, 404),
        ("/metrics", 404, 404, 404),
        ("/agentd/", 401, 200, 200),
        ("/agentd", 308, 308, 308),
        ("/agentdx/metrics", 404, 404, 404),
    ):
        shown = [{}, basic("prometheus", "secret"), basic("maria", "secret")]
        found = [asked(closed.port, path, {**ELSEWHERE, **each})[0] for each in shown]
        assert found == [none, prometheus, maria], path
        if none != 308:
            assert asked(closed.port, path, basic("prometheus", "wrong"))[0] == 401
            assert asked(closed.port, path, basic("nobody", "secret"))[0] == 401
    _, answer = asked(closed.port, "/agentd/metrics", ELSEWHERE)
    assert b'WWW-Authenticate: Basic realm="agentd", charset="UTF-8"' in answer
    assert asked(closed.port, "/agentd/api/v1/status", {**PAGE, **basic("maria", "secret")})[0] == 403


def test_a_listener_is_a_limit(closed):
    """On a listener for metrics nothing else is answered, to no one; with a robot's token in a message neither."""
    for headers in ({}, bearer("admin"), basic("maria", "secret")):
        assert asked(closed.narrow, "/agentd/api/v1/status", headers)[0] == 403
        assert asked(closed.narrow, "/agentd/metrics?collect[]=loadavg", headers)[0] == 200
    upgrade = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Connection": "Upgrade"}
    upgrade["Sec-WebSocket-Key"] = base64.b64encode(b"x" * 16).decode()
    head = "".join(f"{name}: {value}\r\n" for name, value in {**upgrade, **bearer("robots:write")}.items())
    request = f"GET /agentd/api/telemetry/ws/r1 HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    assert send(closed.narrow, request)[9:12] in (b"401", b"403")
    assert send(closed.port, request)[9:12] == b"101"


async def test_a_listener_is_a_limit_to_what_a_robot_says_later(closed):
    """A robot that shows its token in its first message may no more than one that shows it at once."""
    ended = {}
    async with aiohttp.ClientSession() as session:
        for port in (closed.narrow, closed.port):
            url = f"http://127.0.0.1:{port}/agentd/api/telemetry/ws/r1"
            headers = {"Via": "1.1 proxy"}
            async with session.ws_connect(url, protocols=["agentd.telemetry.v1"], headers=headers) as robot:
                await robot.send_json({"type": "hello", "stream_id": "s1", "token": token("robots:write")})
                said = await robot.receive_json(timeout=20)
                ended[port] = said["type"] if said["type"] == "welcome" else (await robot.receive(timeout=20)).data
    assert ended == {closed.narrow: 4401, closed.port: "welcome"}


def test_a_stream_ends_with_its_token(start_agent, tmp_path):
    """A stream of events ends within moments when its token is revoked, or expires; others go on."""
    file = tmp_path / "tokens.toml"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8))
    kept = {"stays": "", "expires": f"expires = {soon}"}
    tables = {
        name: f'[{name}]\ntoken = "{token(name)}"\nscopes = ["events:read"]\n{more}\n'
        for name, more in {"revoked": "", **kept}.items()
    }
    file.write_text("".join(tables.values()))
    agent = start_agent(f'[web]\ntokens_file = "{file}"')
    streams = {}
    for name in tables:
        streams[name] = socket.create_connection(("127.0.0.1", agent.port), 20)
        shown = bearer(name)["Authorization"]
        request = f"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: {shown}\r\n\r\n"
        streams[name].sendall(request.encode())
        assert b"200 OK" in streams[name].recv(65536)
    file.write_text("".join(tables[name] for name in kept))

    def ends(name):
        with contextlib.suppress(ConnectionError):
            while streams[name].recv(65536):
                pass
        return True

    assert ends("revoked")
    assert ends("expires")
    streams["stays"].settimeout(1.5)
    with pytest.raises(TimeoutError):
        ends("stays")
    for stream in streams.values():
        stream.close()


def test_hosts_and_origins(closed):
    """A host that is not among the allowed is refused; a page of an allowed origin may read, and may ask before."""
    path = "/agentd/metrics?collect[]=loadavg"
    assert asked(closed.port, path, bearer("admin"), host="evil.example")[0] == 421
    assert asked(closed.port, path, bearer("admin"), host="robot.lan:9797")[0] == 200
    origin = {"Origin": "https://grafana.lan"}
    found, answer = asked(closed.port, path, {**origin, **bearer("metrics:read")})
    assert (found, b"Access-Control-Allow-Origin: https://grafana.lan" in answer) == (200, True)
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    found, answer = asked(closed.port, "/agentd/api/v1/events", {**origin, **asks}, method="OPTIONS")
    assert (found, b"Access-Control-Allow-Methods: GET, POST" in answer) == (204, True)
    found, answer = asked(closed.port, "/agentd/api/v1/events", {**PAGE, **asks}, method="OPTIONS")
    assert (found, b"Access-Control-Allow" in answer) == (405, False)
    assert asked(closed.port, "/agentd/api/v1/status", origin)[0] == 401


def test_tls_of_a_running_agent(closed, authority, command):
    """It answers over TLS to those who trust its certificate, changes it in flight, and tells what is wrong with it."""
    context = ssl.create_default_context(cafile=str(authority.file))
    path = "/agentd/metrics"
    scraped = asked(closed.secure, path, basic("prometheus", "secret"), context=context)
    assert scraped[0] == 200
    assert b"agentd_tls_certificate_expiry_timestamp_seconds" in scraped[1]
    assert send(closed.secure, b"GET /agentd/livez HTTP/1.1\r\nHost: localhost\r\n\r\n")[:4] != b"HTTP"
    runtime = {"RUNTIME_DIRECTORY": closed.environment["RUNTIME_DIRECTORY"]}
    assert command("status", environment=runtime).returncode == 0
    key = (closed.certificates / "key.pem").read_text()
    (closed.certificates / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n")

    def told():
        return command("status", environment=runtime)

    closed.until(lambda: "TLS: THE CERTIFICATES CANNOT BE USED" in told().stdout)
    assert told().returncode == 1
    checked = command("check", "--config", str(closed.folder / "agentd.toml"))
    assert (checked.returncode, "the certificates cannot be used" in checked.stderr) == (1, True)
    assert asked(closed.secure, path, basic("prometheus", "secret"), context=context)[0] == 200
    (closed.certificates / "key.pem").write_text(key)
    closed.until(lambda: told().returncode == 0)
    said = closed.log() + told().stdout + checked.stderr + scraped[1].decode("utf-8", "replace")
    assert not any(line in said for line in key.splitlines()[1:-1])
    assert "secret" not in said


def test_wrong_passwords_delay_nobody(closed):
    """While wrong passwords pour in, those who are known are answered, and so is what needs no password."""
    known = basic("prometheus", "secret")
    assert asked(closed.port, "/agentd/metrics?collect[]=loadavg", known)[0] == 200
    held = []
    for number in range(200):
        connection = socket.create_connection(("127.0.0.1", closed.port), 20)
        shown = basic("prometheus", f"wrong {number}")["Authorization"]
        request = f"GET /agentd/metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: {shown}\r\n\r\n"
        connection.sendall(request.encode())
        held.append(connection)
    assert asked(closed.port, "/agentd/metrics?collect[]=loadavg", known)[0] == 200
    assert asked(closed.port, "/agentd/livez")[0] == 200
    answers = [int(connection.makefile("rb").readline().split()[1]) for connection in held]
    assert set(answers) <= {401, 429}
    assert 429 in answers
    for connection in held:
        connection.close()


def test_another_machine(start_agent, unused_ports):
    """By an address that is not loopback, nothing but metrics and health is answered, and the log says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            own = probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but loopback")
    [port] = unused_ports(1)
    agent = start_agent("[collectors.robots]", arguments=("--listen", f"0.0.0.0:{port}"))
    found = {}
    for path in ("/metrics", "/livez", "/readyz", "/", "/api/v1/status", "/api/v1/events", "/api/telemetry/robots"):
        with socket.create_connection((own, port), 20) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n".encode())
            found[path] = int(connection.makefile("rb").readline().split()[1])
    assert [path for path, code in found.items() if code == 200] == ["/metrics", "/livez", "/readyz"]
    assert {code for code in found.values() if code != 200} == {401}
    [line] = [line for line in agent.log().splitlines() if "other machines can reach it" in line]
    assert f"0.0.0.0:{port}" in line
    assert "/metrics" in line
    assert "Without TLS" in line
