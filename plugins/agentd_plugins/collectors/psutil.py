"""Where there is no procfs: CPU, memory, disks, network, load and boot time, from psutil.

The names are those that node_exporter uses on such systems: on macOS those of its Darwin files, elsewhere of its BSD
files. psutil knows less than they do; what it lacks is left out.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors._psutil import Reader, number
from agentd_plugins.collectors.host._filters import Filter, exclusive

DEVICE = ("device",)
MILLISECOND = 0.001

DARWIN = {
    ("virtual_memory", "total"): gauge("node_memory_total_bytes", "Bytes of memory that the machine has."),
    ("virtual_memory", "free"): gauge("node_memory_free_bytes", "Bytes of memory that nobody uses."),
    ("virtual_memory", "active"): gauge("node_memory_active_bytes", "Bytes of memory that was used lately."),
    ("virtual_memory", "inactive"): gauge("node_memory_inactive_bytes", "Bytes of memory not used lately."),
    ("virtual_memory", "wired"): gauge("node_memory_wired_bytes", "Bytes of memory that must stay where it is."),
    ("swap_memory", "total"): gauge("node_memory_swap_total_bytes", "Bytes of swap space."),
    ("swap_memory", "used"): gauge("node_memory_swap_used_bytes", "Bytes of swap space in use."),
    ("swap_memory", "sin"): counter("node_memory_swapped_in_bytes_total", "Bytes that were paged in."),
    ("swap_memory", "sout"): counter("node_memory_swapped_out_bytes_total", "Bytes that were paged out."),
}
"""The memory under macOS, by psutil's functions and the fields of what they return."""

BSD = {
    ("virtual_memory", "total"): gauge("node_memory_size_bytes", "Bytes of memory that the machine has."),
    ("virtual_memory", "free"): DARWIN["virtual_memory", "free"],
    ("virtual_memory", "active"): DARWIN["virtual_memory", "active"],
    ("virtual_memory", "inactive"): DARWIN["virtual_memory", "inactive"],
    ("virtual_memory", "wired"): DARWIN["virtual_memory", "wired"],
    ("virtual_memory", "cached"): gauge("node_memory_cache_bytes", "Bytes of memory with copies of files."),
    ("virtual_memory", "buffers"): gauge("node_memory_buffer_bytes", "Bytes of memory with blocks of disks."),
    ("swap_memory", "total"): gauge("node_memory_swap_size_bytes", "Bytes of swap space."),
    ("swap_memory", "used"): DARWIN["swap_memory", "used"],
    ("swap_memory", "sin"): counter("node_memory_swap_in_bytes_total", "Bytes that came back from swap space."),
    ("swap_memory", "sout"): counter("node_memory_swap_out_bytes_total", "Bytes that went to swap space."),
}
"""The memory under the BSDs."""


class PsutilConfig(Config, frozen=True):
    """Options of the collector psutil."""

    disk_exclude: Regex | None = None
    """Disks to leave out."""
    disk_include: Regex | None = None
    """Disks to tell of, and of no others. Takes the place of ``disk_exclude``."""
    network_exclude: Regex | None = None
    """Network devices to leave out."""
    network_include: Regex | None = None
    """Network devices to tell of, and of no others. Takes the place of ``network_exclude``."""

    def __post_init__(self) -> None:
        exclusive(self, "disk_exclude", "disk_include")
        exclusive(self, "network_exclude", "network_include")


