"""Software interrupts by CPU and kind, from /proc/softirqs."""

from agentd.plugin import Collector, Config, Family, Labels, counter, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

KINDS = frozenset(b"HI TIMER NET_TX NET_RX BLOCK IRQ_POLL TASKLET SCHED HRTIMER RCU".split())
"""The kinds that node_exporter knows, so that a newer kernel brings no series that it does not have."""


class Softirqs(Collector[Config]):
    """What the kernel put off from its interrupt handlers and did soon after."""

    name = "softirqs"
    blocking = False

    served = counter(
        "node_softirqs_functions_total", "Number of software interrupts that the CPU has served.", ("cpu", "type")
    )

    def collect(self) -> list[Family]:
        """Return the counts of all CPUs."""
        return [self.served(parsed(self.host, "softirqs", parse))]


def parse(text: bytes) -> dict[Labels, float]:
    """Return the counts in a softirqs file (fs/proc/softirqs.c) by CPU and kind.

    CPUs are numbered by their columns: the kernel writes one for every CPU that there could be.
    """
    heading, _, rest = text.partition(b"\n")
    if not heading:
        raise ValueError("expected a heading and counts in softirqs, found nothing")
    counts: dict[Labels, float] = {}
    for line in rest.splitlines():
        kind, colon, numbers = line.partition(b":")
        kind = kind.strip()
        if colon and kind in KINDS:
            name = kind.decode()
            for cpu, number in enumerate(numbers.split()):
                counts[str(cpu), name] = float(number)
    return counts


@hookimpl
def agentd_collectors() -> list[type[Softirqs]]:
    """Register the collector."""
    return [Softirqs]
