"""What plugins that write files have in common: whether they could, found out without writing anything."""

import os
import stat
from pathlib import Path


def could_write(path: Path) -> str:
    """Return that a file, which may not be there yet, can be written to by this process; raises ``OSError`` if not."""
    if path.exists():
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileExistsError(f"{path} is no regular file")
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} cannot be written to by {_user()}")
    could_make(path)
    return f"{path} can be written"


def could_replace(path: Path) -> str:
    """Return that a file can be put into its folder, which is there; raises ``OSError`` if not."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is not there")
    could_make(path)
    return f"{path} can be written"


def could_make(path: Path) -> None:
    """Raise ``OSError`` where this process could not make a file, and the folders around it that are not there."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{_user()} cannot make files in {folder}")


def _user() -> str:
    return f"this user ({os.geteuid()})"
