"""Where secrets are in options, and texts without them: servers repeat in their errors what they were told."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from agentd.options import Secret

Path = tuple[str, ...]

SHORTEST = 3
"""Characters of a secret that is looked for: a shorter one would be found in every other word."""


def secrets(value: Any, path: Path = ()) -> Iterator[tuple[Path, Secret]]:
    """Yield each secret that is set in options, however deep, with the keys that lead to it."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from secrets(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from secrets(item, (*path, str(name)))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from secrets(item, (*path, str(index)))


def hiding(found: Iterable[Secret]) -> Callable[[str], str]:
    """Return what makes ``***`` of these secrets in a text, whether they stand there as they are, or quoted as Python,
    JSON or a URL quotes them.
    """
    spellings: set[str] = set()
    for text in {secret.reveal() for secret in found}:
        if len(text) >= SHORTEST:
            spellings |= {text, quote(text, safe=""), msgspec.json.encode(text).decode()[1:-1], repr(text)[1:-1]}
    ordered = sorted(spellings, key=len, reverse=True)

    def hide(text: str) -> str:
        for spelling in ordered:
            text = text.replace(spelling, "***")
        return text

    return hide
