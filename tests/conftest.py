"""What all tests share: agents and other servers as real processes, and the rule that every test says what it shows.

Tests use the package that is installed, never the folders of a checkout, so that they can be run against a built wheel.
"""

import gzip
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentd.testing.agent import free_port as unused_port

PATIENCE = 60.0
"""Seconds after which a server that does not answer fails its test. It is no measurement: machines may be busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse test functions that do not say in a docstring what they show."""
    silent = [
        item.nodeid for item in items if isinstance(item, pytest.Function) and not (item.obj.__doc__ or "").strip()
    ]
    if silent:
        listed = "\n  ".join(dict.fromkeys(silent))
        raise pytest.UsageError(f"these tests need a docstring of one sentence that says what they show:\n  {listed}")


@dataclass(frozen=True)
class Answer:
    """What a web server said."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes
    """As it came, compressed where it came compressed."""

    @property
    def text(self) -> str:
        """The body as text."""
        return (gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body).decode()

    @cached_property
    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The samples of an exposition in the text format, by name and labels. Fails where one is there twice."""
        found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, f"{sample.name}{sample.labels} is there twice"
                found[key] = sample.value
        return found

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the value of one series, None where it is absent."""
        return self.samples.get((name, frozenset(labels.items())))


class Server:
    """A program that runs as a process of its own, in a folder of its own, and answers HTTP on a port."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.environment = environment
        self.url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Ask for a page over a connection of its own."""
        return ask(self.port, path, headers, method, body)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def log(self) -> str:
        """Return what it has written to standard error (and to standard output)."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def until(self, so: Callable[[], object]) -> None:
        """Wait until something is so. Fails with the log where it does not become so, or the process ends before."""
        end = time.monotonic() + PATIENCE
        while not so():
            if self.process.poll() is not None:
                pytest.fail(f"it ended with status {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > end:
                pytest.fail(f"not so after {PATIENCE:g} s:\n{self.log()}")
            time.sleep(0.02)

    def answers(self, path: str) -> bool:
        """Say whether it answers 200 to this path now."""
        try:
            return self.get(path).status == 200
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status (negative: the signal that ended it)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self) -> int:
        """Return how many bytes of its memory lie in RAM (``VmRSS``)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def ask(
    port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes | None = None
) -> Answer:
    """Ask a server on this machine for a page over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())
    finally:
        connection.close()


def bare_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which agentd finds all its folders below one."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "COLUMNS": "250",
        "STATE_DIRECTORY": str(folder / "state"),
        "RUNTIME_DIRECTORY": str(folder / "run"),
    }


class Processes:
    """Starts processes, and ends those that still run at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def agent(
        self,
        config: str = "",
        *,
        plugins: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        shell: str = 'exec "$@"',
        ready: bool = True,
    ) -> Server:
        """Start an agent with this configuration, and with plugins from these sources by their files' names.

        ``config`` is written behind the line that names the plugins' folder, so it begins inside of ``[agent]``.
        ``shell`` is run in the agent's folder and has to run its arguments. Returns when the agent is ready, or at once
        where ``ready`` is False.
        """
        folder = self._folder / f"agent{len(self._started)}"
        local = folder / "plugins"
        local.mkdir(parents=True)
        for name, source in (plugins or {}).items():
            (local / f"{name}.py").write_text(source)
        file = folder / "agentd.toml"
        file.write_text(f"[agent]\nplugin_dirs = ['{local}']\n{config}\n")
        port = unused_port() if port is None else port
        command = [sys.executable, "-m", "agentd", "run", "--config", str(file), "--listen", f"127.0.0.1:{port}"]
        environment = {**bare_environment(folder), **(environment or {})}
        command = ["/bin/sh", "-c", shell, "sh", *command, *arguments]
        return self.server(command, port, folder, environment, ready="/readyz" if ready else None)

    def server(
        self, command: list[str], port: int, folder: Path, environment: Mapping[str, str], *, ready: str | None
    ) -> Server:
        """Start a program in a folder, where the file ``log`` gets what it says.

        Returns when it answers 200 to the path ``ready``, or at once where that is None.
        """
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._started.append(process)
        server = Server(process, port, folder, environment)
        if ready is not None:
            server.until(lambda: server.answers(ready))
        return server

    def end(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def free_port() -> int:
    """A port of the loopback that nobody has."""
    return unused_port()


@pytest.fixture(scope="session")
def unused_ports() -> Callable[[int], list[int]]:
    """Returns this many ports of the loopback that nobody has."""
    return lambda count: [unused_port() for _ in range(count)]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts programs, which end with the test."""
    started = Processes(tmp_path)
    yield started
    started.end()


