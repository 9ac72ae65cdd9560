"""The effective settings as TOML: every value that counts, and where it comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agentd.config.problems import DEFAULT, Path
from agentd.config.settings import SECTIONS, Settings
from agentd.config.source import Document, reference
from agentd.config.spelling import key, toml
from agentd.options import Secret


def show(settings: Settings) -> str:
    """Return all settings, the origin of each behind it. Secrets are ``"***"``; what was referred to stays a reference.

    The result is valid TOML. Options that are not set are left out.
    """
    document = settings.document
    lines: list[str] = []
    for name in SECTIONS:
        lines += [f"[{name}]", *_fields(getattr(settings, name), (name,), document), ""]
    for instance in settings.instances:
        path: Path = (instance.kind, instance.name)
        lines.append(f"[{instance.kind}.{key(instance.name)}]  # {instance.reason}")
        lines += _fields(instance.keys, path, document)
        if instance.config is None:
            lines.append("# The plugin could not be loaded: its own options are not known.")
        else:
            lines += _fields(instance.config, path, document)
        lines.append("")
    lines += (f"# {name}: {reason}" for name, reason in settings.disabled.items())
    return "\n".join(lines).rstrip("\n") + "\n"


def _fields(struct: msgspec.Struct, path: Path, document: Document) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value is not None:
            yield from _lines(value, (field.encode_name,), path, document)


def _lines(value: Any, keys: Path, section: Path, document: Document) -> Iterator[str]:
    """Yield a value's line, or one for each entry of a table: they may come from different files."""
    path = section + keys
    raw = _raw(document, path)
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _lines(item, (*keys, name), section, document)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            if item is not None:
                yield from _lines(item, (*keys, field.encode_name), section, document)
    else:
        origin = document.origins.get(path, DEFAULT)
        yield f"{'.'.join(map(key, keys))} = {_text(value, raw)}  # {origin}"


def _text(value: Any, raw: Any) -> str:
    if isinstance(value, list | tuple):
        raws = raw if isinstance(raw, list) and len(raw) == len(value) else [None] * len(value)
        return "[" + ", ".join(map(_text, value, raws)) + "]"
    if isinstance(value, msgspec.Struct) and isinstance(raw, Mapping):
        items = {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
        return _table({name: item for name, item in items.items() if item is not None}, raw)
    if isinstance(value, Mapping) and isinstance(raw, Mapping):
        return _table(value, raw)
    if isinstance(value, set | frozenset) and isinstance(raw, list) and any(map(reference, raw)):
        secret = any(isinstance(item, Secret) for item in value)
        return toml([Secret("") if secret and not reference(item) else item for item in raw])
    return toml(raw if reference(raw) else value)


def _table(items: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    pairs = (f"{key(name)} = {_text(item, raw.get(name))}" for name, item in items.items())
    return "{ " + ", ".join(pairs) + " }" if items else "{}"


def _raw(document: Document, path: Path) -> Any:
    """Return what the files say at a path; None where they say nothing."""
    value: Any = document.values
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
