"""Users with passwords: what a verdict costs, and whom it is given."""

import asyncio
import base64
import subprocess
import sys

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import BasicAuth
from agentd.options import Secret
from agentd.routes import Principal, Scope
from agentd.web import users as users_module
from agentd.web.users import BusyError, Users


def hashed(password, cost=4):
    """Return the hash of a password, of the least cost."""
    return Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode())


def shown(name, password):
    """Return the credential that somebody shows."""
    return base64.b64encode(f"{name}:{password}".encode()).decode()


class Counted(Users):
    """Users that count how often bcrypt is called, and with which hash."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.calls = []

    def _compare(self, hash_, password):
        self.calls.append((hash_, password))
        return super()._compare(hash_, password)


@pytest.fixture
def users():
    """Two users, of whom one has scopes of its own."""
    return Counted(
        BasicAuth(users={"p": hashed("secret"), "ä": hashed("ünicode:with:colons")}, scopes={"ä": [Scope.ADMIN]})
    )


async def test_a_user_is_its_principal(users):
    """Who shows a name with its password is the principal of that name; nothing else is anybody."""
    assert await users.who(shown("p", "secret"), "a") == Principal("p", frozenset({Scope.METRICS_READ}))
    assert await users.who(shown("ä", "ünicode:with:colons"), "a") == Principal("ä", frozenset({Scope.ADMIN}))
    wrong = [("p", "Secret"), ("p", ""), ("p", "secret "), ("P", "secret"), ("", "secret"), ("", ""), ("q", "secret")]
    assert [await users.who(shown(*each), "a") for each in wrong] == [None] * len(wrong)
    no_credentials = ["", "p", "cDpzZWNyZXQ", "=", shown("p", "secret") + "!", base64.b64encode(b"\xff:x").decode()]
    assert [await users.who(each, "a") for each in no_credentials] == [None] * len(no_credentials)


async def test_verdicts_are_remembered(users):
    """Bcrypt is asked once for each name and password, right or wrong; what is kept is no password."""
    for _ in range(3):
        assert await users.who(shown("p", "secret"), "a")
        assert await users.who(shown("p", "wrong"), "a") is None
        assert await users.who(shown("nobody", "wrong"), "a") is None
    assert len(users.calls) == 3
    assert "secret" not in repr({name: value for name, value in vars(users).items() if name != "calls"})
    assert b"secret" not in b"".join([*users._right.values(), *users._wrong])


async def test_what_is_remembered_is_bounded(users, monkeypatch):
    """Wrong passwords push each other out, and never a right one."""
    monkeypatch.setattr(users_module, "REMEMBERED", 3)
    assert await users.who(shown("p", "secret"), "a")
    for number in range(10):
        assert await users.who(shown("p", str(number)), "a") is None
    assert len(users._wrong) == 3
    calls = len(users.calls)
    assert await users.who(shown("p", "secret"), "a")
    assert len(users.calls) == calls


async def test_a_name_that_nobody_has_costs_the_same(users):
    """For each name bcrypt is called once, with a hash as costly as those of users, always the same for one name."""
    for name in ("p", "nobody", "x" * 200, "nobody"):
        await users.who(shown(name, f"wrong {len(users.calls)}"), "a")
    hashes = [hash_ for hash_, _ in users.calls]
    assert len(hashes) == 4
    assert set(hashes) <= set(users._hashes.values())
    assert hashes[1] == hashes[3]
    assert await users.who(shown("nobody", "secret"), "a") is None
    assert await users.who(shown("nobody", "ünicode:with:colons"), "a") is None


async def test_wrong_passwords_keep_nobody_else_out(monkeypatch):
    """One is checked at a time, a few of one address wait, and so many in all; who is known already does not wait."""
    going_on = asyncio.Event()
    running = []

    async def in_worker(function, *arguments):
        running.append(1)
        assert len(running) <= users_module.AT_ONCE
        await going_on.wait()
        running.pop()
        return function(*arguments)

    monkeypatch.setattr(users_module, "WAITING", 10)
    users = Users(BasicAuth(users={"p": hashed("secret")}), in_worker)
    going_on.set()
    assert await users.who(shown("p", "secret"), "prometheus")
    going_on.clear()
    flood = [asyncio.create_task(users.who(shown("p", f"wrong {number}"), "flood")) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await users.who(shown("p", "secret"), "prometheus")
    with pytest.raises(BusyError):
        await users.who(shown("p", "one more"), "flood")
    others = [asyncio.create_task(users.who(shown("p", f"other {number}"), f"{number}")) for number in range(20)]
    same = asyncio.create_task(users.who(shown("p", "other 0"), "0"))
    await asyncio.sleep(0)
    going_on.set()
    came = await asyncio.gather(*flood, return_exceptions=True)
    assert came.count(None) == users_module.OF_ONE
    assert sum(isinstance(each, BusyError) for each in came) == 50 - users_module.OF_ONE
    came = await asyncio.gather(*others, return_exceptions=True)
    assert came.count(None) == 10 - users_module.OF_ONE
    assert await same is None
    assert (users._checking, dict(users._addresses)) == ({}, {})
    assert await users.who(shown("p", "later"), "flood") is None


async def test_without_a_worker(users):
    """Where no thread can be had nobody is judged, and it is tried again the next time."""

    async def none(*_):
        raise RuntimeError("can't start new thread")

    users._in_worker, before = none, users._in_worker
    with pytest.raises(BusyError):
        await users.who(shown("p", "secret"), "a")
    users._in_worker = before
    assert await users.who(shown("p", "secret"), "a")


async def test_whoever_hangs_up_stops_no_check(users):
    """A verdict is reached, and remembered, though nobody waits for it any more."""
    waiting = asyncio.create_task(users.who(shown("p", "secret"), "a"))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(20):
        while users._checking:  # noqa: ASYNC110  # a thread does it
            await asyncio.sleep(0.01)
    assert list(users._right) == ["p"]


@given(st.text(min_size=1, max_size=100))
@settings(max_examples=50, deadline=None)
def test_any_password_does(password):
    """A password of any characters is right, and with one more at its front wrong; bcrypt looks at 72 bytes."""

    async def check():
        hash_ = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
        users = Users(BasicAuth(users={"p": Secret(hash_)}))
        return [await users.who(shown("p", each), "a") is not None for each in (password, "x" + password)]

    if "\0" not in password and len(password.encode()) < 72:
        assert asyncio.run(check()) == [True, False]


def test_an_agent_without_users_does_not_import_bcrypt():
    """The library is loaded where a user is configured, and not before."""
    program = (
        "import sys; import agentd.daemon; from agentd.web.users import Users; Users(); print('bcrypt' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "False\n"


async def test_who_succeeds_knows_whose_password_is_as_before():
    """Where hashes are the same after a change, no password is looked at again; scopes are the new ones."""
    same = hashed("secret")
    before = Counted(BasicAuth(users={"p": same, "q": same, "gone": same}))
    for name in ("p", "q", "gone"):
        assert await before.who(shown(name, "secret"), "")
    after = Counted(BasicAuth(users={"p": same, "q": hashed("other")}, scopes={"p": [Scope.ADMIN]}))
    after.succeed(before)
    assert await after.who(shown("p", "secret"), "") == Principal("p", frozenset([Scope.ADMIN]))
    assert after.calls == []
    assert after.recalled(shown("q", "secret")) is None
    assert await after.who(shown("q", "secret"), "") is None
    assert await after.who(shown("gone", "secret"), "") is None
