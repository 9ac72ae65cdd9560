"""Sockets in use and their memory, from /proc/net/sockstat and /proc/net/sockstat6."""

import os
import re
from collections.abc import Iterator, Sequence
from operator import mul

from agentd.plugin import Collector, Config, Frame, Layout, gauge, hookimpl
from agentd_plugins.collectors.host._places import NOWHERE, Places

FIELDS = frozenset({"inuse", "orphan", "tw", "alloc", "mem", "memory"})
"""What is told of a protocol; ``mem`` counts pages, ``memory`` bytes."""

NAME = re.compile("[A-Za-z0-9_]+")


class Sockstat(Collector[Config]):
    """Sockets by protocol, in the words of sockstat_seq_show in net/ipv4/proc.c of the kernel's source."""

    name = "sockstat"
    blocking = False

    used = gauge("node_sockstat_sockets_used", "Number of sockets of all kinds that are in use now.")
    field = gauge(
        "node_sockstat_*",
        "What /proc/net/sockstat and sockstat6 have as {}: a number of sockets; for mem of pages, for memory of bytes.",
    )

    _places = NOWHERE
    _layout = Layout()
    _units: Sequence[float] = ()

    def collect(self) -> Frame:
        """Return what the kernel tells about IPv4 and IPv6; the one that it lacks is left out."""
        texts = []
        for file in ("net/sockstat", "net/sockstat6"):
            try:
                texts.append(self.host.proc(file))
            except FileNotFoundError:
                continue
        words = b"\n".join(texts).split()
        try:
            numbers = self._places.read(words)
            if numbers is None:  # the first time: a running kernel keeps its list
                numbers = self._learn(b"\n".join(texts), words)
        except (ValueError, OverflowError) as error:
            procfs = self.host.paths.procfs
            raise ValueError(f"{procfs}/net/sockstat, {procfs}/net/sockstat6: {error}") from None
        return self._layout.fill([*map(mul, numbers, self._units)])

    def _learn(self, text: bytes, words: Sequence[bytes]) -> list[float]:
        page = float(os.sysconf("SC_PAGE_SIZE"))
        families, places, units, changing = [], [], [], set()
        found = {(protocol, name): place for protocol, name, place in parse(text)}
        for (protocol, name), place in found.items():
            changing.add(place)
            if name in FIELDS or protocol == "sockets":
                key = f"{protocol}_{name}"
                families.append(self.used(0.0) if key == "sockets_used" else self.field.named(key, 0.0))
                places.append(place)
                units.append(1.0)
            if name == "mem":
                families.append(self.field.named(f"{protocol}_mem_bytes", 0.0))
                places.append(place)
                units.append(page)
        self._layout, self._units = Layout(families), units
        self._places = Places(words, (place for place in range(len(words)) if place not in changing), places)
        return self._places.read(words) or []


def parse(text: bytes) -> Iterator[tuple[str, str, int]]:
    """Yield protocol and name of each number of a /proc/net/sockstat, and which of all words it is.

    Raises ``ValueError`` for a line that is no protocol with pairs of a name and a number.
    """
    place = 0
    for line in filter(bytes.strip, text.splitlines()):
        protocol, *pairs = line.decode(errors="replace").split()
        names = (protocol.removesuffix(":"), *pairs[::2])
        if not protocol.endswith(":") or not pairs or len(pairs) % 2 or not all(map(NAME.fullmatch, names)):
            raise ValueError(f"expected a protocol, names and numbers in sockstat, found {line[:200]!r}")
        for column, name in enumerate(pairs[::2]):
            yield protocol[:-1], name, place + 2 + 2 * column
        place += 1 + len(pairs)


@hookimpl
def agentd_collectors() -> list[type[Sockstat]]:
    """Register the collector."""
    return [Sockstat]
