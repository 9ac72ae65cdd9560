"""``agentd token``, and how it changes the file of tokens."""

import concurrent.futures
import hashlib
import json
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import read_tokens
from agentd.config.tokenfile import TokenFileError, with_table

HASH = "6a3c0dbd7c2e7f8fd1ff2ff7fbbf0d4b6c3be2ad4c5db6f4bbd6d38bb6d0c0ab"

WRITTEN = f"""\
# The robots of hall 3.

# Bought in May.
[r1]
sha256 = "{HASH}"
robots = [
  "r1",  # itself
]

# For "the lift".
["the lift"]  # odd name
token = "the-lift-the-lift-the-lift"
"""


@pytest.fixture
def file(tmp_path):
    """A file of tokens that is not there yet."""
    return tmp_path / "tokens.toml"


@pytest.fixture
def token(command, file):
    """Runs ``agentd token`` with arguments, on that file."""
    return lambda *arguments: command("token", *arguments, "--file", str(file))


def digest(text):
    """Return the SHA-256 of a token."""
    return hashlib.sha256(text.encode()).digest()


def test_a_token_is_made_and_shown_once(token, file):
    """The token stands alone on standard output, and its hash in the file, which is its owner's alone."""
    made = token("create", "r1")
    assert made.returncode == 0, made.stderr
    text = made.stdout.strip()
    known = read_tokens(file)["r1"]
    assert known.digest() == digest(text)
    assert (known.scopes, known.robots, known.expires) == (["robots:write"], ["r1"], None)
    assert text not in file.read_text() + made.stderr
    assert stat.S_IMODE(file.stat().st_mode) in (0o600, 0o640)
    assert "r1: robots:write as r1. It is not shown again." in made.stderr
    assert [each.name for each in file.parent.iterdir() if "tokens" in each.name] == [file.name]


def test_rights_are_given(token, file):
    """Scopes, robots and an end are as they are asked for."""
    assert token("create", "hall", "--scope", "robots:write", "--robot", "hall-*", "--robot", "x").returncode == 0
    assert token("create", "ops", "--scope", "admin", "--expires", "90d").returncode == 0
    assert token("create", "old", "--expires", "2999-01-01T00:00:00+01:00").returncode == 0
    known = read_tokens(file)
    assert (known["hall"].robots, known["ops"].robots) == (["hall-*", "x"], [])
    assert known["ops"].scopes == ["admin"]
    assert timedelta(days=89) < known["ops"].expires - datetime.now(UTC) <= timedelta(days=90)
    assert known["old"].expires == datetime(2998, 12, 31, 23, tzinfo=UTC)


def test_a_rotation_overlaps(token, file):
    """The one before goes on for as long as is said, with the rights of the new one; so do those before it."""
    texts = [token("create", "r1").stdout.strip()]
    for overlap in ("1h", "2h"):
        rotated = token("rotate", "r1", "--overlap", overlap)
        assert rotated.returncode == 0, rotated.stderr
        texts.append(rotated.stdout.strip())
    ends = dict(read_tokens(file)["r1"].digests())
    assert list(ends) == [digest(text) for text in reversed(texts)]
    new, middle, first = (ends[digest(text)] for text in reversed(texts))
    assert new is None
    assert timedelta(minutes=119) < middle - datetime.now(UTC) <= timedelta(hours=2)
    assert timedelta(minutes=59) < first - datetime.now(UTC) <= timedelta(hours=1)
    assert "the one before goes until" in rotated.stderr
    at_once = token("rotate", "r1", "--overlap", "0")
    assert "the one before is over" in at_once.stderr
    assert list(read_tokens(file)["r1"].digests()) == [(digest(at_once.stdout.strip()), None)]


def test_what_is_listed(token, file, command, tmp_path):
    """The list has names, rights, ends and places, of the configuration too, and nothing of a token or its hash."""
    text = token("create", "r1").stdout.strip()
    token("rotate", "r1")
    file.write_text(f'{file.read_text()}\n[gone]\nsha256 = "{HASH}"\nexpires = 2020-01-01T00:00:00Z\n')
    configuration = tmp_path / "agentd.toml"
    configuration.write_text(f'[web]\ntokens_file = "{file}"\n[web.tokens.own]\ntoken = "{"x" * 32}"\n')
    listed = command("token", "list", "--config", str(configuration))
    assert listed.returncode == 0, listed.stderr
    rows = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert list(rows) == ["name", "own", "r1", "gone"]
    assert ("EXPIRED" in rows["gone"], "until" in rows["r1"], "configuration" in rows["own"]) == (True, True, True)
    as_json = command("token", "list", "--json", "--config", str(configuration))
    assert [row["name"] for row in json.loads(as_json.stdout)] == ["own", "r1", "gone"]
    said = listed.stdout + as_json.stdout
    assert not any(secret in said for secret in (text, HASH, "x" * 32, digest(text).hex()))


