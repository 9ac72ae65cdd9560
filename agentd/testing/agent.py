"""A real agent in a process of its own, to be killed and started again."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp

START_WITHIN = 30.0
"""Seconds that an agent gets to answer."""


class AgentProcess:
    """An agent that keeps its state in a folder. Its configuration is what the test writes, without host collectors."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self._process: asyncio.subprocess.Process | None = None
        (folder / "state").mkdir(parents=True, exist_ok=True)
        self._file = folder / "agentd.toml"
        self._file.write_text(configuration)

    @property
    def api(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start it, and wait until it is ready."""
        state = str(self.folder / "state")
        command = [sys.executable, "-m", "agentd", "run", "--config", str(self._file)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                "--listen",
                f"127.0.0.1:{self.port}",
                env=os.environ | {"STATE_DIRECTORY": state, "RUNTIME_DIRECTORY": state},
                stdout=log,
                stderr=log,
            )
        due = time.monotonic() + START_WITHIN
        while time.monotonic() < due:
            if self._process.returncode is not None:
                break
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{self.api}/status") as response:
                    if (await response.json())["ready"]:
                        return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the agent does not answer:\n{self.log.read_text(errors='replace')[-4000:]}")

    async def kill(self) -> None:
        """End it at once, in whatever it is doing."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it as the service manager does."""
        await self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        self.send(number)
        if self._process is not None:
            await self._process.wait()


def free_port() -> int:
    """Return a port of the loopback that nobody has, below those that the kernel gives to outgoing connections.

    One of those could be given away before a server has it, or while the server is away: to somebody who looks whether
    it is back, who would then be connected with himself.
    """
    for port in random.sample(range(20000, 32000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 20000 and 32000")
