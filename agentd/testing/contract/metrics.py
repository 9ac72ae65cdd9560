"""The rules for metrics: those that ``promtool check metrics`` has, and a few of this house."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agentd.plugin import Family, Metric, Plugin

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_LABEL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TAKEN = frozenset({"instance", "job", "le", "quantile"})
_KINDS = frozenset({"counter", "gauge", "histogram", "summary"})

AS_THEY_ARE = ("node_",)
"""Names that are those of another program, whose dashboards and alerts are to work: their help alone is looked at."""

ABBREVIATED = frozenset({"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d", "pct"})
"""Abbreviations of units, as whole words of a name."""

_SIZES = "pico nano micro milli centi deci deca hecto kilo kibi mega mibi giga gibi tera tebi peta pebi".split()
BASES = {
    **dict.fromkeys(("seconds", "minutes", "hours", "days", "weeks"), "seconds"),
    **dict.fromkeys(("celsius", "fahrenheit", "rankine"), "celsius"),
    **dict.fromkeys(("kelvin", "kelvins"), "kelvin"),
    **dict.fromkeys(("meters", "metres", "inches", "yards", "miles"), "meters"),
    **dict.fromkeys(("bytes", "bits"), "bytes"),
    **dict.fromkeys(("joules", "calories"), "joules"),
    **dict.fromkeys(("grams", "pounds", "ounces"), "grams"),
    **dict.fromkeys(("percent",), "ratio"),
    "amperes": "amperes",
    "moles": "moles",
    "volts": "volts",
}
"""Units by name, and the one to use in their place: https://prometheus.io/docs/practices/naming/#base-units."""
_ALIKE = frozenset({"metres"})


def lint(name: str, kind: str, help: str, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a metric: the rule, and in words. A ``*`` in its name stands for some words of it."""
    if not help.strip():
        yield "metric-help", "it has no help"
    if name.startswith(AS_THEY_ARE):
        return
    words = name.replace("*", "x").split("_")
    if not _NAME.fullmatch(name.replace("*", "x")):
        yield "metric-name", "its name is not in snake case of two words and more"
    if kind == "counter" and words[-1] != "total" and not name.endswith("*"):
        yield "metric-counter", "it is a counter, and its name does not end in _total"
    if kind != "counter" and words[-1] == "total":
        yield "metric-counter", f"its name ends in _total, and it is a {kind}"
    yield from (("metric-unit", what) for what in _units(words))
    if told := _KINDS.intersection(words[1:]):
        yield "metric-kind", f"its name says {min(told)}"
    suffixes = {"histogram": (), "summary": ("bucket",)}.get(kind, ("bucket", "count", "sum"))
    if words[-1] in suffixes:
        yield "metric-suffix", f"its name ends in _{words[-1]}, and it is a {kind}"
    for label in labels:
        if not _LABEL.fullmatch(label):
            yield "metric-label", f"its label {label!r} is not in snake case"
        elif label in _TAKEN:
            yield "metric-label", f"its label {label!r} is taken"


def _units(words: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        if place and word in ABBREVIATED:
            yield f"its name has {word!r}, which abbreviates a unit"
        bare = next((word.removeprefix(size) for size in _SIZES if word.removeprefix(size) in BASES), word)
        base = BASES.get(bare)
        if base is not None and base != word and word not in _ALIKE:
            yield f"its name has {word!r}: expected {base!r}"


def declarations(plugin: type[Plugin[Any]]) -> Iterator[Metric]:
    """Yield the metrics that a class declares as attributes, alone or in tuples and mappings: of one name, there may be
    several, which differ in their labels or help.
    """
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        yield from (each for each in values if isinstance(each, Metric))


def undeclared(family: Family, declared: Iterable[Metric]) -> tuple[str, str] | None:
    """Return the rule that a family breaks as it was not declared, or otherwise, and how; None where it is right."""
    wrong = None
    for each in declared:
        pattern = re.escape(each.name).replace(r"\*", "(.*)")
        if match := re.fullmatch(pattern, family.name):
            metric = each.bound(match[1]) if match.groups() else each
            difference = _difference(family, metric)
            if difference is None:
                return None
            if wrong is None or not match.groups():  # one that was declared by its whole name tells more
                wrong = "metric-differs", difference
    return wrong or ("metric-undeclared", "it is told, and the class declares no such metric")


def _difference(family: Family, metric: Metric) -> str | None:
    for what, told, said in (
        ("kind", family.kind, metric.kind),
        ("help", family.help, metric.help),
        ("labels", family.label_names, metric.labels),
    ):
        if told != said:
            return f"its {what} is {told!r}, and was declared as {said!r}"
    return None
