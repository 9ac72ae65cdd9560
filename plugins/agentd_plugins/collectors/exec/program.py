"""A program of somebody else's: found, begun in a process group of its own, and ended with all that it has begun."""

import asyncio
import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from agentd_plugins.collectors.exec.options import ExecConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHELL = "|><&;$`*"
"""Characters that mean something to a shell, and are hardly ever part of a program's name."""

CHUNK = 65536


class ProgramError(Exception):
    """A program cannot be run, or did not do what it was run for."""


class Command(NamedTuple):
    """What is to be run."""

    program: str
    args: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]

    def __str__(self) -> str:
        """Return it as one would type it. Its environment is not shown: it may hold secrets."""
        return shlex.join((self.program, *self.args))


def command_of(config: ExecConfig, environment: Mapping[str, str]) -> Command:
    """Return what a section asks to be run; ``environment`` is the agent's own."""
    inherited = environment if config.inherit_env is True else {}
    if isinstance(config.inherit_env, list):
        inherited = {name: environment[name] for name in config.inherit_env if name in environment}
    given = {name: value.reveal() for name, value in config.env.items()}
    env = {"PATH": PATH, "HOME": "/", "LANG": "C.UTF-8", **inherited, **given}
    return Command(config.command, tuple(config.args), config.cwd, env)


def located(command: Command) -> str:
    """Return the file of a program. Raises ``ProgramError`` where there is none that may be run."""
    name = command.program
    path: str | None = os.path.join(command.cwd, name)
    if "/" not in name:
        path = shutil.which(name, path=command.env.get("PATH", PATH))
    try:
        if path is None:
            raise FileNotFoundError
        mode = os.stat(path).st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise ProgramError(f"there is no program {name!r}{_where(command)}{_advice(name)}") from None
        raise ProgramError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ProgramError(f"{path} is no file that can be run")
    if not os.access(path, os.X_OK):
        raise ProgramError(
            f"{path} may not be run by this user (its mode is {stat.S_IMODE(mode):04o}): chmod +x {shlex.quote(path)}"
        )
    return path


def _where(command: Command) -> str:
    """Return where a program was looked for, unless its name says it."""
    if "/" not in command.program:
        return f" in {command.env.get('PATH', PATH)}"
    if command.program.startswith("/"):
        return ""
    return f" in {command.cwd}, which is its cwd: write the whole path, or set cwd"


def _advice(name: str) -> str:
    """Return what is probably meant by a name that there is no program of."""
    try:
        words = shlex.split(name)
    except ValueError:  # a quotation mark that is not closed
        words = []
    if any(each in name for each in SHELL) and words[1:2] != ["-c"]:
        return f'; no shell is involved: for one, write command = "sh" and args = ["-c", {json.dumps(name)}]'
    return f"; is {shlex.join(words[1:])} meant as its args?" if len(words) > 1 else ""


def spawn(command: Command, *, lasting: bool) -> "subprocess.Popen[bytes]":
    """Begin a program as the leader of a session and process group of its own. Raises ``ProgramError``.

    One that is ``lasting`` has a standard input, which ends with the agent however that ends.
    """
    path = located(command)
    try:
        return subprocess.Popen(  # noqa: S603  # what the configuration names, and never by a shell
            [command.program, *command.args],
            executable=path,
            cwd=command.cwd,
            env=command.env,
            bufsize=0,
            stdin=subprocess.PIPE if lasting else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            why = "it is no program for this machine; does a script's first line name who reads it, #!/bin/sh say?"
        elif error.errno == errno.ENOENT and os.path.isdir(command.cwd):  # noqa: PTH112  # as path above
            why = "what its first line names to read it is not there"
        elif error.filename == command.cwd:
            why = f"its cwd {command.cwd}: {error.strerror}"
        else:
            why = error.strerror or str(error)
        raise ProgramError(f"{path} cannot be run: {why}") from None
    except ValueError as error:  # a NUL in an argument
        raise ProgramError(f"{path} cannot be run: {error}") from None


class Process:
    """A running program and its group."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        assert popen.stdout is not None  # noqa: S101  # see spawn
        assert popen.stderr is not None  # noqa: S101  # see spawn
        self._popen = popen
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        """Its exit status, when it has ended; negative: the signal that ended it. Its group is gone then. To be waited
        for by ``asyncio.wait``: cancelling it would be no end."""
        self.stdout = asyncio.StreamReader(limit=CHUNK)
        self.stderr = asyncio.StreamReader(limit=CHUNK)
        self._transports: list[asyncio.ReadTransport] = []
        try:
            self._descriptor = os.pidfd_open(popen.pid)
        except OSError as error:  # no file can be opened any more
            popen.kill()
            popen.wait()
            self.ended.set_result(-signal.SIGKILL)
            self.close()
            raise ProgramError(f"{popen.args!r} cannot be watched, and was killed: {error.strerror}") from None
        loop.add_reader(self._descriptor, self._reap)

    @classmethod
    async def begin(
        cls,
        command: Command,
        in_worker: Callable[..., Awaitable["subprocess.Popen[bytes]"]],
        *,
        lasting: bool = False,
        longest: int = CHUNK,
    ) -> "Process":
        """Begin a program; ``longest`` is how long a line of its output may be. Raises ``ProgramError``.

        What asks for a file's program may hang, so it is done in a worker. Where nobody waits for it any more, it is
        killed as soon as it has begun.
        """
        if not hasattr(os, "pidfd_open"):
            raise ProgramError("programs are run on Linux alone")
        beginning = asyncio.ensure_future(in_worker(lambda: spawn(command, lasting=lasting)))
        try:
            popen = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_abandon)
            raise
        process = cls(popen)
        process.stdout = asyncio.StreamReader(limit=longest)
        try:
            await process._connect()
        except BaseException:
            process.close()
            raise
        return process

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        for reader, pipe in ((self.stdout, self._popen.stdout), (self.stderr, self._popen.stderr)):
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_read_pipe(lambda protocol=protocol: protocol, pipe)  # type: ignore[misc]  # a lambda's default has no type
            self._transports.append(transport)

    def ask(self) -> None:
        """Write an empty line to its standard input. One that does not read it is not waited for."""
        if self._popen.stdin is not None and not self._popen.stdin.closed:
            os.set_blocking(self._popen.stdin.fileno(), False)
            with contextlib.suppress(OSError):
                self._popen.stdin.write(b"\n")

    def terminate(self) -> None:
        """Ask its group to end: its standard input ends, and it gets SIGTERM."""
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Kill what is left of its group, and read no more."""
        self._signal(signal.SIGKILL)
        for transport in self._transports:
            transport.close()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None and not self._transports:
                pipe.close()
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def _signal(self, number: int) -> None:
        if not self.ended.done():  # until it is reaped nobody else has its number, nor that of its group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._signal(signal.SIGKILL)  # it has ended; what it began and left behind ends with it
        self.ended.set_result(self._popen.wait())


def _abandon(beginning: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    """End a program that has begun when nobody waited for it any more."""
    if not beginning.cancelled() and beginning.exception() is None:
        Process(beginning.result()).close()


def outcome(status: int) -> str:
    """Return in words how a program ended."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
