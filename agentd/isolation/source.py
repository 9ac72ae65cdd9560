"""Where a process finds its plugin."""

from dataclasses import dataclass
from typing import Any


class DescribeError(Exception):
    """A process cannot tell of its plugin; the text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin's class is: in a file, or in a module by its name."""

    kind: str
    """``collectors`` or ``sinks``."""
    plugin: str
    module: str
    file: str | None
    python: str | None = None
    """The interpreter that runs it; None is the agent's own."""

    def load(self, level: int) -> dict[str, Any]:
        """Return the message that has a child import it."""
        fields = {"kind": self.kind, "plugin": self.plugin, "module": self.module, "file": self.file}
        return {"do": "load", "level": level, **fields}
