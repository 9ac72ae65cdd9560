"""Where the secrets of a configuration are, and texts without them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from agentd.config.problems import Path
from agentd.config.settings import SECTIONS, Settings
from agentd.config.spelling import without_passwords
from agentd.options import Secret


def secrets(settings: Settings) -> Iterator[tuple[Path, Secret]]:
    """Yield each secret that is set, with the keys that lead to it."""
    for name in SECTIONS:
        yield from _within(getattr(settings, name), (name,))
    for instance in settings.instances:
        for struct in (instance.keys, instance.config):
            yield from _within(struct, (instance.kind, instance.name))


SHORTEST = 4
"""Characters of a secret that is looked for: a shorter one would be found in every other word."""

_CREDENTIAL = re.compile(r"((?:Bearer|Basic) )[A-Za-z0-9+/=._~-]+")


def hiding(settings: Settings) -> Callable[[str], str]:
    """Return what makes ``***`` of every secret in a text, of passwords in URLs, and of credentials in headers.

    Nothing that agentd writes should have any. This is for what somebody gives away: the last look before that.
    """
    spellings: set[str] = set()
    for _, secret in secrets(settings):
        text = secret.reveal()
        if len(text) >= SHORTEST:
            spellings |= {text, quote(text, safe=""), msgspec.json.encode(text).decode()[1:-1], repr(text)[1:-1]}
    ordered = sorted(spellings, key=len, reverse=True)

    def hide(text: str) -> str:
        for spelling in ordered:
            text = text.replace(spelling, "***")
        return _CREDENTIAL.sub(r"\1***", without_passwords(text))

    return hide


def _within(value: Any, path: Path) -> Iterator[tuple[Path, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _within(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _within(item, (*path, str(name)))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _within(item, (*path, str(index)))
