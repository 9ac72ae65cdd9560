"""Which plugins run in processes of their own alone, so that the agent itself need not import them, and must not."""

from collections.abc import Iterator, Mapping
from typing import Any

from agentd.config.source import Document

KINDS = ("collectors", "sinks")


def apart(document: Document) -> dict[tuple[str, str], str | None]:
    """Return the plugins, by kind and name, that all of their sections put into processes, with the interpreter that
    the first of these names. Known before anything is checked: whatever is no text is an error, told elsewhere.
    """
    found: dict[tuple[str, str], str | None] = {}
    inside: set[tuple[str, str]] = set()
    for plugin, section in _sections(document):
        python = section.get("python")
        if section.get("isolation") == "process":
            found.setdefault(plugin, python if isinstance(python, str) else None)
        else:
            inside.add(plugin)
    return {plugin: python for plugin, python in found.items() if plugin not in inside}


def _sections(document: Document) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for kind in KINDS:
        table = document.values.get(kind)
        for name, section in table.items() if isinstance(table, Mapping) else ():
            if isinstance(section, Mapping):
                plugin = section.get("plugin", name)
                if isinstance(plugin, str):
                    yield (kind, plugin), section
