"""Who may do what by a token, of a running agent."""

import contextlib
import http.client
import json

TOKEN, OTHER = "t0ken-" * 6, "an0ther-" * 5

ASKING = '''
from aiohttp import web
from agentd.plugin import Collector, Config, Route, Scope, hookimpl

class Asking(Collector[Config]):
    """Asks who shows the token that stands in a message."""

    name = "asking"

    def collect(self):
        return []

    def routes(self):
        yield Route("GET", "/robots/{robot}", self.write, Scope.ROBOTS_WRITE)
        yield Route("POST", "/whose", self.whose, None)

    async def write(self, request, principal):
        allowed = principal.writes_as(request["robot"])
        return web.Response(status=200 if allowed else 403, text=principal.name)

    async def whose(self, request, _principal):
        principal = self.authenticate(request.headers["X-Message"])
        return web.json_response(None if principal is None else [principal.name, principal.expires])

@hookimpl
def agentd_collectors():
    return [Asking]
'''


def bearer(token):
    """Return the headers of a request that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def test_tokens(start_agent, command, tmp_path):
    """Robots write as themselves by their tokens; those of a file come, go and break while the agent runs."""
    file = tmp_path / "tokens.toml"
    file.write_text("")
    config = f"""
    [web]
    tokens_file = "{file}"
    [web.tokens.r1]
    token = "{TOKEN}"
    robots = ["r1"]
    [collectors.asking]
    """
    agent = start_agent(config, plugins={"asking": ASKING})

    def write(robot, token):
        return agent.get(f"/robots/{robot}", bearer(token)).status

    def whose(token):
        return json.loads(agent.get("/whose", {"X-Message": token}, method="POST").body)

    assert [write("r1", TOKEN), write("r2", TOKEN), write("r2", OTHER)] == [200, 403, 401]
    assert agent.get("/robots/r2").status == 200, "without a token, this machine may write as any"
    assert [agent.get(path, bearer(OTHER)).status for path in ("/metrics", "/livez", "/nowhere")] == [401] * 3
    assert (whose(TOKEN), whose(OTHER)) == (["r1", None], None)

    file.write_text(f'[r2]\ntoken = "{OTHER}"\nrobots = ["r?"]\nexpires = 2999-01-01T00:00:00Z\n')
    agent.until(lambda: write("r2", OTHER) == 200)
    assert whose(OTHER) == ["r2", 32472144000.0]

    file.write_text(f'[r2]\ntoken = "{OTHER}\n')
    agent.until(lambda: agent.get("/metrics").value("agentd_tokens_file_last_read_successful") == 0)
    assert write("r2", OTHER) == 200, "what is broken changes nothing"
    told = command("status", environment={"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"]})
    assert (told.returncode, "tokens: THE FILE CANNOT BE USED" in told.stdout) == (1, True)
    checked = command("check", "--config", str(agent.folder / "agentd.toml"))
    assert (checked.returncode, f"{file}:2" in checked.stderr) == (1, True)

    file.write_text("")
    agent.until(lambda: write("r2", OTHER) == 401)
    metrics = agent.get("/metrics")
    assert metrics.value("agentd_tokens") == 1
    assert metrics.value("agentd_tokens_file_failures_total") == 1
    assert metrics.value("agentd_tokens_file_last_read_successful") == 1
    assert metrics.value("agentd_credentials_refused_total") >= 5

    said = agent.log() + told.stdout + told.stderr + checked.stderr + agent.get("/api/v1/status").text + metrics.text
    assert TOKEN not in said
    assert OTHER not in said


def test_a_reload_replaces_what_is_in_the_configuration(start_agent, command, tmp_path):
    """A reload goes over to other tokens, listeners and certificates; one that cannot be had leaves those before."""
    table = '[web.tokens.{}]\ntoken = "{}"\nscopes = ["admin"]\n'
    agent = start_agent(table.format("a", TOKEN))
    runtime = {"RUNTIME_DIRECTORY": agent.environment["RUNTIME_DIRECTORY"]}
    file = agent.folder / "agentd.toml"
    kept = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=20)

    def status(token):
        kept.request("GET", "/api/v1/status", headers=bearer(token))
        answer = kept.getresponse()
        answer.read()
        return answer.status

    assert [status(TOKEN), status(OTHER)] == [200, 401]
    connection = kept.sock
    head = file.read_text().partition("[web.tokens")[0]
    file.write_text(head + table.format("b", OTHER))
    assert command("reload", environment=runtime).returncode == 0
    assert [status(TOKEN), status(OTHER)] == [401, 200]
    file.write_text(head + table.format("a", TOKEN) + '[web.tls]\ncert_file = "/none"\nkey_file = "/none"\n')
    refused = command("reload", environment=runtime)
    assert refused.returncode != 0
    assert "cannot speak TLS: cannot read /none: no such file" in refused.stdout + refused.stderr
    assert [status(TOKEN), status(OTHER)] == [401, 200]
    assert kept.sock is connection, "the connection was kept all the time"
    kept.close()


def test_a_stream_ends_where_its_token_may_no_longer_read(start_agent, tmp_path):
    """A token that keeps its place in the file, but not its scope, reads nothing more; its streams end."""
    file = tmp_path / "tokens.toml"
    table = '[{}]\ntoken = "{}"\nscopes = ["{}"]\n'
    file.write_text(table.format("kept", OTHER, "events:read") + table.format("narrowed", TOKEN, "events:read"))
    agent = start_agent(f'[web]\ntokens_file = "{file}"')
    streams = [http.client.HTTPConnection("127.0.0.1", agent.port, timeout=60) for _ in range(2)]
    for stream, token in zip(streams, (TOKEN, OTHER), strict=True):
        stream.request("GET", "/api/v1/events/stream", headers=bearer(token))
    narrowed, kept = (stream.getresponse() for stream in streams)
    assert (narrowed.status, kept.status) == (200, 200)
    assert narrowed.readline() == kept.readline() == b": the stream begins\n"

    file.write_text(table.format("kept", OTHER, "events:read") + table.format("narrowed", TOKEN, "metrics:read"))
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        narrowed.read()  # it ends: else this would wait for ever
    assert agent.get("/api/v1/events", bearer(TOKEN)).status == 403
    agent.get("/api/v1/events", method="POST", body=b'{"type": "door.opened"}')
    assert any(line == b"event: door.opened\n" for line in iter(kept.readline, b""))
    for stream in streams:
        stream.close()
