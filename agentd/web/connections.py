"""Keeps what a connection may cost within limits: its client may say nothing, say what is no HTTP, or not listen."""

import asyncio
import errno
import logging
import resource
import socket
import time
from collections.abc import Collection
from functools import partial
from math import inf
from typing import Any

from aiohttp import web
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from agentd.routes import Principal
from agentd.web.burden import Burden, most_connections
from agentd.web.handshake import Handshake
from agentd.web.listeners import Listening
from agentd.web.peers import may_administer
from agentd.web.principals import LOCAL, REMOTE
from agentd.web.requests import Request
from agentd.web.tls import Certificates

log = logging.getLogger(__name__)

FIRST_REQUEST = 15.0
"""Seconds within which a new connection has to bring a whole request head; a half-open one is closed then."""

IDLE = 330.0
"""Seconds for which a connection is kept without a further whole request: Prometheus drops its own after 300."""

RECEIVING = 60.0
"""Seconds within which a client has to bring the body of a request, all of it."""

SENDING = 30.0
"""Seconds within which a client has to take an answer; one that does not read would keep it in memory for ever."""

UNTAKEN = 64 << 10
"""Bytes of answers that are given out of hand. Beyond that whoever answers waits for a client to take them."""

STUCK = 256 << 10
"""Bytes that an answer for which somebody waits counts beside its own: requests may have come behind the one for it."""

HEAD = 32 << 10
"""Bytes that the head of a request may have. aiohttp limits its lines, and how many there are: a head of the longest
that never ends would keep a megabyte in memory, for anybody. So would the end of a body in chunks, which may have
fields, too; and chunks of a byte each cost more than ten times what other bodies do."""

AT_ONCE = 128 << 10
"""Bytes that are read at once: half of what asyncio would read, and others wait for."""

PIPELINED = 2
"""Requests that may wait behind the one that is being answered: aiohttp would keep 32, of 90 KiB each."""

HANDSHAKES = 100
"""TLS handshakes that are under way at once."""

SAID_EVERY = 60.0
"""Seconds after which the same complaint is logged again."""

