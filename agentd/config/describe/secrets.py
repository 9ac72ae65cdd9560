"""Where the secrets of a configuration are."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agentd.config.problems import Path
from agentd.config.settings import SECTIONS, Settings
from agentd.options import Secret


def secrets(settings: Settings) -> Iterator[tuple[Path, Secret]]:
    """Yield each secret that is set, with the keys that lead to it."""
    for name in SECTIONS:
        yield from _within(getattr(settings, name), (name,))
    for instance in settings.instances:
        for struct in (instance.keys, instance.config):
            yield from _within(struct, (instance.kind, instance.name))


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
