"""redis-py's parser of answers, and what it lacks: an end of what it takes from a server.

Imported only where the library is there.
"""

from asyncio import StreamReader
from typing import Any

from redis.asyncio.connection import DefaultParser
from redis.exceptions import InvalidResponse

LARGEST = 32 << 20
"""How much one answer may cost: its bytes, and for each line ``LINE``."""

LINE = 256
"""What a line costs: a few bytes may become an object of Python's, and the time to look at it."""


class TooLarge(InvalidResponse):
    """A server sends an answer that would take too much memory."""


class Bounded:
    """A stream of which no more is read than an answer may cost."""

    def __init__(self, stream: StreamReader) -> None:
        self.left = LARGEST
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, size: int) -> bytes:
        """Return what there is, at most so many bytes. Raises ``TooLarge``."""
        return self._paid(await self._stream.read(size))

    async def readline(self) -> bytes:
        """Return the next line. Raises ``TooLarge``."""
        return self._paid(await self._stream.readline())

    async def readexactly(self, size: int) -> bytes:
        """Return so many bytes. Raises ``TooLarge``, before any of them is read where they are too many."""
        self._pay(size)
        return await self._stream.readexactly(size)

    def _paid(self, data: bytes) -> bytes:
        self._pay(len(data) + LINE * data.count(b"\r\n"))
        return data

    def _pay(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise TooLarge("its answer is too large to be taken")


class Parser(DefaultParser):  # type: ignore[valid-type,misc]  # one of two, as the library finds hiredis
    """The library's parser, by which an answer may take all the memory that there is."""

    _stream: Any

    def on_connect(self, connection: Any) -> None:
        """Begin to read."""
        super().on_connect(connection)
        self._stream = Bounded(self._stream)

    def on_disconnect(self) -> None:
        """Let go of what was read: errors that name this parser live until the next collection of garbage."""
        super().on_disconnect()
        super().__init__(self._read_size)

    async def read_response(self, *arguments: Any, **keywords: Any) -> Any:
        """Return the next answer. Raises ``TooLarge``, and as the library's."""
        self._stream.left = LARGEST
        return await super().read_response(*arguments, **keywords)