def test_a_token_is_revoked(token, file):
    """What is revoked is gone from the file, with those before it."""
    token("create", "r1")
    token("create", "r2")
    token("rotate", "r1")
    assert token("revoke", "r1").returncode == 0
    assert list(read_tokens(file)) == ["r2"]
    assert token("revoke", "r2").returncode == 0
    assert file.read_text() == ""
    assert token("list").stdout == "there is no token\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "r1"), "there is a token of the name r1 already"),
        (("rotate", "the lft"), 'no token of the name the lft. Did you mean "the lift"?'),
        (("revoke", "nobody"), "has no token of the name nobody"),
        (("rotate", "gone"), "gone has expired: say with --expires"),
        (("create", "x", "--expires", "yesterday"), 'expected "90d", or 2030-01-31T12:00:00Z'),
        (("create", "x", "--expires", "2020-01-01"), "2020-01-01 is over"),
        (("create", "x", "--scope", "root"), "'root' is not one of"),
        (("rotate", "r1", "--overlap", "soon"), "expected a duration"),
    ],
)
def test_what_cannot_be_done(token, file, arguments, said):
    """What cannot be done is one clear line, and leaves the file as it was."""
    file.write_text(f'{WRITTEN}\n[gone]\nsha256 = "{"0" * 64}"\nexpires = 2020-01-01T00:00:00Z\n')
    before = file.read_bytes()
    result = token(*arguments)
    assert (result.returncode != 0, said in result.stderr, result.stdout) == (True, True, "")
    assert file.read_bytes() == before


def test_without_a_file(command, tmp_path):
    """Where no file is configured, or its folder is not there, the error says what to do."""
    (tmp_path / "agentd.toml").write_text("")
    result = command("token", "create", "x", "--config", str(tmp_path / "agentd.toml"))
    assert 'set tokens_file = "/etc/agentd/tokens.toml" in [web]' in result.stderr
    result = command("token", "create", "x", "--file", str(tmp_path / "none" / "t"))
    assert result.stderr == f"agentd: cannot open {tmp_path}/none: no such file or directory\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web", ":1: not valid TOML"),
        ('[web]\ntokens_file = "t"', "expected a path from the root"),
        (None, "no such file"),
    ],
)
@pytest.mark.parametrize("arguments", [("list",), ("create", "x")])
def test_a_configuration_that_does_not_say_where(command, tmp_path, text, said, arguments):
    """Where a broken configuration leaves open which file is meant, nothing is listed or made."""
    if text is not None:
        (tmp_path / "agentd.toml").write_text(text)
    result = command("token", *arguments, "--config", str(tmp_path / "agentd.toml"))
    assert (result.returncode, result.stdout) == (78, "")
    assert said in result.stderr
    assert "say --file" in result.stderr
    assert not (tmp_path / "t").exists()


def test_a_broken_file_is_not_made_worse(token, file):
    """A file with errors is left alone, and the errors are told."""
    file.write_text("[r1]\ntoken = 'short'\n")
    result = token("create", "r2")
    assert (result.returncode, f"{file}:1: r1: expected a token of at least" in result.stderr) == (1, True)
    assert file.read_text() == "[r1]\ntoken = 'short'\n"


def test_the_rest_of_the_file_stays(token, file):
    """Comments and the writing of other tables stay as they are, and so do the file's mode and a link to it."""
    target = file.with_name("real.toml")
    target.write_text(WRITTEN)
    target.chmod(0o640)
    file.symlink_to(target)
    assert token("create", "r2").returncode == 0
    assert target.read_text().startswith(WRITTEN)
    assert token("rotate", "the lift", "--overlap", "0").returncode == 0
    assert token("revoke", "r2").returncode == 0
    assert file.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    head, _, tail = WRITTEN.partition('["the lift"]')
    text = target.read_text()
    assert text.startswith(head)
    assert "the-lift" not in text
    assert "the-lift" in tail


def test_the_group_of_the_file_stays(token, file):
    """A file that another user, or a group, may read stays theirs."""
    file.write_text(WRITTEN)
    try:
        os.chown(file, 12345, 23456)
    except PermissionError:
        pytest.skip("only root may give files away")
    token("create", "r2")
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


def test_many_at_once(token, file):
    """Commands at the same time wait for each other: no token is lost."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert [each.returncode for each in pool.map(lambda number: token("create", f"r{number}"), range(6))] == [0] * 6
    assert sorted(read_tokens(file)) == [f"r{number}" for number in range(6)]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(st.dictionaries(NAMES, NAMES, max_size=5), NAMES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_one_table_changes_and_no_other(tables, name, taken_out):
    """Whatever the names are: after a change the file has the new table, or not the old one, and all others."""
    text = ""
    for each, value in tables.items():
        text = with_table(text, each, {"sha256": value})
    assert {each: table["sha256"] for each, table in tomli.loads(text).items()} == tables
    changed = tomli.loads(with_table(text, name, None if taken_out else {"sha256": "new"}))
    expected = {each: {"sha256": value} for each, value in tables.items() if each != name}
    assert changed == (expected if taken_out else {**expected, name: {"sha256": "new"}})


@pytest.mark.parametrize(
    "text",
    ["r1 = { sha256 = 'x' }\nr2 = { sha256 = 'y' }\n", "r1.sha256 = 'x'\nr2.sha256 = 'y'\nr1.robots = []\n"],
)
def test_what_only_a_person_can_change(text):
    """A file whose tables are not each in one place is refused, and not guessed at."""
    with pytest.raises(TokenFileError, match="edit the file"):
        with_table(text, "r1", {"sha256": "z"})
