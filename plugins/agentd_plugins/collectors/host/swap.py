"""Swap devices and swap files, from /proc/swaps."""

from typing import NamedTuple

from agentd.plugin import Collector, Config, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

LABELS = ("device", "swap_type")
KIB = 1024.0


class Area(NamedTuple):
    """A device or file that pages are swapped to: its sizes are bytes."""

    path: str
    """As the kernel writes it: blanks, tabs, line breaks and backslashes are octal escapes."""
    kind: str
    size: float
    used: float
    priority: float


class Swap(Collector[Config]):
    """How big each swap area is, how full, and in which order they are filled."""

    name = "swap"
    blocking = False

    size = gauge("node_swap_size_bytes", "Size of the swap area, in bytes.", LABELS)
    used = gauge("node_swap_used_bytes", "How much of the swap area is in use, in bytes.", LABELS)
    priority = gauge("node_swap_priority", "Priority of the swap area: those with higher ones fill up first.", LABELS)

    def collect(self) -> list[Family]:
        """Return the areas that are in use; there may be none."""
        try:
            areas = parsed(self.host, "swaps", parse)
        except FileNotFoundError:
            raise NoData("the kernel cannot swap: it needs CONFIG_SWAP") from None
        return [
            self.size({(area.path, area.kind): area.size for area in areas}),
            self.used({(area.path, area.kind): area.used for area in areas}),
            self.priority({(area.path, area.kind): area.priority for area in areas}),
        ]


def parse(text: bytes) -> list[Area]:
    """Return the areas in a swaps file (proc_swaps(5)), whose sizes are KiB."""
    areas = []
    for line in text.split(b"\n")[1:]:  # the first one is a heading
        words = line.split(None, 5)
        if not words:
            continue
        if len(words) < 5:
            raise ValueError(f"expected a swap area, its type and three numbers in swaps, found {line[:80]!r}")
        path, kind = (word.decode(errors="backslashreplace") for word in words[:2])
        size, used, priority = map(float, words[2:5])
        areas.append(Area(path, kind, size * KIB, used * KIB, priority))
    return areas


@hookimpl
def agentd_collectors() -> list[type[Swap]]:
    """Register the collector."""
    return [Swap]
