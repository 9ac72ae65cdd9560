"""Reads Prometheus's text format (0.0.4) as strictly as its Go library, and so node_exporter, does.

prometheus_client's own parser takes much that Prometheus refuses (two types for one metric, lines that are cut off),
and does not tell a counter ``foo`` from one named ``foo_total``.
"""

import io
import math
import re
from typing import NamedTuple

from agentd.plugin import Family, Histogram, Kind, Labels, Summary, Value

LABELS = 64
"""Names of labels that a metric may have in all: every sample has each of them, if need be empty."""

SAMPLES = 200_000
"""Samples and descriptions that a text may have: each takes many times its size in memory."""

LONGEST = 128 << 10
"""Bytes that a line may have: whoever looks at one holds up all else meanwhile."""

REPEATED = 50
"""Repeated series that are named at most."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABELS = re.compile(r'\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}[ \t]*')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,[ \t]*|$)')
_WORD = re.compile(r"([^ \t]*)[ \t]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.?)")
_ESCAPED = {"\\": "\\", '"': '"', "n": "\n"}

_KINDS: dict[str, Kind] = {
    "counter": "counter",
    "gauge": "gauge",
    "untyped": "unknown",
    "histogram": "histogram",
    "summary": "summary",
}
_BOUND = {"histogram": "le", "summary": "quantile"}
_PARTS = {"_count": ("histogram", "summary"), "_sum": ("histogram", "summary"), "_bucket": ("histogram",)}


class Exposition(NamedTuple):
    """What a text holds. ``repeated`` names series of which there were further samples: only the first is told."""

    families: list[Family]
    """With an empty ``help`` where there is none. Every sample has all the labels of its family, if need be empty."""
    repeated: list[str]


def parse(data: bytes) -> Exposition:
    """Return the families in a text. Raises ``ValueError``, with the number of the line, where anything is wrong."""
    families: dict[str, _Family] = {}
    found = 0
    for number, line in enumerate(io.BytesIO(data), 1):  # all lines at once would take many times the text's size
        if len(line) > LONGEST:
            raise ValueError(f"line {number}: has {len(line)} bytes; at most {LONGEST} are read")
        text = line.decode("utf-8", "surrogateescape").lstrip(" \t")
        try:
            if not text.endswith("\n"):
                if text:
                    raise ValueError("does not end in a line break, so it may be cut off")
            elif text.startswith("#"):
                found += _comment(families, text[1:-1].lstrip(" \t"))
            elif text != "\n":
                found += 1
                _sample(families, text[:-1])
            if found > SAMPLES:
                raise ValueError(f"there are more than {SAMPLES} samples and descriptions")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    repeated: dict[str, None] = {}
    return Exposition([family.finished(repeated) for family in families.values() if family.samples], [*repeated])


class _Family:
    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: Kind | None = None
        self.help: str | None = None
        self.samples: list[tuple[dict[str, str], float | _Distribution]] = []
        self._names: dict[str, None] = {}
        self._distributions: dict[frozenset[tuple[str, str]], _Distribution] = {}

    def add(self, suffix: str, labels: dict[str, str], value: float) -> None:
        """Add what a line says. Several lines make one histogram or summary: those with the same further labels."""
        kind = self.kind or "unknown"
        bound = labels.pop(_BOUND[kind], None) if kind in _BOUND else None
        if not labels.keys() <= self._names.keys():
            self._names |= dict.fromkeys(labels)
            if len(self._names) > LABELS:
                raise ValueError(f"{self.name} has more than {LABELS} names of labels")
        if kind not in _BOUND:
            self.samples.append((labels, value))
            return
        upto = _number(bound) if bound is not None else math.nan
        key = frozenset(labels.items())
        if key not in self._distributions:
            self._distributions[key] = _Distribution(kind)
            self.samples.append((labels, self._distributions[key]))
        self._distributions[key].add(suffix, upto, value)

    def finished(self, repeated: dict[str, None]) -> Family:
        names = tuple(self._names)
        samples: dict[Labels, Value] = {}
        for labels, value in self.samples:
            key = tuple(labels.get(name, "") for name in names)
            if key not in samples:
                samples[key] = value if isinstance(value, float) else value.finished()
            elif len(repeated) < REPEATED:
                repeated[f"{self.name}{labels or ''}"] = None
        return Family(self.name, self.kind or "unknown", self.help or "", names, samples)


class _Distribution:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.points: dict[float, float] = {}
        self.count = 0.0
        self.sum = 0.0

    def add(self, suffix: str, upto: float, value: float) -> None:
        if value < 0 and (suffix == "_count" or (self.kind == "histogram" and suffix != "_sum")):
            raise ValueError(f"expected a count, found {value}")
        if suffix == "_sum":
            self.sum = value
        elif suffix == "_count":
            self.count = value
        elif not math.isnan(upto):
            self.points[upto] = value

    def finished(self) -> Histogram | Summary:
        make = Histogram if self.kind == "histogram" else Summary
        return make(tuple(sorted(self.points.items())), self.count, self.sum)


def _comment(families: dict[str, _Family], text: str) -> bool:
    """Take account of a comment, and say whether it describes a metric."""
    word = _WORD.match(text)
    keyword, rest = (word[1], text[word.end() :]) if word else ("", "")
    if keyword not in ("HELP", "TYPE") or not rest:
        return False
    name = _NAME.match(rest)
    if not name or rest[name.end() : name.end() + 1] not in ("", " ", "\t"):
        raise ValueError(f"expected the name of a metric behind {keyword}, found {rest[:80]!r}")
    if name.end() == len(rest):
        return False
    family, _ = _of(families, name[0])
    value = rest[name.end() :].lstrip(" \t")
    if not value:
        return True
    if keyword == "HELP":
        if family.help is not None:
            raise ValueError(f"a second HELP for {name[0]}")
        family.help = _unescaped(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    else:
        if family.kind is not None:
            raise ValueError(f"a second TYPE for {name[0]}, or one behind its samples")
        if value.lower() not in _KINDS:
            raise ValueError(f"expected one of {', '.join(_KINDS)} as the TYPE of {name[0]}, found {value[:80]!r}")
        family.kind = _KINDS[value.lower()]
    return True


def _sample(families: dict[str, _Family], text: str) -> None:
    name = _NAME.match(text)
    if not name:
        raise ValueError(f"expected the name of a metric, found {text[:80]!r}")
    family, suffix = _of(families, name[0])
    family.kind = family.kind or "unknown"
    rest = text[name.end() :].lstrip(" \t")
    labels: dict[str, str] = {}
    if rest.startswith("{"):
        braces = _LABELS.match(rest)
        if not braces:
            raise ValueError(f"the labels of {name[0]} do not end")
        labels = _labels(braces[1])
        rest = rest[braces.end() :]
    value = rest.rstrip(" \t")
    if " " in value or "\t" in value or value != rest:
        raise ValueError(f"expected only a number behind {name[0]} (timestamps are not supported), found {rest[:80]!r}")
    family.add(suffix, labels, _number(value))


def _of(families: dict[str, _Family], name: str) -> tuple[_Family, str]:
    """Return the family to which a line with this name belongs, and which part of it the name means."""
    if name not in families:
        for suffix, kinds in _PARTS.items():
            family = families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if family and family.kind in kinds:
                return family, suffix
        families[name] = _Family(name)
    return families[name], ""


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    text = text.lstrip(" \t")
    start = 0
    while start < len(text):
        label = _LABEL.match(text, start)
        if not label:
            raise ValueError(f'expected labels such as name="value", found {text[start : start + 80]!r}')
        name, value = label[1], _unescaped(label[2])
        if name in labels or name.startswith("__"):
            raise ValueError(f"the label {name} " + ("is there twice" if name in labels else "is reserved"))
        if not value.isascii():
            value.encode()  # raises where it was no UTF-8
        labels[name] = value
        start = label.end()
    return labels


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    wrong = next((escape[0] for escape in _ESCAPE.finditer(text) if escape[1] not in _ESCAPED), None)
    if wrong:
        raise ValueError(f"expected a backslash to be written twice, found {wrong!r}")
    return _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], text)


def _number(text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else None
    if number is None or (math.isinf(number) and "n" not in text.lower()):
        raise ValueError(f"expected a number, found {text[:80]!r}")
    return number
