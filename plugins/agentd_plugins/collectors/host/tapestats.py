"""What was read from and written to SCSI tapes, from /sys/class/scsi_tape."""

from agentd.plugin import Collector, Config, Context, Family, NoData, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._sysfs import Sysfs

DEVICE = ("device",)

NANOSECOND = 1e-9
"""Seconds in the unit of the files whose names end in ``_ns``."""


class TapestatsConfig(Config):
    """Options of the collector tapestats."""

    ignored_devices: Regex = Regex("^$")
    """Tapes to leave out."""


class Tapestats(Collector[TapestatsConfig]):
    """SCSI tapes, after the kernel's Documentation/scsi/st.rst."""

    name = "tapestats"
    blocking = False  # the driver counts these in memory; the tape is not asked

    counts = {
        "in_flight": gauge("node_tape_io_now", "Number of operations that are under way now.", DEVICE),
        "io_ns": counter(
            "node_tape_io_time_seconds_total", "Seconds that all operations took, winding the tape included.", DEVICE
        ),
        "other_cnt": counter("node_tape_io_others_total", "Operations other than reading and writing.", DEVICE),
        "read_byte_cnt": counter("node_tape_read_bytes_total", "Bytes that were read.", DEVICE),
        "read_cnt": counter("node_tape_reads_completed_total", "Number of reads.", DEVICE),
        "read_ns": counter("node_tape_read_time_seconds_total", "Seconds that reads took.", DEVICE),
        "resid_cnt": counter(
            "node_tape_residual_total", "Number of reads and writes that moved less data than was asked for.", DEVICE
        ),
        "write_byte_cnt": counter("node_tape_written_bytes_total", "Bytes that were written.", DEVICE),
        "write_cnt": counter("node_tape_writes_completed_total", "Number of writes.", DEVICE),
        "write_ns": counter("node_tape_write_time_seconds_total", "Seconds that writes took.", DEVICE),
    }

    def __init__(self, config: TapestatsConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.ignored_devices)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family]:
        """Return what each tape has counted."""
        try:
            names = self._sysfs.names("class/scsi_tape")
        except FileNotFoundError:
            raise NoData("no SCSI tapes: the kernel's module st is not loaded") from None
        # A tape has an entry for each way of opening it, nst0a say: the plain one stands for all.
        tapes = [name for name in names if name.startswith("st") and name[2:].isdecimal()]
        tapes = [name for name in tapes if not self._filter.ignores(name)]
        families = []
        for file, metric in self.counts.items():
            scale = NANOSECOND if file.endswith("_ns") else 1.0
            counted = {tape: self._sysfs.count(f"class/scsi_tape/{tape}/stats/{file}") for tape in tapes}
            families.append(metric({tape: count * scale for tape, count in counted.items() if count is not None}))
        return [family for family in families if family.samples]


@hookimpl
def agentd_collectors() -> list[type[Tapestats]]:
    """Register the collector."""
    return [Tapestats]
