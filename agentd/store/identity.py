"""Who this agent is: an id that outlives restarts, is renewed on a cloned machine, and counts its journals."""

import os
import re
import uuid
from pathlib import Path

import msgspec

GENERATION = 1 << 40
"""Sequence numbers of one journal. The next one, begun because that was lost, goes on above all of them."""

LAST = (1 << 53) - 1
"""The highest number that every JSON reader has: there is room for 8,192 journals below."""


class Identity(msgspec.Struct, frozen=True):
    """What ``agent.json`` in the state directory holds."""

    agent_id: str
    """A UUID; no two agents have the same."""
    machine_id: str = ""
    """The machine on which that id was made; where it is another one, the state directory was cloned."""
    generation: int = 0
    """How many journals were begun here. The present one's numbers lie above ``first``."""

    @property
    def first(self) -> int:
        """The number below those of the present journal."""
        return max(0, self.generation - 1) * GENERATION

    def next_journal(self, highest: int) -> "Identity":
        """Return the identity that begins another journal, after one whose highest number was this."""
        known = max(self.generation, highest // GENERATION + 1 if highest else 0)
        return msgspec.structs.replace(self, generation=known + 1)


def load(directory: Path, machine_id: str) -> Identity:
    """Return the identity that is kept in a state directory; a new one, kept from now on, where there is none.

    A file that cannot be understood counts as none. Raises ``OSError`` where the new one cannot be kept.
    """
    identity = read(directory)
    if identity is None:
        identity = Identity(str(uuid.uuid4()), machine_id)
        save(directory, identity)
    if machine_id and identity.machine_id != machine_id:
        known = identity.machine_id  # unknown until now, it was not cloned
        identity = msgspec.structs.replace(
            identity, machine_id=machine_id, agent_id=str(uuid.uuid4()) if known else identity.agent_id
        )
        save(directory, identity)
    return identity


def read(directory: Path) -> Identity | None:
    """Return the identity that is kept in a state directory; None where there is none that could be used."""
    try:
        identity = msgspec.json.decode((directory / "agent.json").read_bytes(), type=Identity)
        uuid.UUID(identity.agent_id)
    except (OSError, ValueError):  # those of msgspec and of Unicode are ValueErrors
        return None
    return identity if 0 <= identity.first < LAST else None


def save(directory: Path, identity: Identity) -> None:
    """Keep an identity: the file has the old or the new one at any moment, and a power cut does not take it back."""
    path = directory / "agent.json"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)  # it may be a link of somebody else's
    with new.open("xb") as file:
        file.write(msgspec.json.encode(identity) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def machine_id(root: Path = Path("/")) -> str:
    """Return the machine's id; nothing where it has none, or none yet: ``uninitialized`` in machine-id(5)."""
    try:
        found = (root / "etc/machine-id").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return found if re.fullmatch("[0-9a-f]{32}", found) else ""


def boot_id(procfs: str = "/proc") -> str:
    """Return the id of this boot of the machine (random(4)); nothing where the kernel does not tell."""
    try:
        return Path(procfs, "sys/kernel/random/boot_id").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
