"""Lists that robots send whole each time: errors, loads, actions and nodes of an order, as VDA 5050 has them, the
diagnostics and joints of ROS 2, and rows of numbers.

What is counted is the edge: an error when it appears, an action when it ends. VDA 5050 2.1, sections 6.10.6 and 6.12;
diagnostic_msgs/DiagnosticArray.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from agentd_plugins.collectors.robots.rows import JOINTS, NAMES, ROWS, of_joints, of_row

DIAGNOSTICS = frozenset(
    {"diagnostics", "diagnostics.status", "diagnosticarray.status", "diagnostic_array.status", "status"}
)
"""Fields with the list of a DiagnosticArray; ``status`` where the message is sent as it is."""

FIELDS = frozenset({"errors", "loads", "actionstates", "nodestates", *DIAGNOSTICS, *NAMES, *JOINTS, *ROWS})
"""Fields that are understood, in small letters."""

DIAGNOSTIC_LEVELS: Mapping[Any, float] = {
    **{level: float(level) for level in range(4)},
    "ok": 0.0,
    "warn": 1.0,
    "warning": 1.0,
    "error": 2.0,
    "stale": 3.0,
}
"""Levels of a DiagnosticStatus, as a number and as a text in small letters."""

LEVELS = ("warning", "fatal")
"""Levels of errors that are shown although there is none now."""

ENDED = frozenset({"finished", "failed"})
"""States of an action after which it does not change."""

MOST = 100
"""Entries of a list that are looked at, and actions that are remembered."""

LONGEST, LONGEST_NAME = 64, 128
"""Characters of a type, and of the name of a part, that becomes a label."""

S = TypeVar("S")

Told = tuple[str, tuple[str | None, ...], float, bool]
"""A metric of the vocabulary, its labels beside ``robot``, a value, and whether it is to be added to the one before."""

Wants = Callable[[str], Any]
"""Says whether a diagnostic of this name is to be shown."""


class Lists:
    """What is remembered of a robot's lists, to see what has changed."""

    __slots__ = ("_actions", "_errors", "_joints", "_levels", "_wants")

    def __init__(self, wants: Wants = bool) -> None:
        self._wants = wants
        self._errors: set[tuple[str, str]] = set()
        self._levels: set[str] = set(LEVELS)
        self._actions: dict[str, str] = {}
        self._joints: list[str] = []

    def take(self, field: str, entries: Sequence[Any]) -> Iterator[Told]:
        """Return what a list says."""
        entries = entries[:MOST]
        if field in ROWS:
            yield from ((*told, False) for told in of_row(ROWS[field], entries))
        elif field in JOINTS:
            yield from ((*told, False) for told in of_joints(JOINTS[field], self._joints, entries))
        elif field in NAMES:
            self._joints = [_name(name, str(place)) for place, name in enumerate(entries)]
        elif field in ("loads", "nodestates"):
            name = "load_present" if field == "loads" else "mission_active"
            yield name, (), 1.0 if entries else 0.0, False
        else:
            mappings = [entry for entry in entries if isinstance(entry, Mapping)]
            if field == "errors":
                yield from self._take_errors(mappings)
            elif field == "actionstates":
                for entry in mappings:
                    yield from self._take_action(entry)
            else:
                for entry in mappings:
                    yield from self._take_diagnostic(entry)

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

    def _take_diagnostic(self, entry: Mapping[str, Any]) -> Iterator[Told]:
        said, name = entry.get("level"), _name(entry.get("name"), "unknown")
        level = DIAGNOSTIC_LEVELS.get(said.lower() if isinstance(said, str) else said if type(said) is int else None)
        if level is not None and self._wants(name):
            yield "diagnostic_level", (name, _name(entry.get("hardware_id"), None)), level, False


def _name(said: Any, otherwise: S) -> str | S:
    return said[:LONGEST_NAME] if isinstance(said, str) and said else otherwise


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value[:LONGEST] if isinstance(value, str) and value else "unknown"
