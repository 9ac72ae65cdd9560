"""What is wrong with a configuration, and where: everything at once, in words that say what would be right."""

import re
from collections.abc import Iterable

import msgspec

Path = tuple[str, ...]
"""The keys that lead to a value, ``("collectors", "filesystem", "mount_timeout")``; an element's key is its index."""


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: a file and its line, or something without lines such as ``--listen``."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


DEFAULT = Origin("default")


class Problem(msgspec.Struct, frozen=True):
    """One thing that has to be put right."""

    where: Origin | None
    key: str
    """The path with dots, ``collectors.filesystem.mount_timeout``; empty where the whole file is meant."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.where or ""), self.key, self.message) if part)


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds every reason, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: Path) -> str:
    """Return a path as one writes it: ``web.listen[0]``, ``collectors."odd name"``."""
    text = ""
    for part in path:
        if part.isdecimal() and text:
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return text


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean "…"?`` with a full stop before it, or nothing where no candidate is near."""
    from difflib import get_close_matches  # needed for errors only, and not at every start

    near = get_close_matches(name, list(candidates), n=1)
    return f'. Did you mean "{near[0]}"?' if near else ""
