"""One connection to an agent, from hello to its end."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from agentd.client.encoding import message, numbered
from agentd.client.ending import Ending, closed
from agentd.client.live import LiveValues
from agentd.client.queue import MemoryQueue
from agentd.client.window import Window

SILENCE = 45.0
"""Seconds without a word after which a connection is dead: the agent pings every 20."""

ASK_AFTER = 20.0
"""Seconds without a word after which a ``ping`` is sent: there are proxies that keep those of WebSocket."""


class Clock:
    """The time, and how to wait."""

    def time(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong and that the client itself has dealt with."""

    text: str
    """What happened, in a sentence."""
    seq: int | None = None
    """The number of the frame that is dropped, where it is about one."""
    code: int = 0
    """The close code or the status of HTTP, where the agent gave one."""


@dataclass(slots=True)
class Robot:
    """What a robot has to say, and whom to tell what becomes of it; outlives its connections."""

    queue: MemoryQueue
    live: LiveValues
    clock: Clock
    report: Callable[[Problem], None]
    progress: Callable[[], None]
    """Called when frames are acknowledged or dropped, and when the agent has bidden welcome."""
    epoch: str = ""
    """The agent's, at the last connection."""
    careful: bool = False
    """Send one numbered frame at a time and nothing else: one of the last ones was too large."""


class Connection:
    """Speaks the protocol over a WebSocket that is open."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, robot: Robot, software: str) -> None:
        self.welcomed_at: float | None = None
        """When the agent bade welcome, by the monotonic clock."""
        self._socket = socket
        self._robot = robot
        self._software = software
        self._window = Window(0, 0)
        self._sent = 0
        self._heard = robot.clock.monotonic()
        self._asked = False
        self._wake = asyncio.Event()
        self._fatal: dict[str, Any] = {}

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    @property
    def under_way(self) -> list[int]:
        """The numbers of the frames that were sent and are not acknowledged."""
        return self._window.under_way

    @property
    def lasted(self) -> float:
        """For how many seconds it has been in use; 0 before the welcome."""
        return 0.0 if self.welcomed_at is None else self._robot.clock.monotonic() - self.welcomed_at

    async def run(self) -> Ending:
        """Speak until the connection ends, and return why it did."""
        tasks = [asyncio.create_task(each()) for each in (self._read, self._write, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._socket.close()

    async def _read(self) -> Ending:
        while True:
            got = await self._socket.receive()
            self._heard, self._asked = self._robot.clock.monotonic(), False
            match got.type:
                case aiohttp.WSMsgType.TEXT:
                    ending = self._understand(got.data)
                    if ending is not None:
                        return ending
                case aiohttp.WSMsgType.PING:
                    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                        await self._socket.pong(got.data)
                case aiohttp.WSMsgType.CLOSE:
                    return self._closed(got.data, got.extra or "")
                case aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.ERROR:
                    return self._closed(0, str(got.data or ""))

    async def _write(self) -> Ending:
        robot, queue = self._robot, self._robot.queue
        try:
            await self._socket.send_str(self._hello())
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._asked:
                    await self._socket.send_str(message("ping"))
                if self.welcomed_at is None:
                    continue
                await self._send_live()
                settled = queue.last_seq
                try:
                    await queue.settle()
                except OSError as error:
                    return Ending(f"the queue cannot be written: {error}")
                while (frame := queue.next(self._sent)) is not None and frame.seq <= settled:
                    text = numbered(*frame, robot.clock.time())
                    size = len(text.encode())
                    if not self._window.room(size) or (robot.careful and self._window.under_way):
                        break
                    self._sent = frame.seq
                    self._window.sent(frame.seq, size)
                    await self._socket.send_str(text)
                    await self._send_live()
        except (ConnectionError, aiohttp.ClientError):
            await asyncio.Event().wait()  # why it ended is what the reader learns
            raise

    async def _send_live(self) -> None:
        robot = self._robot
        while robot.live and not (robot.careful and robot.queue):
            text = robot.live.take(robot.clock.monotonic())
            if text is not None:
                await self._socket.send_str(text)

    async def _watch(self) -> Ending:
        while True:
            quiet = self._robot.clock.monotonic() - self._heard
            if quiet >= SILENCE:
                return Ending(f"nothing was heard from the agent for {SILENCE:g} s")
            if quiet >= ASK_AFTER and not self._asked:
                self._asked = True
                self.wake()
            await self._robot.clock.sleep((SILENCE if self._asked else ASK_AFTER) - quiet)

    def _hello(self) -> str:
        queue = self._robot.queue
        return message(
            "hello",
            stream_id=queue.stream_id,
            last_seq=queue.last_seq,
            first_seq=queue.first_seq,
            clock=self._robot.clock.time(),
            client=self._software,
        )

    def _closed(self, code: int, said: str) -> Ending:
        after = self._fatal.get("retry_after_ms")
        said = str(self._fatal.get("message") or said or self._fatal.get("reason") or "")
        if not code:
            return Ending(f"the connection was lost{f': {said}' if said else ''}", retry_after=_seconds(after))
        return closed(code, said, retry_after=_seconds(after))

    def _understand(self, text: str) -> Ending | None:
        """Do what a message of the agent asks for; return an ending where the connection cannot go on."""
        try:
            said = json.loads(text)
            match said["type"]:
                case "welcome":
                    return self._welcome(said)
                case "ack":
                    # What was not sent cannot be safe, whatever the agent says.
                    seq = min(int(said["seq"]), self._window.highest)
                    self._window.acknowledged(seq, int(said["credit"]["frames"]), int(said["credit"]["bytes"]))
                    self._robot.queue.acknowledge(seq)
                    self._robot.careful = False
                    self._robot.progress()
                    self.wake()
                case "error":
                    self._error(said)
        except (ValueError, TypeError, KeyError) as error:
            return Ending(f"the agent said what cannot be understood ({error!r}): {text[:200]}")
        return None  # messages that a later version of the protocol has are none of ours

    def _welcome(self, said: dict[str, Any]) -> Ending | None:
        robot, queue = self._robot, self._robot.queue
        resume, epoch = int(said["resume_from"]), str(said["agent_epoch"])
        if resume > queue.last_seq + 1:
            # A queue that was brought back from a copy, or lost its end in a power cut: its next frames would be
            # taken for repeats. With a new numbering some arrive twice, and none is lost.
            robot.report(Problem("the agent knows higher numbers than the queue: all that it keeps is numbered anew"))
            queue.renew()
            return Ending("the numbers begin anew")
        if robot.epoch not in ("", epoch):
            robot.report(Problem("the agent has lost what it knew of this robot's frames: some may arrive twice"))
        robot.epoch = epoch
        queue.acknowledge(resume - 1)
        self._sent = max(0, resume - 1)
        self._window = Window(int(said["credit"]["frames"]), int(said["credit"]["bytes"]))
        self.welcomed_at = self._heard
        robot.progress()
        self.wake()
        return None

    def _error(self, said: dict[str, Any]) -> None:
        if said.get("fatal"):
            self._fatal = said
            return
        seq = said.get("seq")
        told = said.get("message") or said["reason"]
        if isinstance(seq, int) and seq <= self._window.highest:
            self._window.consumed(seq)
            self._robot.queue.discard(seq)
            self._robot.report(Problem(f"the agent cannot take frame {seq}, which is dropped: {told}", seq=seq))
            self._robot.progress()
            self.wake()
        else:
            self._robot.report(Problem(f"the agent says: {told}"))


def _seconds(milliseconds: Any) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None
