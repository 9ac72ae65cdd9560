"""Changes of a file of tokens: one table at a time, the rest of the file as it is, and all at once or not at all."""

import contextlib
import fcntl
import grp
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentd.config.problems import ConfigError
from agentd.config.spelling import key, toml
from agentd.config.tokens import Token, read_tokens

GROUP = "agentd"
"""The group that may read a new file, where there is such a group: that of the service."""

Table = Mapping[str, Any]


class TokenFileError(Exception):
    """The file cannot be changed; the text says why, and what to do."""


def new_token() -> tuple[str, str]:
    """Return a token that nobody can guess, and its SHA-256 in hexadecimal."""
    token = f"agentd_{secrets.token_urlsafe(32)}"
    return token, sha256(token.encode()).hexdigest()


def table_of(token: Token, digest: str | None = None, previous: list[tuple[str, datetime]] | None = None) -> Table:
    """Return the table that a token has in the file, with the digest and those before it in place of its own."""
    before = [(each.sha256.reveal(), each.expires) for each in token.previous] if previous is None else previous
    table = {
        "sha256": token.digest().hex() if digest is None else digest,
        "scopes": [str(scope) for scope in token.scopes],
        "robots": list(token.robots),
        "expires": token.expires,
        "previous": [{"sha256": hexadecimal, "expires": ends} for hexadecimal, ends in before],
    }
    return {name: value for name, value in table.items() if value not in (None, [])}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile. Raises ``TokenFileError`` where there is no such folder."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise TokenFileError(f"cannot open {path.parent}: {(error.strerror or str(error)).lower()}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def tokens_of(path: Path) -> dict[str, Token]:
    """Return the tokens of a file; none where there is none yet. Raises ``TokenFileError``."""
    if not path.exists():
        return {}
    try:
        return read_tokens(path)
    except ConfigError as error:
        raise TokenFileError(f"the file of tokens is not right:\n{error}") from None


def put(path: Path, name: str, table: Table | None) -> None:
    """Put a table in the place of the one of this name, or behind the others; with None, take it out.

    The file keeps owner, group and mode; a new one is for its owner, and the service's group where root makes it. What
    is written is read before it counts. Raises ``TokenFileError``; then the file is as it was.
    """
    try:
        path = path.resolve()
        text = path.read_text("utf-8") if path.exists() else ""
        changed = with_table(text, name, table)
        _write(path, changed)
    except OSError as error:
        raise TokenFileError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def with_table(text: str, name: str, table: Table | None) -> str:
    """Return the text of a file with a table in the place of the one of this name. Raises ``TokenFileError`` where the
    file is written in a way that leaves it open where the table ends.
    """
    import tomli

    from agentd.config.lines import find_lines

    before = tomli.loads(text)
    expected = {**before, name: dict(table)} if table is not None else {**before}
    if table is None:
        expected.pop(name, None)
    block = [] if table is None else [f"[{key(name)}]", *(f"{key(k)} = {toml(value)}" for k, value in table.items())]
    lines = text.rstrip("\n").split("\n") if text.strip("\n") else []
    if name in before:
        places = find_lines(text)
        start = places[(name,)] - 1
        end = min((places[(each,)] - 1 for each in before if places[(each,)] - 1 > start), default=len(lines))
        while end > start + 1 and lines[end - 1].lstrip()[:1] in ("", "#"):  # what stands above the next belongs to it
            end -= 1
        lines[start:end] = block
    else:
        lines += [*([""] if lines else []), *block]
    changed = "\n".join(lines).lstrip("\n") + "\n" if lines else ""
    try:
        after = tomli.loads(changed)
    except ValueError:
        after = None
    if after != expected:
        raise TokenFileError(f"the table {key(name)} is written in a way that only a person can change: edit the file")
    return changed


def _write(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            _own(stream.fileno(), path)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        read_tokens(Path(temporary))
        Path(temporary).replace(path)
    except ConfigError as error:
        raise TokenFileError(str(error).replace(temporary, str(path))) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _own(descriptor: int, path: Path) -> None:
    """Give a file the owner, group and mode of the one that it replaces, or those of a new one."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                os.fchown(descriptor, 0, grp.getgrnam(GROUP).gr_gid)
                os.fchmod(descriptor, 0o640)
        return
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o777)
