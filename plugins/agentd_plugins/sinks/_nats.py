"""nats-py's client, and what it lacks: TLS that cannot be talked away, and refusals of JetStream that reach who waits.

Imported only where the library is there.
"""

import asyncio
import contextlib
from typing import Any

import msgspec
from nats.aio.client import Client as Library
from nats.aio.msg import Msg
from nats.errors import ProtocolError, SecureConnRequiredError
from nats.protocol.parser import Parser

from agentd_plugins.sinks._server import Refusal

LARGEST = 1 << 20
"""Bytes that a server may send as one message or line: what it has to say to a sink are a few hundred."""

TURN = 4096
"""Bytes that are taken at once, before the agent's other work goes on."""


class Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class Answer(msgspec.Struct):
    """JetStream's answer to a message (PubAck)."""

    error: Error | None = None


decode = msgspec.json.Decoder(Answer).decode


class Bounded(Parser):
    """The library's parser, which would keep however much belongs to one message, and give no turn to others."""

    async def parse(self, data: bytes = b"") -> None:
        """Take what came. Raises ``ProtocolError`` where something has no end."""
        for begin in range(0, len(data), TURN):
            await super().parse(data[begin : begin + TURN])
            if len(self.buf) > LARGEST:
                raise ProtocolError
            await asyncio.sleep(0)


class Client(Library):
    """One connection to a server, used once."""

    def __init__(self, *, secure: bool) -> None:
        """Without TLS, a ``secure`` one is none."""
        super().__init__()
        self._ps = Bounded(self)
        self._secure = secure
        self._waiting: dict[str, asyncio.Future[Refusal | None]] = {}
        self._number = 0
        self._inbox = ""
        self.trouble: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """Done when the connection is of no more use, or something was said that belongs to no message."""

    async def open(self, **options: Any) -> None:
        """Connect, once; as ``connect``."""
        # The library's own reconnecting would send again what it has kept: the next send of the sink does that.
        await self.connect(allow_reconnect=False, error_cb=self._complain, closed_cb=self._closed, **options)
        self._inbox = self.new_inbox()
        await self.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def put(self, subject: str, payload: bytes, identity: str) -> "asyncio.Future[Refusal | None]":
        """Publish; the future gets JetStream's answer, None when a stream has it.

        The library's ``publish_async`` answers nobody whose message was refused (2.16).
        """
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        future = self._waiting[reply] = asyncio.get_running_loop().create_future()
        await self.publish(subject, payload, reply, {"Nats-Msg-Id": identity})
        return future

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject, None)
        if future is None or future.done():
            return
        if message.headers and message.headers.get("Status") == "503":
            future.set_result(Refusal(0, ""))
        else:
            error = decode(message.data).error
            future.set_result(None if error is None else Refusal(error.err_code, error.description))

    def _process_info(self, info: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        if self._secure and not info.get("tls_required") and not self.is_connected:
            raise SecureConnRequiredError  # the library would go on, and send the password for all to read
        info.pop("connect_urls", None)  # it would compare each of them with all that it knows, to go there itself
        return super()._process_info(info, *arguments, **keywords)

    async def _process_op_err(self, e: Exception) -> None:
        self._tell(e)  # before anything else: closing stumbles over a broken connection, and then calls nobody back
        with contextlib.suppress(OSError):
            await super()._process_op_err(e)

    async def _complain(self, error: Exception) -> None:
        if not self._inbox:  # still connecting: it would try for ever
            raise error
        self._tell(error)

    async def _closed(self) -> None:
        self._tell(self.last_error or ConnectionError("the connection is lost"))

    def _tell(self, error: Exception) -> None:
        if not self.trouble.done():
            self.trouble.set_result(error)
