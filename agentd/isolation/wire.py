"""The agent's end of what is said with a child: messages both ways, and the lines that it prints."""

import asyncio
import json
import logging
import struct
from collections.abc import Callable, Mapping
from typing import Any

from agentd.isolation.child import LARGEST
from agentd.resilience import RateLimiter

UNASKED = 1000.0
"""Messages a second that a child may send without being asked, log records and events; one that sends more waits."""

LINES = 50.0
"""Lines a second that a child may print; one that prints more waits."""

LONGEST = 2000
"""Bytes of a printed line that are shown."""


def frame(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent: a JSON object behind its length in four bytes."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > LARGEST:
        raise ValueError(f"{len(data)} bytes are more than a child is sent at once, which is {LARGEST}")
    return struct.pack("!I", len(data)) + data


class Slowed:
    """Reads from somebody no faster than a number of things a second allows."""

    def __init__(self, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limiter = RateLimiter(rate, self._loop.time())
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport = transport

    @property
    def waiting(self) -> bool:
        """Whether nothing more is taken now."""
        return self._timer is not None

    def count(self) -> None:
        """Count one thing, and read on later where there were too many."""
        wait = self._limiter.take(1, self._loop.time())
        if wait and self._timer is None:
            self._transport.pause_reading()
            self._timer = self._loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self.take()
        if self._timer is None and not self._transport.is_closing():
            self._transport.resume_reading()

    def take(self) -> None:
        """Take what has been read already."""

    def stop(self) -> None:
        """Read no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()


class Conversation(Slowed, asyncio.Protocol):
    """Sends messages to a child, and hands out what it says."""

    def __init__(self, heard: Callable[[dict[str, Any]], bool], broken: Callable[[str], None]) -> None:
        """``heard`` says whether it has asked for what it is given. ``broken`` is called with a reason where the child
        says what no child says.
        """
        super().__init__(UNASKED)
        self._heard = heard
        self._broken = broken
        self._received = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises ``ValueError`` where it is too large."""
        self._transport.write(frame(message))

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._received += data
        self.take()

    def take(self) -> None:
        """Hand out the messages that are complete."""
        received = self._received
        while len(received) >= 4 and not self.waiting:
            length = struct.unpack_from("!I", received)[0]
            if length > LARGEST:
                self._broken(f"it sent a message of {length} bytes")
                return
            if len(received) < 4 + length:
                return
            body = bytes(received[4 : 4 + length])
            del received[: 4 + length]
            try:
                asked_for = self._heard(json.loads(body))
            except Exception as error:  # noqa: BLE001  # whatever a child sends is its own failure
                self._broken(f"it sent a message that is none: {type(error).__name__}")
                return
            if not asked_for:
                self.count()


class Printed(Slowed, asyncio.Protocol):
    """Makes log lines of what a child prints."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        super().__init__(LINES)
        self._log = log
        self._level = level
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._received += data
        self.take()

    def take(self) -> None:
        """Log the lines that are complete, or longer than is shown."""
        while not self.waiting and (b"\n" in self._received or len(self._received) > LONGEST):
            line, _, rest = self._received[:LONGEST].partition(b"\n")
            self._received = rest + self._received[LONGEST:]
            self._print(line)

    def connection_lost(self, _error: Exception | None) -> None:
        """Log the last line, which nothing ends."""
        self._print(self._received[:LONGEST])

    def _print(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._log.log(self._level, "%s", text)
            self.count()
