"""Rules that keep, drop or rename metrics on their way out, in the spirit of Prometheus's metric relabelling."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from agentd.metrics.family import Family, Labels, Value

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_GROUP = re.compile(r"\\(?:[1-9][0-9]?|g<[^>]*>)")
_REMEMBERED = 10_000
"""Names after which what was remembered is forgotten: they may be made up without end."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. It concerns a series when all its patterns match the whole of what they are compared with."""

    action: Literal["keep", "drop", "rename"]
    """``keep`` drops every series that does not match, ``drop`` every one that does, ``rename`` gives a new name."""
    name: str = ".*"
    """Regular expression for the name of the metric: of a histogram or summary, the name without ``_bucket`` and the
    like."""
    labels: dict[str, str] = {}
    """Regular expressions for label values; a label that is absent has the value ``""``, as in Prometheus."""
    to: str = ""
    """For ``rename``: the new name, in which ``\\1`` or ``\\g<word>`` stands for a group of ``name``. Where that gives
    no valid name, the old one stays."""

    def __post_init__(self) -> None:
        for pattern in (self.name, *self.labels.values()):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        for label in self.labels:
            if not _LABEL.fullmatch(label) or label == "__name__":
                raise ValueError(f'{label!r} is no label; patterns for names stand in "name"')
        if self.action == "rename" and not self.to:
            raise ValueError('action "rename" needs "to", the new name')
        if self.to and self.action != "rename":
            raise ValueError('"to" belongs to action "rename", and to no other')
        if self.action == "rename":
            self._check_new_name()

    def _check_new_name(self) -> None:
        if self.labels:
            raise ValueError('action "rename" goes by name: it takes no "labels"')
        try:
            re.compile(self.name).sub(self.to, "")  # reads the whole of it, whatever there is to replace
        except (re.error, IndexError) as error:
            raise ValueError(f'"to" is {self.to!r}, which does not go with "name": {error}') from None
        if not _NAME.fullmatch("_" + _GROUP.sub("", self.to)) or self.to[0].isdigit():
            raise ValueError(f'"to" is {self.to!r}, which is no valid metric name')


class Rules:
    """A sequence of rules, ready to be applied again and again. What was decided is remembered."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(_Compiled(rule) for rule in rules)
        self._plans: dict[tuple[str, tuple[str, ...]], _Plan | None] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def apply(self, families: Iterable[Family]) -> list[Family]:
        """Return what the rules leave of these families, which are not changed; several may now have the same name."""
        if not self._rules:
            return list(families)
        result = []
        for family in families:
            key = (family.name, family.label_names)
            try:
                plan = self._plans[key]
            except KeyError:
                if len(self._plans) >= _REMEMBERED:
                    self._plans.clear()
                plan = self._plans[key] = self._plan(*key)
            if plan is not None:
                samples = plan.filtered(family.samples)
                if samples or not family.samples:
                    result.append(Family(plan.name, family.kind, family.help, family.label_names, samples))
        return result

    def _plan(self, name: str, label_names: tuple[str, ...]) -> "_Plan | None":
        # What does not depend on label values is decided once for each name; None: dropped.
        by_labels = []
        for rule in self._rules:
            match = rule.name.fullmatch(name)
            if rule.action == "rename":
                renamed = match.expand(rule.to) if match else name
                name = renamed if _NAME.fullmatch(renamed) else name
            elif not match:
                if rule.action == "keep":
                    return None
            elif any(label in label_names for label in rule.labels):
                by_labels.append(rule)
            elif not rule.keeps({}):
                return None
        return _Plan(name, label_names, tuple(by_labels))


class _Plan:
    """What the rules come to for one metric: its new name, and the rules that look at label values."""

    def __init__(self, name: str, label_names: tuple[str, ...], rules: "tuple[_Compiled, ...]") -> None:
        self.name = name
        self._label_names = label_names
        self._rules = rules
        self._verdicts: dict[Labels, bool] = {}

    def filtered(self, samples: dict[Labels, Value]) -> dict[Labels, Value]:
        """Return the samples that stay."""
        if not self._rules:
            return samples
        before = self._verdicts
        if samples.keys() != before.keys():  # what did not come again is forgotten
            self._verdicts = {key: before[key] if key in before else self._keeps(key) for key in samples}
        verdicts = self._verdicts
        return {key: value for key, value in samples.items() if verdicts[key]}

    def _keeps(self, key: Labels) -> bool:
        labels = dict(zip(self._label_names, key, strict=True))
        return all(rule.keeps(labels) for rule in self._rules)


class _Compiled:
    def __init__(self, rule: Rule) -> None:
        self.action = rule.action
        self.name = re.compile(rule.name)
        self.labels = {label: re.compile(pattern) for label, pattern in rule.labels.items()}
        self.to = rule.to

    def keeps(self, labels: dict[str, str | None]) -> bool:
        """Return whether a series with a matching name and these labels stays."""
        matches = all(pattern.fullmatch(labels.get(label) or "") for label, pattern in self.labels.items())
        return matches == (self.action == "keep")
