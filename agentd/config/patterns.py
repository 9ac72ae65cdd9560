"""Which events a sink gets: finds the patterns of types and sources that no event could ever match."""

import re
from collections.abc import Iterator, Sequence

from agentd.config.problems import Path
from agentd.config.spelling import found

TYPES = re.compile(r"(W+\.)*W+".replace("W", r"(?:[A-Za-z0-9_*?-]|\[!?[A-Za-z0-9_.-]+\])"))
"""Patterns that some type of an event may match: its words are not empty, and have no other characters."""


def wrong(events: Sequence[str], sources: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a sink's patterns: where, within its section, and what would be right."""
    for key, patterns, example in (("events", events, "telemetry.*"), ("sources", sources, "collectors.*")):
        if not patterns:
            advice = "without this key it gets all, with enabled = false none"
            yield (key,), f'expected at least one pattern, such as "{example}"; {advice}; found []'
    for index, pattern in enumerate(events):
        if not TYPES.fullmatch(pattern):
            what = "letters, digits, _ and - with dots between them, and *, ? or [...] for some of those"
            yield ("events", str(index)), f'expected {what}, such as "telemetry.*"; found {found(pattern)}'
    for index, pattern in enumerate(sources):
        if not pattern or pattern != pattern.strip() or not pattern.isprintable():
            what = "printable characters without blanks around them"
            yield ("sources", str(index)), f'expected {what}, such as "collectors.*"; found {found(pattern)}'
