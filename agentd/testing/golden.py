"""Golden files: what a plugin told when somebody last looked at it closely."""

import re
from difflib import unified_diff
from pathlib import Path

from agentd.testing.expected import Told, exposition

__tracebackhide__ = True

SHOWN = 100
"""Lines of a difference that are shown."""


class Golden:
    """Compares with files in a folder, or writes them anew where it is told to ``update``."""

    def __init__(self, folder: Path, name: str, *, update: bool = False) -> None:
        """``name`` is that of the file where a test does not say another."""
        self.folder = folder
        self.update = update
        self._name = re.sub(r"[^\w.-]+", "-", name).strip("-")

    def __call__(self, told: Told, name: str | None = None) -> None:
        """Hold families, or any text, against the golden file of that name.

        Families are written in the text format, in the order of their names and labels. Raises ``AssertionError`` with
        the difference, and where there is no such file.
        """
        file = self.folder / (name or f"{self._name}.prom")
        text = exposition(told)
        if self.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        if not file.is_file():
            raise AssertionError(f"there is no {file}: make it with pytest --update-golden, and read it")
        before = file.read_text()
        if before == text:
            return
        lines = list(unified_diff(before.splitlines(), text.splitlines(), file.name, "told now", "", "", 1, ""))
        if len(lines) > SHOWN:
            lines = [*lines[:SHOWN], f"… and {len(lines) - SHOWN} lines more"]
        listed = "\n".join(lines)
        raise AssertionError(
            f"what is told is not what {file} has (-: there, +: told now):\n{listed}\n"
            "where the new one is right, write it down with pytest --update-golden"
        )
