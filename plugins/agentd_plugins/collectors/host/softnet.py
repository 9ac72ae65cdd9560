"""Packets that each CPU took from the network devices, from /proc/net/softnet_stat."""

from agentd.plugin import Collector, Config, Family, Labels, counter, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

CPU = ("cpu",)

COLUMNS = 9
"""How many numbers every kernel since 2.6.23 has. The others came with 2.6.39, 4.18 and 5.14."""


class Softnet(Collector[Config]):
    """The network's software interrupts, after softnet_seq_show in net/core/net-procfs.c of the kernel's source."""

    name = "softnet"
    blocking = False

    columns = (
        counter("node_softnet_processed_total", "Number of packets taken from the devices.", CPU),
        counter("node_softnet_dropped_total", "Number of packets dropped because the CPU's queue was full.", CPU),
        counter(
            "node_softnet_times_squeezed_total", "Number of times that packets were left when the time was up.", CPU
        ),
        counter("node_softnet_cpu_collision_total", "Number of times that two CPUs wanted to send by one device.", CPU),
        counter("node_softnet_received_rps_total", "Number of times another CPU sent packets here for work.", CPU),
        counter("node_softnet_flow_limit_count_total", "Number of packets dropped for the limit of a flow.", CPU),
        gauge("node_softnet_backlog_len", "Number of packets that wait for the CPU now.", CPU),
    )

    def collect(self) -> list[Family]:
        """Return a sample of each family for each CPU; what an older kernel does not count is 0, as there."""
        columns: tuple[dict[Labels, float], ...] = tuple({} for _ in self.columns)
        for cpu, numbers in parsed(self.host, "net/softnet_stat", parse).items():
            key = (cpu,)
            for column, number in zip(columns, numbers, strict=True):
                column[key] = number
        return [metric(column) for metric, column in zip(self.columns, columns, strict=True)]


def parse(text: bytes) -> dict[str, list[float]]:
    """Return the numbers that are told of each CPU by its number, which new kernels have in their 13th column.

    Raises ``ValueError`` for a line that is too short, and for anything else than hexadecimal numbers.
    """
    cpus = {}
    for place, line in enumerate(text.splitlines()):
        words = line.split()
        if len(words) < COLUMNS:
            raise ValueError(f"expected at least {COLUMNS} columns in softnet_stat, found {line[:200]!r}")
        cpu = int(words[12], 16) if len(words) > 12 else place
        told = words[:3] + words[8:11] + (words[11:12] if len(words) > 12 else [])
        cpus[str(cpu)] = [float(int(word, 16)) for word in told] + [0.0] * (len(Softnet.columns) - len(told))
    return cpus


@hookimpl
def agentd_collectors() -> list[type[Softnet]]:
    """Register the collector."""
    return [Softnet]
