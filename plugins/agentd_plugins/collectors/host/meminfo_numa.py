"""What the memory of each NUMA node is used for, from /sys/devices/system/node."""

import os
from collections.abc import Callable, Mapping

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, counter, gauge, hookimpl

FOLDER = "devices/system/node"
BRACKETS = str.maketrans({"(": "_", ")": None})
"""``Active(anon)`` becomes ``Active_anon``."""


class MeminfoNuma(Collector[Config]):
    """Sizes of the kinds of memory of each node, and where its allocations were satisfied."""

    name = "meminfo_numa"
    blocking = False

    field = gauge(
        "node_memory_numa_*",
        "Field {} of the NUMA node's meminfo, in bytes, or for huge pages in the pool their number.",
        ("node",),
    )
    allocations = counter(
        "node_memory_numa_*_total", "Number of pages that the NUMA node's numastat counts as {}.", ("node",)
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._nodes: list[str] = []
        self._said: set[str] = set()
        self._fields: dict[str, Metric] = {}
        self._allocations: dict[str, Metric] = {}

    def collect(self) -> list[Family]:
        """Return all fields of all nodes; a kernel without NUMA has none."""
        sizes: dict[str, dict[Labels, float]] = {}
        counts: dict[str, dict[Labels, float]] = {}
        for node in self._listed():
            for name, values, parse in (("meminfo", sizes, parse_meminfo), ("numastat", counts, parse_numastat)):
                for field, value in self._read(f"{FOLDER}/node{node}/{name}", parse).items():
                    if field.isidentifier() and field.isascii():
                        values.setdefault(field, {})[node,] = value
        return [*families(self.field, self._fields, sizes), *families(self.allocations, self._allocations, counts)]

    def _read(self, path: str, parse: Callable[[bytes], dict[str, float]]) -> dict[str, float]:
        try:
            return parse(self.host.sys(path, lasting=True))
        except OSError:  # the node was switched off meanwhile
            pass
        except ValueError as error:
            if path not in self._said:
                self._said.add(path)
                self.log.warning("%s/%s is left out: %s", self.host.paths.sysfs, path, error)
        return {}

    def _listed(self) -> list[str]:
        try:
            names = os.listdir(f"{self.host.paths.sysfs}/{FOLDER}")
        except FileNotFoundError:
            return []
        nodes = sorted(name[4:] for name in names if name.startswith("node") and name[4:].isdecimal())
        if nodes != self._nodes:
            self.host.forget(FOLDER)
            self._nodes = nodes
        return nodes


def families(metric: Metric, kept: dict[str, Metric], values: Mapping[str, dict[Labels, float]]) -> list[Family]:
    """Return a family for each field, and keep the metric that it is made from."""
    for field in values:
        if field not in kept:
            kept[field] = metric.bound(field)
    return [kept[field](samples) for field, samples in values.items()]


def parse_meminfo(text: bytes) -> dict[str, float]:
    """Return the fields of a node's meminfo (drivers/base/node.c): bytes where it says ``kB``, else bare numbers."""
    fields = {}
    for line in text.decode(errors="backslashreplace").splitlines():
        words = line.split()  # Node 0 Active(anon): 691324 kB
        if not words:
            continue
        if len(words) < 4 or words[4:] not in ([], ["kB"]):
            raise ValueError(f"expected a line such as 'Node 0 MemTotal: 16 kB' in meminfo, found {line[:80]!r}")
        fields[words[2].rstrip(":").translate(BRACKETS)] = float(words[3]) * (1024 if words[4:] else 1)
    return fields


def parse_numastat(text: bytes) -> dict[str, float]:
    """Return the counts in a node's numastat (Documentation/admin-guide/numastat.rst), in pages."""
    counts = {}
    for line in text.decode(errors="backslashreplace").splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise ValueError(f"expected a line such as 'numa_hit 16' in numastat, found {line[:80]!r}")
        counts[words[0]] = float(words[1])
    return counts


@hookimpl
def agentd_collectors() -> list[type[MeminfoNuma]]:
    """Register the collector."""
    return [MeminfoNuma]