class Psutil(Collector[PsutilConfig]):
    """CPU, memory, disks, network, load and boot time of a system that has no procfs."""

    name = "psutil"

    boot_time = gauge("node_boot_time_seconds", "When the machine was started, in seconds since 1970.")
    load = (
        gauge("node_load1", "Tasks that run or wait for a CPU, averaged over 1 minute."),
        gauge("node_load5", "Tasks that run or wait for a CPU, averaged over 5 minutes."),
        gauge("node_load15", "Tasks that run or wait for a CPU, averaged over 15 minutes."),
    )
    cpu = counter("node_cpu_seconds_total", "Seconds that each CPU spent in each mode.", ("cpu", "mode"))
    darwin = DARWIN
    bsd = BSD
    disk = {
        "read_count": counter("node_disk_reads_completed_total", "Number of reads that were completed.", DEVICE),
        "read_bytes": counter("node_disk_read_bytes_total", "Number of bytes that were read.", DEVICE),
        "read_time": counter("node_disk_read_time_seconds_total", "Seconds that all reads took, added up.", DEVICE),
        "write_count": counter("node_disk_writes_completed_total", "Number of writes that were completed.", DEVICE),
        "write_bytes": counter("node_disk_written_bytes_total", "Number of bytes that were written.", DEVICE),
        "write_time": counter("node_disk_write_time_seconds_total", "Seconds that all writes took, added up.", DEVICE),
        "busy_time": counter("node_disk_io_time_seconds_total", "Seconds in which an operation was under way.", DEVICE),
    }
    network = {
        "bytes_recv": counter("node_network_receive_bytes_total", "Number of bytes received.", DEVICE),
        "packets_recv": counter("node_network_receive_packets_total", "Number of packets received.", DEVICE),
        "errin": counter("node_network_receive_errs_total", "Number of errors while receiving.", DEVICE),
        "dropin": counter("node_network_receive_drop_total", "Number of packets dropped on receiving.", DEVICE),
        "bytes_sent": counter("node_network_transmit_bytes_total", "Number of bytes sent.", DEVICE),
        "packets_sent": counter("node_network_transmit_packets_total", "Number of packets sent.", DEVICE),
        "errout": counter("node_network_transmit_errs_total", "Number of errors while sending.", DEVICE),
        "dropout": counter("node_network_transmit_drop_total", "Number of packets dropped on sending.", DEVICE),
    }

    def __init__(
        self, config: PsutilConfig | None = None, context: Context | None = None, platform: str = sys.platform
    ) -> None:
        """``platform`` is that of ``sys``; a test hands in another to have the names that are used there."""
        super().__init__(config, context)
        self._reader = Reader(self.log)
        self._disks = Filter(self.config.disk_exclude, self.config.disk_include)
        self._devices = Filter(self.config.network_exclude, self.config.network_include)
        self._memory = BSD if "bsd" in platform or platform.startswith("dragonfly") else DARWIN
        self._interrupts = "irq" if platform == "linux" else "interrupt"
        # What psutil says for lack of a number: macOS does not count packets that it drops instead of sending.
        self._network = {
            field: made for field, made in self.network.items() if (platform, field) != ("darwin", "dropout")
        }

    def collect(self) -> list[Family]:
        """Return what psutil knows on this system."""
        # Without nowrap, psutil adds up what wraps by itself, from what the last asking thread saw: rate() does better.
        disks = self._reader.ask("disk_io_counters", perdisk=True, nowrap=False) or {}
        devices = self._reader.ask("net_io_counters", pernic=True, nowrap=False) or {}
        families = [*self._boot(), *self._load(), *self._cpu(), *self._of_memory()]
        families += by_device(self.disk, disks, self._disks)
        families += by_device(self._network, devices, self._devices)
        return families

    def _boot(self) -> list[Family]:
        time = self._reader.ask("boot_time")
        return [] if time is None else [self.boot_time(float(time))]

    def _load(self) -> list[Family]:
        try:  # psutil's own runs a thread where the system has none
            averages = os.getloadavg()
        except (AttributeError, OSError):
            return []
        return [metric(value) for metric, value in zip(self.load, averages, strict=True)]

    def _cpu(self) -> list[Family]:
        samples: dict[Labels, float] = {}
        for index, times in enumerate(self._reader.ask("cpu_times", percpu=True) or ()):
            for field in times._fields:
                if not field.startswith("guest"):  # is part of user and nice
                    mode = self._interrupts if field == "irq" else field
                    samples[str(index), mode] = float(getattr(times, field))
        return [self.cpu(samples)] if samples else []

    def _of_memory(self) -> list[Family]:
        answers = {function: self._reader.ask(function) for function in ("virtual_memory", "swap_memory")}
        return [
            metric(value)
            for (function, field), metric in self._memory.items()
            if (value := number(answers[function], field)) is not None
        ]


def by_device(metrics: Mapping[str, Metric], devices: Mapping[str, Any], filter: Filter) -> list[Family]:
    """Return a family for each field that psutil's structures have, with a sample for each device."""
    told = {name: counts for name, counts in devices.items() if not filter.ignores(name)}
    families = []
    for field, metric in metrics.items():
        unit = MILLISECOND if field.endswith("_time") else 1.0
        samples = {(name,): value * unit for name in told if (value := number(told[name], field)) is not None}
        if samples:
            families.append(metric(samples))
    return families


@hookimpl
def agentd_collectors() -> list[type[Psutil]]:
    """Register the collector."""
    return [Psutil]
