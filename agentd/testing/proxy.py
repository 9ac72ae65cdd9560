"""A way to a server that can be disturbed: a TCP proxy on a loopback port that refuses, delays, cuts and swallows."""

import asyncio
import contextlib
import random
import socket
import struct
from typing import Literal

from agentd.testing.agent import free_port

Mode = Literal["pass", "refuse", "delay", "reset", "swallow", "cut"]

MODES: tuple[Mode, ...] = ("pass", "refuse", "delay", "reset", "swallow", "cut")
"""``refuse``: nobody listens. ``delay``: all is late. ``reset``: connections are reset, now and as they come.
``swallow``: requests arrive, answers do not. ``cut``: half of what is sent arrives, and then the connection ends."""

_CHUNK = 65536


class Proxy:
    """Passes on what comes to ``port``, as the present mode says."""

    def __init__(self, target: tuple[str, int], *, seed: int = 0) -> None:
        self.port = free_port()
        self.mode: Mode = "pass"
        self._target = target
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Begin to listen, on the port that it had before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        await self._deaf()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def become(self, mode: Mode) -> None:
        """Change the mode; what is connected feels it at once."""
        self.mode = mode
        if mode == "refuse":
            await self._deaf()
        else:
            await self.start()
        if mode in ("refuse", "reset"):
            for writer in list(self._writers):
                _reset(writer)

    async def _deaf(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            _reset(writer)
            return
        try:
            back_reader, back_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, back_writer}
        pipes = {
            asyncio.create_task(self._pipe(reader, back_writer, answers=False)),
            asyncio.create_task(self._pipe(back_reader, writer, answers=True)),
        }
        self._pipes |= pipes
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            self._pipes -= pipes
            self._writers -= {writer, back_writer}
            for each in (writer, back_writer):
                each.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.mode == "delay":
                    await asyncio.sleep(self._random.uniform(0, 0.3))
                if self.mode == "swallow" and answers:
                    continue
                if self.mode == "cut" and len(data) > 1:
                    writer.write(data[: self._random.randrange(1, len(data))])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset, as a router does that has forgotten it."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
