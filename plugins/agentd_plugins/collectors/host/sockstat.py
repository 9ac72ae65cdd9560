"""Sockets in use and their memory, from /proc/net/sockstat and /proc/net/sockstat6."""

import os

from agentd.plugin import Collector, Config, Context, Family, Metric, gauge, hookimpl

FIELDS = frozenset({b"inuse", b"orphan", b"tw", b"alloc", b"mem", b"memory"})
"""What is told of a protocol; ``mem`` counts pages, ``memory`` bytes."""

Key = tuple[bytes, bytes]


class Sockstat(Collector[Config]):
    """Sockets by protocol, in the words of sockstat_seq_show in net/ipv4/proc.c of the kernel's source."""

    name = "sockstat"
    blocking = False

    used = gauge("node_sockstat_sockets_used", "Number of sockets of all kinds that are in use now.")
    field = gauge(
        "node_sockstat_*",
        "What /proc/net/sockstat and sockstat6 have as {}: a number of sockets; for mem of pages, for memory of bytes.",
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._page = float(os.sysconf("SC_PAGE_SIZE"))
        self._metrics: dict[Key, Metric] = {(b"sockets", b"used"): self.used}

    def collect(self) -> list[Family]:
        """Return what the kernel tells about IPv4 and IPv6; the one that it lacks is left out."""
        families = []
        for file in ("net/sockstat", "net/sockstat6"):
            try:
                fields = parse(self.host.proc(file))
            except FileNotFoundError:
                continue
            for (protocol, name), number in fields.items():
                if name in FIELDS or protocol == b"sockets":
                    families.append(self._metric((protocol, name))(number))
                if name == b"mem":
                    families.append(self._metric((protocol, b"mem_bytes"))(number * self._page))
        return families

    def _metric(self, key: Key) -> Metric:
        if key not in self._metrics:
            self._metrics[key] = self.field.bound(b"_".join(key).decode())
        return self._metrics[key]


def parse(text: bytes) -> dict[Key, float]:
    """Return the numbers of a /proc/net/sockstat by protocol and name.

    Raises ``ValueError`` for a line that is no protocol with pairs of a name and a number.
    """
    fields = {}
    for line in text.splitlines():
        protocol, *pairs = line.split() or [b""]
        if not protocol.endswith(b":") or not pairs or len(pairs) % 2:
            raise ValueError(f"expected a protocol, names and numbers in sockstat, found {line[:200]!r}")
        for name, number in zip(pairs[::2], pairs[1::2], strict=True):
            fields[protocol[:-1], name] = float(number)
    return fields


@hookimpl
def agentd_collectors() -> list[type[Sockstat]]:
    """Register the collector."""
    return [Sockstat]
