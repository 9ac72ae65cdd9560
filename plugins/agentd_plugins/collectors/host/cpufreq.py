"""How fast CPUs run, and may run, from /sys/devices/system/cpu (Documentation/admin-guide/pm/cpufreq.rst)."""

from collections.abc import Awaitable
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host import _topology
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = _topology.FOLDER

KILOHERTZ = 1000.0

CPU = ("cpu",)


class Policy(NamedTuple):
    """What holds for all CPUs that are set to a frequency together."""

    frequencies: dict[str, float]
    """In hertz, by the names of their files."""
    governors: dict[str, float]
    """1 for the one that decides, 0 for the others that might."""


class Cpufreq(Collector[Config]):
    """Frequencies of the CPUs, and who decides upon them."""

    name = "cpufreq"
    blocking = False  # some drivers ask the CPU, or firmware, and wait for it: in a worker

    frequencies = {
        "cpuinfo_cur_freq": gauge("node_cpu_frequency_hertz", "Frequency that the hardware reports, in hertz.", CPU),
        "cpuinfo_avg_freq": gauge("node_cpu_frequency_avg_hertz", "Mean frequency a moment ago, in hertz.", CPU),
        "cpuinfo_min_freq": gauge("node_cpu_frequency_min_hertz", "Lowest frequency of the hardware, in hertz.", CPU),
        "cpuinfo_max_freq": gauge("node_cpu_frequency_max_hertz", "Highest frequency of the hardware, in hertz.", CPU),
        "scaling_cur_freq": gauge("node_cpu_scaling_frequency_hertz", "Frequency that was set last, in hertz.", CPU),
        "scaling_min_freq": gauge("node_cpu_scaling_frequency_min_hertz", "Lowest that may be set, in hertz.", CPU),
        "scaling_max_freq": gauge("node_cpu_scaling_frequency_max_hertz", "Highest that may be set, in hertz.", CPU),
    }
    governor = gauge(
        "node_cpu_scaling_governor", "Whether this governor decides upon the frequency: 1 or 0.", ("cpu", "governor")
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return the frequencies of all CPUs that are switched on; none where they have only one, or a host decides."""
        # So it is in most virtual machines. Before Linux 4.3 each CPU had a folder of its own, and there was no other.
        if not (self.host.has(f"{FOLDER}/cpufreq") or self.host.has(f"{FOLDER}/cpu0/cpufreq")):
            return []
        return self.in_worker(self._ask)

    def _ask(self) -> list[Family]:
        offline = self._offline()
        policies: dict[str, Policy] = {}
        columns: dict[str, dict[Labels, float]] = {file: {} for file in self.frequencies}
        governors: dict[Labels, float] = {}
        for folder in self._sysfs.numbered(FOLDER, "cpu"):
            cpu = folder.removeprefix("cpu")
            if cpu in offline:
                continue
            path = f"{FOLDER}/{folder}/cpufreq"
            place = self._sysfs.link(path) or path  # CPUs that share a policy have links to one folder
            if place == path and not self._sysfs.exists(path):
                continue
            if place not in policies:
                policies[place] = self._policy(path)
            for file, hertz in policies[place].frequencies.items():
                columns[file][(cpu,)] = hertz
            for governor, decides in policies[place].governors.items():
                governors[cpu, governor] = decides
        families = [metric(columns[file]) for file, metric in self.frequencies.items()]
        return [family for family in (*families, self.governor(governors)) if family.samples]

    def _policy(self, path: str) -> Policy:
        frequencies = {
            file: kilohertz * KILOHERTZ
            for file in self.frequencies
            if (kilohertz := self._sysfs.count(f"{path}/{file}")) is not None
        }
        chosen = self._sysfs.text(f"{path}/scaling_governor")
        available = (self._sysfs.text(f"{path}/scaling_available_governors") or "").split() if chosen else ()
        return Policy(frequencies, {governor: float(governor == chosen) for governor in available})

    def _offline(self) -> set[str]:
        try:
            return set(_topology.parse_list((self._sysfs.text(f"{FOLDER}/offline") or "").encode()))
        except ValueError:
            return set()


@hookimpl
def agentd_collectors() -> list[type[Cpufreq]]:
    """Register the collector."""
    return [Cpufreq]
