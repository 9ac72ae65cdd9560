"""Makes the page of the hooks, docs/hooks.md, of agentd/hookspecs.py."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from agentd import hookspecs
from agentd.config.describe.options import paragraphs

IMPORTS = """\
from pathlib import Path

import click
from aiohttp import web

from agentd.plugin import Collector, Config, Exporter, Route, Scope, Sink, gauge, hookimpl
"""

INTRODUCTION = """\
# Hooks

Made by `docs/generate.py` from `agentd/hookspecs.py`. A hook is a function of a plugin's module that agentd calls; it
has the name of the hook and is marked with `hookimpl`. The first three register what the module has, by which the agent
finds it; one of these is enough for most plugins.

- A hook that nobody implements costs nothing.
- Each implementation is called on its own: one that raises is named in the log the first time, and all others are
  called nevertheless. What it would have changed stays as it was.
- An implementation may leave out arguments that it does not need.
- A marked function that is none of these hooks, or wants an argument that its hook does not have, is an error: the
  plugin is not loaded, and the log says so.
- What is asked are the plugins that are loaded: those of agentd and of installed packages that are enabled, and all
  files in `plugin_dirs`.

The examples begin with these lines:

```python
"""


class Hook(NamedTuple):
    """A hook as the page tells it."""

    name: str
    summary: str
    called: str
    returns: str
    """Empty where it returns nothing."""
    arguments: dict[str, str]
    """Name and type of each."""
    result: str
    example: str


def hooks() -> Iterator[Hook]:
    """Yield the hooks in the order in which they are declared."""
    for name, function in vars(hookspecs).items():
        if hasattr(function, "agentd_spec"):
            yield described(name, function)


def described(name: str, function: Any) -> Hook:
    """Return what a hook's docstring and signature say."""
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition("Example::\n")
    told = paragraphs(text.replace("``", "`"))
    signature = inspect.signature(function)
    return Hook(
        name,
        summary=told[0] if told else "",
        called=next((each for each in told if each.startswith("Called ")), ""),
        returns=next((each for each in told if each.startswith("Returns ")), ""),
        arguments={each.name: plain(each.annotation) for each in signature.parameters.values()},
        result=plain(signature.return_annotation),
        example=textwrap.dedent(example).strip("\n") + "\n",
    )


def plain(annotation: str) -> str:
    """Return a type as one says it."""
    return re.sub(r"type\[(\w+)\[Any\]\]", r"type[\1]", annotation)


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION + IMPORTS + "```"]
    for hook in hooks():
        arguments = ", ".join(f"{name}: {type_}" for name, type_ in hook.arguments.items())
        returns = hook.returns or "Returns nothing."
        lines += ["", f"## {hook.name}", "", f"`{hook.name}({arguments}) -> {hook.result}`", "", hook.summary]
        lines += ["", hook.called, "", returns, "", f"```python\n{hook.example}```"]
    return "\n".join(lines) + "\n"
