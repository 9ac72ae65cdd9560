"""What a function reads, told by the hooks that Python has for auditing (PEP 578)."""

import os
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SHOWN = 3
"""Files of one name in folders side by side, or of one folder, that are named each; more are folded into one line."""

_READ = ("open", "os.listdir", "os.scandir")
_WRITING = os.O_WRONLY | os.O_RDWR


def traced(function: Callable[[], T]) -> tuple[T, list[str]]:
    """Call a function; return what it returned, and what was opened for reading meanwhile, in any thread, in order.

    The hook stays for as long as the process lives, as Python takes none away: this is for the command line alone.
    What is asked by other system calls, the room on a disk say, is not seen.
    """
    found: dict[str, None] = {}
    on = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not on:
            return
        if event in _READ and (event != "open" or not (arguments[2] or 0) & _WRITING):
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike):
                found[os.fsdecode(path)] = None
        elif event == "socket.__new__" and arguments[1] == getattr(socket, "AF_NETLINK", None):
            found[f"a netlink socket (protocol {arguments[3]}, netlink(7))"] = None
        elif event == "socket.connect":
            address = arguments[1]
            where = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else os.fsdecode(address)
            found[f"a connection to {where}"] = None

    sys.addaudithook(hook)
    try:
        result = function()
    finally:
        on = False
    return result, [path for path in found if not _of_python(path)]


def _of_python(path: str) -> bool:
    """Say whether a file belongs to Python, whose modules are imported when they are first needed."""
    if path.endswith((".py", ".pyc", ".so", ".dist-info", "entry_points.txt")) or "__pycache__" in path:
        return True
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    inside = [os.path.realpath(sysconfig.get_path(name)) for name in names]
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(f"{folder}/") for folder in inside)


def folded(paths: list[str]) -> list[str]:
    """Return paths in fewer lines: ``/sys/class/net/*/mtu (12 files)``, ``/proc/tty/* (9 files)``."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(_beside(path), []).append(path)
    lines: list[str] = []
    for pattern, members in groups.items():
        lines += [f"{pattern} ({len(members)} files)"] if len(members) > SHOWN else members
    folders: dict[str, list[str]] = {}
    for line in lines:
        folders.setdefault(str(Path(line).parent) if line.startswith("/") else line, []).append(line)
    shown: list[str] = []
    for folder, members in folders.items():
        plain = [line for line in members if "*" not in line]
        many = len(plain) > SHOWN * 4
        shown += [line for line in members if "*" in line or not many]
        shown += [f"{folder}/* ({len(plain)} files)"] if many else []
    return shown


def _beside(path: str) -> str:
    """Return what files have in common that have one name, in folders side by side."""
    if not path.startswith("/") or path.count("/") < 3:
        return path
    above = Path(path).parent
    return f"{above.parent}/*/{Path(path).name}"
