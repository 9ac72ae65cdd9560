"""What a collector returned -> families that are safe to show, and what had to be left out of them.

Whatever plugins do, the exposition stays valid: names and label names are of the classic character set, label values
are UTF-8 text, values are floats, no series appears twice, and no collector shows more series than its budget.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

from prometheus_client.metrics_core import Metric as ClientMetric

from agentd.metrics.assembly import Rejection, merge, short
from agentd.metrics.family import Family, Histogram, Kind, Labels, Summary, Value
from agentd.metrics.shape import Outline, Shape

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_KINDS = ("counter", "gauge", "unknown", "histogram", "summary")
_OF_CLIENT: dict[str, Kind] = {"counter": "counter", "gauge": "gauge", "info": "gauge", "stateset": "gauge"}
_DISTRIBUTIONS = frozenset({"histogram", "summary"})
_FAMILIES: frozenset[type] = frozenset({Family})
_FLOATS: frozenset[type] = frozenset({float})
_EMPTY_LIMIT = 1000
"""Families without samples after which a collector that never ends is stopped all the same."""


class Admission:
    """Checks the answers of one collector. One that differs from the last in its numbers only costs little."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._outline = Outline()
        self._plain = False
        self._rejections: list[Rejection] = []

    @property
    def shape(self) -> Shape:
        """The shape of the last answer, as it was admitted."""
        return self._outline.shape

    def admit(self, returned: Iterable[Any]) -> tuple[list[Family], list[Rejection]]:
        """Return checked families, each with a samples mapping of its own, and what was left out.

        Reads no further than the budget reaches, so a generator need not end. What iterating raises is passed on.
        """
        unchanged = self._unchanged(returned) if self._plain and type(returned) is list else None
        if unchanged is not None:
            return unchanged, []
        self._rejections = []
        families = self._inspected(returned)
        self._outline.follow(families)
        # Only an answer that was good as it came may be waved through the next time.
        self._plain = not self._rejections and not any(family.kind in _DISTRIBUTIONS for family in families)
        return families, self._rejections

    def _unchanged(self, returned: list[Any]) -> list[Family] | None:
        """Return copies of families of which only the numbers differ from the last time, or None for anything else."""
        if not _FAMILIES.issuperset(map(type, returned)):
            return None
        try:
            # Their own: the plugin may go on changing what it returned.
            samples = [dict.copy(family.samples) for family in returned]
        except TypeError:
            return None
        if not self._outline.matches(returned, samples):
            return None
        if not _FLOATS.issuperset(map(type, chain.from_iterable(map(dict.values, samples)))):
            return None
        return [
            Family(family.name, family.kind, family.help, family.label_names, own)
            for family, own in zip(returned, samples, strict=True)
        ]

    def _inspected(self, returned: Iterable[Any]) -> list[Family]:
        families: dict[str, Family] = {}
        left, empty = self._max_series, 0
        for family in chain.from_iterable(map(self._families, returned)):
            size = len(family.samples)
            if size > left:
                self._reject("max_series", f"{family.name} and what follows: more than {self._max_series} series")
                family.samples = dict(list(family.samples.items())[:left])
            if family.samples:
                earlier = families.setdefault(family.name, family)
                if earlier is not family:
                    self._rejections += merge(earlier, family)
            left -= size
            empty += not size
            if left < 0 or len(self._rejections) > self._max_series:
                break
            if empty > _EMPTY_LIMIT:
                self._reject("empty", f"more than {_EMPTY_LIMIT} families without samples")
                break
        return list(families.values())

    def _families(self, item: Any) -> Iterator[Family]:
        if isinstance(item, Family):
            checked = map(self._checked, (item,))
        elif isinstance(item, ClientMetric):
            checked = map(self._checked, from_client(item))
        else:
            self._reject("type", f"{short(item)} is no family")
            return
        yield from filter(None, checked)

    def _checked(self, family: Family) -> Family | None:
        try:
            self._check_shape(family)
            samples = self._check_keys(family, dict(family.samples))
            if family.kind in _DISTRIBUTIONS:
                samples = self._check_distributions(family, samples)
            else:
                samples = self._check_numbers(family, samples)
        except (ValueError, TypeError, AttributeError) as error:
            self._reject("family", f"{short(family.name)}: {error}")
            return None
        return Family(family.name, family.kind, family.help, family.label_names, samples)

    def _check_shape(self, family: Family) -> None:
        if not isinstance(family.name, str) or not _NAME.fullmatch(family.name):
            raise ValueError("not a valid metric name")
        if family.kind not in _KINDS:
            raise ValueError(f"{family.kind!r} is no kind of metric")
        if not isinstance(family.help, str):
            raise TypeError("its help is no text")
        names = family.label_names
        if not isinstance(names, tuple) or len(set(names)) != len(names):
            raise ValueError(f"its label names are no tuple of distinct names: {short(names)}")
        reserved = {"histogram": "le", "summary": "quantile"}.get(family.kind)
        for name in names:
            if not isinstance(name, str) or not _LABEL.fullmatch(name) or name == reserved:
                raise ValueError(f"{short(name)} is not a valid label name")

    def _check_keys(self, family: Family, samples: dict[Any, Any]) -> dict[Labels, Any]:
        checked: dict[Labels, Any] = {}
        seen: set[frozenset[tuple[str, str]]] = set()
        for key, value in samples.items():
            try:
                labels = tuple(_text(text) for text in key)
                identity = frozenset(
                    (name, text) for name, text in zip(family.label_names, labels, strict=True) if text
                )
            except (TypeError, ValueError) as error:
                self._reject("labels", f"{family.name}: label values {short(key)}: {error}")
                continue
            if identity in seen:
                # An empty label is the same to Prometheus as none, and what is no UTF-8 may have become the same text.
                self._reject("duplicate", f"{family.name}: label values {short(key)}: this series was there already")
                continue
            seen.add(identity)
            checked[labels] = value
        return checked

    def _check_numbers(self, family: Family, samples: dict[Labels, Any]) -> dict[Labels, Value]:
        checked: dict[Labels, Value] = {}
        for key, value in samples.items():
            try:
                checked[key] = _number(value)
            except (TypeError, ValueError, OverflowError) as error:
                self._reject("value", f"{family.name}: {short(value)}: {error}")
        return checked

    def _check_distributions(self, family: Family, samples: dict[Labels, Any]) -> dict[Labels, Value]:
        checked: dict[Labels, Value] = {}
        wanted = Histogram if family.kind == "histogram" else Summary
        for key, value in samples.items():
            try:
                if not isinstance(value, wanted):
                    raise TypeError(f"expected a {wanted.__name__}")
                pairs = value.buckets if isinstance(value, Histogram) else value.quantiles
                numbers = tuple((_number(bound), _number(number)) for bound, number in pairs)
                if any(one[0] >= two[0] for one, two in pairwise(numbers)):
                    raise ValueError("bounds must ascend")
                checked[key] = wanted(numbers, _number(value.count), _number(value.sum))
            except (TypeError, ValueError, OverflowError) as error:
                self._reject("value", f"{family.name}: {short(value)}: {error}")
        return checked

    def _reject(self, reason: str, what: str) -> None:
        self._rejections.append(Rejection(reason, what))


