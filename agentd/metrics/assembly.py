"""The answers of all collectors -> one set of families with distinct names. Where two disagree, the first wins."""

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from agentd.metrics.family import Family, Kind, Labels

_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


class Rejection(msgspec.Struct, frozen=True):
    """Something that was left out."""

    reason: str
    """Why, in a word that becomes a label."""
    subject: str
    """What it was left out of: mostly the name of a family."""
    why: str
    """Why, in words."""
    first: tuple[str, ...] = ()
    """From whom that came first with which it clashes: from one of them. Empty where that is not known."""

    @property
    def what(self) -> str:
        """The whole of it in words."""
        first = f" (came first from {' or '.join(self.first)})" if self.first else ""
        return f"{self.subject}: {self.why}{first}"


_Clash = tuple[str, list[Rejection], str, tuple[str, ...]]
"""A plugin, what was left out of its answer, the family that this clashes with, and who may have told that
beside its first."""


def assemble(parts: Iterable[tuple[str, Sequence[Family]]]) -> tuple[list[Family], list[tuple[str, Rejection]]]:
    """Unite what plugins said; return it, and beside it what had to be left out of which plugin's answer.

    No two series of the result are the same, those of histograms (``_bucket`` …) included. Families passed in stay as
    they are.
    """
    families: dict[str, Family] = {}
    taken: dict[str, str] = {}  # names that series of histograms and summaries have beside their family's: that one's
    joined: dict[str, list[str]] = {}  # families that several tell, which are copies: who adds to the first
    counts: list[tuple[str, int]] = []  # how many families there were after each plugin's part
    clashes: list[_Clash] = []
    for plugin, part in parts:
        for family in part:
            name = family.name
            first = families.get(name)
            if first is not None:
                if name not in joined:
                    joined[name] = []
                    first = families[name] = copy(first)
                left_out = merge(first, [copy(family)])
                if left_out:
                    clashes.append((plugin, left_out, name, tuple(joined[name]) if family.kind == first.kind else ()))
                if family.kind == first.kind and len(left_out) < len(family.samples):
                    joined[name].append(plugin)
                continue
            suffixed = [name + suffix for suffix in _SUFFIXES.get(family.kind, ())]
            if name in taken or (suffixed and any(each in families or each in taken for each in suffixed)):
                other = next(taken.get(each, each) for each in (name, *suffixed) if each in taken or each in families)
                why = f"its series would be named like those of {other}, which came before"
                clashes.append((plugin, [Rejection("conflict", name, why)], other, ()))
                continue
            families[name] = family
            if suffixed:
                taken.update(dict.fromkeys(suffixed, name))
        counts.append((plugin, len(families)))
    return list(families.values()), _with_first(clashes, families, counts) if clashes else []


def are_apart(names: Iterable[tuple[str, Kind]]) -> bool:
    """Say whether families of these names and kinds can stand side by side as they are."""
    taken = [name + suffix for name, kind in names for suffix in ("", *_SUFFIXES.get(kind, ()))]
    return len(set(taken)) == len(taken)


def merge(first: Family, others: Sequence[Family]) -> list[Rejection]:
    """Add to ``first`` the samples that further families of that name bring; return what had to be left out.

    The first wins: a family of another kind is left out whole, and so is each series that is there already. Where their
    label names differ, all get all of them, and samples lack those that they had not. Changes all of them.
    """
    alike = [first, *(other for other in others if other.kind == first.kind)]
    rejections = [
        Rejection("conflict", other.name, f"is a {other.kind} here, and was a {first.kind} before")
        for other in others
        if other.kind != first.kind
    ]
    names = tuple(dict.fromkeys(chain.from_iterable(family.label_names for family in alike)))
    for family in alike:
        if family.label_names != names:
            _relabel(family, names)
    seen: set[frozenset[tuple[str, str]]] | None = None
    for key, value in chain.from_iterable(other.samples.items() for other in alike[1:]):
        double = key in first.samples
        if not double and not all(key):  # only then may it be the same series although the keys differ
            if seen is None:
                seen = {distinct(names, other) for other in first.samples}
            double = distinct(names, key) in seen
        if double:
            rejections.append(Rejection("duplicate", first.name, f"label values {short(key)} were there already"))
            continue
        first.samples[key] = value
        if seen is not None:
            seen.add(distinct(names, key))
    return rejections


def distinct(names: Sequence[str], values: Labels) -> frozenset[tuple[str, str]]:
    """Return what tells a series from others of its name: to Prometheus, an empty label is the same as none."""
    return frozenset((name, value) for name, value in zip(names, values, strict=True) if value)


def copy(family: Family) -> Family:
    """Return a family with a samples mapping of its own."""
    return Family(family.name, family.kind, family.help, family.label_names, dict(family.samples))


def short(value: object) -> str:
    """Return what a plugin handed out in at most 100 characters, for an error message."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # a plugin's __repr__ may raise anything
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= 100 else text[:97] + "..."


def _with_first(
    clashes: Iterable[_Clash], families: Iterable[str], counts: Iterable[tuple[str, int]]
) -> list[tuple[str, Rejection]]:
    """Return rejections by plugins, with whom each came too late for.

    ``families`` are the names of all, in the order in which they came; ``counts`` as in ``assemble``.
    """
    ends = iter(counts)
    plugin, end = next(ends)
    by: dict[str, str] = {}
    for name in families:
        while len(by) == end:
            plugin, end = next(ends)
        by[name] = plugin
    found = []
    for late, rejections, name, joined in clashes:
        first = tuple(each for each in dict.fromkeys((by[name], *joined)) if each and each != late)
        found += [(late, Rejection(one.reason, one.subject, one.why, first)) for one in rejections]
    return found


def _relabel(family: Family, names: tuple[str, ...]) -> None:
    places = [family.label_names.index(name) if name in family.label_names else None for name in names]
    family.samples = {
        tuple(None if place is None else key[place] for place in places): value for key, value in family.samples.items()
    }
    family.label_names = names
