"""One child, from its beginning to its end."""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from agentd.errors import ToldError
from agentd.isolation.child import OUT_OF_MEMORY
from agentd.isolation.launcher import Launch, Launched, Launcher
from agentd.isolation.wire import Conversation, Printed
from agentd.plugin import NoData, Refused, Reject, Retry

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A child that runs. Made by ``begin``."""

    def __init__(self, child: Launched, log: logging.Logger, ended: Callable[[str], None]) -> None:
        self.pid = child.pid
        self.why = ""
        """Why it ended; empty while it runs."""
        self.cpu_at_end: float | None = None
        self.memory_limit: int | None = None
        self._child = child
        self._log = log
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._killed = ""
        self._others: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._conversation = Conversation(self._heard, self.kill)
        self._printed = (Printed(log, logging.INFO), Printed(log, logging.WARNING))

    @classmethod
    async def begin(
        cls,
        launcher: Launcher,
        launch: Launch,
        in_worker: Callable[..., Awaitable[Any]],
        log: logging.Logger,
        ended: Callable[[str], None],
    ) -> "Process":
        """Begin a child; ``ended`` is called with the reason when it has ended. Raises ``LaunchError``."""
        beginning = asyncio.ensure_future(in_worker(launcher.launch, launch))
        try:
            child: Launched = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_discard)
            raise
        process = cls(child, log, ended)
        process.memory_limit = launch.memory
        await process._connect()
        return process

    def listen(self, name: str, heard: Callable[[dict[str, Any]], None]) -> None:
        """Have messages that have a field of this name handed out; they are no answers."""
        self._others[name] = heard

    def send(self, message: Mapping[str, Any]) -> None:
        """Send what asks for no answer."""
        if not self.why:
            self._conversation.send(message)

    async def ask(self, do: str, **fields: Any) -> Any:
        """Return what the child answers. Raises what its plugin raised, as far as that means something to the agent,
        or ``ToldError``. Where nobody waits any more, the child is ended: it may hang.
        """
        if self.why:
            raise ToldError(self.why)
        self._last += 1
        number = self._last
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked[number] = future
        try:
            self._conversation.send({"id": number, "do": do, **fields})
            return await future
        except asyncio.CancelledError:
            if not future.done() or future.cancelled():
                self.kill(f"it did not answer in time ({do})")
            raise
        finally:
            self._asked.pop(number, None)

    def kill(self, why: str) -> None:
        """End it and all that it has begun, at once."""
        if not self.why:
            self._killed = self._killed or why
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to it and all that it has begun."""
        if not self.why:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used, with that of ended processes that it had begun."""
        if self.cpu_at_end is not None:
            return self.cpu_at_end
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                # Fields 14 to 17 of proc_pid_stat(5); behind the name, which may hold anything, field 3 is the first.
                fields = file.read().rpartition(b")")[2].split()
            return sum(map(int, fields[11:15])) / TICKS
        except (OSError, ValueError):
            return 0.0

    def resident_bytes(self) -> int | None:
        """Return how much of its memory lies in RAM, with what it shares with others; None where nobody knows."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * PAGE
        except (OSError, ValueError, IndexError):
            return None

    async def _connect(self) -> None:
        child, loop = self._child, self._loop
        child.connection.settimeout(0)
        await loop.connect_accepted_socket(lambda: self._conversation, child.connection)
        for printed, descriptor in zip(self._printed, (child.output, child.errors), strict=True):
            await loop.connect_read_pipe(partial(_same, printed), os.fdopen(descriptor, "rb", 0))
        os.set_blocking(child.end, False)
        loop.add_reader(child.end, self._has_ended)

    def _heard(self, message: dict[str, Any]) -> bool:
        """Take a message, and say whether it was asked for."""
        if "id" in message:
            future = self._asked.get(message["id"])
            if future is None or future.done():
                return False
            if "error" in message:
                future.set_exception(_error(message["error"]))
            else:
                future.set_result(message["ok"])
            return True
        if "log" in message:
            level, text = message["log"]
            self._log.log(int(level), "%s", str(text))
        else:
            for name, heard in self._others.items():
                if name in message:
                    heard(message)
        return False

    def _has_ended(self) -> None:
        try:
            told = os.read(self._child.end, 4096)
        except BlockingIOError:
            return
        self._loop.remove_reader(self._child.end)
        os.close(self._child.end)
        if told:
            end = json.loads(told)
            self.cpu_at_end, why = end["cpu"], self._spelled(end["status"])
        else:  # the template has ended, and with it all children: or else they are ended now
            self.signal(signal.SIGKILL)
            why = "the template of all processes has ended"
        self.why = f"its process has ended: {self._killed or why}"
        self._conversation.stop()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ToldError(self.why))
        # What it has printed last is read to its end, but for what others that it has begun would print.
        for printed in self._printed:
            self._loop.call_later(1.0, printed.stop)
        self._ended(self.why)

    def _spelled(self, status: int) -> str:
        if status == OUT_OF_MEMORY:
            limit = "" if self.memory_limit is None else f", its memory_limit is {self.memory_limit >> 20} MiB"
            return f"it got no more memory{limit}"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-status).name}"
        return f"exit status {status}"


def _same(printed: Printed) -> Printed:
    return printed


def _discard(beginning: "asyncio.Future[Launched]") -> None:
    """End a child that nobody waits for any more: without its socket, it ends."""
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().close()


def _error(told: Mapping[str, Any]) -> Exception:
    text = str(told["text"])
    match told["kind"]:
        case "NoData":
            return NoData(text)
        case "Refused":
            return Refused(text)
        case "Retry":
            return Retry(text, after=told["after"], accepted=told["accepted"])
        case "Reject":
            return Reject(told["ids"], text)
    return ToldError(text)