def from_client(metric: ClientMetric) -> Iterator[Family]:
    """Turn a metric of prometheus_client into families; ``_created`` series and exemplars are left out."""
    if metric.type in ("histogram", "summary"):
        yield _distribution(metric)
        return
    kind = _OF_CLIENT.get(metric.type, "unknown")
    by_name: dict[str, list[Any]] = {}
    for sample in metric.samples:
        if not sample.name.endswith("_created") or metric.type not in ("counter", "gaugehistogram"):
            by_name.setdefault(sample.name, []).append(sample)
    for name, samples in by_name.items():
        names = tuple(dict.fromkeys(label for sample in samples for label in sample.labels))
        values = {tuple(map(sample.labels.get, names)): sample.value for sample in samples}
        yield Family(name, kind, metric.documentation, names, values)


def _distribution(metric: ClientMetric) -> Family:
    bound_label = "le" if metric.type == "histogram" else "quantile"
    names = tuple(dict.fromkeys(name for sample in metric.samples for name in sample.labels if name != bound_label))
    bounds: dict[Labels, dict[float, float]] = {}
    totals: dict[Labels, Counter[str]] = {}
    for sample in metric.samples:
        key = tuple(map(sample.labels.get, names))
        if bound_label in sample.labels:
            bounds.setdefault(key, {})[float(sample.labels[bound_label])] = sample.value
        totals.setdefault(key, Counter())[sample.name.removeprefix(metric.name)] = sample.value  # type: ignore[assignment]
    make = Histogram if metric.type == "histogram" else Summary
    samples: dict[Labels, Value] = {
        key: make(tuple(sorted(bounds.get(key, {}).items())), total["_count"], total["_sum"])
        for key, total in totals.items()
    }
    return Family(metric.name, "histogram" if make is Histogram else "summary", metric.documentation, names, samples)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise TypeError(f"{short(value)} is no text")
    if value.isascii():
        return str(value)
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _has_surrogate(value) else str(value)


def _has_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _number(value: Any) -> float:
    if isinstance(value, str | bytes | bytearray):
        raise TypeError("a text is no number")
    return float(value)
