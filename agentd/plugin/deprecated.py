"""What will go from the public interface: it works for one release at least, and says what to use instead."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Deprecated(NamedTuple):
    """A name that will go, since which version of agentd, and what to use instead."""

    since: str
    instead: str
    """The name that took its place, or words where none did."""
    value: Any = None
    """What the name still stands for; None where it is what ``instead`` names."""


NAMES: Mapping[str, Deprecated] = {}
"""The names of ``agentd.plugin`` that are deprecated. One is taken out with the first number of ``API_VERSION``."""


def lookup(name: str, names: Mapping[str, Deprecated], public: Mapping[str, Any]) -> Any:
    """Return what a deprecated name of ``agentd.plugin`` stands for, and warn whoever asks. Raises ``AttributeError``
    for a name that there never was.
    """
    found = names.get(name)
    if found is None:
        raise AttributeError(f"module 'agentd.plugin' has no attribute {name!r}")
    warn(f"agentd.plugin.{name}", found.instead, found.since)
    return public[found.instead] if found.value is None else found.value


def deprecated(since: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function or a method that will go: it works as before, and warns whoever calls it."""

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def warning(*arguments: P.args, **keywords: P.kwargs) -> R:
            warn(f"{function.__qualname__}()", instead, since)
            return function(*arguments, **keywords)

        return warning

    return mark


def warn(what: str, instead: str, since: str) -> None:
    """Warn whoever uses something that will go: its author by a ``DeprecationWarning``, which tests show, and those who
    run the agent, to whom Python shows none, by a line in the log.
    """
    frame = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads the source of every frame
    while frame.f_back is not None and frame.f_globals.get("__name__") in ("agentd.plugin", __name__):
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    if module == "importlib._bootstrap":  # only asks whether the name is there: the import that it helps comes next
        return
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = f"{what} is deprecated since agentd {since}, and will go: use {instead}"
    log.warning("%s, line %d: %s", file, line, text)
    seen = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, DeprecationWarning, file, line, module, seen)
