"""What programs write -> families and events."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agentd.plugin import Event, Family, Kind
from agentd_plugins.collectors import _textformat
from agentd_plugins.collectors.exec.program import ProgramError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as ClientMetric

SERIES = 20_000
"""Series of JSON lines that are kept at most; what the collector may show is limited by ``max_series``."""

LARGEST = 16 << 20
"""Bytes that their names, labels and help may take."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?<!:)")
_COLON = re.compile(rb"^[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*):(?![a-zA-Z0-9_:]).*", re.MULTILINE)
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    """A line that is a sample."""

    name: str
    value: float | None
    """None: it is not known any more."""
    labels: dict[str, str] = {}
    type: str = ""
    """gauge, counter or unknown; left out, what another line says of this name, or unknown."""
    help: str = ""


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """A line that is an event."""

    event: str
    payload: dict[str, Any] = {}
    target: str | None = None
    timestamp: float = 0.0
    """When it happened, in seconds since 1970; 0 for now."""

    def as_event(self, source: str) -> Event:
        """Return the event that this is."""
        return Event(type=self.event, source=source, target=self.target, timestamp=self.timestamp, payload=self.payload)


class Answer(NamedTuple):
    """What a program told at once."""

    families: "list[Family | ClientMetric]"
    events: list[Told] = []
    repeated: list[str] = []
    """Series that were there more than once: only the first is told."""


def parse(format: str, data: bytes, source: str) -> Answer:
    """Return what an answer holds; ``source`` names its program in the help of what has none.

    Raises ``ProgramError``, with the number of the line, where anything in it is wrong.
    """
    try:
        if format == "json":
            return _json(data, source)
        if format == "openmetrics":
            metrics: list[Family | ClientMetric] = list(_openmetrics(data, source))
            _refuse_colons(data)
            return Answer(metrics)
        families, repeated = _textformat.parse(data if data.endswith(b"\n") or not data else data + b"\n")
        _refuse_colons(data)
    except ValueError as error:
        raise ProgramError(f"its output is not understood: {error}") from None
    return Answer([_helped(family, source) for family in families], [], repeated)


def labelled(answer: "Iterable[Family | ClientMetric]", labels: Mapping[str, str]) -> "list[Family | ClientMetric]":
    """Return families with these labels on each sample, in the place of those that it may have under their names."""
    return [_labelled(each, labels) for each in answer] if labels else list(answer)


def line_of_json(line: bytes) -> Sample | Told:
    """Return what a JSON line is. Raises ``ValueError``."""
    try:
        return _told(line) if _kind(line).event is not None else _checked(_sample(line))
    except msgspec.MsgspecError as error:
        raise ValueError(f"{error}: {line[:80].decode('utf-8', 'replace')!r}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}") from None


class Samples:
    """The series that lines told."""

    def __init__(self) -> None:
        self._metrics: dict[str, _Metric] = {}
        self._count = self._size = 0

    def put(self, sample: Sample) -> None:
        """Take account of a line. Raises ``ValueError`` where it contradicts another."""
        key = tuple(sorted(sample.labels.items()))
        size = len(sample.name) + sum(len(name) + len(value) for name, value in key)
        metric = self._metrics.get(sample.name) or _Metric()
        if sample.value is None:
            if metric.values.pop(key, None) is not None:
                self._count -= 1
                self._size -= size
            return
        if metric.kind and sample.type and metric.kind != sample.type:
            raise ValueError(f"{sample.name} is a {sample.type} here, and was a {metric.kind} before")
        if key not in metric.values:
            if self._count >= SERIES:
                raise ValueError(f"{sample.name}: there are {SERIES} series already, and no more are kept")
            if self._size + size > LARGEST:
                raise ValueError(f"what {sample.name} has is left out: the series take {LARGEST} bytes already")
            names = metric.names | sample.labels.keys()
            if len(names) > _textformat.LABELS:
                raise ValueError(f"{sample.name} has more than {_textformat.LABELS} names of labels")
            metric.names = names
            self._count += 1
            self._size += size
        if not metric.help:
            self._size += len(sample.help)
        self._metrics[sample.name] = metric
        metric.kind = metric.kind or sample.type
        metric.help = metric.help or sample.help
        metric.values[key] = sample.value

    def families(self, source: str) -> list[Family]:
        """Return them as families."""
        return [metric.family(name, source) for name, metric in self._metrics.items() if metric.values]


class _Metric:
    def __init__(self) -> None:
        self.kind = ""
        self.help = ""
        self.names: set[str] = set()
        self.values: dict[tuple[tuple[str, str], ...], float] = {}

    def family(self, name: str, source: str) -> Family:
        labels = tuple(dict.fromkeys(label for key in self.values for label, _ in key))
        samples = {tuple(map(dict(key).get, labels)): value for key, value in self.values.items()}
        return _helped(Family(name, _KINDS[self.kind], self.help, labels, dict(samples)), source)


class _Kind(msgspec.Struct):
    event: object = None


_kind = msgspec.json.Decoder(_Kind).decode
_told = msgspec.json.Decoder(Told).decode
_sample = msgspec.json.Decoder(Sample).decode
_KINDS: dict[str, Kind] = {"": "unknown", "unknown": "unknown", "gauge": "gauge", "counter": "counter"}


def _checked(sample: Sample) -> Sample:
    if not _NAME.fullmatch(sample.name):
        raise ValueError(f"{sample.name[:80]!r} is no name of a metric")
    if sample.type not in _KINDS:
        raise ValueError(f"expected gauge, counter or unknown as the type of {sample.name}; found {sample.type[:80]!r}")
    for label in sample.labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label[:80]!r} is no name of a label")
    return sample


def _json(data: bytes, source: str) -> Answer:
    samples, events = Samples(), []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found = line_of_json(line)
            if isinstance(found, Told):
                events.append(found)
            else:
                samples.put(found)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return Answer(list(samples.families(source)), events)


def _refuse_colons(data: bytes) -> None:
    """Raise ``ValueError`` where a name ends in a colon: the format allows it, but ``users: 3`` is meant otherwise."""
    if found := _COLON.search(data):
        number, line = data.count(b"\n", 0, found.start()) + 1, found[0][:80].decode("utf-8", "replace")
        raise ValueError(f"line {number}: expected {found[1].decode()} without a colon behind it, found {line!r}")


def _openmetrics(data: bytes, source: str) -> "Iterable[ClientMetric]":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    try:
        for metric in text_string_to_metric_families(data.decode()):  # type: ignore[no-untyped-call]  # it has no types
            metric.documentation = metric.documentation or _help(source)
            yield metric
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:  # what it raises for what is none
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _labelled(family: "Family | ClientMetric", labels: Mapping[str, str]) -> "Family | ClientMetric":
    if not isinstance(family, Family):
        family.samples = [each._replace(labels={**each.labels, **labels}) for each in family.samples]
        return family
    kept = [place for place, name in enumerate(family.label_names) if name not in labels]
    names = (*(family.label_names[place] for place in kept), *labels)
    values = tuple(labels.values())
    samples = {(*(key[place] for place in kept), *values): value for key, value in family.samples.items()}
    return Family(family.name, family.kind, family.help, names, samples)


def _helped(family: Family, source: str) -> Family:
    family.help = family.help or _help(source)
    return family


def _help(source: str) -> str:
    return f"Told by the program of {source}."
