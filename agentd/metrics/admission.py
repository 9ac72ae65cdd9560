"""What a collector returned -> families that are safe to show, and what had to be left out of them.

Whatever plugins do, the exposition stays valid: names and label names are of the classic character set, label values
are UTF-8 text, values are floats, no series appears twice, and no collector shows more series than its budget.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from math import isnan
from operator import is_not, lt
from typing import Any

from agentd.errors import AnswerError
from agentd.metrics.assembly import Rejection, distinct, merge, short
from agentd.metrics.client import from_client, is_client
from agentd.metrics.family import Family, Histogram, Kind, Labels, Summary, Value
from agentd.metrics.frame import Frame, Layout

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS: tuple[Kind, ...] = ("counter", "gauge", "unknown", "histogram", "summary")
_DISTRIBUTIONS = frozenset({"histogram", "summary"})
_FAMILIES: frozenset[type] = frozenset({Family})
_FLOATS: frozenset[type] = frozenset({float})
_STRINGS: frozenset[type] = frozenset({str})
_TUPLES: frozenset[type] = frozenset({tuple})
_VAIN_LIMIT = 1000
"""Items without a sample after which a collector that never ends is stopped all the same."""


class Admission:
    """Checks the answers of one collector. One that differs from the last in its numbers only costs little."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._layout = Layout()
        self._filled: Layout | None = None  # the collector's own, where it has one
        self._plain = False
        self._left = max_series
        self._rejections: list[Rejection] = []

    def admit(self, returned: Iterable[Any]) -> tuple[Frame, list[Rejection]]:
        """Return checked families, with values of their own, and what was left out.

        Reads no further than the budget reaches, so a generator need not end. What iterating raises is passed on.
        """
        if type(returned) is Frame:
            values = list(returned.values)
            if _FLOATS.issuperset(map(type, values)):
                if returned.layout is self._filled:
                    return Frame(self._layout, values), []
                if is_sound(returned.layout, self._max_series):
                    self._filled = self._layout = returned.layout
                    return Frame(self._layout, values), []
        elif not isinstance(returned, Iterable) or isinstance(returned, str | bytes | bytearray | Mapping | Family):
            raise AnswerError(_refusal(returned))
        elif self._plain:
            rest = iter(returned)
            begin = list(islice(rest, len(self._layout) + 1))
            unchanged = self._unchanged(begin)
            if unchanged is not None:
                return unchanged, []
            returned = chain(begin, rest)
        return self._inspect(returned), self._rejections

    def _unchanged(self, returned: list[Any]) -> Frame | None:
        """Return families of which only the numbers differ from the last time, or None for anything else."""
        if not _FAMILIES.issuperset(map(type, returned)):
            return None
        try:
            values = self._layout.values(returned)
        except TypeError:
            return None
        if values is None or not _FLOATS.issuperset(map(type, values)):
            return None
        return Frame(self._layout, values)

    def _inspect(self, returned: Iterable[Any]) -> Frame:
        self._rejections = []
        self._left = self._max_series
        self._plain = True
        families = self._inspected(returned)
        values = self._layout.values(families)
        if values is None:
            self._layout = Layout(families)
            values = self._layout.values(families) or []
        # Only an answer that was good as it came may be waved through the next time.
        if self._rejections or any(family.kind in _DISTRIBUTIONS for family in families):
            self._plain = False
        self._filled = None
        if self._plain and type(returned) is Frame and self._layout.values(list(returned)) is not None:
            self._filled = returned.layout
        return Frame(self._layout, values)

    def _inspected(self, returned: Iterable[Any]) -> list[Family]:
        parts: dict[str, list[Family]] = {}
        in_vain = 0
        for item in returned:
            before = self._left
            for family in self._families(item):
                checked = self._checked(family)
                if checked is not None:
                    parts.setdefault(checked.name, []).append(checked)
                if self._left < 0:
                    break
            in_vain += self._left == before
            if self._left < 0:
                break
            if in_vain > _VAIN_LIMIT:
                self._reject("empty", "what follows", f"{in_vain} items were without any sample")
                break
        for first, *others in parts.values():
            self._rejections += merge(first, others)
        return [first for first, *_ in parts.values() if first.samples]

    def _families(self, item: Any) -> Iterable[Family]:
        if isinstance(item, Family):
            return (item,)
        if not is_client(item):
            self._reject("type", type(item).__name__, f"{short(item)} is no family")
            return ()
        try:
            return list(from_client(item))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._reject("family", short(item), f"{type(error).__name__}: {error}")
            return ()

    def _checked(self, family: Family) -> Family | None:
        try:
            checked = self._bare(family)
            checked.samples = self._check_keys(checked, self._within_budget(family))
            if checked.kind in _DISTRIBUTIONS:
                checked.samples = self._check_distributions(checked, checked.samples)
            else:
                checked.samples = self._check_numbers(checked, checked.samples)
        except (ValueError, TypeError, AttributeError) as error:
            self._reject("family", short(family.name), str(error))
            return None
        return checked

    def _bare(self, family: Family) -> Family:
        """Return a family like this one, without samples, all of its texts being plain ones."""
        name, kind, text, labels = family.name, family.kind, family.help, family.label_names
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError("not a valid metric name")
        if kind not in _KINDS:
            raise ValueError(f"{short(kind)} is no kind of metric")
        if not isinstance(text, str):
            raise TypeError("its help is no text")
        if not isinstance(labels, tuple):
            raise TypeError(f"its label names are no tuple: {short(labels)}")
        reserved = {"histogram": "le", "summary": "quantile"}.get(kind)
        for label in labels:
            if not isinstance(label, str) or not _LABEL.fullmatch(label) or label == reserved:
                raise ValueError(f"{short(label)} is not a valid label name")
        if any(type(each) is not str for each in (name, kind, text, *labels)):
            self._plain = False
        names = tuple(map(str.__str__, labels))
        if len(set(names)) != len(names):
            raise ValueError(f"its label names are not distinct: {short(labels)}")
        return Family(str.__str__(name), _KINDS[_KINDS.index(kind)], str.__str__(text), names, {})

    def _within_budget(self, family: Family) -> dict[Any, Any]:
        """Return a copy of the samples (the plugin may go on changing its own), as many as may still be looked at."""
        samples = family.samples
        if not isinstance(samples, Mapping):
            raise TypeError("its samples are no mapping")
        left, self._left = self._left, self._left - len(samples)
        if self._left >= 0:
            return dict(samples)
        self._reject("max_series", family.name, f"with what follows, more than {self._max_series} series")
        return dict(islice(samples.items(), left))

    def _check_keys(self, family: Family, samples: dict[Any, Any]) -> dict[Labels, Any]:
        checked: dict[Labels, Any] = {}
        incomplete: set[frozenset[tuple[str, str]]] = set()
        for key, value in samples.items():
            try:
                if not isinstance(key, tuple):
                    raise TypeError("they are no tuple")
                if len(key) != len(family.label_names):
                    raise ValueError(f"expected one for each of {short(family.label_names)}")
                labels = tuple(map(_text, key))
            except (TypeError, ValueError) as error:
                self._reject("labels", family.name, f"label values {short(key)}: {error}")
                continue
            if any(map(is_not, map(type, key), map(type, labels))):
                self._plain = False
            double = labels in checked  # what is no UTF-8 may have become the same text
            if not all(labels):
                identity = distinct(family.label_names, labels)
                double = identity in incomplete
                incomplete.add(identity)
            if double:
                self._reject("duplicate", family.name, f"label values {short(key)} were there already")
            else:
                checked[labels] = value
        return checked

    def _check_numbers(self, family: Family, samples: dict[Labels, Any]) -> dict[Labels, Value]:
        checked: dict[Labels, Value] = {}
        for key, value in samples.items():
            try:
                checked[key] = _number(value)
            except (TypeError, ValueError) as error:
                self._reject("value", family.name, f"{short(value)}: {error}")
        return checked

    def _check_distributions(self, family: Family, samples: dict[Labels, Any]) -> dict[Labels, Value]:
        checked: dict[Labels, Value] = {}
        wanted = Histogram if family.kind == "histogram" else Summary
        for key, value in samples.items():
            try:
                if not isinstance(value, wanted):
                    raise TypeError(f"expected a {wanted.__name__}")
                pairs = value.buckets if isinstance(value, Histogram) else value.quantiles
                if not isinstance(pairs, tuple | list):
                    raise TypeError("buckets and quantiles are tuples")
                if len(pairs) + 1 > self._left:  # beside the one that it was counted as
                    self._reject("max_series", family.name, f"its buckets come to more than {self._max_series} series")
                    continue
                self._left -= len(pairs) + 1
                numbers = tuple((_number(bound), _number(number)) for bound, number in pairs)
                bounds = [bound for bound, _ in numbers]
                if any(map(isnan, bounds)) or not all(map(lt, bounds, bounds[1:])):
                    raise ValueError("bounds must ascend")
                checked[key] = wanted(numbers, _number(value.count), _number(value.sum))
            except (TypeError, ValueError) as error:
                self._reject("value", family.name, f"{short(value)}: {error}")
        return checked

    def _reject(self, reason: str, subject: str, why: str) -> None:
        self._rejections.append(Rejection(reason, subject, why))


