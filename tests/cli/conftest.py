"""What tests of the commands that ask an agent share: an agent with a sink, and ``agentd`` as its user types it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SINK = '''
from pathlib import Path
from agentd.plugin import Config, Reject, Sink, hookimpl

class Options(Config):
    """Options of a test."""

    path: str
    """The file to append to; while there is one of this name with ``.down`` behind it, nothing arrives."""

class Tiny(Sink[Options]):
    """Appends to a file, and refuses what is bad."""

    name = "tiny"

    async def send(self, events):
        if Path(f"{self.config.path}.down").exists():
            raise OSError("the receiver is \\x1b[31mdown")
        bad = [] if Path(f"{self.config.path}.kind").exists() else [e.id for e in events if e.type.endswith(".bad")]
        with open(self.config.path, "ab") as file:
            file.write(b"".join(e.json + b"\\n" for e in events if e.id not in bad))
        if bad:
            raise Reject(bad, "it is \\x07bad")

@hookimpl
def agentd_sinks():
    return [Tiny]
'''


@dataclass
class Here:
    """An agent with a sink that appends to a file, and the command line beside it."""

    server: object
    out: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What leads a command to this agent."""
        return {**os.environ, **self.server.environment}

    def popen(self, *arguments: str, **keywords: object) -> "subprocess.Popen[str]":
        """Start ``agentd`` with arguments."""
        command = [sys.executable, "-m", "agentd", *arguments]
        return subprocess.Popen(
            command, env=self.environment, encoding="utf-8", stdout=-1, stderr=-1, stdin=-3, **keywords
        )

    def run(self, *arguments: str, input: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run ``agentd`` with arguments to its end, which has to come without a traceback."""
        result = subprocess.run(
            [sys.executable, "-m", "agentd", *arguments],
            env=self.environment,
            input=input or "",
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result


def configuration(out: Path, journal: str = "") -> str:
    """Return a configuration with the sink of these tests, and few collectors."""
    return f"[journal]\n{journal}\n[sinks.tiny]\npath = '{out}'\nunhealthy_after = '300ms'"


@pytest.fixture(scope="session")
def beside() -> Callable[..., Here]:
    """Returns an agent with the command line beside it."""
    return Here


@pytest.fixture(scope="module")
def here(standing, tmp_path_factory) -> Here:
    """An agent for all tests of a module, which do not stop it."""
    out = tmp_path_factory.mktemp("sink") / "out"
    return Here(standing.agent(configuration(out), plugins={"tiny": SINK}), out)


@pytest.fixture
def start_here(start_agent, tmp_path) -> Callable[..., Here]:
    """Starts an agent for one test; several that a test starts have their folders in common."""

    def start(journal: str = "") -> Here:
        places = {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
        out = tmp_path / "out"
        return Here(start_agent(configuration(out, journal), plugins={"tiny": SINK}, environment=places), out)

    return start
