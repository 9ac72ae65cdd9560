"""Where the agent keeps what must survive it, and where its socket lies while it runs."""

import os
from pathlib import Path


def state_directory() -> Path:
    """Return ``$STATE_DIRECTORY`` (set by systemd), or ``$XDG_STATE_HOME/agentd``, or ``~/.local/state/agentd``."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "agentd"


def runtime_directory() -> Path:
    """Return ``$RUNTIME_DIRECTORY`` (set by systemd), or ``$XDG_RUNTIME_DIR/agentd``, or ``run`` beside the state."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(home) / "agentd" if home.startswith("/") else state_directory() / "run"


def credentials() -> Path:
    """Return where systemd puts the service's credentials (``LoadCredential=``): ``$CREDENTIALS_DIRECTORY``.

    Outside of the service, where root checks its configuration say, it is the folder of the service that runs.
    """
    return Path(os.environ.get("CREDENTIALS_DIRECTORY") or "/run/credentials/agentd.service")


def socket_path() -> Path:
    """Return where an agent that is started now puts its socket."""
    return runtime_directory() / "agentd.sock"


def socket_candidates() -> list[Path]:
    """Return where the command line looks for a running agent's socket: its own place first, then the service's."""
    return list(dict.fromkeys((socket_path(), Path("/run/agentd/agentd.sock"))))


def configuration_file() -> Path:
    """Return where the last configuration that could be used is kept."""
    return state_directory() / "configuration.json"


def resting_file() -> Path:
    """Return where it is written down which plugins are left out after a start, because they held up the agent."""
    return state_directory() / "resting.json"


def held_file() -> Path:
    """Return where the running agent notes who has its event loop: in memory, where the runtime directory is there."""
    return runtime_directory() / "held"
