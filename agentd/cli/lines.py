"""Events and tables as lines for people."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from agentd.events.envelope import Event

WIDEST = 40
"""Characters up to which a column grows."""

PLAIN = re.compile(r"[^\s=\"'{}\[\]]+")
"""Texts that are shown without quotation marks."""


class Lines:
    """Makes lines whose columns stand under each other: they grow with what comes, and never shrink."""

    def __init__(self) -> None:
        self._type = self._who = 0
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def measure(self, event: Event) -> None:
        """Make the columns wide enough for an event that is shown later."""
        self._type = max(self._type, min(WIDEST, len(event.type)))
        self._who = max(self._who, min(WIDEST, len(_who(event))))

    def line(self, event: Event) -> str:
        """Return an event as a line: local time, type, source → target, payload."""
        self.measure(event)
        said = [f"{escaped(key)}={_value(value)}" for key, value in event.payload.items()]
        condensed = event.meta.get("condensed")
        if isinstance(condensed, dict) and "count" in condensed:
            said.append(f"(stands for {_value(condensed['count'])})")
        when = self._styled(local_time(event.timestamp), dim=True)
        what = self._styled(event.type.ljust(self._type), **_style(event.type))
        return f"{when}  {what}  {_who(event).ljust(self._who)}  {' '.join(said)}".rstrip()

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colours else text


def local_time(timestamp: float) -> str:
    """Return a time as clocks on the wall here show it, with milliseconds."""
    try:
        return datetime.fromtimestamp(timestamp).astimezone().isoformat(" ", "milliseconds")[:23]
    except (OverflowError, ValueError, OSError):
        return f"{timestamp:.3f}".ljust(23)


def ago(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def escaped(text: str) -> str:
    """Return a text with what a terminal would obey, or not show, as escape sequences."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def width() -> int:
    """Return how many characters a line of the terminal has; where there is none, more than any line needs."""
    return shutil.get_terminal_size((1 << 20, 0)).columns


def table(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> Iterator[str]:
    """Yield a line for each row, its cells under each other; those in the columns of ``numbers`` end there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _who(event: Event) -> str:
    return escaped(event.source if event.target is None else f"{event.source} → {event.target}")


def _value(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return escaped(value)
    return escaped(msgspec.json.encode(value).decode())


def _style(type: str) -> dict[str, Any]:
    """Return how a type looks: what sounds like trouble stands out."""
    if re.search(r"(fail|error|disconnected|dropped|set_aside|timed_out)", type):
        return {"fg": "red", "bold": True}
    return {"fg": "cyan"}
