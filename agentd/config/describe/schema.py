"""JSON Schema of the configuration (draft 2020-12), by which editors complete and check it while one types."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import tomli

from agentd.config.describe.options import default, field_docs, paragraphs
from agentd.config.resolve import KEYS
from agentd.config.settings import SECTIONS, Switches
from agentd.config.spelling import toml
from agentd.config.wording import arms, bare, bounds, choices, element, entry, example, is_struct
from agentd.options import PARSED, Config, Duration, Regex, Secret, Size, Url

_TYPES: dict[object, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Duration: {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|[smhdw]))+$"},
    Size: {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?([KMGT]i?B|B)$"},
    Regex: {"type": "string", "format": "regex"},
    Url: {"type": "string", "format": "uri"},
    Secret: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
}
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}
_REFERENCE = {"$ref": "#/$defs/reference"}


def schema(entries: Iterable[tuple[str, str, str, type[Config]]]) -> dict[str, Any]:
    """Return the schema for the core's sections and those of the plugins that are given."""
    entries = list(entries)
    sections: dict[str, Any] = {name: _table(type_) for name, type_ in SECTIONS.items()}
    definitions: dict[str, Any] = {
        "reference": {
            "description": "What an environment variable, a file or a credential of systemd holds.",
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("env", "file", "credential")},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
    }
    for kind, keys in KEYS.items():
        plugins = {name: (doc, type_) for each, name, doc, type_ in entries if each == kind}
        for name, (doc, type_) in plugins.items():
            definitions[f"{kind}.{name}"] = _table(type_, beside=keys) | {"description": _summary(doc)}
        sections[kind] = _kind(kind, list(plugins))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentd configuration",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _kind(kind: str, plugins: list[str]) -> dict[str, Any]:
    """Return the schema of ``[collectors]``: a section by a plugin's name, or by any other with ``plugin`` in it."""
    # That a section of one plugin's name is of another plugin is allowed, and too odd to complicate this for.
    properties = {name: {"$ref": f"#/$defs/{kind}.{name}"} for name in plugins}
    cases = [
        {"if": {"properties": {"plugin": {"const": name}}, "required": ["plugin"]}, "then": reference}
        for name, reference in properties.items()
    ]
    return {
        "type": "object",
        "properties": _table(Switches)["properties"] | properties,
        "additionalProperties": {
            "type": "object",
            "required": ["plugin"],
            "properties": {"plugin": {"type": "string", "examples": plugins}},
            **({"allOf": cases} if cases else {}),
        },
    }


def _table(type_: type[msgspec.Struct], beside: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for each in (beside, type_):
        docs = {} if each is None else field_docs(each)
        for field in () if each is None else msgspec.structs.fields(each):
            described = _value(field.type)
            if field.name in docs:
                described["description"] = _markdown(docs[field.name])
            if field.required:
                required.append(field.encode_name)
            elif (value := default(field)) is not None:
                described["default"] = _plain(value)
            properties[field.encode_name] = described
    table: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if type_.__doc__:
        table["description"] = _summary(type_.__doc__)
    return table | ({"required": required} if required else {})


def _value(type_: Any) -> dict[str, Any]:
    """Return the schema of a value, in whose place a reference may stand unless it is a table."""
    alternatives = [_arm(arm) for arm in arms(type_)]
    if not any(entry(arm) is not None or is_struct(arm) or element(arm) is not None for arm in arms(type_)):
        alternatives.append(_REFERENCE)
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _arm(type_: Any) -> dict[str, Any]:
    plain = bare(type_)
    result: dict[str, Any]
    if choices(type_):
        return {"enum": list(choices(type_))}
    if (inner := element(type_)) is not None:
        result = {"type": "array", "items": _value(inner)}
    elif (inner := entry(type_)) is not None:
        result = {"type": "object", "additionalProperties": _value(inner)}
    elif is_struct(type_):
        return _table(plain)
    else:
        result = dict(_TYPES.get(plain, {}))
        if plain in PARSED and plain is not Secret:
            result["examples"] = [_plain(tomli.loads(f"example = {example(plain)}")["example"])]
    for name, bound in bounds(type_).items():
        if name in _BOUNDS:
            result[_BOUNDS[name]] = bound
        elif result.get("type") in _LENGTHS:
            result[name[:3] + _LENGTHS[result["type"]]] = bound
    return result


def _plain(value: object) -> Any:
    """Return a default as JSON has it, which is as TOML has it: durations and the like are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    plain = tomli.loads(f"value = {toml(value)}")["value"]
    return dict(plain) if isinstance(plain, Mapping) else plain


def _summary(doc: str) -> str:
    return _markdown(" ".join(paragraphs(doc)[:1]))


def _markdown(text: str) -> str:
    return text.replace("``", "`")  # which is how editors show descriptions
