"""A machine that is not there: ``/proc``, ``/sys`` and other files, made in a folder from what a test says."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agentd.plugin import HostPaths

__tracebackhide__ = True


class Symlink(str):
    """What a symbolic link points to: ``{"class/net/eth0": Symlink("../../devices/virtual/net/eth0")}``."""

    __slots__ = ()


Files = Mapping[str, str | bytes | Symlink]
"""Contents by relative path. A path that ends in a slash is a folder, and holds nothing."""

Root = str | Path | HostPaths
"""A folder that looks like the root of a machine (it has ``proc`` and ``sys``), or the paths of all of them."""


def paths_below(root: Root) -> HostPaths:
    """Return where everything is on a machine whose root is this folder."""
    if isinstance(root, HostPaths):
        return root
    begin = str(root).rstrip("/")
    return HostPaths(
        procfs=f"{begin}/proc", sysfs=f"{begin}/sys", rootfs=begin or "/", udev_data=f"{begin}/run/udev/data"
    )


def write(folder: Path, files: Files) -> None:
    """Make files in a folder. Raises ``ValueError`` for a path that would lead out of it."""
    for name, content in files.items():
        path = folder / name
        if name.startswith("/") or ".." in path.parts:
            raise ValueError(f"{name!r}: expected a path below {folder}, such as {name.lstrip('/.')!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, Symlink):
            path.symlink_to(content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def machine(
    *, proc: Files | None = None, sys: Files | None = None, files: Files | None = None, root: Root | None = None
) -> Iterator[HostPaths]:
    """Give a machine for a while: a new one with these files and no others, or the one that is at ``root``.

    ``proc`` are files below ``/proc``, ``sys`` below ``/sys``, ``files`` anywhere else (``{"etc/os-release": "…"}``).
    ``root="/"`` is this very machine. Raises ``ValueError`` where both files and a root are given.
    """
    if root is not None:
        if proc is not None or sys is not None or files is not None:
            raise ValueError("expected either root, a machine that is there, or files of which to make one")
        yield paths_below(root)
        return
    with tempfile.TemporaryDirectory(prefix="agentd-machine-") as name:
        folder = Path(name)
        for place, content in (("proc", proc), ("sys", sys), (".", files)):
            (folder / place).mkdir(exist_ok=True)
            write(folder / place, content or {})
        yield paths_below(folder)
