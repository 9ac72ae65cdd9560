"""Rules that keep, drop or rename metrics on their way out, in the spirit of Prometheus's metric relabelling."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from agentd.metrics.family import Family, Labels, Value


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. It concerns a series when all its patterns match the whole of what they are compared with."""

    action: Literal["keep", "drop", "rename"]
    """``keep`` drops every series that does not match, ``drop`` every one that does, ``rename`` gives a new name."""
    name: str = ".*"
    """Regular expression for the name of the metric."""
    labels: dict[str, str] = {}
    """Regular expressions for label values; a label that is absent has the value ``""``, as in Prometheus."""
    to: str = ""
    """For ``rename``: the new name, in which ``\\1`` or ``\\g<word>`` stands for a group of ``name``."""

    def __post_init__(self) -> None:
        for pattern in (self.name, *self.labels.values()):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if (self.action == "rename") != bool(self.to):
            raise ValueError('"to" belongs to action "rename", and to no other')
        if self.action == "rename" and self.labels:
            raise ValueError('action "rename" goes by name: it takes no "labels"')


class Rules:
    """A sequence of rules, ready to be applied again and again. What a name comes to is remembered."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(_Compiled(rule) for rule in rules)
        self._plans: dict[tuple[str, tuple[str, ...]], tuple[str, tuple[_Compiled, ...]] | None] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def apply(self, families: Iterable[Family]) -> list[Family]:
        """Return what the rules leave of these families. Those passed in are not changed."""
        if not self._rules:
            return list(families)
        result = []
        for family in families:
            key = (family.name, family.label_names)
            if key not in self._plans:
                if len(self._plans) > 10_000:  # names made up without end must not fill the memory
                    self._plans.clear()
                self._plans[key] = self._plan(*key)
            plan = self._plans[key]
            if plan is not None:
                name, by_labels = plan
                samples = _filtered(family, by_labels) if by_labels else family.samples
                if samples:
                    result.append(Family(name, family.kind, family.help, family.label_names, samples))
        return result

    def _plan(self, name: str, label_names: tuple[str, ...]) -> tuple[str, "tuple[_Compiled, ...]"] | None:
        # What does not depend on label values is decided once for each name; None: dropped.
        by_labels = []
        for rule in self._rules:
            match = rule.name.fullmatch(name)
            if rule.action == "rename":
                name = match.expand(rule.to) if match else name
            elif not match:
                if rule.action == "keep":
                    return None
            elif any(label in label_names for label in rule.labels):
                by_labels.append(rule)
            elif all(pattern.fullmatch("") for pattern in rule.labels.values()) == (rule.action == "drop"):
                return None
        return name, tuple(by_labels)


class _Compiled:
    def __init__(self, rule: Rule) -> None:
        self.action = rule.action
        self.name = re.compile(rule.name)
        self.labels = {label: re.compile(pattern) for label, pattern in rule.labels.items()}
        self.to = rule.to

    def keeps(self, labels: dict[str, str | None]) -> bool:
        matches = all(pattern.fullmatch(labels.get(label) or "") for label, pattern in self.labels.items())
        return matches == (self.action == "keep")


def _filtered(family: Family, rules: "tuple[_Compiled, ...]") -> dict[Labels, Value]:
    names = family.label_names
    return {
        key: value
        for key, value in family.samples.items()
        if all(rule.keeps(dict(zip(names, key, strict=True))) for rule in rules)
    }
