"""What ``agentd doctor`` has to know, as plain data: ``gather`` finds it out, and the checks only look at it."""

from collections.abc import Mapping

import msgspec

from agentd.status import Status


class User(msgspec.Struct, frozen=True):
    """Whom the agent runs as, or will."""

    uid: int
    groups: frozenset[int]
    name: str = ""
    capabilities: int = 0
    """The bits of ``CapEff`` in proc_pid_status(5)."""


class Owned(msgspec.Struct, frozen=True):
    """A file or folder: whose it is, and its mode."""

    path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0


class File(msgspec.Struct, frozen=True):
    """A file that the agent reads, and the folders that lead to it, from the root."""

    what: str
    """What it is there for: ``configuration``, ``sinks.fleet.password`` …"""
    path: str
    confidential: bool = False
    """Whether others must not read it."""
    owned: Owned | None = None
    """None where it is not there, or this user may not know."""
    folders: tuple[Owned, ...] = ()
    error: str = ""
    """Why it cannot be looked at; empty where it can."""


class Address(msgspec.Struct, frozen=True):
    """Where the agent is to listen."""

    text: str
    port: int
    held: bool = False
    """Whether the running agent listens there."""
    error: str = ""
    """Why nobody could listen there now; empty where somebody could."""


class Disk(msgspec.Struct, frozen=True):
    """The file system of the state directory."""

    free: int
    """Bytes that the agent may still use."""
    journal: int
    """Bytes that the journal has now."""
    largest: int
    """Bytes that the journal may have."""
    read_only: bool = False
    no_files_left: bool = False


class Library(msgspec.Struct, frozen=True):
    """A library, and who needs it."""

    name: str
    least: str = ""
    """The oldest version that will do; empty where any will."""
    version: str | None = None
    """The one that is installed."""
    extra: str = ""
    """The extra that it belongs to; empty for those of the agent itself."""
    plugins: tuple[str, ...] = ()
    """The plugins that are enabled and need it."""


class Trial(msgspec.Struct, frozen=True):
    """What came of trying the collectors with the rights of the agent's user, but without its unit."""

    tried: int = 0
    refused: Mapping[str, str] = {}
    """Those that may not ask for what they tell, and what would grant it."""
    failed: Mapping[str, str] = {}
    left_out: tuple[str, ...] = ()
    """Those that were not tried: they are others' code, or trying would change something."""
    error: str = ""
    """Why none could be tried."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: str
    python: str
    status: Status | None = None
    """What the running agent says; None where none answers."""
    unreachable: str = ""
    """Why none answers."""
    trial: Trial | None = None
    """What came of trying; None where the agent runs, or its configuration cannot be used."""
    user: User
    problems: tuple[str, ...] = ()
    """What is wrong with the configuration."""
    broken: Mapping[str, str] = {}
    """Plugins that cannot be loaded, and why."""
    tokens_problem: str = ""
    """What is wrong with the file of tokens."""
    files: tuple[File, ...] = ()
    plain_secrets: Mapping[str, str] = {}
    """Secrets that stand in a configuration file as they are, and in which."""
    state: File
    kept: File
    """The copy of the last configuration that could be used, in the state directory."""
    socket: File
    """The agent's socket."""
    synchronised: bool | None = None
    disk: Disk | None = None
    addresses: tuple[Address, ...] = ()
    unprivileged_from: int = 1024
    """The lowest port that anybody may listen on."""
    libraries: tuple[Library, ...] = ()
    descriptors: int = 0
    """How many files and sockets the agent may have open."""
    open_descriptors: int | None = None
    """How many it has."""
