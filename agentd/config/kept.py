"""The last configuration that could be used, kept in the state directory for a start at which that of the files cannot.

A robot that nobody looks after must not go blind over a typo.
"""

import contextlib
import os
import stat
from pathlib import Path

import msgspec

from agentd.config.source import Document


def keep(document: Document, file: Path) -> None:
    """Write down what the files say, for nobody else to read: it may have passwords. Raises ``OSError``."""
    content = msgspec.json.encode(document.values)
    with contextlib.suppress(OSError):
        if file.lstat().st_mode == stat.S_IFREG | 0o600 and file.read_bytes() == content:
            return
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)  # a file or link that somebody else has put there would decide who reads it
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def kept(file: Path) -> Document | None:
    """Return what was kept; None where there is nothing that can be read."""
    try:
        values = msgspec.json.decode(file.read_bytes(), type=dict)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Document(values, files=(file,))
