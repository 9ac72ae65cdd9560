"""Family: the plain data that collectors return, and Metric, the declaration from which one is made.

The words are those of the Prometheus exposition formats: a *family* has a name, a kind, a help text and samples; a
*sample* has label values and a value; a *series* is one sample over time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["counter", "gauge", "unknown", "histogram", "summary"]

Labels = tuple[str | None, ...]
"""The label values of one sample, in the order of ``label_names``; ``None``: this sample lacks the label."""


class Histogram(msgspec.Struct, frozen=True):
    """One sample of a histogram.

    ``buckets`` are pairs of an upper bound and the *cumulative* count of observations at or below it, in ascending
    order; where the last bound is not infinity, a bucket of ``count`` is added when it is written out.
    """

    buckets: tuple[tuple[float, float], ...]
    count: float
    sum: float


class Summary(msgspec.Struct, frozen=True):
    """One sample of a summary: pairs of a quantile (0 to 1) and its value, the count and the sum of observations."""

    quantiles: tuple[tuple[float, float], ...]
    count: float
    sum: float


Value = float | Histogram | Summary

_VALUES = (int, float, Histogram, Summary)


class Family(msgspec.Struct):
    """Samples of one name. ``kind`` decides which values ``samples`` may hold: floats, ``Histogram`` or ``Summary``."""

    name: str
    kind: Kind
    help: str
    label_names: tuple[str, ...]
    samples: dict[Labels, Value]

    @classmethod
    def gauge(cls, name: str, help: str, samples: "Samples", labels: tuple[str, ...] = ()) -> "Family":
        """Return a family of values that go up and down. ``samples``: see ``keyed``."""
        return cls(name, "gauge", help, labels, keyed(samples))

    @classmethod
    def counter(cls, name: str, help: str, samples: "Samples", labels: tuple[str, ...] = ()) -> "Family":
        """Return a family of values that only grow; by convention its name ends in ``_total``."""
        return cls(name, "counter", help, labels, keyed(samples))

    @classmethod
    def unknown(cls, name: str, help: str, samples: "Samples", labels: tuple[str, ...] = ()) -> "Family":
        """Return a family of which nobody says whether it is a gauge or a counter (``untyped`` in the text format)."""
        return cls(name, "unknown", help, labels, keyed(samples))

    @classmethod
    def histogram(cls, name: str, help: str, samples: "Samples", labels: tuple[str, ...] = ()) -> "Family":
        """Return a family of ``Histogram`` samples."""
        return cls(name, "histogram", help, labels, keyed(samples))

    @classmethod
    def summary(cls, name: str, help: str, samples: "Samples", labels: tuple[str, ...] = ()) -> "Family":
        """Return a family of ``Summary`` samples."""
        return cls(name, "summary", help, labels, keyed(samples))


Samples = Value | Mapping[Any, Value] | Iterable[tuple[Labels, Value]]
"""What a family can be made from: one value (no labels), a mapping from label values to values, or pairs of the two.

The keys are ``Labels``, or plain strings where there is one label. (Mappings do not vary in the type of their keys, so
that ``dict[tuple[str, str], float]`` would not be accepted were they spelled out.)
"""


def keyed(samples: Samples) -> dict[Labels, Value]:
    """Return samples as a mapping from label values. With a single label, its values may be given as plain strings."""
    if type(samples) is float or isinstance(samples, _VALUES):
        return {(): samples}
    mapping: dict[Any, Value] = samples if type(samples) is dict else dict(samples)
    for key in mapping:
        return {(key,): value for key, value in mapping.items()} if isinstance(key, str) else mapping
    return mapping


class Metric(msgspec.Struct, frozen=True):
    """A declared family: everything about it but its samples. Call it with samples to get a ``Family``.

    Declared as attributes of a plugin's class, metrics are what ``agentd plugins NAME`` and the reference page list.
    A name that contains ``*`` declares a whole group of families whose names are learned at run time: see ``named``.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """The unit, where the name does not say it: for the reference page alone."""

    def __call__(self, samples: Samples) -> Family:
        """Return a family of these samples (see ``Samples``)."""
        if type(samples) is float:  # most families of the kernel are a single number
            return Family(self.name, self.kind, self.help, self.labels, {(): samples})
        return Family(self.name, self.kind, self.help, self.labels, keyed(samples))

    def named(self, part: str, samples: Samples) -> Family:
        """Return a family whose name has ``part`` in the place of ``*``, and whose help has it in that of ``{}``."""
        return self.bound(part)(samples)

    def bound(self, part: str) -> "Metric":
        """Return the metric that ``named`` makes families of, for those who keep it from one collection to the next."""
        return Metric(self.name.replace("*", part), self.kind, self.help.replace("{}", part), self.labels)


def gauge(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a gauge."""
    return Metric(name, "gauge", help, labels, unit)


def counter(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a counter."""
    return Metric(name, "counter", help, labels, unit)


def unknown(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a family of unknown kind."""
    return Metric(name, "unknown", help, labels, unit)


class Sample(NamedTuple):
    """One line of an exposition."""

    name: str
    """The family's name; of histograms and summaries with ``_bucket``, ``_sum`` or ``_count`` behind it."""
    labels: dict[str, str]
    """``le`` and ``quantile`` included."""
    value: float


class Snapshot(msgspec.Struct, frozen=True):
    """What all collectors had to say at one moment: families with distinct names, valid and free of double series."""

    families: Sequence[Family]
    timestamp: float
    """When it was taken, in seconds since 1970."""

    @property
    def series(self) -> int:
        """How many samples there are; a histogram or summary counts as one."""
        return sum(len(family.samples) for family in self.families)

    def samples(self) -> Iterator[Sample]:
        """Yield every sample as a plain number, histograms and summaries one by one: what most formats can hold."""
        for family in self.families:
            for key, value in family.samples.items():
                labels = {name: text for name, text in zip(family.label_names, key, strict=True) if text is not None}
                for suffix, bound, number in _plain(value):
                    yield Sample(family.name + suffix, labels | bound, number)


def _plain(value: Value) -> Iterator[tuple[str, dict[str, str], float]]:
    if isinstance(value, int | float):
        yield "", {}, float(value)
        return
    if isinstance(value, Histogram):
        for bound, count in value.buckets:
            yield "_bucket", {"le": spelled(bound)}, count
        if not value.buckets or value.buckets[-1][0] != inf:
            yield "_bucket", {"le": spelled(inf)}, value.count
    else:
        for quantile, number in value.quantiles:
            yield "", {"quantile": spelled(quantile)}, number
    yield "_sum", {}, value.sum
    yield "_count", {}, value.count


def spelled(bound: float) -> str:
    """Return a bound as prometheus_client writes it, which goes over to exponents sooner than Python."""
    if bound in (inf, -inf):
        return "+Inf" if bound > 0 else "-Inf"
    text = repr(bound)
    whole, point, rest = text.partition(".")
    if bound <= 0 or len(whole) < 7 or not point or "e" in text:
        return text
    return f"{whole[0]}.{whole[1:]}{rest}".rstrip("0.") + f"e+{len(whole) - 1:02d}"
