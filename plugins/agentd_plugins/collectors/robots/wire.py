"""One WebSocket, as far as it speaks and ends: nobody who does not read, or does not go, holds up anything."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from agentd_plugins.collectors.robots.protocol import Codec, Error

UNSENT = 32 * 1024
"""Bytes that may wait for a robot that does not read; asyncio itself would let a sender wait at 64 KiB."""

CLOSING = 2.0
"""Seconds in which a robot has to take what is sent at the end."""


class Wire:
    """A WebSocket after its upgrade. Made in the task that reads from it, and ended there."""

    def __init__(self, socket: web.WebSocketResponse, tcp: asyncio.Transport, codec: Codec | None) -> None:
        self.reason = ""
        """Why it ended, in a word."""
        self._socket = socket
        self._tcp = tcp
        self._codec = codec
        self._wanted = WSMsgType.BINARY if codec is not None and codec.binary else WSMsgType.TEXT
        self._encode = codec.encode if codec is not None else msgspec.json.encode
        self._end: tuple[int, Error] | None = None
        self._task = asyncio.current_task()
        self._ended: asyncio.Future[None] | None = None

    @property
    def ending(self) -> bool:
        """Whether it is to be closed: nothing more is to be taken."""
        return self._end is not None

    def end(self, code: int, reason: str, text: str, *, retry_after_ms: int | None = None) -> None:
        """Have the connection closed, and say why."""
        if self._end is not None:
            return
        self.reason = self.reason or reason
        self._end = (code, Error(reason=reason, message=text, fatal=True, retry_after_ms=retry_after_ms))
        # aiohttp closes at once where one task closes while another one reads. What the robot is sending meanwhile is
        # then answered by a reset, which may take away the very reason. So who reads is woken up, and closes.
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def woken(self) -> bool:
        """Say whether the reading task was cancelled by ``end``, and by nobody else."""
        return self._end is not None and self._task is not None and self._task.uncancel() == 0

    async def finish(self) -> None:
        """Close it where it is to be closed, when nobody reads any more."""
        if self._end is not None:
            code, error = self._end
            try:
                async with asyncio.timeout(CLOSING):
                    if self._codec is not None:
                        await self._send(error)
                    await self._socket.close(code=code, message=error.message.encode()[:120])
            except (ConnectionError, RuntimeError, TimeoutError):
                self.drop("gone")

    def let_go(self) -> None:
        """Refer to nothing that refers back."""
        self._task = None
        if self._ended is not None:
            self._ended.set_result(None)

    async def closed(self) -> None:
        """Wait until it has ended."""
        if self._task is not None:
            self._ended = self._ended or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ended)

    def drop(self, reason: str) -> None:
        """End at once: the other side does not answer."""
        self.reason = self.reason or reason
        self._tcp.abort()

    def _post(self, message: Any) -> None:
        """Send without waiting; who does not read is dropped."""
        if self._end is None:
            self._at_once(self._send(message))

    def _at_once(self, sending: Coroutine[Any, Any, None]) -> None:
        if self._tcp.get_write_buffer_size() > UNSENT:
            sending.close()
            self.drop("does_not_read")
            return
        # Below that size the coroutine comes to its end without waiting: a task for each message would cost more.
        try:
            sending.send(None)
        except StopIteration:
            pass
        except (ConnectionError, RuntimeError):
            self.drop("gone")
        else:
            sending.close()

    async def _send(self, message: Any) -> None:
        data = self._encode(message)
        await self._socket.send_frame(data, self._wanted)
