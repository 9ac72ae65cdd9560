"""Families -> bytes: the Prometheus text format 0.0.4 and OpenMetrics 1.0.

Names and labels rarely change from one scrape to the next, only the numbers do. So the text before each number (the
*prefix*) is kept from the last renderings, all numbers of a block are written by one call of msgspec's JSON encoder
(whose floats are valid in both formats and round-trip exactly), and the two are interleaved. Families whose samples
are of another make take the same way after being flattened into plain samples.
"""

import asyncio
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import chain
from math import inf, isnan
from typing import Any, Literal, NamedTuple

import msgspec
from prometheus_client.utils import floatToGoString

try:
    from isal import igzip as _gzip
except ImportError:  # there are no wheels for this machine
    import gzip as _gzip  # type: ignore[no-redef]

from agentd.metrics.family import Family, Histogram, Labels, Summary

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: Mapping[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

BLOCK = 5000
"""Samples that are rendered without giving way to other tasks: about a millisecond's work."""

KEPT_FOR = 8
"""Renderings after which the prefixes of a family that did not appear again are dropped (scrapes may ask for parts)."""

SLICE = 0.003
"""Seconds after which a rendering gives way to the other tasks of the loop."""


GZIP_INLINE = 256 * 1024
"""Bytes up to which compressing is quicker than handing it to a worker."""


def compress(body: bytes) -> bytes:
    """Return a body as gzip, by isal where it is installed (three times as fast as zlib, at the same size)."""
    compressed: bytes = _gzip.compress(body, 1)
    return compressed


class Renderer:
    """Renders families in one format with one set of additional labels, and remembers their prefixes."""

    def __init__(self, format: Format = "text", labels: Mapping[str, str] | None = None) -> None:
        self._format = format
        self._labels = dict(labels or {})
        self._entries: dict[str, _Entry] = {}
        self._rendering = 0

    def render(self, families: Sequence[Family]) -> bytes:
        """Return families, whose names must be distinct, as one exposition."""
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
        names = {family.name for family in families} if self._format == "openmetrics" else frozenset[str]()
        for family in families:
            if not family.samples:
                continue
            shown = (self._shown(family, names), family.help, family.label_names)
            entry = self._entries.get(family.name)
            if entry is None or entry.shown != shown:
                entry = self._entries[family.name] = _Entry(family.name, shown, self._labels, self._format)
            entry.used = self._rendering
            yield from entry.blocks(family)
        if self._format == "openmetrics":
            yield b"# EOF\n"
        stale = [name for name, entry in self._entries.items() if entry.used <= self._rendering - KEPT_FOR]
        for name in stale:
            del self._entries[name]

    def _shown(self, family: Family, names: Container[str]) -> str:
        """Return the type line's content: the family's name and kind as this format has them."""
        name, kind = family.name, family.kind
        if self._format == "text":
            return f"{name} untyped" if kind == "unknown" else f"{name} {kind}"
        if kind != "counter":
            return f"{name} {kind}"
        # In OpenMetrics the family of a counter is named without _total. A counter that has another name, or whose
        # family would then be named like another one, is of unknown kind: its series keep the names that they have.
        base = name.removesuffix("_total")
        return f"{name} unknown" if base == name or base in names else f"{base} counter"


class _Entry:
    """What is remembered of a family: its heading, and the prefixes of its last samples in their order."""

    __slots__ = ("_extra", "_heading", "_keys", "_label_names", "_name", "_prefixes", "shown", "used")

    def __init__(
        self, name: str, shown: tuple[str, str, tuple[str, ...]], extra: Mapping[str, str], format_: Format
    ) -> None:
        self.shown = shown
        self.used = 0
        self._name = name
        line, text, self._label_names = shown
        self._extra = [
            f'{label}="{_escaped(value)}"' for label, value in extra.items() if label not in self._label_names
        ]
        text = text.replace("\\", r"\\").replace("\n", r"\n")
        if format_ == "openmetrics":  # the older format does not know this escape
            text = text.replace('"', r"\"")
        heading = f"# HELP {line.split(maxsplit=1)[0]} {text}\n# TYPE {line}"
        self._heading = heading.encode("utf-8", "replace")
        self._keys: list[Any] = []
        self._prefixes: list[bytes] = []

    def blocks(self, family: Family) -> Iterator[bytes]:
        keys: list[Any]
        values: list[Any]
        if family.kind in ("histogram", "summary"):
            flat = list(chain.from_iterable(map(_flattened, family.samples.items())))
            keys, values = [key for key, _ in flat], [value for _, value in flat]
        else:
            keys, values = list(family.samples), list(family.samples.values())
        if keys != self._keys:
            yield from self._learn(keys, self._flat_prefix if isinstance(keys[0], _Flat) else self._prefix)
        prefixes = self._prefixes  # another rendering may learn others while this one gives way
        yield self._heading
        for start in range(0, len(keys), BLOCK):
            numbers = values[start : start + BLOCK]
            parts: list[bytes] = [b""] * (2 * len(numbers))
            parts[0::2] = prefixes[start : start + BLOCK]
            parts[1::2] = _texts(numbers)
            yield b"".join(parts)
        yield b"\n"

    def _learn(self, keys: list[Any], prefix: Callable[[Any], bytes]) -> Iterator[bytes]:
        # Label sets that were there before keep their prefixes; those that have gone are forgotten.
        known = dict(zip(self._keys, self._prefixes, strict=True))
        prefixes = []
        for key in keys:
            prefixes.append(known.get(key) or prefix(key))
            if len(prefixes) % BLOCK == 0:
                yield b""
        self._keys, self._prefixes = keys, prefixes

    def _prefix(self, key: Labels, suffix: str = "", bound: str = "") -> bytes:
        pairs = [
            f'{label}="{_escaped(value)}"'
            for label, value in zip(self._label_names, key, strict=True)
            if value is not None
        ]
        pairs += self._extra
        if bound:
            pairs.append(bound)
        text = f"\n{self._name}{suffix}{{{','.join(pairs)}}} " if pairs else f"\n{self._name}{suffix} "
        return text.encode("utf-8", "replace")

    def _flat_prefix(self, flat: "_Flat") -> bytes:
        return self._prefix(flat.key, flat.suffix, flat.bound)


def _texts(numbers: list[float]) -> list[bytes]:
    texts = msgspec.json.encode(numbers)[1:-1].split(b",")
    if b"null" in texts:  # JSON has no word for what is not finite
        texts = [
            (b"NaN" if isnan(number) else b"+Inf" if number > 0 else b"-Inf") if text == b"null" else text
            for number, text in zip(numbers, texts, strict=True)
        ]
    return texts


class _Flat(NamedTuple):
    """The key of a plain sample of a histogram or summary."""

    suffix: str
    bound: str
    key: Labels


def _flattened(sample: tuple[Labels, Any]) -> Iterator[tuple[_Flat, float]]:
    key, value = sample
    if isinstance(value, Histogram):
        for bound, count in value.buckets:
            yield _Flat("_bucket", f'le="{_bound(bound)}"', key), count
        if not value.buckets or value.buckets[-1][0] != inf:
            yield _Flat("_bucket", 'le="+Inf"', key), value.count
    elif isinstance(value, Summary):
        for quantile, number in value.quantiles:
            yield _Flat("", f'quantile="{_bound(quantile)}"', key), number
    yield _Flat("_sum", "", key), value.sum
    yield _Flat("_count", "", key), value.count


def _bound(number: float) -> str:
    text: str = floatToGoString(number)  # type: ignore[no-untyped-call]  # prometheus_client leaves it unannotated
    return text


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
