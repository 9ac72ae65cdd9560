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

    @property
    def what(self) -> str:
        """The whole of it in words."""
        return f"{self.subject}: {self.why}"


def assemble(parts: Iterable[tuple[str, Sequence[Family]]]) -> tuple[list[Family], list[tuple[str, Rejection]]]:
    """Unite what plugins said; return it, and beside it what had to be left out of which plugin's answer.

    No two series of the result are the same, those of histograms (``_bucket`` …) included. Families passed in stay as
    they are.
    """
    families: dict[str, Family] = {}
    taken: set[str] = set()  # names that series of histograms and summaries have beside their family's
    copied: set[str] = set()
    rejections: list[tuple[str, Rejection]] = []
    for plugin, part in parts:
        for family in part:
            name = family.name
            first = families.get(name)
            if first is not None:
                if name not in copied:
                    copied.add(name)
                    first = families[name] = copy(first)
                rejections += ((plugin, rejection) for rejection in merge(first, [copy(family)]))
                continue
            suffixed = [name + suffix for suffix in _SUFFIXES.get(family.kind, ())]
            if name in taken or (suffixed and any(each in families or each in taken for each in suffixed)):
                why = "its series would be named like those of a family that came before"
                rejections.append((plugin, Rejection("conflict", name, why)))
                continue
            families[name] = family
            if suffixed:
                taken.update(suffixed)
    return list(families.values()), rejections


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


def _relabel(family: Family, names: tuple[str, ...]) -> None:
    places = [family.label_names.index(name) if name in family.label_names else None for name in names]
    family.samples = {
        tuple(None if place is None else key[place] for place in places): value for key, value in family.samples.items()
    }
    family.label_names = names
