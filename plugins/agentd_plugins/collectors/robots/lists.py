"""Lists that robots send whole each time: errors, loads, actions and nodes of an order, as VDA 5050 has them, and the
voltages of cells, as ROS 2 has them.

What is counted is the edge: an error when it appears, an action when it ends. VDA 5050 2.1, sections 6.10.6 and 6.12.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CELLS = (
    "cell_voltage",
    "cell_voltages",
    "battery.cell_voltages",
    "batterystate.cell_voltage",
    "battery_state.cell_voltage",
)
FIELDS = frozenset({"errors", "loads", "actionstates", "nodestates", *CELLS})
"""Fields that are understood, in small letters."""

LEVELS = ("warning", "fatal")
"""Levels of errors that are shown although there is none now."""

ENDED = frozenset({"finished", "failed"})
"""States of an action after which it does not change."""

MOST = 100
"""Entries of a list that are looked at, and actions that are remembered."""

TOO_HIGH = 1e6
"""Volts that no cell has; also what is no number is not below."""

LONGEST = 64
"""Characters of a type that becomes a label."""

Told = tuple[str, tuple[str | None, ...], float, bool]
"""A metric of the vocabulary, its labels beside ``robot``, a value, and whether it is to be added to the one before."""


class Lists:
    """What is remembered of a robot's lists, to see what has changed."""

    __slots__ = ("_actions", "_errors", "_levels")

    def __init__(self) -> None:
        self._errors: set[tuple[str, str]] = set()
        self._levels: set[str] = set(LEVELS)
        self._actions: dict[str, str] = {}

    def take(self, field: str, entries: Sequence[Any]) -> Iterator[Told]:
        """Return what a list says."""
        entries = entries[:MOST]
        if field == "errors":
            yield from self._take_errors([entry for entry in entries if isinstance(entry, Mapping)])
        elif field == "actionstates":
            for entry in entries:
                if isinstance(entry, Mapping):
                    yield from self._take_action(entry)
        elif field in CELLS:
            for cell, volts in enumerate(entries):
                if type(volts) in (int, float) and abs(volts) < TOO_HIGH:
                    yield "battery_cell_voltage_volts", (None, str(cell)), float(volts), False
        else:
            name = "load_present" if field == "loads" else "mission_active"
            yield name, (), 1.0 if entries else 0.0, False

    def _take_errors(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
        errors = [(_text(entry, "errorType"), _text(entry, "errorLevel").lower()) for entry in entries]
        self._levels.update(level for _, level in errors[: MOST - len(self._levels)])
        for level in sorted(self._levels):
            yield "errors_active", (level,), float(sum(level == each for _, each in errors)), False
        for error in sorted(set(errors) - self._errors):
            yield "errors_total", error, 1.0, True
        self._errors = set(errors)

    def _take_action(self, entry: Mapping[str, Any]) -> Iterator[Told]:
        action, status = _text(entry, "actionId"), _text(entry, "actionStatus").lower()
        before = self._actions.pop(action, "")
        self._actions[action] = status
        if len(self._actions) > MOST:
            del self._actions[next(iter(self._actions))]
        if status in ENDED and before not in ENDED:
            yield "actions_total", (_text(entry, "actionType"), status), 1.0, True


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value[:LONGEST] if isinstance(value, str) and value else "unknown"
