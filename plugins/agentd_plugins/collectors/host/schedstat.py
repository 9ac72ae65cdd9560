"""How long tasks ran on and waited for each CPU, from /proc/schedstat."""

from agentd.plugin import Collector, Config, Family, Labels, NoData, counter, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

NANOSECOND = 1e9
"""How many are in a second. The kernel's page on the file calls some of its numbers jiffies: they are nanoseconds."""


class Schedstat(Collector[Config]):
    """What the scheduler has given the tasks on each CPU."""

    name = "schedstat"
    blocking = False

    running = counter("node_schedstat_running_seconds_total", "Seconds that tasks ran on the CPU.", ("cpu",))
    waiting = counter(
        "node_schedstat_waiting_seconds_total",
        "Seconds that tasks were ready and waited for the CPU, added up.",
        ("cpu",),
    )
    timeslices = counter("node_schedstat_timeslices_total", "Number of turns that tasks had on the CPU.", ("cpu",))

    def collect(self) -> list[Family]:
        """Return the three numbers of each CPU that is in use."""
        try:
            cpus = parsed(self.host, "schedstat", parse)
        except FileNotFoundError:
            raise NoData("the kernel has no statistics of its scheduler: it needs CONFIG_SCHEDSTATS") from None
        return [
            self.running({cpu: running for cpu, (running, _, _) in cpus.items()}),
            self.waiting({cpu: waiting for cpu, (_, waiting, _) in cpus.items()}),
            self.timeslices({cpu: turns for cpu, (_, _, turns) in cpus.items()}),
        ]


def parse(text: bytes) -> dict[Labels, tuple[float, float, float]]:
    """Return for each CPU the seconds run and waited, and the number of turns.

    They are the seventh to ninth numbers in the lines of CPUs (Documentation/scheduler/sched-stats.rst, versions 10
    to 17 of the file). Lines that are too short or hold no numbers there are left out, as are those of domains.
    """
    cpus: dict[Labels, tuple[float, float, float]] = {}
    for line in text.splitlines():
        if not line.startswith(b"cpu"):
            continue
        words = line.split(None, 10)
        try:
            running, waiting, turns = map(float, words[7:10])
            cpus[str(int(words[0][3:])),] = (running / NANOSECOND, waiting / NANOSECOND, turns)
        except ValueError:
            continue
    return cpus


@hookimpl
def agentd_collectors() -> list[type[Schedstat]]:
    """Register the collector."""
    return [Schedstat]
