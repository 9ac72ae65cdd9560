"""Families -> bytes: the Prometheus text format 0.0.4 and OpenMetrics 1.0.

Names and labels rarely change from one scrape to the next, only the numbers do. So the text before each number (the
*prefix*) is kept from the last renderings, all numbers of a block are written by one call of msgspec's JSON encoder
(whose floats are valid in both formats and round-trip exactly), and the two are interleaved. Families whose samples
are of another make take the same way after being flattened into plain samples.
"""

import asyncio
import time
from collections.abc import Collection, Container, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf, isnan
from typing import Any, Literal, NamedTuple

import msgspec

try:
    from isal import igzip as _gzip
except ImportError:  # there are no wheels for this machine
    import gzip as _gzip  # type: ignore[no-redef]

from agentd.metrics.family import Family, Histogram, Kind, Labels, Summary, spelled
from agentd.metrics.frame import Frame, Layout
from agentd.metrics.recent import Recent

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: Mapping[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

BLOCK = 5000
"""Samples that are rendered without giving way to other tasks: about a millisecond's work."""

FAMILIES = 100
"""Families that are looked at without giving way."""

PLANS = 4
"""Layouts for which the whole is remembered: scrapes may ask for parts."""

KEPT_FOR = 8
"""Renderings after which what was remembered of a layout, or of a family, that did not come again is dropped; after as
many again at the latest."""

SLICE = 0.003
"""Seconds after which a rendering gives way to the other tasks of the loop."""


GZIP_INLINE = 256 * 1024
"""Bytes up to which compressing is quicker than handing it to a worker."""


def compress(body: bytes) -> bytes:
    """Return a body as gzip, by isal where it is installed (three times as fast as zlib, at the same size)."""
    compressed: bytes = _gzip.compress(body, 1)
    return compressed


_BOUND = {"histogram": "le", "summary": "quantile"}
"""By kind, the label that belongs to the format."""

_SERIES = {
    "histogram": ("", "_bucket", "_sum", "_count", "_created"),
    "summary": ("", "_sum", "_count", "_created"),
}
"""By kind, the endings of the names that are a family's own in OpenMetrics."""


_Head = tuple[str, Kind, str, tuple[str, ...]]
"""A family's name, kind, help and label names."""


class Renderer:
    """Renders families in one format with one set of additional labels, and remembers their prefixes."""

    def __init__(self, format: Format = "text", labels: Mapping[str, str] | None = None) -> None:
        self._format = format
        self._labels = dict(labels or {})
        self._entries: dict[str, _Entry] = {}
        self._plans: Recent[Layout, _Plan] = Recent(PLANS, KEPT_FOR)
        self._rendering = 0

    def render(self, families: Sequence[Family]) -> bytes:
        """Return families, whose names must be distinct, as one exposition.

        Of a ``Frame`` whose layout was met before, only the numbers are looked at.
        """
        return b"".join(self._blocks(families))

    async def render_in_slices(self, families: Sequence[Family]) -> bytes:
        """Do the same, but give way to other tasks every few milliseconds."""
        blocks = []
        begun = time.monotonic()
        for block in self._blocks(families):
            blocks.append(block)
            if time.monotonic() - begun > SLICE:
                await asyncio.sleep(0)
                begun = time.monotonic()
        return b"".join(blocks)

    def _blocks(self, families: Sequence[Family]) -> Iterator[bytes]:
        self._rendering += 1
        if self._rendering % KEPT_FOR == 0:
            self._forget()
        layout = families.layout if isinstance(families, Frame) else None
        plan = self._plans.get(layout) if layout is not None else None
        values = families.values if isinstance(families, Frame) else _values(families)
        numbers = plan.numbers(values) if plan is not None else None
        if plan is None or numbers is None:
            plan = yield from self._plan(families, values)
            numbers = plan.numbers(values) or []
            if layout is not None:
                self._plans.put(layout, plan)
        for start in range(0, len(numbers), BLOCK):
            block = _interleaved(plan.prefixes[start : start + BLOCK], numbers[start : start + BLOCK])
            yield block if start else block[1:]  # each sample begins by ending the line before it
        yield (b"\n" if numbers else b"") + (b"# EOF\n" if self._format == "openmetrics" else b"")

    def _plan(self, families: Sequence[Family], values: Sequence[Any]) -> Generator[bytes, None, "_Plan"]:
        """Put together the prefixes of all samples, learning those that are new and giving way now and then."""
        layout = families.layout if isinstance(families, Frame) else Layout(families)
        names = {name + suffix for (name, kind, *_), _ in layout.parts() for suffix in _SERIES.get(kind, ("",))}
        prefixes: list[bytes] = []
        distributions: dict[int, list[_Flat]] = {}
        place = 0
        for index, (head, labels) in enumerate(layout.parts()):
            if not labels:
                continue
            name, kind, *_ = head
            entry = self._entries.get(name)
            if entry is None or not entry.fits(head, names):
                entry = self._entries[name] = _Entry(head, names, self._labels, self._format)
            entry.used = self._rendering
            keys: list[Any] = labels
            if kind in ("histogram", "summary"):
                told = values[place : place + len(labels)]
                flat = {place + nth: _flattened(sample) for nth, sample in enumerate(zip(labels, told, strict=True))}
                distributions |= flat
                keys = list(chain.from_iterable(flat.values()))
            place += len(labels)
            prefixes += entry.prefixes if keys == entry.keys else (yield from entry.learn(keys))
            if index % FAMILIES == 0:
                yield b""
        return _Plan(prefixes, distributions, {name for (name, *_), _ in layout.parts()})

    def _forget(self) -> None:
        """Drop what was not needed for a while: of robots that have gone, for one, all that was said of them."""
        since = self._rendering - KEPT_FOR
        needed = {name for plan in self._plans for name in plan.names}
        self._entries = {n: entry for n, entry in self._entries.items() if entry.used > since or n in needed}


class _Plan(NamedTuple):
    """The text before each number of a whole exposition, in order."""

    prefixes: list[bytes]
    distributions: dict[int, "list[_Flat]"]
    """Of the values that are histograms or summaries, by their index, the keys of their plain samples."""
    names: Collection[str]
    """The names of the families."""

    def numbers(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """Return the numbers that belong behind the prefixes; None where a distribution has come by other bounds."""
        if not self.distributions:
            return values
        numbers: list[float] = []
        start = 0
        for index, keys in self.distributions.items():
            plain = _numbers(values[index], keys)
            if plain is None:
                return None
            numbers += values[start:index]
            numbers += plain
            start = index + 1
        numbers += values[start:]
        return numbers


class _Entry:
    """What is remembered of a family: the keys of its last samples in their order, and the text before each value.

    The heading of the family is part of the text before its first value.
    """

    __slots__ = ("_base", "_clash", "_extra", "_heading", "_name", "_of", "keys", "prefixes", "used")

    def __init__(self, head: _Head, names: Container[str], extra: Mapping[str, str], format_: Format) -> None:
        name, kind_, help_, labels = head
        self._of = (kind_, help_, labels)
        self._name = name
        own = (*labels, _BOUND.get(kind_))
        self._extra = [f'{each}="{_escaped(text)}"' for each, text in extra.items() if each not in own]
        # In OpenMetrics the family of a counter is named without _total. A counter that has another name, or whose
        # family would then claim the name of other series, is of unknown kind: its series keep the names they have.
        counter = format_ == "openmetrics" and kind_ == "counter"
        self._base = name.removesuffix("_total") if counter and name.endswith("_total") else ""
        self._clash = self._clashes(names)
        shown, kind, text = name, str(kind_), help_.replace("\\", r"\\").replace("\n", r"\n")
        if format_ == "openmetrics":
            text = text.replace('"', r"\"")  # the older format does not know this escape
            if counter and (self._clash or not self._base):
                kind = "unknown"
            elif counter:
                shown = self._base
        elif kind == "unknown":
            kind = "untyped"
        self._heading = f"\n# HELP {shown} {text}\n# TYPE {shown} {kind}".encode("utf-8", "replace")
        self.keys: list[Any] = []
        self.prefixes: list[bytes] = []
        self.used = 0

    def fits(self, head: _Head, names: Container[str]) -> bool:
        """Say whether the heading is that of this family, among families of these names."""
        return self._of == head[1:] and (not self._base or self._clash == self._clashes(names))

    def _clashes(self, names: Container[str]) -> bool:
        return self._base in names or f"{self._base}_created" in names

    def learn(self, keys: list[Any]) -> Generator[bytes, None, list[bytes]]:
        """Return the prefixes for these keys, giving way now and then; those that have gone are forgotten."""
        known = dict(zip(self.keys[1:], self.prefixes[1:], strict=True))
        prefixes = []
        for key in keys:
            prefixes.append(known.get(key) or self._prefix(key))
            if len(prefixes) % BLOCK == 0:
                yield b""
        prefixes[0] = self._heading + self._prefix(keys[0])
        self.keys, self.prefixes = keys, prefixes
        return prefixes

    def _prefix(self, key: "Labels | _Flat") -> bytes:
        labels, suffix, bound = (key.labels, key.suffix, key.bound) if isinstance(key, _Flat) else (key, "", None)
        kind, _, names = self._of
        pairs = [f'{name}="{_escaped(text)}"' for name, text in zip(names, labels, strict=True) if text is not None]
        pairs += self._extra
        if bound is not None:
            pairs.append(f'{_BOUND[kind]}="{spelled(bound)}"')
        braces = f"{{{','.join(pairs)}}}" if pairs else ""
        return f"\n{self._name}{suffix}{braces} ".encode("utf-8", "replace")


def _interleaved(prefixes: list[bytes], numbers: Sequence[float]) -> bytes:
    parts: list[bytes] = [b""] * (2 * len(numbers))
    parts[0::2] = prefixes
    parts[1::2] = _texts(numbers)
    return b"".join(parts)


def _texts(numbers: Sequence[float]) -> list[bytes]:
    texts = msgspec.json.encode(numbers)[1:-1].split(b",")
    if b"null" in texts:  # JSON has no word for what is not finite
        texts = [
            (b"NaN" if isnan(number) else b"+Inf" if number > 0 else b"-Inf") if text == b"null" else text
            for number, text in zip(numbers, texts, strict=True)
        ]
    return texts


class _Flat(NamedTuple):
    """The key of a plain sample of a histogram or summary: what is behind its name, its bound, its labels."""

    suffix: str
    bound: float | None
    labels: Labels


def _values(families: Iterable[Family]) -> list[Any]:
    return list(chain.from_iterable([family.samples.values() for family in families]))


def _flattened(sample: tuple[Labels, Any]) -> list[_Flat]:
    """Return the keys of the plain samples of a histogram or summary."""
    labels, value = sample
    if isinstance(value, Histogram):
        flat = [_Flat("_bucket", bound, labels) for bound, _ in value.buckets]
        if not flat or flat[-1].bound != inf:
            flat.append(_Flat("_bucket", inf, labels))
    else:
        flat = [_Flat("", quantile, labels) for quantile, _ in value.quantiles]
    return [*flat, _Flat("_sum", None, labels), _Flat("_count", None, labels)]


def _numbers(value: Histogram | Summary, keys: list[_Flat]) -> list[float] | None:
    """Return the numbers of a histogram or summary that belong to these keys; None where its bounds are others."""
    pairs = value.buckets if isinstance(value, Histogram) else value.quantiles
    numbers = [number for _, number in pairs]
    bounds: list[float | None] = [bound for bound, _ in pairs]
    if isinstance(value, Histogram) and (not bounds or bounds[-1] != inf):
        bounds.append(inf)
        numbers.append(value.count)
    if [key.bound for key in keys[:-2]] != bounds:
        return None
    return [*numbers, value.sum, value.count]


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
