"""Pressure stall information: how long tasks waited for CPU, memory, disks and interrupts, from /proc/pressure."""

import errno

from agentd.plugin import Collector, Config, Context, Frame, Layout, NoData, counter, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Pressure(Collector[Config]):
    """Time that tasks lost waiting, after the kernel's Documentation/accounting/psi.rst.

    ``some`` is the time in which at least one task waited, ``full`` that in which all that were not idle did. For the
    CPU the kernel's ``full`` has no meaning machine-wide; for interrupts there is only ``full``.
    """

    name = "pressure"
    blocking = False

    totals = {
        ("cpu", b"some"): counter(
            "node_pressure_cpu_waiting_seconds_total", "Seconds in which at least one task waited for a CPU."
        ),
        ("io", b"some"): counter(
            "node_pressure_io_waiting_seconds_total", "Seconds in which at least one task waited for input or output."
        ),
        ("io", b"full"): counter(
            "node_pressure_io_stalled_seconds_total", "Seconds in which all tasks at once waited for input or output."
        ),
        ("memory", b"some"): counter(
            "node_pressure_memory_waiting_seconds_total", "Seconds in which at least one task waited for memory."
        ),
        ("memory", b"full"): counter(
            "node_pressure_memory_stalled_seconds_total", "Seconds in which all tasks at once waited for memory."
        ),
        ("irq", b"full"): counter(
            "node_pressure_irq_stalled_seconds_total", "Seconds in which interrupts kept all tasks from running."
        ),
    }

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._resources: tuple[str, ...] = ("cpu", "io", "memory", "irq")
        self._told: list[tuple[str, bytes]] = []
        self._layout = Layout()

    def collect(self) -> Frame:
        """Return what each resource cost; an older kernel lacks some of them."""
        seconds: dict[tuple[str, bytes], float] = {}
        for resource in self._resources:
            for share, value in self._read(resource).items():
                seconds[resource, share] = value
        told = [key for key in self.totals if key in seconds]
        if not told:
            raise NoData(
                "the kernel has no pressure stall information, or it is switched off: Linux 4.20, CONFIG_PSI, psi=1"
            )
        if told != self._told:
            self._told = told
            self._layout = Layout(self.totals[key](0.0) for key in told)
        return self._layout.fill([seconds[key] for key in told])

    def _read(self, resource: str) -> dict[bytes, float]:
        try:
            return parsed(self.host, f"pressure/{resource}", parse)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                raise
            # Not there, or switched off; neither changes before the next boot, so it need not be asked for again.
            self._resources = tuple(name for name in self._resources if name != resource)
            return {}


def parse(text: bytes) -> dict[bytes, float]:
    """Return the seconds lost by ``some`` and ``full`` from a file in /proc/pressure, whose totals are microseconds."""
    seconds = {}
    for line in text.splitlines():
        share = line.partition(b" ")[0]
        _, mark, total = line.rpartition(b" total=")
        if not mark:
            raise ValueError(f"expected a line with total= in a pressure file, found {line[:80]!r}")
        seconds[share] = float(total.partition(b" ")[0]) / 1e6
    return seconds


@hookimpl
def agentd_collectors() -> list[type[Pressure]]:
    """Register the collector."""
    return [Pressure]
