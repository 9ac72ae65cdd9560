"""Reads what the NFS client counts for each mount, from mountstats and mountinfo files (proc_pid_mountstats(5))."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agentd_plugins.collectors.host._mountinfo import label

BYTES, EVENTS, TRANSPORT, OPERATION = 8, 27, 13, 8
"""How many numbers are told of the bytes, the events, a transport and an operation of a mount."""

LACKING = {b"tcp": (TRANSPORT, 0), b"udp": (2, 3), b"rdma": (10, 3)}
"""From which number on others lack how many of those of TCP: UDP all about connections, RDMA about slots and queues."""


class Transport(NamedTuple):
    """A connection to a server: its protocol, and numbers as those of TCP (net/sunrpc/xprtsock.c in the kernel)."""

    protocol: str
    numbers: list[int]


class NfsMount(NamedTuple):
    r"""A mounted export and what the client counts for it. A blank in its names is as in the file, ``\040``."""

    place: int
    """How many mounts stand before it in the file."""
    export: str
    mountpoint: str
    age: int
    bytes: list[int]
    events: list[int]
    transports: list[Transport]
    operations: dict[str, list[int]]


def parse(text: bytes) -> list[NfsMount]:
    """Return the NFS mounts in a mountstats file. What an older kernel does not count is 0.

    Raises ``ValueError`` where something else than a number stands in the place of one.
    """
    mounts = []
    for place, lines in enumerate(_paragraphs(text)):
        words = lines[0]
        if len(words) > 8 and words[0] == b"device" and words[7] in {b"nfs", b"nfs4"}:
            mounts.append(_mount(place, label(words[1]), label(words[4]), lines[1:]))
    return mounts


def addresses(text: bytes) -> list[str]:
    """Return the server's address for each mount in a mountinfo file, nothing for one without."""
    return [label(_option(line.rpartition(b" ")[2], b"addr=")) for line in text.splitlines()]


def _option(options: bytes, name: bytes) -> bytes:
    return next((option.removeprefix(name) for option in options.split(b",") if option.startswith(name)), b"")


def _paragraphs(text: bytes) -> Iterator[list[list[bytes]]]:
    """Yield the lines about each mount, as words; the first one says what is mounted where."""
    lines: list[list[bytes]] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [b"device"] or words[:2] == [b"no", b"device"]:
            if lines:
                yield lines
            lines = [words]
        elif words and lines:
            lines.append(words)
    if lines:
        yield lines


def _mount(place: int, export: str, mountpoint: str, lines: list[list[bytes]]) -> NfsMount:
    head: dict[bytes, list[bytes]] = {}
    transports = []
    operations = {}
    per_operation = False
    for name, *values in lines:
        if per_operation:
            operations[label(name.removesuffix(b":"))] = _numbers(values, OPERATION)
        elif name == b"per-op":
            per_operation = True
        elif name == b"xprt:" and values and values[0] in LACKING:
            start, count = LACKING[values[0]]
            numbers = [*values[1 : start + 1], *[b"0"] * count, *values[start + 1 :]]
            transports.append(Transport(values[0].decode(), _numbers(numbers, TRANSPORT)))
        else:
            head[name] = values
    (age,) = _numbers(head.get(b"age:", ()), 1)
    counted = _numbers(head.get(b"bytes:", ()), BYTES), _numbers(head.get(b"events:", ()), EVENTS)
    return NfsMount(place, export, mountpoint, age, *counted, transports, operations)


def _numbers(words: Sequence[bytes], length: int) -> list[int]:
    numbers = [int(word) for word in words[:length]]
    return numbers + [0] * (length - len(numbers))
