"""Which events somebody wants, by patterns of their types and sources."""

import re
from collections.abc import Sequence
from fnmatch import translate

from agentd.store.reader import Wanted

REMEMBERED = 4096
"""Combinations of type and source that are remembered."""


def wants(events: Sequence[str], sources: Sequence[str], own: str | None = None) -> Wanted:
    """Return what says whether events are wanted; what ``own`` says never is: a sink would feed itself."""
    types = re.compile("|".join(map(translate, events)) or r"(?!)")
    origins = re.compile("|".join(map(translate, sources)) or r"(?!)")
    known: dict[tuple[str, str], bool] = {}

    def wanted(type: str, source: str) -> bool:
        key = type, source
        answer = known.get(key)
        if answer is None:
            if len(known) >= REMEMBERED:
                known.clear()  # another thread may do so at any moment, too
            answer = known[key] = source != own and bool(types.match(type) and origins.match(source))
        return answer

    return wanted
