"""Starts programs for a benchmark, and reads from /proc what they cost."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

PROMETHEUS_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
"""What Prometheus sends with each scrape."""


class Server:
    """A running program that answers HTTP on a port of the loopback interface."""

    def __init__(self, command: list[str], port: int, path: str, environment: dict[str, str]) -> None:
        self.port = port
        self._path = path
        self.begun = time.monotonic()
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
        )
        self.pid = self._process.pid
        self.first_answer = self._wait()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def _wait(self) -> float:
        for _ in range(5000):
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port)
                connection.request("GET", self._path, headers=PROMETHEUS_HEADERS)
                if connection.getresponse().read():
                    return time.monotonic() - self.begun
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._process.args} ended with status {self._process.returncode}")
            time.sleep(0.002)
        raise RuntimeError(f"{self._process.args} does not answer")

    def scrape(self, **headers: str) -> bytes:
        """Scrape once over the kept connection, as Prometheus does; return the body as it came."""
        self._connection.request("GET", self._path, headers={**PROMETHEUS_HEADERS, **headers})
        return self._connection.getresponse().read()

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, that all its threads have used so far (schedstat: nanoseconds)."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident(self) -> float:
        """Return its resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def descriptors(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def agentd(
    configuration: str = "",
    *arguments: str,
    prepare: Callable[[Path], None] = lambda _folder: None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run an agent with this configuration, in a folder that is prepared for it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        prepare(Path(folder))
        file = Path(folder, "agentd.toml")
        file.write_text(configuration)
        port = free_port()
        command = [sys.executable, "-m", "agentd", "run", "--config", str(file), "--listen", f"127.0.0.1:{port}"]
        environment = {"STATE_DIRECTORY": folder, "RUNTIME_DIRECTORY": folder, **environment}
        server = Server([*command, *arguments], port, "/metrics", environment)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def node_exporter(collectors: tuple[str, ...], *further: str) -> Iterator[Server]:
    """Run Debian's node_exporter with these collectors alone."""
    port = free_port()
    flags = [*(f"--collector.{name}" for name in collectors), *further]
    command = [_node_exporter(), "--collector.disable-defaults", *flags, f"--web.listen-address=127.0.0.1:{port}"]
    server = Server(command, port, "/metrics", {})
    try:
        yield server
    finally:
        server.stop()


def offered() -> frozenset[str]:
    """Return the names of the collectors that Debian's node_exporter has."""
    done = subprocess.run([_node_exporter(), "--help"], capture_output=True, text=True, check=False)
    return frozenset(re.findall(r"--(?:\[no-\])?collector\.(\w+) ", done.stdout + done.stderr))


def _node_exporter() -> str:
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        raise SystemExit("this benchmark needs the Debian package prometheus-node-exporter")
    return program


@contextlib.contextmanager
def bare_aiohttp() -> Iterator[Server]:
    """Run the smallest server that one can write with aiohttp."""
    port = free_port()
    program = (
        "from aiohttp import web\n"
        "async def hello(request): return web.Response(text='hello')\n"
        "app = web.Application()\n"
        "app.router.add_get('/metrics', hello)\n"
        f"web.run_app(app, host='127.0.0.1', port={port}, access_log=None, print=None)\n"
    )
    server = Server([sys.executable, "-c", program], port, "/metrics", {})
    try:
        yield server
    finally:
        server.stop()
