"""The beginning of a connection over TLS: it has to come to a handshake soon, and with a certificate that is wanted."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from agentd.web.tls import Loaded, is_allowed

WITHIN = 10.0
"""Seconds that a handshake may take."""

CLOSING = 5.0
"""Seconds that the other side gets to agree to the end of a connection."""


class Keeper(Protocol):
    """Counts the handshakes that are under way."""

    def handshake_begun(self, handshake: "Handshake", transport: asyncio.Transport) -> bool:
        """Take note of one; say whether it may go on."""

    def handshake_ended(self, handshake: "Handshake", *, failed: bool) -> None:
        """Forget it."""


class Handshake(asyncio.Protocol):
    """A connection until its handshake is done, which another protocol then takes over with what has come already.

    asyncio's servers speak TLS by themselves, but with the certificates that they had when they were opened, and with
    any number of connections that never get that far.
    """

    def __init__(self, keeper: Keeper, loaded: Loaded, successor: Callable[[], asyncio.Protocol]) -> None:
        self._keeper = keeper
        self._loaded = loaded
        self._successor = successor
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._received: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for the type checker: servers of TCP have these
        self._transport = transport
        if self._keeper.handshake_begun(self, transport):
            self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport))
        else:
            self._keeper.handshake_ended(self, failed=True)
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep what comes with the end of the handshake."""
        self._received.append(data)

    def eof_received(self) -> None:
        """Note that no more comes: there is nobody to answer to."""
        self._ended = True

    def connection_lost(self, exc: Exception | None) -> None:  # why does not matter
        """Note that there is no connection any more."""
        self._ended = True

    def abort(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, raw: asyncio.Transport) -> None:
        transport = None
        with contextlib.suppress(OSError):  # what the other side says is wrong, or takes too long; ssl.SSLError is one
            if raw.is_closing():
                raise ConnectionAbortedError
            transport = await asyncio.get_running_loop().start_tls(
                raw,
                self,
                self._loaded.context,
                server_side=True,
                ssl_handshake_timeout=WITHIN,
                ssl_shutdown_timeout=CLOSING,
            )
        wanted = transport is not None and is_allowed(
            transport.get_extra_info("peercert"), self._loaded.settings.client_allowed_sans
        )
        self._keeper.handshake_ended(self, failed=not wanted or self._ended)
        if transport is None or not wanted or self._ended:
            raw.abort()
            return
        successor = self._successor()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        for data in self._received:
            successor.data_received(data)
        self._received.clear()
