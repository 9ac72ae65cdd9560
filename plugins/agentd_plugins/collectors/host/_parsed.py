"""Reads files of procfs with a parser, so that what cannot be understood is told with the name of its file."""

from collections.abc import Callable
from typing import TypeVar

from agentd.plugin import Host

Found = TypeVar("Found")


def parsed(host: Host, name: str, parse: Callable[[bytes], Found]) -> Found:
    """Return what a parser makes of a file of procfs.

    Raises ``OSError`` where it cannot be read, and ``ValueError`` with its path where it cannot be understood.
    """
    text = host.proc(name)
    try:
        return parse(text)
    except (ValueError, OverflowError) as error:  # the latter of numbers that are no float
        raise ValueError(f"{host.paths.procfs}/{name}: {error}") from None
