"""No secret of the configuration, and no credential that somebody shows, is in anything that the agent puts out.

Canaries stand in every option of type Secret of the core and of every bundled plugin; they are found by looking at the
types, so that a new option is tried without a change here. Plugins talk to servers that refuse them and repeat what
they were told.
"""

import http.client
import json
import re
import stat
import subprocess
import sys
import tarfile

import pytest

from agentd.discovery import KINDS
from agentd.options import Url
from agentd.registry import Registry

from .canaries import Planted, arms, bare, canary, configuration, given, sections
from .refusing import Refusing

WINDOW = 12
"""Characters of a canary that are looked for: a text that was cut off may have a part of it."""

DOCUMENTED = {"configuration.json"}
"""The copy of the last configuration that could be used has its secrets: docs/operations.md, with its mode."""


def leaks(texts, canaries):
    """Return in which texts there is a part of which canary."""
    found = []
    for where, text in texts.items():
        data = text.encode() if isinstance(text, str) else text
        for name, secret in canaries.items():
            parts = (secret[begin : begin + WINDOW].encode() for begin in range(0, len(secret) - WINDOW, WINDOW))
            for part in parts:
                if (place := data.find(part)) >= 0:
                    found.append(
                        f"{name} in {where}: …{data[max(0, place - 200) : place + 80].decode(errors='replace')}…"
                    )
                    break
    return found


