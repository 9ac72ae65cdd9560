"""Where the agent keeps what must survive it, and where its socket lies."""

from pathlib import Path

import pytest

from agentd import directories

VARIABLES = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """An environment that says nothing but where home is."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({}, "/home/someone/.local/state/agentd"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/agentd"),
        ({"XDG_STATE_HOME": "relative"}, "/home/someone/.local/state/agentd"),
        ({"XDG_STATE_HOME": "/xdg", "STATE_DIRECTORY": "/var/lib/agentd"}, "/var/lib/agentd"),
        ({"STATE_DIRECTORY": "/var/lib/agentd:/var/lib/other"}, "/var/lib/agentd"),
        ({"STATE_DIRECTORY": ""}, "/home/someone/.local/state/agentd"),
    ],
)
def test_the_state_directory(monkeypatch, environment, state):
    """What systemd gives goes first (several folders are divided by colons), then XDG's; that must be absolute."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert directories.state_directory() == Path(state)


@pytest.mark.parametrize(
    ("environment", "runtime"),
    [
        ({}, "/home/someone/.local/state/agentd/run"),
        ({"STATE_DIRECTORY": "/var/lib/agentd"}, "/var/lib/agentd/run"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/agentd"),
        ({"XDG_RUNTIME_DIR": "relative"}, "/home/someone/.local/state/agentd/run"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/agentd:/run/b"}, "/run/agentd"),
    ],
)
def test_the_runtime_directory(monkeypatch, environment, runtime):
    """What systemd gives goes first, then XDG's, then a folder beside the state."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert directories.runtime_directory() == Path(runtime)
    assert directories.socket_path() == Path(runtime) / "agentd.sock"


def test_a_running_agent_is_looked_for_at_home_first(monkeypatch):
    """Then where the service has its socket; each place once."""
    service = Path("/run/agentd/agentd.sock")
    assert directories.socket_candidates() == [Path("/home/someone/.local/state/agentd/run/agentd.sock"), service]
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/agentd")
    assert directories.socket_candidates() == [service]
