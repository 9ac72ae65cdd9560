"""A configuration with a canary wherever a secret may stand, found by looking at the types of options."""

import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import tomli

from agentd.config import Document, core
from agentd.config.convert import to_struct
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
            yield from ((text, {f"X-{canary()[:8]}": value}) for text, value in planted(item))
        elif is_struct(arm):
            yield from of_struct(inner)


def of_struct(type_):
    """Yield a canary and a table around it, for every option in which a secret may stand; what is required is set."""
    for field in msgspec.structs.fields(type_):
        if mentions_secret(field.type):
            for text, value in planted(field.type):
                yield text, complete(type_, {**required(type_), field.encode_name: value})


def complete(type_, values):
    """Return options with one more where they need it: a password may need a user, and a token's past its present."""
    others = [field for field in msgspec.structs.fields(type_) if field.encode_name not in values]
    tried = [values, *({**values, field.encode_name: given(field)} for field in others)]
    return next((each for each in tried if accepted(type_, each)), values)


def accepted(type_, values):
    """Say whether a struct takes these options."""
    problems = []
    to_struct(type_, values, (), Document(), problems)
    return not problems


def required(type_):
    """Return an example of each option that has to be set."""
    return {field.encode_name: given(field) for field in msgspec.structs.fields(type_) if field.required}


def given(field):
    """Return an example of an option; a secret's would be a file that is not there."""
    if Secret in map(bare, arms(field.type)):
        return canary()
    return tomli.loads(f"x = {example(field.type)}")["x"]


def sections(registry, ports):
    """Yield each canary with a section that the configuration accepts: the core's, and those of every plugin.

    URLs lead to ``ports``, by their schemes, and where there is none, to where nobody listens.
    """
    for name, type_ in SECTIONS.items():
        for text, values in of_struct(type_):
            yield Planted(*shaped(text, name, values))
    for kind in KINDS:
        for name in registry.names(kind):
            type_ = registry.plugin_class(kind, name).config_type
            for number, (text, values) in enumerate(of_struct(type_)):
                base = {**values, **FURTHER.get((kind, name), {}), **urls(type_, values, ports), "plugin": name}
                path = (kind, name if kind == "collectors" else f"{name}-{number}")
                yield Planted(text, path, base)


def shaped(text, name, values):
    """Return a canary, the path and the options of a section of the core, the canary in a form that it accepts."""
    for form in (text, f"$2b$10${text[:53]}"):  # the second as hashes of passwords are written
        tried = tomli.loads(f"x = {toml(values).replace(toml(text), toml(form))}")["x"]
        problems = core(Document({name: tried})).problems
        if not problems:
            return form, (name,), tried
    raise AssertionError(f"no way was found to set {name}: {problems}")


def urls(type_, values, ports):
    """Return the options that are URLs, leading to the servers of the test; those that are not set are left out."""
    found = {}
    for field in msgspec.structs.fields(type_):
        url = values.get(field.encode_name) or (field.default if isinstance(field.default, Url) else None)
        if Url in map(bare, arms(field.type)) and url:
            scheme = urlsplit(url).scheme.replace("https", "http")
            found[field.encode_name] = f"{scheme}://127.0.0.1:{ports.get(scheme, 1)}"
    return found


def configuration(found, refer):
    """Return canaries as a configuration; ``refer`` makes of a canary what stands in its place, in TOML."""
    tables = {}
    for one in found:
        merge(tables.setdefault(one.path, {}), one.values)
    text = ""
    for path, table in tables.items():
        text += f"[{'.'.join(path)}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items())
    for one in found:
        text = text.replace(toml(one.canary), refer(one.canary))
    return text


def merge(table, more):
    """Put options into a table, and those of tables inside into these."""
    for key, value in more.items():
        if isinstance(value, dict):
            merge(table.setdefault(key, {}), value)
        else:
            table[key] = value
