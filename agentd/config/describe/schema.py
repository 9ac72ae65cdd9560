"""JSON Schema of the configuration, by which editors complete and check it while one types.

Draft 07: what taplo reads, and with it Even Better TOML of VS Code, ends there. Its validator takes ``if``; its
completion goes by ``properties``, ``additionalProperties`` and ``$ref``, beside which it reads nothing else.

A schema sees one file: of a section that is spread over several, or that ``disable`` switches off, it asks for what is
required all the same. A section of one plugin's name that is of another is allowed by the agent, and odd: the schema
takes it for a section of the first.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
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
    Duration: {"type": "string", "pattern": "^([0-9]{1,12}(\\.[0-9]+)?(ms|[smhdw]))+$"},
    Size: {"type": "string", "pattern": "^[0-9]{1,18}(\\.[0-9]+)? ?([KMGT]i?B|B)$"},
    Regex: {"type": "string"},  # no "format": that means another language of expressions than Python's
    Url: {"type": "string", "format": "uri", "pattern": "^[A-Za-z0-9+.-]+:[^ ]+$"},
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
_OFF = {"properties": {"enabled": {"const": False}}, "required": ["enabled"]}

Schema = dict[str, Any]


def schema(
    entries: Iterable[tuple[str, str, str, type[Config]]], broken: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return the schema for the core's sections and those of the plugins that are given.

    ``broken`` are kind and name of plugins that cannot be loaded: nobody knows what their sections may hold.
    """
    entries, broken = list(entries), list(broken)
    sections = {name: {"title": f"[{name}]"} | _table(type_) for name, type_ in SECTIONS.items()}
    definitions: dict[str, Schema] = {"reference": _REFERRED}
    for kind, keys in KEYS.items():
        reserved = _properties(keys, frozenset())
        definitions |= {f"{kind}:{name}": described for name, described in reserved.items()}
        beside = {name: _reference(f"{kind}:{name}") for name in reserved}
        plugins = {name: _section(kind, name, doc, type_, beside) for each, name, doc, type_ in entries if each == kind}
        plugins |= {name: _unknown(kind, name) for each, name in broken if each == kind}
        definitions |= {f"{kind}.{name}": section for name, section in plugins.items()}
        definitions[kind] = _of_own_name(kind, plugins, beside)
        sections[kind] = _kind(kind, plugins)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "agentd configuration",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "definitions": definitions,
    }


_REFERRED: Schema = {
    "title": "reference",
    "description": "What an environment variable, a file or a credential of systemd holds.",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("env", "file", "credential")},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _kind(kind: str, plugins: Iterable[str]) -> Schema:
    """Return the schema of ``[collectors]``: a section by a plugin's name, or by any other with ``plugin`` in it."""
    return {
        "title": f"[{kind}]",
        "type": "object",
        "properties": _properties(Switches, frozenset()) | {name: _reference(f"{kind}.{name}") for name in plugins},
        "propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"},
        "additionalProperties": _reference(kind),
    }


def _of_own_name(kind: str, plugins: Mapping[str, Schema], beside: Mapping[str, Schema]) -> Schema:
    """Return the schema of a section whose name is no plugin's: its ``plugin`` decides what else may be in it."""
    cases = [
        {"if": {"properties": {"plugin": {"const": name}}}, "then": _reference(f"{kind}.{name}")} for name in plugins
    ]
    known = {
        "enum": list(plugins),
        "x-taplo": {"docs": {"enumValues": [each["description"] for each in plugins.values()]}},
    }
    return {
        "title": f"[{kind}.*]",
        "description": "A section of a name of its own: `plugin` says which plugin it configures.",
        "type": "object",
        "required": ["plugin"],
        "properties": {**beside, "plugin": {"anyOf": [known, _reference("reference")]}},
        # As a dependency: of what has ``allOf`` itself, taplo does not see the properties.
        "dependencies": {"plugin": {"allOf": cases}} if cases else {},
    }


def _section(kind: str, name: str, doc: str, type_: type[Config], beside: Mapping[str, Schema]) -> Schema:
    table = _table(type_)
    required = table.pop("required", [])
    table |= {
        "title": f"[{kind}.{name}]",
        "description": _summary(doc),
        "properties": {**beside, **table["properties"]},
    }
    # What is switched off need not be whole.
    return table | ({"if": _OFF, "else": {"required": required}} if required else {})


def _unknown(kind: str, name: str) -> Schema:
    description = "The plugin cannot be loaded: its options are not known."
    return {"title": f"[{kind}.{name}]", "description": description, "type": "object"}


def _table(type_: type[msgspec.Struct], around: frozenset[Any] = frozenset()) -> Schema:
    """Return the schema of a struct; ``around`` are those that it is in, one of which it may be itself."""
    table: Schema = {"type": "object", "properties": _properties(type_, around), "additionalProperties": False}
    if type_.__doc__:
        table["description"] = _summary(type_.__doc__)
    required = [field.encode_name for field in msgspec.structs.fields(type_) if field.required]
    return table | ({"required": required} if required else {})


def _properties(type_: type[msgspec.Struct], around: frozenset[Any]) -> dict[str, Schema]:
    docs = field_docs(type_)
    properties = {}
    for field in msgspec.structs.fields(type_):
        described = _value(field.type, around | {type_})
        if field.name in docs:
            described["description"] = _markdown(docs[field.name])
            if "anyOf" in described:  # taplo passes over what stands beside it
                described["anyOf"][0] = {"description": described["description"]} | described["anyOf"][0]
        if not field.required and (value := default(field)) is not None:
            described["default"] = _plain(value)
        properties[field.encode_name] = described
    return properties


def _value(type_: Any, around: frozenset[Any]) -> Schema:
    """Return the schema of a value, in whose place a reference may stand unless it is a table or a list.

    Where it can be, that is said beside the value's own type and not as an alternative: whoever reads an error then
    learns what is wrong, and taplo shows an option's description, which it does not where there are alternatives.
    """
    alternatives = [_arm(arm, around) for arm in arms(type_)]
    table = any(entry(arm) is not None or is_struct(arm) for arm in arms(type_))
    if not table and not all(element(arm) is not None for arm in arms(type_)):
        if len(alternatives) == 1 and "type" in alternatives[0]:
            types = {"type": [alternatives[0]["type"], "object"]}
            return alternatives[0] | types | {"if": {"type": "object"}, "then": _reference("reference")}
        alternatives.append(_reference("reference"))
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _arm(type_: Any, around: frozenset[Any]) -> Schema:
    plain = bare(type_)
    result: Schema
    if choices(type_):
        return {"enum": list(choices(type_))}
    if (inner := element(type_)) is not None:
        result = {"type": "array", "items": _value(inner, around)}
    elif (inner := entry(type_)) is not None:
        result = {"type": "object", "additionalProperties": _value(inner, around)}
    elif is_struct(type_):
        return {"type": "object"} if plain in around else _table(plain, around)
    else:
        result = dict(_TYPES.get(plain, {}))
        if plain in PARSED and plain is not Secret:
            result["examples"] = [_plain(tomli.loads(f"example = {example(plain)}")["example"])]
    return result | dict(_limits(type_, result.get("type", "")))


def _limits(type_: Any, kind: str) -> Iterator[tuple[str, Any]]:
    for name, bound in bounds(type_).items():
        if name in _BOUNDS:
            yield _BOUNDS[name], bound
        elif kind in _LENGTHS:
            yield name[:3] + _LENGTHS[kind], bound


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