@pytest.fixture
def start_agent(processes: Processes) -> Callable[..., Server]:
    """Starts an agent: see ``Processes.agent``."""
    return processes.agent


@pytest.fixture
def agent(start_agent: Callable[..., Server]) -> Server:
    """A running agent with the default configuration, for one test alone."""
    return start_agent()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts programs, which end with the module that uses it."""
    started = Processes(tmp_path_factory.mktemp("standing"))
    yield started
    started.end()


@pytest.fixture(scope="session")
def standing_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running agent with the default configuration, for all tests that leave it as they found it."""
    started = Processes(tmp_path_factory.mktemp("standing"))
    yield started.agent()
    started.end()


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs ``agentd`` with arguments to its end, in folders of its own."""

    def run(
        *arguments: str, input: str = "", environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "agentd", *arguments],
            cwd=tmp_path,
            env={**bare_environment(tmp_path), **(environment or {})},
            input=input,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], Path]]:
    """Mounts small disks in memory on folders, until the test ends; skips where that may not be done."""
    folders: list[Path] = []

    def mount(folder: Path, size: str) -> Path:
        if os.geteuid() or shutil.which("mount") is None:
            pytest.skip("only root can mount a small disk")
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "agentd-test", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        folders.append(folder)
        return folder

    yield mount
    for folder in reversed(folders):  # files on them may still be open; a test may have done it itself
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture(scope="session")
def server_binary() -> Callable[[str], str]:
    """Returns the path of a real server's program; skips where it is not installed, or fails where that is strict."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"{name} is not installed (a Debian package has it)"
            if os.environ.get("AGENTD_TEST_STRICT") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the repository that holds recordings of other programs; the test is skipped where it is not."""
    folder = Path(os.environ.get("AGENTD_TEST_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: its recordings are no part of this repository")
    return folder


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in files."""

    file: Path
    key: Path


HERE = "DNS:localhost,IP:127.0.0.1"
"""Names of this machine, for its certificate."""


SIGNS = "keyUsage=critical,keyCertSign"
"""What an authority's certificate has to say since Python 3.13, or nobody trusts it who asks for strict rules."""


class Authority:
    """Issues certificates, by the program ``openssl``."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._count = 0
        self._own: Certificate | None = None
        self._own = self.issue("authority", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", SIGNS)

    @property
    def file(self) -> Path:
        """The certificate that those who trust it have to have."""
        assert self._own is not None
        return self._own.file

    def issue(
        self, name: str, *options: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 365
    ) -> Certificate:
        """Return a new certificate with these alternative names."""
        self._count += 1
        made = Certificate(self._folder / f"{self._count}.pem", self._folder / f"{self._count}.key")
        signed: tuple[str, ...] = ()
        if self._own is not None:
            signed = ("-CA", str(self._own.file), "-CAkey", str(self._own.key), "-addext", "basicConstraints=CA:FALSE")
        subprocess.run(
            [
                *(self._program, "req", "-x509", "-nodes", "-days", str(days), "-subj", f"/CN={name}", *signed),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(made.key)),
                *("-out", str(made.file), "-addext", f"subjectAltName={names}", *options),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        return made


@pytest.fixture(scope="session")
def authority(server_binary: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues certificates for tests."""
    return Authority(server_binary("openssl"), tmp_path_factory.mktemp("certificates"))


LEAKING = '''
from agentd.plugin import Collector, Config, Secret, hookimpl

class Options(Config):
    """Options of a test."""

    password: Secret
    """What this plugin cannot keep to itself."""

class Leaking(Collector[Options]):
    """Tells its password in its errors."""

    name = "leaking"

    def collect(self):
        password = self.config.password.reveal()
        raise OSError(TEXT)

@hookimpl
def agentd_collectors():
    return [Leaking]
'''


@pytest.fixture(scope="session")
def leaking() -> Callable[[str], str]:
    """Returns the source of a collector that fails with a text, an expression in which there is its ``password``."""
    return lambda text: LEAKING.replace("TEXT", text)
