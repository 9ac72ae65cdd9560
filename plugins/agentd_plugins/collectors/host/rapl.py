"""Energy that parts of the machine used, from /sys/class/powercap (Documentation/power/powercap/powercap.rst)."""

import re
from collections.abc import Iterator, Sequence

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, counter, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/powercap"

MICROJOULES = 1e6

UNFIT = re.compile(r"_*[^0-9A-Za-z_]+_*")
"""What becomes one underscore in the name of a metric."""


class RaplConfig(Config):
    """Options of the collector rapl."""

    enable_zone_label: bool = False
    """Whether to tell all zones in one family, ``node_rapl_joules_total``, by the label ``rapl_zone``, instead of in a
    family for each name."""


class Rapl(Collector[RaplConfig]):
    """Zones of the machine whose energy is counted: packages, cores, memory. The counters begin anew now and then."""

    name = "rapl"
    blocking = True  # the counter of a package is asked for on one of its CPUs

    joules = counter("node_rapl_*_joules_total", "Energy that zones named {} used, in joules.", ("index", "path"))
    labelled = counter("node_rapl_joules_total", "Energy that zones used, in joules.", ("index", "path", "rapl_zone"))

    def __init__(self, config: RaplConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._metrics: dict[str, Metric] = {}

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has(FOLDER)

    def collect(self) -> list[Family]:
        """Return what each zone has used; only root may know, as of Linux 5.10."""
        try:
            folders = self._sysfs.names(FOLDER)
        except OSError:
            raise NoData("this machine counts no energy, or the kernel does not tell") from None
        found = [(folder, name) for folder in folders if (name := self._sysfs.text(f"{FOLDER}/{folder}/name"))]
        families: dict[str, tuple[Metric, dict[Labels, float]]] = {}
        for (folder, _), (index, zone) in zip(found, indexed([name for _, name in found]), strict=True):
            energy = self._sysfs.count(f"{FOLDER}/{folder}/energy_uj")
            if energy is not None:
                labels: Labels = (str(index), f"{self.host.paths.sysfs}/{FOLDER}/{folder}")
                metric = self._metric(zone)
                if metric is self.labelled:
                    labels += (zone,)
                families.setdefault(metric.name, (metric, {}))[1][labels] = energy / MICROJOULES
        if found and not families:
            raise NoData("none of the counters of energy can be read")
        return [metric(samples) for metric, samples in families.values()]

    def _metric(self, zone: str) -> Metric:
        if self.config.enable_zone_label:
            return self.labelled
        if zone not in self._metrics:
            self._metrics[zone] = self.joules.bound(UNFIT.sub("_", zone))
        return self._metrics[zone]


def indexed(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield an index and a name for each zone, that are different in zones whose names are the same.

    The index is the number at the end of a name such as ``package-1``; otherwise zones of a name are counted.
    """
    counts: dict[str, int] = {}
    for name in names:
        head, _, tail = name.partition("-")
        if tail.isascii() and tail.isdecimal() and len(tail) <= 9:
            index, zone = int(tail), head
        else:
            index, zone = counts.get(name, 0), name
        counts[zone] = index + 1
        yield index, zone


@hookimpl
def agentd_collectors() -> list[type[Rapl]]:
    """Register the collector."""
    return [Rapl]
