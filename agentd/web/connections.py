"""Keeps what a connection may cost within limits: its client may say nothing, say what is no HTTP, or not listen."""

import asyncio
import errno
import logging
import resource
import socket
import time
from math import inf
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

FIRST_REQUEST = 15.0
"""Seconds within which a new connection has to bring a whole request head; a half-open one is closed then."""

IDLE = 330.0
"""Seconds for which a connection is kept without a further whole request: Prometheus drops its own after 300."""

SENDING = 30.0
"""Seconds within which a client has to take an answer; one that does not read would keep it in memory for ever."""

RESERVED = 256
"""Descriptors that connections leave to the rest of the agent. More than the 128 that the event loop accepts at once
before any of them can be refused."""

SAID_EVERY = 60.0
"""Seconds after which the same complaint is logged again."""

SAID_MOST = 100
"""Complaints that are remembered."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Connections(web.Server):
    """aiohttp's server, which by itself keeps any number of connections, and silent ones for ever."""

    def __init__(self, handler: Any) -> None:
        http_log = logging.getLogger(f"{__name__}.http")
        http_log.addFilter(_is_worth_a_line)
        super().__init__(handler, access_log=None, logger=http_log, tcp_keepalive=True, keepalive_timeout=IDLE)
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._most = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._open = 0
        self._said: dict[str, float] = {}

    def __call__(self) -> RequestHandler:
        """Return the protocol for a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Give a new connection its time to speak, or refuse it where there are too many."""
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        self._open += 1
        if self._open > self._most and transport.get_extra_info("socket").family != socket.AF_UNIX:
            self.say(f"{self._most} connections are open, as many as may be: refuses further ones")
            loop.call_soon(transport.abort)  # not at once: aiohttp has yet to begin with this connection
            return
        self._silent[handler] = loop.call_later(FIRST_REQUEST, self._drop, handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._open -= 1
        self.heard(handler)
        super().connection_lost(handler, exc)

    def heard(self, handler: RequestHandler) -> None:
        """Note that a connection has brought a request."""
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong on the event loop: that descriptors ran out is one line, and not thousands.

        That is what asyncio writes until a connection can be accepted again, which it tries by itself.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS and "socket" in context:
            self.say("cannot accept connections: too many open files (the limit is LimitNOFILE= or `ulimit -n`)")
        else:
            loop.default_exception_handler(context)

    def say(
        self, text: str, error: BaseException | None = None, *, about: str = "", level: int = logging.ERROR
    ) -> None:
        """Log a complaint, but not again and again: clients could fill the log. Complaints are the same where their
        texts are, or what they are ``about``.
        """
        now = time.monotonic()
        about = about or text
        if now - self._said.get(about, -inf) >= SAID_EVERY:
            if len(self._said) >= SAID_MOST:
                self._said.clear()
            self._said[about] = now
            log.log(level, "%s", text, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)

    def _drop(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._silent.pop(handler, None)
        transport.abort()


class _Connection(RequestHandler):
    """Reads no further when what came is no HTTP, and keeps nothing of it.

    aiohttp reads on until its answer is sent, and what it has read stays in memory, in a cycle with the traceback of
    the error, until the garbage collector comes by: about as much as was sent, again and again.
    """

    __slots__ = ()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of a connection that has ended."""
        transport = self.transport
        super().connection_lost(exc)
        if transport is not None and hasattr(transport, "_read_ready_cb"):
            # The transport refers to itself by this, which asyncio forgets to end: it would wait for the collector.
            transport._read_ready_cb = None  # noqa: SLF001  # there is no other way to it

    def data_received(self, data: bytes) -> None:
        """Take what a client has sent."""
        super().data_received(data)
        for message, _ in self._messages:
            error = getattr(message, "exc", None)
            if error is not None:
                error.__traceback__ = error.__context__ = error.__cause__ = None
                if self.transport is not None:
                    self.transport.pause_reading()


def most_connections(descriptors: int) -> int:
    """Return how many connections may be open where a process may have so many descriptors."""
    return max(descriptors // 2, descriptors - RESERVED)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Keep requests that are no HTTP out of the log: whoever reaches the port could fill it with tracebacks."""
    error = record.exc_info[1] if record.exc_info else None
    return log.isEnabledFor(logging.DEBUG) or not isinstance(error, HttpProcessingError)
