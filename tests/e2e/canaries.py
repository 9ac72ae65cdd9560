"""A configuration with a canary wherever a secret may stand, found by looking at the types of options."""

import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import tomli

from agentd.config import ConfigError, Document, resolve
from agentd.config.settings import SECTIONS
from agentd.config.spelling import toml
from agentd.config.wording import arms, bare, element, entry, example, is_struct, mentions_secret
from agentd.discovery import KINDS
from agentd.options import Secret, Url

FURTHER = {("collectors", "event_rules"): {"rules": [{"name": "canary_total", "stream": "canaries"}]}}
"""Options without which a plugin would talk to nobody."""


class Planted(NamedTuple):
    """A canary, and the section that it stands in."""

    canary: str
    path: tuple[str, ...]
    """The keys that lead to the section."""
    values: dict
    """The section's options."""


def canary():
    """Return a text that nothing else has: 64 hexadecimal digits, so that it may be a hash or a token as well."""
    return secrets.token_hex(32)


def planted(type_):
    """Yield a canary and a value around it, for every place in a type where a secret may stand."""
    for arm in arms(type_):
        inner, item = bare(arm), None
        if inner is Secret:
            text = canary()
            yield text, text
        elif (item := element(arm)) is not None:
            yield from ((text, [value]) for text, value in planted(item))
        elif (item := entry(arm)) is not None:
            yield from ((text, {"X-Canary": value}) for text, value in planted(item))
        elif is_struct(arm):
            yield from of_struct(inner)


def of_struct(type_):
    """Yield a canary and a table around it, for every option in which a secret may stand; what is required is set."""
    for field in msgspec.structs.fields(type_):
        if mentions_secret(field.type):
            for text, value in planted(field.type):
                yield text, {**required(type_), field.encode_name: value}


def required(type_):
    """Return an example of each option that has to be set."""
    return {field.encode_name: given(field) for field in msgspec.structs.fields(type_) if field.required}


def given(field):
    """Return an example of an option."""
    return tomli.loads(f"x = {example(field.type)}")["x"]


def sections(registry, ports):
    """Yield each canary with a section that the configuration accepts: the core's, and those of every plugin.

    URLs lead to ``ports``, by their schemes, and where there is none, to where nobody listens.
    """
    for name, type_ in SECTIONS.items():
        for number, (text, values) in enumerate(of_struct(type_)):
            yield Planted(text, (name,), renamed(values, f"canary-{number}"))
    for kind in KINDS:
        for name in registry.names(kind):
            type_ = registry.plugin_class(kind, name).config_type
            for number, (text, values) in enumerate(of_struct(type_)):
                base = {**values, **FURTHER.get((kind, name), {}), **urls(type_, values, ports), "plugin": name}
                path = (kind, name if kind == "collectors" else f"{name}-{number}")
                yield Planted(text, path, accepted(type_, base, path, registry))


def renamed(values, name):
    """Return a table of the core in which the entry of a table of tables has a name of its own."""
    return {key: {name: value["X-Canary"]} if "X-Canary" in value else value for key, value in values.items()}


def urls(type_, values, ports):
    """Return the options that are URLs, leading to the servers of the test; those that are not set are left out."""
    found = {}
    for field in msgspec.structs.fields(type_):
        url = values.get(field.encode_name) or (field.default if isinstance(field.default, Url) else None)
        if Url in map(bare, arms(field.type)) and url:
            scheme = urlsplit(url).scheme.replace("https", "http")
            found[field.encode_name] = f"{scheme}://127.0.0.1:{ports.get(scheme, 1)}"
    return found


def accepted(type_, values, path, registry):
    """Return the options, with one more where they need it: a password without a user may be none."""
    others = [field for field in msgspec.structs.fields(type_) if field.encode_name not in values]
    for more in ({}, *({field.encode_name: given(field)} for field in others)):
        document = Document({path[0]: {path[1]: values | more}})
        try:
            resolve(document, registry)
        except ConfigError as error:
            said = error
        else:
            return values | more
    raise AssertionError(f"{'.'.join(path)}: no way was found to set {sorted(values)}: {said}")


def configuration(found, refer):
    """Return canaries as a configuration; ``refer`` makes of a canary what stands in its place, in TOML."""
    tables = {}
    for one in found:
        table = tables.setdefault(one.path, {})
        for key, value in one.values.items():
            table[key] = {**table.get(key, {}), **value} if isinstance(value, dict) else value
    text = ""
    for path, table in tables.items():
        text += f"[{'.'.join(path)}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items())
    for one in found:
        text = text.replace(toml(one.canary), refer(one.canary))
    return text
