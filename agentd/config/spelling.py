"""Values as one writes them in TOML."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from agentd.options import Duration, Regex, Secret, Size

_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(32), 127)} | str.maketrans(
    {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
)
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@\"']*:)[^@\s\"']+@")
_LONGEST = 60


def toml(value: object) -> str:
    """Return a value in TOML; a secret is ``"***"``, and so is the password in a URL."""
    return without_passwords(_written(value, tables=True))


def without_passwords(text: str) -> str:
    """Return a text in which the passwords of URLs are ``***``."""
    return _PASSWORD_IN_URL.sub(r"\1***@", text)


def found(value: object) -> str:
    """Return what was found in place of something else: in TOML, at most 60 characters, nothing of tables."""
    if isinstance(value, Mapping):
        return "a table"
    text = without_passwords(_written(value, tables=False))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def key(name: str) -> str:
    """Return a key, in quotes where TOML wants them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _written(value: Any, *, tables: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Secret):
        return '"***"'
    if isinstance(value, Duration | Size | Regex | str):
        return _quoted(str(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, msgspec.Struct):
        value = {name: item for name, item in msgspec.structs.asdict(value).items() if item is not None}
    if isinstance(value, Mapping):
        pairs = (f"{key(name)} = {_written(item, tables=tables)}" for name, item in value.items())
        return "{ ... }" if not tables and value else "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple | AbstractSet):
        items = sorted(value, key=str) if isinstance(value, AbstractSet) else value
        return "[" + ", ".join(_written(item, tables=tables) for item in items) + "]"
    return str(value)  # dates and times


def _quoted(text: str) -> str:
    # Regular expressions read best as literal strings, in which a backslash is a backslash.
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return '"' + text.translate(_ESCAPES) + '"'
