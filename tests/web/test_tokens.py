"""Who shows which token."""

import asyncio
import hashlib
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import Token
from agentd.options import Secret
from agentd.plugin import Collector, Context
from agentd.routes import Principal, Scope
from agentd.web import server
from agentd.web import tokens as tokens_module
from agentd.web.tokens import Tokens

ONE, OTHER, THIRD = "1" * 32, "2" * 32, "3" * 32


def token(text, **options):
    """Return a token of the configuration."""
    return Token(token=Secret(text), **options)


def values(tokens):
    """Return what is told about tokens."""
    return {family.name: family.samples[()] for family in tokens.families()}


def test_a_token_is_its_principal():
    """Who shows a token of the configuration is the principal of its name, with its scopes and robots."""
    tokens = Tokens({"r1": token(ONE, robots=["r1"]), "fleet": token(OTHER, robots=["*"], scopes=[Scope.EVENTS_READ])})
    assert tokens.authenticate(ONE) == Principal("r1", frozenset({Scope.ROBOTS_WRITE}), ("r1",))
    assert tokens.authenticate(OTHER) == Principal("fleet", frozenset({Scope.EVENTS_READ}), ("*",))
    assert [tokens.authenticate(text) for text in (THIRD, "", ONE[:-1], f"{ONE} ", f"{ONE}\n")] == [None] * 5
    assert values(tokens) == {"agentd_tokens": 2, "agentd_credentials_refused_total": 5}


def test_a_digest_is_as_good_as_its_token():
    """A token that is given as its SHA-256 is known by the token, and not by the digest."""
    digest = hashlib.sha256(ONE.encode()).hexdigest()
    tokens = Tokens({"r1": Token(sha256=Secret(digest.upper()))})
    assert tokens.authenticate(ONE) is not None
    assert tokens.authenticate(digest) is None


def test_all_tokens_are_compared(monkeypatch):
    """Whether it is the first token, the last or none: as many comparisons are made, each by hmac.compare_digest."""
    tokens = Tokens({"a": token(ONE), "b": token(OTHER), "c": token(THIRD)})
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(tokens_module.hmac, "compare_digest", compare)
    for shown in (ONE, THIRD, "none of them"):
        compared.clear()
        tokens.authenticate(shown)
        assert compared == [(32, 32)] * 3


def test_a_token_expires():
    """From the moment on at which a token expires it is nobody's; the principal tells that moment."""
    now = 1_893_499_199.0  # 2030-01-01T11:59:59Z
    tokens = Tokens({"r1": token(ONE, expires=datetime(2030, 1, 1, 12, tzinfo=UTC))}, now=lambda: now)
    assert tokens.authenticate(ONE).expires == 1_893_499_200.0
    now += 1
    assert tokens.authenticate(ONE) is None


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([f"Bearer {ONE}"], True),
        ([f"bearer {ONE}"], True),
        ([f"BEARER   {ONE} "], True),
        ([f"Bearer {ONE}x"], False),
        ([f"Bearer {OTHER}"], False),
        ([f"Bearer\t{ONE}"], False),
        ([f"Bearer{ONE}"], False),
        ([f"Bearer {ONE}, Bearer {ONE}"], False),
        ([f"Bearer {ONE}", f"Bearer {ONE}"], False),
        ([f"Bearer {ONE}", "Basic YTpi"], False),
        ([f"Basic {ONE}"], False),
        ([f"Token {ONE}"], False),
        ([ONE], False),
        (["Bearer"], False),
        (["Bearer "], False),
        ([""], False),
        ([], False),
        (["Bearer \udcff\udc00"], False),
        (["Bearer \u00fc\ud800"], False),
    ],
)
def test_headers(headers, known):
    """One header of the scheme Bearer with a known token is somebody, and anything else is nobody."""
    assert (Tokens({"r1": token(ONE)}).bearer(headers) is not None) == known


