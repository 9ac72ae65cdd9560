"""Interrupts, context switches, forks and the time of boot, from /proc/stat (its CPU lines are the collector cpu's)."""

from agentd.plugin import Collector, Config, Frame, Layout, counter, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

VECTORS = ("hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu")
"""What the numbers in the line ``softirq`` count, after their sum (linux/interrupt.h in the kernel's source)."""


class StatConfig(Config):
    """Options of the collector stat."""

    softirq: bool = False
    """Whether to tell how often each kind of software interrupt was served."""


class Stat(Collector[StatConfig]):
    """What the kernel has done since it booted."""

    name = "stat"
    blocking = False

    totals = {
        b"intr": counter("node_intr_total", "Number of hardware interrupts served since boot."),
        b"ctxt": counter("node_context_switches_total", "Number of switches from one task to another since boot."),
        b"processes": counter("node_forks_total", "Number of processes and threads created since boot."),
        b"btime": gauge("node_boot_time_seconds", "When the machine booted, in seconds since 1970, UTC."),
        b"procs_running": gauge("node_procs_running", "Number of tasks that run or could run now."),
        b"procs_blocked": gauge("node_procs_blocked", "Number of tasks that wait for input or output now."),
    }
    softirqs = counter("node_softirqs_total", "Number of software interrupts served since boot.", ("vector",))

    _told: tuple[list[bytes], int] = ([], 0)
    _layout = Layout()

    def collect(self) -> Frame:
        """Return what the file has; a line that this kernel lacks leaves its metric out."""
        lines = parsed(self.host, "stat", parse)
        names = [name for name in self.totals if name in lines]
        softirqs = lines.get(b"softirq", [])[1 : 1 + len(VECTORS)] if self.config.softirq else []
        if self._told != (names, len(softirqs)):
            self._told = (names, len(softirqs))
            vectors = (
                [self.softirqs(zip(((vector,) for vector in VECTORS), softirqs, strict=False))] if softirqs else []
            )
            self._layout = Layout([*(self.totals[name](0.0) for name in names), *vectors])
        return self._layout.fill([lines[name][0] for name in names] + softirqs)


def parse(text: bytes) -> dict[bytes, list[float]]:
    """Return the numbers in each line of /proc/stat (proc_stat(5)) that is about the whole machine, by its first word.

    Of the line ``intr`` that is the sum alone: one number for each of thousands of possible interrupts follows.
    """
    lines = {}
    for line in text[text.rfind(b"\ncpu") + 1 :].splitlines():  # from the last of the CPUs on: there may be hundreds
        name, _, numbers = line.partition(b" ")
        if name == b"softirq":
            lines[name] = [float(number) for number in numbers.split()]
        elif name in Stat.totals:
            lines[name] = [float(numbers.partition(b" ")[0])]
    if not lines:
        raise ValueError(f"expected lines such as 'ctxt 1234' in stat, found {text[:80]!r}")
    return lines


@hookimpl
def agentd_collectors() -> list[type[Stat]]:
    """Register the collector."""
    return [Stat]