class Trial:
    """An agent whose configuration is full of canaries, and all that it and its commands have put out."""

    def __init__(self, start_agent, folder, form):
        self.folder = folder
        self.form = form
        self.texts = {}
        self.canaries = {}
        self.servers = Refusing()
        self.tokens = folder / "tokens.toml"
        filed = canary()
        self.tokens.write_text(f'[filed]\ntoken = "{filed}"\n')
        self.planted = list(sections(Registry(), self.servers.ports))
        self.planted.append(Planted(filed, ("web",), {"tokens_file": str(self.tokens)}))
        for number, one in enumerate(self.planted):
            self.canaries[f"{'.'.join(one.path)} {sorted(one.values)} ({form}, {number})"] = one.canary
        environment = {f"CANARY_{number}": one.canary for number, one in enumerate(self.planted)}
        for name, text in environment.items():
            (folder / name).write_text(f"{text}\n")
        by_canary = {text: name for name, text in environment.items()}
        self.agent = start_agent(
            "labels = { site = 'hall' }\n"
            + configuration(self.planted, lambda text: self.refer(text, by_canary[text])),
            environment=environment,
            arguments=("--log-level", "debug"),
        )
        self.environment = {**self.agent.environment, "COLUMNS": "200"}
        (self.file,) = self.agent.folder.glob("agentd.toml")

    def refer(self, text, name):
        """Return what stands in the configuration for a canary."""
        if self.form == "plain":
            return f'"{text}"'
        return f'{{ env = "{name}" }}' if self.form == "env" else f'{{ file = "{self.folder}/{name}" }}'

    def run(self, *arguments):
        """Run a command to its end, and keep what it says."""
        result = subprocess.run(
            [sys.executable, "-m", "agentd", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.texts[f"{' '.join(arguments)} (output)"] = result.stdout
        self.texts[f"{' '.join(arguments)} (errors)"] = result.stderr
        return result

    def ask(self, path, headers=None, method="GET", body=None):
        """Ask the agent, and keep what it answers; of an endless answer, the beginning."""
        connection = http.client.HTTPConnection("127.0.0.1", self.agent.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            endless = response.getheader("Content-Type", "").startswith("text/event-stream")
            data = response.read1(65536) if endless else response.read()
        finally:
            connection.close()
        shown = re.sub("[0-9a-f]{64}", "…", path)
        self.texts[f"{method} {shown} ({response.status}, {len(self.texts)})"] = (
            str(response.getheaders()).encode() + data
        )
        return response.status, data

    def status(self):
        """Return what the agent says of itself."""
        return json.loads(self.ask("/api/v1/status")[1])

    def files(self):
        """Keep whatever lies in the state and runtime directories, and the log."""
        for folder in ("state", "run"):
            for file in (self.agent.folder / folder).rglob("*"):
                if file.is_file() and file.name not in DOCUMENTED:
                    self.texts[str(file)] = file.read_bytes()
        self.texts["log"] = self.agent.log()

    def bundle(self):
        """Make a bundle, and keep its parts."""
        assert self.run("bundle", "bundle.tar.gz").returncode == 0
        with tarfile.open(self.folder / "bundle.tar.gz") as archive:
            for member in archive.getmembers():
                self.texts[member.name] = archive.extractfile(member).read()


@pytest.fixture(params=["plain", "env", "file"])
def trial(start_agent, tmp_path, request):
    """An agent with canaries that stand in the configuration as they are, or as references."""
    made = Trial(start_agent, tmp_path, request.param)
    yield made
    made.servers.close()


def test_no_secret_is_ever_put_out(trial):
    """After errors of every plugin, a reload that is refused and every command and route, no canary is anywhere."""
    agent = trial.agent
    assert {path[0] for _, path, _ in trial.planted} >= {"web", "sinks", "collectors"}
    agent.until(lambda: all(sink["error"] for sink in trial.status()["sinks"]))
    assert len(trial.status()["sinks"]) >= 7
    tokens = {name: text for name, text in trial.canaries.items() if name.startswith("web ")}
    others = {f"wrong credential {number}": canary() for number in range(4)}
    wrong = list(others.values())
    for token in (*tokens.values(), wrong[0]):
        trial.ask("/api/v1/status", {"Authorization": f"Bearer {token}"})
        trial.ask("/api/telemetry/robots/r1/metrics", {"Authorization": f"Bearer {token}"}, "POST", b"{}")
    trial.ask(f"/api/v1/status?token={wrong[1]}", {"Cookie": f"session={wrong[2]}"})
    trial.ask("/api/v1/status", {"Authorization": f"Basic {wrong[3]}"})
    document = json.loads(trial.ask("/api/openapi.json")[1])
    routes = [path for path, methods in document["paths"].items() if "get" in methods]
    assert len(routes) >= 10
    for path in routes:
        trial.ask(re.sub(r"\{[^}]*\}", "anything", path))
    for sink in trial.status()["sinks"]:
        trial.ask(f"/api/v1/sinks/{sink['sink']}/dead")
    for arguments in (["status"], ["status", "--json"], ["sinks"], ["events", "--json", "--limit", "1000"], ["diff"]):
        trial.run(*arguments)
    config = ("--config", str(trial.file), "--log-level", "debug")
    trial.run("config", "show", *config)
    if trial.form == "plain":
        for arguments in (["doctor"], ["doctor", "--json"], ["plugins"], ["explain", "agentd_sink_healthy"]):
            trial.run(*arguments)
        for arguments in (["explain", "missions_total"], ["config", "default"], ["config", "schema"]):
            trial.run(*arguments, *config)
        for name in {one.values["plugin"] for one in trial.planted if "plugin" in one.values}:
            trial.run("plugins", name, *config)
    trial.bundle()
    assert trial.run("check", *config).returncode == 0
    assert trial.run("check", "--probe", *config).returncode == 1
    broken = break_it(trial)
    agent.until(lambda: "characters" in trial.status()["tokens_error"])
    assert trial.run("check", *config).returncode == 1
    assert trial.run("reload").returncode == 1
    trial.run("config", "show", *config)
    trial.run("status")
    trial.run("doctor", *config)
    trial.run("events", "--type", "agent.*", "--json")
    trial.texts["kept"] = str(oct(stat.S_IMODE((agent.folder / "state" / "configuration.json").stat().st_mode)))
    trial.files()
    agent.stop()
    trial.files()
    assert trial.texts["kept"] == "0o600"
    assert len(trial.texts["log"]) > 1000
    found = leaks(trial.texts, {**trial.canaries, **others, **broken})
    assert not found, "\n".join(found)


def break_it(trial):
    """Write secrets into the configuration where they make errors; return the new ones."""
    found, lines = {}, []
    registry = Registry()
    for kind in KINDS:
        for name in registry.names(kind):
            type_ = registry.plugin_class(kind, name).config_type
            for field in type_.__struct_fields__:
                declared = next(each for each in fields(type_) if each.name == field)
                if Url in map(bare, arms(declared.type)):
                    found[f"password of a URL in {kind}.{name}.{field}"] = text = canary()
                    scheme = str(given(declared)).partition(":")[0]
                    others = "".join(
                        f"{each.encode_name} = {json.dumps(given(each))}\n"
                        for each in fields(type_)
                        if each.required and each.name != field
                    )
                    lines.append(
                        f"[{kind}.url-{name}-{field}]\nplugin='{name}'\n{others}{field}='{scheme}://me:{text}@127.0.0.1:1/'\n"
                    )
    for number, (kind, name, key, value) in enumerate(
        (
            ("sinks", "redis", "passwrod", "'{}'"),
            ("sinks", "redis", "password", "['{}']"),
            ("sinks", "redis", "password", "{{ text = '{}' }}"),
            ("sinks", "webhook", "headers", "'{}'"),
            ("sinks", "webhook", "token", "'ü{}'"),
        )
    ):
        found[f"a wrong value of {name}.{key} ({number})"] = text = canary()
        lines.append(f"[{kind}.wrong-{number}]\nplugin='{name}'\n{key}={value.format(text)}\n")
    trial.file.write_text(trial.file.read_text() + "".join(lines))
    found["a wrong token in the file of tokens"] = text = canary()
    trial.tokens.write_text(f'[filed]\ntoken = "ü {text}"\n')
    return found


def fields(type_):
    """Return the options of a class."""
    from msgspec.structs import fields as all_fields

    return all_fields(type_)


def test_a_leak_would_be_found(start_agent, leaking):
    """What the test above looks for is found where a plugin does tell a part of its secret."""
    secret = canary()
    plugin = leaking('f"it does not like {password[20:40]}"')
    agent = start_agent(f"[collectors.leaking]\npassword='{secret}'", plugins={"leaking": plugin})
    agent.get("/metrics")
    texts = {"status": agent.get("/api/v1/status").body, "log": agent.log(), "metrics": agent.get("/metrics").body}
    assert [leak.partition(":")[0] for leak in leaks(texts, {"it": secret})] == ["it in status", "it in log"]