@given(shown=st.text(alphabet=st.characters(), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_may_be_shown(shown):
    """Whatever text is shown as a token, none but a known one is somebody, and nothing is raised."""
    assert (Tokens({"r1": token(ONE)}).authenticate(shown) is not None) == (shown == ONE)


@pytest.fixture
def file(tmp_path):
    """A file of tokens with one token."""
    path = tmp_path / "tokens.toml"
    path.write_text(f'[r1]\ntoken = "{ONE}"\nrobots = ["r1"]\n')
    return path


def replace(file, text):
    """Put another file in the place of one, as programs do that never leave half a file."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_a_file_is_read_again(file, caplog):
    """Tokens of the file that are added count, and those that are removed no longer do; the configuration's stay."""
    caplog.set_level(logging.INFO)
    tokens = Tokens({"fixed": token(THIRD)}, file)
    tokens.look()
    assert tokens.authenticate(ONE).name == "r1"
    replace(file, f'[r2]\ntoken = "{OTHER}"\nexpires = 2999-01-01T00:00:00Z\n')
    assert tokens.authenticate(OTHER) is None
    tokens.look()
    assert tokens.authenticate(OTHER).name == "r2"
    assert tokens.authenticate(ONE) is None
    assert tokens.authenticate(THIRD).name == "fixed"
    replace(file, "")
    tokens.look()
    assert tokens.authenticate(OTHER) is None
    assert ONE not in caplog.text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (f'[r1]\ntoken = "{OTHER}', "not valid TOML"),
        (f'[r1]\ntoken = "{OTHER}"\n[r2]\ntoken = "{OTHER}"\n', "r2: the same token as"),
        (f'r1 = "{OTHER}"\n', "expected a table for each principal"),
        ('[r1]\ntoken = "short"\n', "at least 16 characters"),
        (f'[r1]\ntokn = "{OTHER}"\n', 'Did you mean "token"?'),
        (f'[r1]\ntoken = "{OTHER}"\nsha256 = "{OTHER}{OTHER}"\n', "expected either token or sha256"),
        ('[r1]\ntoken = { env = "NO_SUCH_VARIABLE" }\n', "environment variable NO_SUCH_VARIABLE is not set"),
        (b"[r1]\ntoken = '\xff'\n", "not UTF-8"),
        (f'[r1]\ntoken = "{THIRD}"\n', "r1: its token is in the configuration, too"),
        (None, "no such file"),
    ],
)
def test_a_broken_file_changes_nothing(file, caplog, broken, said):
    """A file that is broken or gone leaves the tokens that there were; it is said once, counted, and never quoted."""
    tokens = Tokens({"fixed": token(THIRD)}, file)
    tokens.look()
    if broken is None:
        file.unlink()
    elif isinstance(broken, bytes):
        file.write_bytes(broken)
    else:
        file.write_text(broken)
    for _ in range(3):
        tokens.look()
        assert tokens.authenticate(ONE).name == "r1"
    [record] = caplog.records
    assert said.casefold() in record.getMessage().casefold()
    assert said.casefold() in tokens.error.casefold()
    assert all(text not in caplog.text for text in (OTHER, THIRD))
    assert "short" not in caplog.text
    assert values(tokens)["agentd_tokens_file_failures_total"] == 1
    assert values(tokens)["agentd_tokens_file_last_read_successful"] == 0
    replace(file, f'[r2]\ntoken = "{OTHER}"\n')
    tokens.look()
    assert (tokens.error, tokens.authenticate(OTHER).name) == ("", "r2")
    assert values(tokens)["agentd_tokens_file_last_read_successful"] == 1


def test_a_file_that_has_not_changed_is_not_read(file, monkeypatch):
    """As long as a file stays as it is, only its state is looked at."""
    tokens = Tokens({}, file)
    tokens.look()
    monkeypatch.setattr(tokens_module, "read_tokens", lambda _: pytest.fail("it was read"))
    tokens.look()


def test_others_take_their_place(tmp_path, file):
    """A reload replaces the tokens of the configuration and, where it names another, the file; counters go on."""
    tokens = Tokens({"a": token(ONE)}, file)
    file.write_text(f'[b]\ntoken = "{OTHER}"\n')
    tokens.look()
    tokens.authenticate("wrong")
    tokens.replace({"c": token(THIRD)}, str(file))
    assert [tokens.authenticate(each) is not None for each in (ONE, OTHER, THIRD)] == [False, True, True]
    another = tmp_path / "another.toml"
    another.write_text(f'[d]\ntoken = "{ONE}"\n')
    tokens.replace({}, str(another))
    assert [tokens.authenticate(each) is not None for each in (ONE, OTHER, THIRD)] == [True, False, False]
    tokens.replace({"c": token(THIRD)}, None)
    assert [tokens.authenticate(each) is not None for each in (ONE, OTHER, THIRD)] == [False, False, True]
    assert values(tokens) == {"agentd_tokens": 1, "agentd_credentials_refused_total": 6}


def test_a_token_that_was_replaced_goes_for_a_while(file):
    """The token before a rotation is as good as the new one until its own end, or that of the new one."""
    now = [datetime(2030, 1, 1, tzinfo=UTC).timestamp()]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (ONE, OTHER)]
    end = "2030-01-01T00:00:10Z"
    file.write_text(f'[r1]\nsha256 = "{digests[0]}"\nprevious = [{{ sha256 = "{digests[1]}", expires = {end} }}]\n')
    tokens = Tokens({}, file, now=lambda: now[0])
    tokens.look()
    assert tokens.authenticate(OTHER).expires == now[0] + 10
    assert tokens.authenticate(ONE).expires is None
    assert tokens.authenticate(OTHER).name == tokens.authenticate(ONE).name == "r1"
    now[0] += 10
    assert tokens.authenticate(OTHER) is None
    assert tokens.authenticate(ONE) is not None


async def test_the_file_is_watched(file, monkeypatch):
    """While the agent runs, it looks at the file again and again, in a worker; without a file it does not."""
    monkeypatch.setattr(server, "LOOK_EVERY", 0.01)
    tokens = Tokens({}, file)
    read = asyncio.Event()

    async def in_worker(function):
        before = tokens.authenticate(OTHER)
        await asyncio.to_thread(function)
        if tokens.authenticate(OTHER) != before:
            read.set()

    async def never(_function):
        pytest.fail("there is nothing to look at")

    watching = [
        asyncio.create_task(server.WebServer(tokens=known, in_worker=worker).watch())
        for known, worker in ((tokens, in_worker), (Tokens(), never))
    ]
    replace(file, f'[r2]\ntoken = "{OTHER}"\n')
    async with asyncio.timeout(60):
        await read.wait()
    assert not watching[1].done()
    for task in watching:
        task.cancel()


def test_a_plugin_asks_who_shows_a_token():
    """A plugin asks its context; outside of an agent nobody has any token."""
    somebody = Principal("r1", frozenset({Scope.ROBOTS_WRITE}))
    plugin = Collector(context=Context(authenticate={ONE: somebody}.get))
    assert plugin.authenticate(ONE) is somebody
    assert plugin.authenticate(OTHER) is None
    assert Collector(context=Context()).authenticate(ONE) is None
