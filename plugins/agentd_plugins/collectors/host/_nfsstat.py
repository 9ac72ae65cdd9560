"""Reads the statistics of NFS client and server, /proc/net/rpc/nfs and nfsd (nfsstat(8))."""

from collections.abc import Mapping, Sequence

Lines = Mapping[bytes, Sequence[float]]

CALLS_2 = (
    "Null GetAttr SetAttr Root Lookup ReadLink Read WrCache Write Create Remove Rename Link SymLink MkDir RmDir "
    "ReadDir FsStat"
).split()
"""The procedures of NFS 2 in the order of their numbers (RFC 1094), under node_exporter's names."""

CALLS_3 = (
    "Null GetAttr SetAttr Lookup Access ReadLink Read Write Create MkDir SymLink MkNod Remove RmDir Rename Link "
    "ReadDir ReadDirPlus FsStat FsInfo PathConf Commit"
).split()
"""The procedures of NFS 3 in the order of their numbers (RFC 1813), under node_exporter's names."""


def parse(text: bytes) -> dict[bytes, list[float]]:
    """Return the numbers in each line by its first word.

    Lines whose numbers begin with how many follow (``proc3`` and its like) are returned without that count. Raises
    ``ValueError`` where it is wrong, and for anything else than numbers.
    """
    lines = {}
    for line in text.splitlines():
        name, *words = line.split() or [b""]
        numbers = [float(word) for word in words]
        if not numbers:
            raise ValueError(f"expected a name and numbers in a line about NFS, found {line[:80]!r}")
        if name.startswith(b"proc"):
            count, *numbers = numbers
            if count != len(numbers):
                raise ValueError(f"expected {count:.0f} numbers after the first one, found {line[:80]!r}")
        lines[name] = numbers
    return lines


def row(lines: Lines, name: bytes, length: int) -> list[float]:
    """Return as many numbers of a line: what this kernel does not count is 0, as in node_exporter."""
    numbers = list(lines.get(name, ())[:length])
    return numbers + [0.0] * (length - len(numbers))
