"""One connection to Redis, which is made anew after it was lost."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentd_plugins import _redis
from agentd_plugins.sinks._server import where

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

COUNT = 1000
"""Entries of a stream that are read at once, unless they are too large for that."""

PATIENCE = 10.0
"""Seconds that an answer may take beyond what the question itself asked to wait."""

RIGHTS = "the commands XREAD, XINFO and XRANGE (in a group XREADGROUP, XAUTOCLAIM and EVAL with what the script calls)"


class Failure(Exception):
    """Redis is away, or does not do what was asked. The text says where, why and what to do."""

    def __init__(self, text: str, said: str = "") -> None:
        super().__init__(text)
        self.said = said
        """Redis's own words, where it answered."""


class Link:
    """Asks one question at a time. An answer that did not come in time ends the connection: it could come later, and be
    taken for the answer to another question.
    """

    def __init__(self, config: _redis.RedisServer, harmless: Callable[[object], str]) -> None:
        """``harmless`` takes secrets out of what the server says."""
        self.where = f"Redis at {where(config.url, 6379)}"
        self.count = COUNT
        """Entries of a stream to ask for at once: fewer where so many were too large, and never while connected."""
        self._config = config
        self._harmless = harmless
        self._library: ModuleType | None = None
        self._pool: ConnectionPool | None = None
        self._connection: Any = None

    def load(self) -> None:
        """Import the client library. Raises ``RuntimeError`` where it is missing, or a file of TLS cannot be used."""
        self._library = _redis.library()
        self._pool = self._library.ConnectionPool.from_url(self._config.url, **_redis.settings(self._config))

    async def open(self) -> None:
        """Connect and log in, unless it is connected. Raises ``Failure``."""
        if self._connection is None:
            if self._pool is None:
                self.load()
            assert self._pool is not None  # noqa: S101  # load makes it
            self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # so the library has it
            try:
                await self._guarded(self._connection.connect(), _redis.PATIENCE)
            except Failure:  # one that was refused after it was connected, too
                await self.close()
                raise

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def probe(self) -> str:
        """Connect, log in, and ask whether it is there; return that in words. Raises ``Failure``."""
        await self.open()
        try:
            await self.ask("PING")
        except Failure as failure:
            if type(failure.__cause__).__name__ != "NoPermissionError":  # who may not ask this may read all the same
                raise
        return f"{self.where} lets the agent in"

    async def ask(self, *command: object, wait: float = 0.0) -> Any:
        """Return the answer to a command: bytes, numbers, and lists of them. Raises ``Failure``.

        ``wait`` is how many seconds the command itself lets the server wait.
        """
        await self.send(*command)
        return await self.answer(wait)

    async def send(self, *command: object) -> None:
        """Ask, and leave the answer to be fetched by ``answer``."""
        if self._connection is None:
            raise Failure(f"{self.where}: the connection was lost")
        packed = self._connection.pack_command(*command)
        await self._guarded(self._connection.send_packed_command(packed, check_health=False), PATIENCE)

    async def answer(self, wait: float = 0.0) -> Any:
        """Return the answer to what was sent before. Raises ``Failure``."""
        if self._connection is None:
            raise Failure(f"{self.where}: the connection was lost")
        return await self._guarded(self._connection.read_response(), wait + PATIENCE)

    async def _guarded(self, step: Any, within: float) -> Any:
        assert self._library is not None  # noqa: S101  # there is a connection
        try:
            async with asyncio.timeout(within):
                return await step
        except TimeoutError:
            await self.close()
            raise Failure(f"{self.where} does not answer") from None
        except self._library.ResponseError as error:
            text = f"{self.where}: {self._harmless(_redis.advised(error, RIGHTS))}"
            raise Failure(text, self._harmless(error)) from error
        except (self._library.RedisError, OSError) as error:
            await self.close()
            if type(error).__name__ == "TooLarge" and self.count > 1:
                self.count = max(1, self.count // 8)
                raise Failure(
                    f"{self.where}: {error}; {self.count} entries are asked for at once from now on"
                ) from error
            raise Failure(f"{self.where}: {self._harmless(_redis.advised(error, RIGHTS))}") from error
        except BaseException:
            await self.close()
            raise
