"""What a field means: the vocabulary as it is looked up, and what overrides change of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from agentd_plugins.collectors.robots.signals import CUSTOM, ENERGY, ENERGY_TERMS, SIGNALS, Signal
from agentd_plugins.collectors.robots.vocabulary import SAYINGS, Meant


class Term(NamedTuple):
    """What a field means: its metric, the values of the labels beside ``robot``, and how to get to its unit."""

    signal: Signal
    labels: tuple[str | None, ...] = ()
    scale: float = 1.0
    special: Mapping[float, float | None] = MappingProxyType({})
    """Values that are no measure, and what each of them means; None where it means "not known"."""


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a source means by a field, where it is not what the vocabulary says."""

    field: str
    """The field, as robots name it."""
    robots: str = "*"
    """Whose field it is: a pattern of their ids."""
    metric: str | None = None
    """The metric that it is told by; left out, the one that the vocabulary has for it."""
    scale: float | None = None
    """What its values are multiplied with to be in the metric's unit; left out, as the vocabulary says."""
    absent: list[float] | None = None
    """Values that mean "not known"; left out, those that the vocabulary has for it."""


def _term(name: str, labels: tuple[str | None, ...] = (), scale: float = 1.0, meant: Meant = ()) -> Term:
    signal = SIGNALS[name]
    rest = len(signal.metric.labels) - 1 - len(labels)
    special = meant if isinstance(meant, Mapping) else dict.fromkeys(meant)
    return Term(signal, (*labels, *(None,) * rest), float(scale), special)


TERMS: Mapping[str, Term] = {
    **{f"{group}.{term}": Term(ENERGY, (term,)) for group in ("energy", "energy_terms") for term in ENERGY_TERMS},
    # Whoever uses our own names is understood, with and without the prefix.
    **{spelled: _term(name) for name in SIGNALS for spelled in (name, f"robot_{name}")},
    **{
        field.lower(): _term(name, labels, scale, meant)
        for name, labels, scale, meant, fields in SAYINGS
        for field in fields.split()
    },
}
"""The vocabulary: what each field means, by its name in small letters."""

_OPEN: dict[tuple[int, str], list[tuple[list[str], Term]]] = {}
for _name, _meant in TERMS.items():
    if "*" in _name:
        _parts = _name.split(".")
        _OPEN.setdefault((len(_parts), _parts[0]), []).append((_parts, _meant))


def meaning(field: str) -> Term | None:
    """Return what a field means, or None where the vocabulary does not have it."""
    term = TERMS.get(field.lower())
    if term is not None and "*" not in field:
        return term
    if "." not in field:
        return None
    parts, small = field.split("."), field.lower().split(".")
    for pattern, open_term in _OPEN.get((len(parts), small[0]), ()):
        if all(map(_fits, pattern, small)):
            value = parts[pattern.index("*")]
            return open_term._replace(labels=tuple(value if each == "*" else each for each in open_term.labels))
    return None


def _fits(wanted: str, found: str) -> bool:
    return found not in ("", "*") if wanted == "*" else wanted == found


def overridden(term: Term | None, override: Override) -> Term:
    """Return what a field means to a source. Raises ``ValueError`` for a metric or a field that there is not."""
    if override.metric is not None and override.metric.removeprefix("robot_") == "custom_value":
        term = Term(CUSTOM, (override.field,))
    elif override.metric is not None:
        signal = SIGNALS.get(override.metric.removeprefix("robot_"))
        if signal is None:
            raise ValueError(f"there is no metric {override.metric!r} in the vocabulary of robots")
        term = _term(signal.name.removeprefix("robot_"))
    if term is None:
        raise ValueError(f"the vocabulary has no field {override.field!r}: say which metric it is, or custom_value")
    if override.scale is not None:
        term = term._replace(scale=override.scale)
    if override.absent is not None:
        known = {value: meant for value, meant in term.special.items() if meant is not None}
        term = term._replace(special={**known, **dict.fromkeys(override.absent)})
    return term
