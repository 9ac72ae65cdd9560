"""Statistics of the kernel's caches of neighbours, routes and connections, from /proc/net/stat."""

import os

from agentd.plugin import Collector, Config, Context, Family, Metric, counter, hookimpl
from agentd_plugins.collectors.host._percpu import parse


class Lnstat(Collector[Config]):
    """All columns of all files in /proc/net/stat, which lnstat(8) shows."""

    name = "lnstat"
    blocking = False

    column = counter(
        "node_lnstat_*_total",
        "Column {} of the files in /proc/net/stat, by CPU; entries is not counted up: a size of all CPUs together.",
        ("subsystem", "cpu"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._metrics: dict[str, Metric] = {}
        self._said: set[str] = set()

    def collect(self) -> list[Family]:
        """Return a family for each column; files may have columns in common."""
        samples: dict[str, dict[tuple[str, str], float]] = {}
        for file in self._files():
            for name, numbers in self._columns(file).items():
                if name.isidentifier() and name.isascii():
                    column = samples.setdefault(name, {})
                    column.update({(file, str(cpu)): float(number) for cpu, number in enumerate(numbers)})
        return [self._metric(name)(column) for name, column in samples.items() if column]

    def _files(self) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.host.paths.procfs}/net/stat"))
        except FileNotFoundError:
            return []

    def _columns(self, file: str) -> dict[str, list[int]]:
        try:
            return parse(self.host.proc(f"net/stat/{file}"))
        except PermissionError:
            self._say(file, "reading it takes the drop-in read-all.conf, or root")
        except OSError:  # its module was unloaded meanwhile
            pass
        except ValueError as error:
            self._say(file, str(error))
        return {}

    def _say(self, file: str, why: str) -> None:
        if file not in self._said:
            self._said.add(file)
            self.log.warning("/proc/net/stat/%s is left out: %s", file, why)

    def _metric(self, name: str) -> Metric:
        if name not in self._metrics:
            self._metrics[name] = self.column.bound(name)
        return self._metrics[name]


@hookimpl
def agentd_collectors() -> list[type[Lnstat]]:
    """Register the collector."""
    return [Lnstat]