SAID_MOST = 100
"""Complaints that are remembered."""

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What is answered to a head that is longer."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Connections(web.Server):
    """aiohttp's server, which by itself keeps any number of connections, and silent ones for ever."""

    def __init__(self, handler: Any, certificates: Certificates | None = None) -> None:
        http_log = logging.getLogger(f"{__name__}.http")
        http_log.addFilter(_is_worth_a_line)
        super().__init__(
            handler,
            request_factory=_request,
            access_log=None,
            logger=http_log,
            tcp_keepalive=True,
            keepalive_timeout=IDLE,
            auto_decompress=False,  # a megabyte may unpack to a thousand, and would on the event loop, for anybody
            read_bufsize=HEAD,
        )
        self.origins: frozenset[str] = frozenset()
        """Origins whose pages may read answers."""
        self.certificates = certificates or Certificates()
        self._handshakes: dict[Handshake, None] = {}
        self.burden = Burden(self.say)
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._idle: dict[RequestHandler, None] = {}  # those that have had an answer, and ask for nothing now
        self._most = self._affordable = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.apart = 0
        """How many connections are WebSockets, which count among those of the plugin that has taken them."""
        self._open = 0
        self._said: dict[str, float] = {}

    def protocol(self, listening: Listening) -> asyncio.BaseProtocol:
        """Return the protocol for a new connection to a listener."""
        make = partial(Connection, self, listening, loop=self._loop, **self._kwargs)
        loaded = self.certificates.loaded
        return Handshake(self, loaded, make) if listening.tls and loaded is not None else make()

    def limit(self, most: int) -> None:
        """Let there be so many connections, or as many as descriptors allow. Those that are open stay so."""
        self._most = min(most, self._affordable)

    def end(self, listenings: Collection[Listening]) -> None:
        """End the connections of listeners, each when its request under way is answered."""
        for handler in self.connections:
            if isinstance(handler, Connection) and handler.listening in listenings:
                handler.end()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Give a new connection its time to speak, or refuse it where there are too many."""
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        if not self._admit(transport):
            loop.call_soon(transport.abort)  # not at once: aiohttp has yet to begin with this connection
            return
        self._silent[handler] = loop.call_later(FIRST_REQUEST, self._drop, handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._open -= 1
        self.apart -= isinstance(handler, Connection) and handler.apart
        self.heard(handler)
        self.burden.free(handler)
        super().connection_lost(handler, exc)

    def handshake_begun(self, handshake: Handshake, transport: asyncio.Transport) -> bool:
        """Count a connection whose handshake begins; say whether it may. Where there are too many of these, that one
        ends which has had the longest time: whoever holds them up keeps nobody else out.
        """
        admitted = self._admit(transport)
        self._handshakes[handshake] = None
        if len(self._handshakes) > HANDSHAKES:
            oldest = next(iter(self._handshakes))
            self.handshake_ended(oldest, failed=True)  # now: it takes a moment to end, in which more may come
            oldest.abort()
        return admitted

    def handshake_ended(self, handshake: Handshake, *, failed: bool) -> None:
        """Forget a connection whose handshake has ended: if well, it is a connection from now on."""
        if handshake in self._handshakes:
            del self._handshakes[handshake]
            self._open -= 1
            self.certificates.handshakes_failed += failed

    def pre_shutdown(self) -> None:
        """End what waits: handshakes, and connections without a request."""
        for handshake in list(self._handshakes):
            handshake.abort()
        super().pre_shutdown()

    def _admit(self, transport: asyncio.Transport) -> bool:
        """Count a connection; say whether it may stay. Where there are too many, one that has not asked for anything
        yet ends in its place, or else one that is idle: whoever opens many and says little keeps nobody else out.
        """
        self._open += 1
        few = self._open <= self._affordable and self._open - self.apart <= self._most
        if few or transport.get_extra_info("socket").family == socket.AF_UNIX:
            return True
        self.say(f"{self._most} connections are open, as many as [web] max_connections and descriptors allow: "
                 "further ones are refused, or take the places of silent ones")  # fmt: skip
        longest = next(iter(self._silent or self._idle), None)
        if longest is None:
            return False
        self.heard(longest)
        if longest.transport is not None:
            longest.transport.abort()
        return True

    def heard(self, handler: RequestHandler) -> None:
        """Note that a connection has brought a request."""
        self._idle.pop(handler, None)
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def answered(self, handler: RequestHandler) -> None:
        """Note that a connection has its answer: it may be silent for long now."""
        self.burden.free(handler)
        if handler.transport is not None:
            self._idle[handler] = None

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


class Connection(RequestHandler):
    """Reads no further when what came is no HTTP, and keeps nothing of it.

    aiohttp reads on until its answer is sent, and what it has read stays in memory, in a cycle with the traceback of
    the error, until the garbage collector comes by: about as much as was sent, again and again.
    """

    __slots__ = ("_head", "_heads", "apart", "begun", "listening", "local")

    def __init__(self, connections: Connections, listening: Listening, **keywords: Any) -> None:
        super().__init__(connections, **keywords)
        self.listening = listening
        self.local: Principal | None = None
        """Who is at the other end of the Unix socket; None where it is none."""
        self.apart = False
        """Whether it is a WebSocket."""
        self.begun: StreamReader = EMPTY_PAYLOAD
        """The body of the request that was taken up last."""
        self._heads = 0
        self._head = 0  # bytes that have come without the end of a head, or content of a body
        self._max_msg_queue_size, self._msg_queue_resume_size = PIPELINED, 0
        self._parser = HttpRequestParser(
            self, self._loop, HEAD, payload_exception=web.RequestPayloadError, auto_decompress=False,
            max_msg_queue_size=PIPELINED,
        )  # fmt: skip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a connection."""
        if self.listening.listener is None:
            self.local = LOCAL if may_administer(transport.get_extra_info("socket")) else REMOTE
        if hasattr(transport, "max_size"):
            transport.max_size = AT_ONCE
        if hasattr(transport, "set_read_buffer_limits"):
            transport.set_read_buffer_limits(HEAD)  # TLS would keep 256 KiB of what nobody reads now
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for the type checker: servers of TCP have these
        transport.set_write_buffer_limits(UNTAKEN)  # over TLS it would be eight times as much
        super().connection_made(transport)

    @property
    def origins(self) -> frozenset[str]:
        """Origins whose pages may read answers."""
        return self._manager.origins if isinstance(self._manager, Connections) else frozenset()

    def end(self) -> None:
        """End this connection, when its request under way is answered."""
        if self._current_request is None:
            self.force_close()
        else:
            self.close()

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        """Have a WebSocket's frames read."""
        super().set_parser(parser, data_received_cb)
        if not self.apart and isinstance(self._manager, Connections):
            self.apart = True
            self._manager.apart += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of a connection that has ended."""
        transport = self.transport
        self.begun = EMPTY_PAYLOAD  # the last one refers to this connection
        super().connection_lost(exc)
        if transport is not None and hasattr(transport, "_read_ready_cb"):
            # The transport refers to itself by this, which asyncio forgets to end: it would wait for the collector.
            transport._read_ready_cb = None  # noqa: SLF001  # there is no other way to it

    def data_received(self, data: bytes) -> None:
        """Take what a client has sent, piece by piece: more may come at once than a head may have. By nothing
        aiohttp has itself look again at what it has put aside.
        """
        for start in range(0, len(data) or 1, HEAD):
            if not self._take(data[start : start + HEAD]):
                break

    def _take(self, data: bytes) -> bool:
        """Take a piece; say whether there is any use in a further one."""
        body = self._newest
        had = body.total_bytes
        super().data_received(data)
        if self._payload_parser is not None or self._upgraded:
            return True
        newest = self._newest
        content = newest.total_bytes - (had if newest is body else 0)
        if (
            content and self._current_request is not None and isinstance(self._manager, Connections)
        ):  # else it is dropped
            self._manager.burden.bear(self, newest.total_bytes)
        if self._request_count != self._heads:
            self._heads, self._head = self._request_count, 0
        else:
            self._head = max(0, self._head + len(data) - 2 * content)
            if self._head > HEAD and not (self._reading_paused or self._buffer_paused):  # else it was put aside
                self._refuse()
                return False
        for message, _ in self._messages:
            error = getattr(message, "exc", None)
            if error is not None:
                error.__traceback__ = error.__context__ = error.__cause__ = None
                if self.transport is not None:
                    self.transport.pause_reading()
                return False
        return True

    @property
    def _newest(self) -> StreamReader:
        """The body of the request that has come last."""
        return self._messages[-1][1] if self._messages else self.begun

    def _refuse(self) -> None:
        if self.transport is None:
            return
        if self._current_request is None and not self._messages and self._newest.is_eof():
            self.transport.write(TOO_LARGE)
            self.force_close()
        else:  # it would be taken for another's answer
            self.transport.abort()


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Request:
    protocol.begun = payload
    return Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Keep requests that are no HTTP out of the log: whoever reaches the port could fill it with tracebacks."""
    error = record.exc_info[1] if record.exc_info else None
    return log.isEnabledFor(logging.DEBUG) or not isinstance(error, HttpProcessingError)
