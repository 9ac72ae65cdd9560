"""Annotated TOML: every option with its default and what it means, ready to be commented in.

Prose stands behind ``# ``, options and the headers of plugins behind ``#`` alone: without those marks the file is still
a right one, and says what the agent does anyway.
"""

import textwrap
from collections.abc import Iterable, Iterator

from agentd.config.describe.options import Option, options, paragraphs
from agentd.config.resolve import KEYS
from agentd.config.settings import SECTIONS, Switches
from agentd.config.spelling import key
from agentd.options import Config

_INTRODUCTION = """\
# The configuration of agentd. Everything in it is optional, and every value below is the default. To change one, take
# away the mark before it, and the one before the header of its section. A plugin's section switches the plugin on,
# unless it says enabled = false.
#
# Files conf.d/*.toml beside this one are read after it, in order of name: tables merge, the later file wins.
#
# In place of any value but a table may stand { env = "NAME" }, what an environment variable holds,
# { file = "PATH" }, what a file holds, or { credential = "NAME" }, what systemd keeps for the service by
# LoadCredential=.
#
# An editor that knows taplo (VS Code with Even Better TOML, say) completes and checks this file by a schema:
# agentd config schema > agentd.schema.json, and #:schema ./agentd.schema.json as the first line here.
"""
_EVIDENT = ("true or false", "string", "whole number", "number")
"""Types that a default in TOML shows without further words."""


def sample(kind: str, name: str, plugin_doc: str, config_type: type[Config]) -> str:
    """Return the section of one plugin in TOML, all of it commented out."""
    lines = [*_prose(plugin_doc), f"#[{kind}.{key(name)}]", *_options(options(config_type))]
    return "\n".join(lines) + "\n"


def default_file(entries: Iterable[tuple[str, str, str, type[Config]]]) -> str:
    """Return the whole configuration: the core's sections, then those of the plugins that are given, by kind."""
    entries = list(entries)
    parts = [_INTRODUCTION]
    for name, type_ in SECTIONS.items():
        parts.append("\n".join([*_prose(type_.__doc__), f"[{name}]", *_options(options(type_))]) + "\n")
    for kind, keys in KEYS.items():
        lines = [
            f"[{kind}]",
            *_options(options(Switches)),
            "",
            f"# Beside its own options, a section [{kind}.NAME] has:",
        ]
        for option in options(keys):
            value = "" if option.default is None else f", by default {option.default}"
            text = f"{option.name} ({option.type}{value}): {option.doc}".replace("``", "")
            lines += textwrap.wrap(text, 110, initial_indent="#   ", subsequent_indent="#     ")
        parts.append("\n".join(lines) + "\n")
        parts += (sample(*entry) for entry in entries if entry[0] == kind)
    return "\n".join(parts)


def _options(described: list[Option]) -> Iterator[str]:
    for option in described:
        yield ""
        evident = option.default is not None and option.type in _EVIDENT
        kind = f"({option.type}{'; required' if option.required else ''})"
        yield from _prose(option.doc if evident else f"{option.doc} {kind}".lstrip())
        if option.default is not None or option.required:
            yield f"#{key(option.name)} = {option.example}"
        else:
            yield f"# Not set by default. Example: {key(option.name)} = {option.example}"


def _prose(text: str | None) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs((text or "").replace("``", "")):
        lines += ["#"] if lines else []
        # A word is never broken: examples in it stay whole.
        lines += textwrap.wrap(
            paragraph, 112, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
        )
    return lines
