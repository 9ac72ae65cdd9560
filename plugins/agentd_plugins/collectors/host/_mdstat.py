"""Reads /proc/mdstat, in which the kernel writes for people how its disk arrays are (md(4))."""

import re
from collections.abc import Sequence
from typing import NamedTuple

DISKS = re.compile(r"\[(\d{1,9})/(\d{1,9})\] \[[U_]+\]")
"""How many disks an array has when it is whole, how many work, and which."""

PROGRESS = re.compile(r"\((\d{1,18})/\d{1,18}\)")
"""How many blocks a run has done, and how many it has to do."""

RUNS = {"recovery": "recovering", "reshape": "reshaping", "check": "checking", "resync": "resyncing"}
"""What an array may be busy with, and what its state is then called."""

WAITING = ("PENDING", "DELAYED")
"""What stands in the place of the progress before a run has begun."""

WITHOUT_REDUNDANCY = frozenset({"raid0", "linear"})
"""Kinds of arrays that need all of their disks, so that the kernel does not count them."""


class Array(NamedTuple):
    """A disk array; None stands for what the file does not say of it, or not in a form that is known."""

    name: str
    state: str
    required: float | None
    active: float | None
    failed: float
    spare: float
    blocks: float | None
    synced: float | None


def parse(text: bytes) -> list[Array]:
    """Return the arrays in a /proc/mdstat. A line that cannot be understood costs what it would have said."""
    arrays = []
    lines = text.decode("utf-8", "replace").split("\n")
    for place, line in enumerate(lines):
        words = line.split()
        if line[:1].isspace() or words[1:2] != [":"] or words[0] == "Personalities" or len(words) < 3:
            continue
        end = next((n for n in range(place + 1, len(lines)) if not lines[n][:1].isspace()), len(lines))
        arrays.append(_array(words, lines[place + 1 : end]))
    return arrays


def _array(words: Sequence[str], lines: Sequence[str]) -> Array:
    status, busy = (lines[0] if lines else ""), lines[1:]
    size = status.split()[:1]
    blocks = float(size[0]) if size and size[0].isdecimal() else None
    required, active = _disks(words, status)
    state, synced = words[2], blocks
    for line in busy:
        if line.strip().startswith("bitmap:"):  # the name of its file may be anything
            continue
        run = next((run for run in RUNS if run in line), None)
        if run is not None:
            state, synced = RUNS[run], _progress(line)
    flags = "".join(words[3:])
    return Array(
        words[0], state, required, active, float(flags.count("(F)")), float(flags.count("(S)")), blocks, synced
    )


def _disks(words: Sequence[str], status: str) -> tuple[float | None, float | None]:
    if not WITHOUT_REDUNDANCY.isdisjoint(words):
        members = float(sum("[" in word for word in words))
        return members, members
    if words[2] == "inactive":
        return 0.0, 0.0
    match = DISKS.search(status)
    return (float(match[1]), float(match[2])) if match else (None, None)


def _progress(line: str) -> float | None:
    if any(word in line for word in WAITING):
        return 0.0
    match = PROGRESS.search(line)
    return float(match[1]) if match else None
