"""The agent's end of the template: asks it for children."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

CHILD = str(Path(__file__).with_name("child.py"))
"""What runs a plugin, in whichever interpreter."""

WITHIN = 10.0
"""Seconds in which the template has to answer; the first time it imports what children share."""


class LaunchError(Exception):
    """A child cannot be begun now; the text says why."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a child is to be begun."""

    python: str | None = None
    """The interpreter; None is the agent's own."""
    memory: int | None = None
    """Bytes of private memory that it may have at most (``RLIMIT_DATA``)."""


@dataclass(slots=True)
class Launched:
    """A child that was begun, with the agent's ends of what connects them. Whoever has it closes them."""

    pid: int
    connection: socket.socket
    output: int
    errors: int
    end: int
    """Where the template tells how it ended."""

    def close(self) -> None:
        """Close what nobody has taken over."""
        self.connection.close()
        for descriptor in (self.output, self.errors, self.end):
            os.close(descriptor)


class Launcher:
    """Has children forked by a template, which is begun when the first is asked for. Used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self.spent: defaultdict[str, float] = defaultdict(float)
        """CPU time of plugins' processes that nobody keeps any more, by plugin."""
        self.keepers: WeakSet[Any] = WeakSet()
        """Who keeps the children, for what is told about them."""

    @property
    def pid(self) -> int | None:
        """The template's process; None before the first child."""
        return self._process.pid if self._process is not None else None

    def launch(self, launch: Launch) -> Launched:
        """Begin a child; takes some milliseconds. Raises ``LaunchError``."""
        try:
            connection, theirs = socket.socketpair()
            output, error, end = os.pipe(), os.pipe(), os.pipe()
        except OSError as failure:
            raise LaunchError(f"no child can be begun: {failure.strerror}") from failure
        request = json.dumps({"python": launch.python, "memory": launch.memory, "child": CHILD}).encode()
        passed = [theirs.fileno(), output[1], error[1], end[1]]
        child = Launched(0, connection, output[0], error[0], end[0])
        try:
            child.pid = self._ask(request, passed)
        except BaseException:
            child.close()
            raise
        finally:
            theirs.close()
            for descriptor in passed[1:]:
                os.close(descriptor)
        return child

    def close(self) -> None:
        """End the template, and with it all children."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes, descriptors: list[int]) -> int:
        with self._lock:
            for attempt in (1, 2):  # the first may find that somebody has ended the template
                try:
                    answer = self._answer(request, descriptors)
                except OSError as error:
                    self._end()
                    if attempt == 2:
                        why = "does not answer" if isinstance(error, TimeoutError) else str(error.strerror or error)
                        raise LaunchError(f"no child can be begun: the template: {why}") from error
                else:
                    break
        if "error" in answer:
            raise LaunchError(f"no child can be begun: {answer['error']}")
        return int(answer["pid"])

    def _answer(self, request: bytes, descriptors: list[int]) -> dict[str, Any]:
        if self._socket is None:
            self._begin()
        assert self._socket is not None  # noqa: S101  # it has just been made
        socket.send_fds(self._socket, [request], descriptors)
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionResetError("it has ended")
        found: dict[str, Any] = json.loads(data)
        return found

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(WITHIN)
        path = [os.path.abspath(each) for each in sys.path]
        program = f"import sys; sys.path[:] = {path!r}; from agentd.isolation.template import main; "
        command = [sys.executable, "-I", "-c", f"{program}main({theirs.fileno()})"]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the agent's own interpreter
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None
