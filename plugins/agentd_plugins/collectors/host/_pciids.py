"""Names of PCI devices by their numbers, from the list that pciutils keeps (pci.ids(5))."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Numbers(NamedTuple):
    """The numbers that say what a device is, each in hexadecimal digits without a prefix, in small letters."""

    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    class_: str


Names = tuple[str, str, str, str, str]
"""Names of the vendor, the device, the subsystem's vendor, the subsystem and the class."""


def names(text: str, wanted: Iterable[Numbers]) -> dict[Numbers, Names]:
    """Return the names of devices; in the place of one that is not listed is its number."""
    listed = parse(text)
    return {numbers: _named(listed, numbers) for numbers in wanted}


def parse(text: str) -> dict[tuple[str, ...], str]:
    """Return names by the numbers that lead to them: of a vendor, its device, that one's subsystem.

    Classes begin with ``C``: a class, its subclass, and that one's programming interface. What is no such line is left
    out.
    """
    listed: dict[tuple[str, ...], str] = {}
    path: tuple[str, ...] = ()
    for line in text.split("\n"):
        number, blanks, name = line.partition("  ")
        if not blanks or line.startswith("#"):
            continue
        depth = len(number) - len(number.lstrip("\t"))
        words = number.split()
        if not words or depth > 2 or (depth and not path):
            continue
        if depth == 0:
            path = tuple(words) if words[0] == "C" else (words[0],)
        else:
            top = 2 if path[0] == "C" else 1
            if len(path) < top + depth - 1:  # a line is missing above this one
                continue
            path = (*path[: top + depth - 1], " ".join(words))
        listed[path] = name.strip()
    return listed


def _named(listed: Mapping[tuple[str, ...], str], numbers: Numbers) -> Names:
    vendor, device, subsystem_vendor, subsystem_device, class_ = numbers
    levels = class_[:2], class_[2:4], class_[4:6]
    classes = (listed.get(("C", *levels[:depth])) for depth in (3, 2, 1))
    return (
        listed.get((vendor,), vendor),
        listed.get((vendor, device), device),
        listed.get((subsystem_vendor,), subsystem_vendor),
        listed.get((vendor, device, f"{subsystem_vendor} {subsystem_device}"), subsystem_device),
        next((name for name in classes if name), f"Unknown class ({class_})"),
    )