def is_sound(layout: Layout, max_series: int) -> bool:
    """Say whether there is nothing to object to in a layout, of plain samples. Where this says no, a closer look may
    still find nothing: this one is for many series, of which each costs little.
    """
    parts = layout.parts()
    if layout.series > max_series:
        return False
    for (name, kind, text, labels), keys in parts:
        if type(labels) is not tuple or not _STRINGS.issuperset(map(type, (name, kind, text, *labels))):
            return False
        if kind not in _KINDS or kind in _DISTRIBUTIONS or not _NAME.fullmatch(name) or not keys:
            return False
        if not all(map(_LABEL.fullmatch, labels)) or len(set(labels)) != len(labels):
            return False
        if not _TUPLES.issuperset(map(type, keys)) or set(map(len, keys)) != {len(labels)}:
            return False
        texts: set[Any] = set(chain.from_iterable(keys)) - {None}
        # An empty text is the same as none: only then might two different keys be one series.
        if "" in texts or not _STRINGS.issuperset(map(type, texts)) or _SURROGATE.search("".join(texts)):
            return False
    return len({name for (name, *_), _ in parts}) == len(parts)


def _refusal(returned: object) -> str:
    single = isinstance(returned, Family) or is_client(returned)
    advice = "put it into a list" if single else "expected a list or an iterator of Family"
    return f"returned {short(returned)}, of type {type(returned).__name__}: {advice}"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise TypeError(f"{short(value)} is no text")
    # A member of an enumeration, say, does not print itself as the text that it is.
    return str.__str__(value) if value.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", str.__str__(value))


def _number(value: Any) -> float:
    if isinstance(value, str | bytes | bytearray):
        raise TypeError("a text is no number")
    try:
        return float(value)
    except Exception as error:  # a __float__ may raise anything
        raise ValueError(str(error) or type(error).__name__) from error
