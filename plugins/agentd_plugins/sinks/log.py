"""Writes events into the agent's own log, one line each: to journald with fields to filter by, or to standard error."""

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agentd.plugin import Config, Context, Event, Record, Retry, Sink, hookimpl
from agentd_plugins.sinks._alone import Alone

Level = Literal["critical", "error", "warning", "notice", "info", "debug"]
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
"""The levels' numbers in syslog(3)."""


class LogConfig(Config):
    """Options of the sink log."""

    to: Literal["auto", "journald", "stderr"] = "auto"
    """Where to: "journald" has each event with fields (journalctl AGENTD_EVENT_TYPE=mission.finished), "stderr" has a
    line of text; "auto" is the former where systemd has connected standard error to journald. Of many events in a short
    time, journald drops what is above its RateLimitBurst=."""
    level: Level = "info"
    """How important events are."""
    levels: Annotated[dict[str, Level], Meta(examples=[{"*.failed": "error"}])] = {}
    """How important those of some types are, { "*.failed" = "error", "mission.*" = "notice" } say: the first pattern
    that matches counts."""
    max_length: Annotated[int, Meta(ge=80, le=32768)] = 4096
    """Characters of a line at most; what is longer is cut off, and how much that was is said."""
    socket: str = "/run/systemd/journal/socket"
    """The socket of journald; another one for a journal namespace."""


class Log(Sink[LogConfig]):
    """Writes a readable line for each event into the agent's log."""

    name = "log"

    def __init__(self, config: LogConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._alone = Alone(self.in_worker)
        self._socket: socket.socket | None = None
        self._told: set[int] = set()
        """The events of a batch that is not done that have been written."""
        self._to_journald = self.config.to == "journald" or (self.config.to == "auto" and leads_to_journald())

    async def start(self) -> None:
        """Connect to journald, where that is where events go."""
        if self._to_journald:
            self._connect()

    async def probe(self) -> str:
        """Connect to journald, where that is where events go; to standard error there is nothing to try."""
        if not self._to_journald:
            return "there is nothing to try: it writes to standard error"
        self._connect()
        return f"journald listens at {self.config.socket}"

    async def stop(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def send(self, events: Sequence[Record]) -> None:
        """Write a line for each event."""
        if self._to_journald:
            await self._send_to_journald(events)
        else:  # nobody may read the other end: that must hold up nothing else
            await self._alone(self._write_to_stderr, events)
        self._told.clear()

    async def _send_to_journald(self, events: Sequence[Record]) -> None:
        loop = asyncio.get_running_loop()
        for number, record in enumerate(events):
            if record.seq in self._told:
                continue
            if number % 50 == 0:
                await asyncio.sleep(0)  # sending does not give way to others as long as there is room
            try:
                # A datagram is written as a whole or not at all; this waits where journald is behind.
                await loop.sock_sendall(self._connect(), datagram(self._fields(record.event)))
            except OSError as error:
                await self.stop()  # journald has another socket when it was started again
                text = f"cannot write to {self.config.socket}: {error.strerror or error}"
                raise Retry(text, accepted=number) from error
            self._told.add(record.seq)

    def _write_to_stderr(self, events: Sequence[Record]) -> None:
        if not sys.stderr:  # and descriptor 2 may be any other file
            raise Retry("standard error is closed")
        for number, record in enumerate(events):
            if record.seq not in self._told:
                try:
                    write(sys.stderr.fileno(), self._line(record.event).encode())
                except OSError as error:
                    text = f"cannot write to standard error: {error.strerror or error}"
                    raise Retry(text, accepted=number) from error
                self._told.add(record.seq)

    def _line(self, event: Event) -> str:
        milliseconds = int(event.timestamp * 1000)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000)) + f".{milliseconds % 1000:03d}Z"
        return f"{when} {self._level(event):7} {readable(event, self.config.max_length)}\n"

    def _level(self, event: Event) -> Level:
        levels = (level for pattern, level in self.config.levels.items() if fnmatchcase(event.type, pattern))
        return next(levels, self.config.level)

    def _fields(self, event: Event) -> dict[str, str]:
        return {
            "MESSAGE": readable(event, self.config.max_length),
            "PRIORITY": str(PRIORITIES[self._level(event)]),
            "SYSLOG_IDENTIFIER": "agentd",
            "AGENTD_EVENT_ID": event.id,
            "AGENTD_EVENT_TYPE": event.type,
            "AGENTD_EVENT_SOURCE": event.source,
            "AGENTD_EVENT_TARGET": event.target or "",
            "AGENTD_EVENT_TIMESTAMP": f"{event.timestamp:.6f}",
        }

    def _connect(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                connection.connect(self.config.socket)
            except BaseException:
                connection.close()
                raise
            self._socket = connection
        return self._socket


def leads_to_journald() -> bool:
    """Say whether standard error is the stream that systemd has connected to journald (``JOURNAL_STREAM``)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def readable(event: Event, longest: int) -> str:
    """Return an event on one line: its type, whose and about whom it is, its id, and its payload as JSON."""
    named = {"source": event.source, "target": event.target, "id": event.id}
    parts = [event.type, *(f"{name}={word(value)}" for name, value in named.items() if value)]
    if event.payload:
        parts.append(msgspec.json.encode(event.payload).decode())
    text = escaped(" ".join(parts))
    return text if len(text) <= longest else f"{text[:longest]}… and {len(text) - longest} more characters"


def word(text: str) -> str:
    """Return a text as it is where it is one word, and else in quotes: nobody can write a field that is not there."""
    return text if re.fullmatch(r"[\w.:/@+-]+", text) else msgspec.json.encode(text).decode()


def escaped(text: str) -> str:
    """Return a text in which whatever begins a line, steers a terminal, turns the direction of writing or cannot be
    seen is written in JSON's notation: nobody can write lines of his own into the log, or change how others look.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else re.sub("(....)", r"\\u\1", letter.encode("utf-16-be").hex())
        for letter in text
    )


def write(descriptor: int, data: bytes) -> None:
    """Write all of it; a pipe may take less at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def datagram(fields: Mapping[str, str]) -> bytes:
    """Return fields in journald's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), empty ones left out."""
    made = bytearray()
    for name, text in fields.items():
        data = text.encode()
        if b"\n" in data:
            made += b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
        elif data:
            made += b"%s=%s\n" % (name.encode(), data)
    return bytes(made)


@hookimpl
def agentd_sinks() -> list[type[Any]]:
    """Register the sink."""
    return [Log]
