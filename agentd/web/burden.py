"""What clients may have the agent keep: connections, bodies without their end, answers that they do not take."""

import logging
from collections.abc import Callable

from aiohttp.web_protocol import RequestHandler

MOST = 64 << 20
"""Bytes of bodies and answers together."""

RESERVED = 256
"""Descriptors that connections leave to the rest of the agent. More than the 128 that the event loop accepts at once
before any of them can be refused."""


class Burden:
    """Ends the connections that have kept something for the longest time where it is too much in all."""

    def __init__(self, say: Callable[..., None]) -> None:
        self.total = 0
        """Bytes that are kept now."""
        self._say = say
        self._most = MOST
        self._sizes: dict[RequestHandler, int] = {}  # the oldest first

    def bear(self, handler: RequestHandler, size: int) -> None:
        """Note that so many bytes are kept now for a connection. A single one never counts more than half of all: one
        large answer does not end all others, nor they it.
        """
        size = min(size, self._most // 2)
        self.total += size - self._sizes.get(handler, 0)
        self._sizes[handler] = size
        while self.total > self._most:  # not the largest: whoever keeps many small ones would end each large one
            oldest = next(iter(self._sizes))
            self.free(oldest)
            if oldest.transport is not None:
                oldest.transport.abort()
            self._say(
                f"clients have begun to send, or to take, more than {self._most / (1 << 20):g} MiB, and do not go on: "
                "the oldest of these connections are closed",
                level=logging.WARNING,
            )

    def free(self, handler: RequestHandler) -> None:
        """Note that nothing is kept for a connection any more."""
        self.total -= self._sizes.pop(handler, 0)


def most_connections(descriptors: int) -> int:
    """Return how many connections may be open where a process may have so many descriptors."""
    return max(descriptors // 2, descriptors - RESERVED)
