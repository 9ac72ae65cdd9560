"""``agentd bundle``: what is in it, who may read it, and that no secret is."""

import json
import sqlite3
import stat
import tarfile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.bundle import LARGEST, cut
from agentd.config import AgentSettings, Document, Instance, JournalSettings, Settings, SinkKeys, WebSettings
from agentd.config.describe.secrets import hiding, secrets
from agentd.config.tokens import Token
from agentd.host import HostPaths
from agentd.options import Config, Secret
from agentd.store.statistics import statistics

PARTS = {
    "CONTENTS.txt", "configuration.toml", "status.txt", "status.json", "doctor.txt", "metrics.txt", "log.txt",
    "store.json", "versions.txt",
}  # fmt: skip


def unpacked(path):
    """Return the texts of an archive by their names, without the folder that they are in."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert {member.name.split("/")[0] for member in members} == {path.name.removesuffix(".tar.gz")}
        assert {member.mode for member in members} == {0o600}
        return {member.name.split("/")[1]: archive.extractfile(member).read().decode() for member in members}


def test_of_a_running_agent(command, start_agent, tmp_path, leaking):
    """All is in it, for its owner alone, and not even what a plugin tells of its own secret."""
    secret = 'sup3r "secret"'
    plugin = leaking('f"the server does not like {password!r} of http://me:pa55word@host/"')
    agent = start_agent(f"[collectors.leaking]\npassword='{secret}'", plugins={"leaking": plugin})
    agent.get("/metrics")
    environment = {name: agent.environment[name] for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")}
    result = command("bundle", "out.tar.gz", environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    path = tmp_path / "out.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    parts = unpacked(path)
    assert parts.keys() == PARTS
    for name in PARTS - {"CONTENTS.txt"}:
        assert name in parts["CONTENTS.txt"]
        assert name in result.stdout
    assert f'"pid": {agent.pid}' in parts["status.json"]
    assert "NOT WELL: 1 collector fails" in parts["status.txt"]
    assert "the server does not like" in parts["status.txt"]
    assert "node_load1" in parts["metrics.txt"]
    assert 'password = "***"' in parts["configuration.toml"]
    assert "aiohttp " in parts["versions.txt"]
    assert "bad   agent: 1 collector fails" in parts["doctor.txt"]
    assert json.loads(parts["store.json"])["types"]["agent.started"] == 1
    for text in parts.values():
        assert "sup3r" not in text
        assert "pa55word" not in text
    again = command("bundle", "out.tar.gz", environment=environment)
    assert again.returncode == 1
    assert "out.tar.gz is there already" in again.stderr


def test_without_an_agent(command, tmp_path):
    """Without an agent and with errors in the configuration there is a bundle that says so, under a name of its own."""
    (tmp_path / "agentd.toml").write_text("[nonsense]\n[collectors.cpu]\nx=1\n")
    result = command("bundle", "--config", str(tmp_path / "agentd.toml"))
    assert (result.returncode, result.stderr) == (0, "")
    (path,) = tmp_path.glob("agentd-bundle-*.tar.gz")
    parts = unpacked(path)
    assert parts.keys() == PARTS
    assert "no such section" in parts["configuration.toml"]
    assert "no agent answers" in parts["status.txt"]
    assert "journal.db is not there" in json.loads(parts["store.json"])["error"]


def test_where_it_cannot_be_written(command):
    """A folder that is not there is an error in one line."""
    result = command("bundle", "no/such/folder.tar.gz")
    assert result.returncode == 1
    assert result.stderr == "agentd: cannot write no/such/folder.tar.gz: no such file or directory\n"


@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f916"])
def test_parts_are_bounded(letter):
    """What is too long is cut off between two characters, and how much that was is said."""
    data = cut(letter * LARGEST)
    if letter == "x":
        assert data == b"x" * LARGEST
    else:
        assert len(data) < LARGEST + 100
        assert "cut off" in data.decode()


def test_statistics(tmp_path):
    """Numbers of the journal are right, while it is used and afterwards; a damaged or missing one is told."""
    from agentd.store import database

    path = tmp_path / "journal.db"
    assert "is not there" in statistics(path)["error"]
    connection = database.connect(path)
    for seq, type_ in enumerate(("a", "b", "b"), 1):
        connection.execute("INSERT INTO events VALUES (?, ?, 's', ?, 0, x'0102')", (seq, type_, float(seq)))
    connection.execute("INSERT INTO cursors VALUES ('sinks.x', 2)")
    connection.execute("INSERT INTO state VALUES ('p', 'k', x'00112233')")
    connection.execute("INSERT INTO dead VALUES (1, 'sinks.x', 1, 0.0, 'why', 'a', 's', x'01')")
    for used in (True, False):
        found = statistics(path)
        assert found["events"] == {"rows": 3, "first": 1, "last": 3, "bytes": 6.0, "oldest": 1.0, "newest": 3.0}
        assert found["types"] == {"b": 2, "a": 1}
        assert found["cursors"] == {"sinks.x": 2}
        assert found["dead_letters"] == {"sinks.x": 1}
        assert found["state_bytes"] == {"p": 4.0}
        if used:
            connection.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal.db"]
    path.write_bytes(b"no database" * 1000)
    assert "cannot be read" in statistics(path)["error"]
    with sqlite3.connect(tmp_path / "empty.db") as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    assert "no such table" in statistics(tmp_path / "empty.db")["error"]


class Inner(Config):
    """Options inside of others."""

    keys: list[Secret] = []
    by_name: dict[str, Secret] = {}


class Outer(Config):
    """Options with secrets in every place."""

    plain: str = "harmless"
    secret: Secret | None = None
    inner: Inner = Inner()
    more: list[Inner] = []


def configured(*found):
    """Return settings that have these secrets, each in another place."""
    texts = [Secret(text) for text in found]
    inner = Inner(keys=texts[1:2], by_name={"x": texts[2]})
    config = Outer(secret=texts[0], inner=inner, more=[Inner(keys=[texts[3]])])
    web = WebSettings(tokens={"ann": Token(token=texts[4])})
    instance = Instance("sinks", "x", "x", SinkKeys(), config)
    return Settings(AgentSettings(), web, HostPaths(), JournalSettings(), (instance,), {}, Document())


def test_every_secret_is_found():
    """Secrets are found wherever a type may have them, with the keys that lead there."""
    found = {".".join(path): secret.reveal() for path, secret in secrets(configured("a", "b", "c", "d", "e" * 16))}
    assert found == {
        "web.tokens.ann.token": "e" * 16,
        "sinks.x.secret": "a",
        "sinks.x.inner.keys.0": "b",
        "sinks.x.inner.by_name.x": "c",
        "sinks.x.more.0.keys.0": "d",
    }


@given(st.text(min_size=4, max_size=20).filter(lambda text: text.strip("*")), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_secrets_are_hidden_however_they_are_quoted(secret, around):
    """A secret is not in a text any more, whether it stood there as it is, as JSON, as Python shows it or in a URL."""
    hide = hiding(configured(secret, "bbbb", "cccc", "dddd", "e" * 16))
    for written in (secret, msgspec.json.encode(secret).decode(), repr(secret)):
        assert secret not in hide(f"<{written}>") or secret in "<***>"
    assert hide("a harmless text") == "a harmless text" or secret in "a harmless text"
    assert "Bearer ***" in hide("Authorization: Bearer abc.def-1") or secret in "Authorization: Bearer"
    assert isinstance(hide(around), str)
