"""Users with passwords (Basic, RFC 7617): bcrypt is slow on purpose, so each verdict is remembered, and few are sought
at once.
"""

import asyncio
import base64
import binascii
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

from agentd.config import BasicAuth
from agentd.routes import Principal, Scope

AT_ONCE = 1
"""Passwords that are checked at one time: whoever sends wrong ones keeps one core busy, and one worker."""

WAITING = 32
"""Passwords that are checked or wait for it; whoever comes with a further one is to come again."""

OF_ONE = 4
"""Of those, how many may come from one address."""

REMEMBERED = 1000
"""Wrong passwords that are remembered."""

LONGEST = 72
"""Bytes of a password that bcrypt looks at."""

InWorker = Callable[..., Awaitable[Any]]


class BusyError(Exception):
    """As many passwords are being checked as may be."""


class Users:
    """The users of the configuration."""

    def __init__(self, basic: BasicAuth | None = None, in_worker: InWorker = asyncio.to_thread) -> None:
        basic = BasicAuth() if basic is None else basic
        self._hashes = {name: hashed.reveal().encode() for name, hashed in basic.users.items()}
        self._principals = {
            name: Principal(name, frozenset(basic.scopes.get(name, (Scope.METRICS_READ,)))) for name in basic.users
        }
        self._in_worker = in_worker
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._key = secrets.token_bytes(32)
        self._right: dict[str, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        self._checking: dict[bytes, asyncio.Task[bool | None]] = {}
        self._addresses: Counter[str] = Counter()
        if self._hashes:
            import bcrypt  # an agent without users does not pay for it

            self._matches = bcrypt.checkpw

    def __len__(self) -> int:
        return len(self._hashes)

    async def who(self, credential: str, address: str) -> Principal | None:
        """Return who shows this credential, what stands behind ``Basic``; None where it is nobody's.

        Raises ``BusyError`` where too many are being checked, in all or for this address. A name that nobody has
        costs as much as one that somebody has.
        """
        name, password = _parsed(credential)
        if not self._hashes or not name:
            return None
        known = self.recalled(credential)
        if known is not None:
            return known
        digest = self._digest(name, password)
        if digest in self._wrong:
            return None
        task = self._checking.get(digest)
        if task is None:
            if len(self._checking) >= WAITING or self._addresses[address] >= OF_ONE:
                raise BusyError
            self._addresses[address] += 1
            task = self._checking[digest] = asyncio.create_task(self._check(name, password, digest, address))
        verdict = await asyncio.shield(task)
        if verdict is None:
            raise BusyError
        return self._principals[name] if verdict else None

    def recalled(self, credential: str) -> Principal | None:
        """Return who shows this credential, where it was found to be right before."""
        name, password = _parsed(credential)
        right = self._right.get(name)
        if right is None or not secrets.compare_digest(right, self._digest(name, password)):
            return None
        return self._principals[name]

    def succeed(self, before: "Users") -> None:
        """Take over the verdicts on those whose passwords are as before: what they have open goes on."""
        same = self._hashes.items() & before._hashes.items()  # noqa: SLF001  # of the same class, here and below
        self._key = before._key  # noqa: SLF001
        self._right = {name: before._right[name] for name, _ in same if name in before._right}  # noqa: SLF001

    def _digest(self, name: str, password: str) -> bytes:
        return blake2b(f"{name}:{password}".encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()

    async def _check(self, name: str, password: str, digest: bytes, address: str) -> bool | None:
        try:
            async with self._turn:
                matches = await self._in_worker(self._compare, self._hash_for(name), password)
        except RuntimeError:  # there can be no further thread now, or the agent stops
            return None
        finally:
            del self._checking[digest]
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        if matches and name in self._hashes:
            self._right[name] = digest
            return True
        self._wrong[digest] = None
        while len(self._wrong) > REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
        return False

    def _hash_for(self, name: str) -> bytes:
        """Return a user's hash, or in the place of one that is not there always the same of the others: what it costs
        to compare with it tells nothing of who there is.
        """
        if name in self._hashes:
            return self._hashes[name]
        number = blake2b(name.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8).digest()
        hashes = list(self._hashes.values())
        return hashes[int.from_bytes(number, "big") % len(hashes)]

    def _compare(self, hashed: bytes, password: str) -> bool:
        try:
            return self._matches(password.encode("utf-8", "surrogatepass")[:LONGEST], hashed)
        except ValueError:  # older versions of the library refuse some bytes
            return False


def _parsed(credential: str) -> tuple[str, str]:
    """Return name and password; both empty, which nobody's are, where the credential is none."""
    try:
        name, colon, password = base64.b64decode(credential.strip(" "), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return (name, password) if colon else ("", "")
