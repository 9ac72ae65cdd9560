"""What was read from and written to block devices, from /proc/diskstats, and what they are, from udev and sysfs."""

from collections.abc import Callable, Sequence
from operator import mul
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _blockdevice
from agentd_plugins.collectors.host._filters import Filter, exclusive

PARTITIONS = Regex(r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$")
"""RAM disks, loop devices, floppy disks, and partitions, whose work the disk that they are on counts as well."""

ONE, SECTOR, MILLISECOND = 1.0, 512.0, 0.001
UNITS = (
    *(ONE, ONE, SECTOR, MILLISECOND),  # reads
    *(ONE, ONE, SECTOR, MILLISECOND),  # writes
    *(ONE, MILLISECOND, MILLISECOND),  # operations now, time with any, time of all
    *(ONE, ONE, ONE, MILLISECOND),  # discards, since Linux 4.18
    *(ONE, MILLISECOND),  # flushes, since Linux 5.5
)
"""What the columns count. A sector has 512 bytes, whatever the device's own have (Documentation/block/stat.rst)."""

COLUMNS = 11
"""How many numbers every kernel since 2.6.25 has; before, the lines of partitions were shorter."""

DEVICE = ("device",)


class DiskstatsConfig(Config, frozen=True):
    """Options of the collector diskstats."""

    device_exclude: Regex | None = PARTITIONS
    """Devices to leave out."""
    device_include: Regex | None = None
    """Devices to tell of, and of no others. Takes the place of ``device_exclude``."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class Row(NamedTuple):
    """A line of /proc/diskstats: which device, and its numbers in the units of their metrics."""

    major: str
    minor: str
    name: str
    values: list[float]


class Diskstats(Collector[DiskstatsConfig]):
    """Block devices."""

    name = "diskstats"
    blocking = False

    columns = (
        counter("node_disk_reads_completed_total", "Number of reads that were completed.", DEVICE),
        counter("node_disk_reads_merged_total", "Number of reads that were merged into a neighbouring one.", DEVICE),
        counter("node_disk_read_bytes_total", "Number of bytes that were read.", DEVICE),
        counter("node_disk_read_time_seconds_total", "Seconds that all reads took, added up.", DEVICE),
        counter("node_disk_writes_completed_total", "Number of writes that were completed.", DEVICE),
        counter("node_disk_writes_merged_total", "Number of writes that were merged into a neighbouring one.", DEVICE),
        counter("node_disk_written_bytes_total", "Number of bytes that were written.", DEVICE),
        counter("node_disk_write_time_seconds_total", "Seconds that all writes took, added up.", DEVICE),
        gauge("node_disk_io_now", "Number of operations that are under way now.", DEVICE),
        counter("node_disk_io_time_seconds_total", "Seconds in which an operation was under way.", DEVICE),
        counter("node_disk_io_time_weighted_seconds_total", "Seconds that all operations took, added up.", DEVICE),
        counter("node_disk_discards_completed_total", "Number of discards that were completed.", DEVICE),
        counter("node_disk_discards_merged_total", "Number of discards merged into a neighbouring one.", DEVICE),
        counter("node_disk_discarded_sectors_total", "Number of sectors of 512 bytes that were discarded.", DEVICE),
        counter("node_disk_discard_time_seconds_total", "Seconds that all discards took, added up.", DEVICE),
        counter("node_disk_flush_requests_total", "Number of completed flushes of the device's own cache.", DEVICE),
        counter("node_disk_flush_requests_time_seconds_total", "Seconds that all flushes took, added up.", DEVICE),
    )
    info = gauge(
        "node_disk_info",
        "Always 1: the labels say what a device is; rotational is 1 where something turns in it.",
        _blockdevice.IDENTITY,
    )
    filesystem = gauge(
        "node_disk_filesystem_info",
        "Always 1: the labels say how a device is formatted.",
        ("device", "type", "usage", "uuid", "version"),
    )
    mapper = gauge(
        "node_disk_device_mapper_info",
        "Always 1: the labels say what a device of the device mapper stands for, a logical volume say.",
        ("device", "name", "uuid", "vg_name", "lv_name", "lv_layer"),
    )
    ata = {
        "ID_ATA_WRITE_CACHE": gauge("node_disk_ata_write_cache", "Whether a disk has a write cache: 1 or 0.", DEVICE),
        "ID_ATA_WRITE_CACHE_ENABLED": gauge(
            "node_disk_ata_write_cache_enabled", "Whether a disk's write cache is switched on: 1 or 0.", DEVICE
        ),
        "ID_ATA_ROTATION_RATE_RPM": gauge(
            "node_disk_ata_rotation_rate_rpm", "Turns of a disk in a minute; 0 where nothing turns.", DEVICE
        ),
    }

    def __init__(self, config: DiskstatsConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)
        self._stamps: dict[tuple[str, str, str], _blockdevice.Stamp] = {}
        self._about: list[Family] = []

    def collect(self) -> list[Family]:
        """Return the numbers of this moment, and what udev and sysfs say about the devices."""
        rows = parse(self.host.proc("diskstats"), self._filter.ignores)
        stamps = {row[:3]: _blockdevice.stamp(self.host, row.major, row.minor) for row in rows}
        if stamps != self._stamps:  # devices came or went, or udev learned something new
            self._about = self._describe([_blockdevice.read(self.host, *place) for place in stamps])
            self._stamps = stamps
        columns: list[dict[Labels, float]] = [{} for _ in self.columns]
        for row in rows:
            key = (row.name,)
            for samples, value in zip(columns, row.values, strict=False):
                samples[key] = value
        counts = (metric(samples) for metric, samples in zip(self.columns, columns, strict=True))
        return [family for family in (*counts, *self._about) if family.samples]

    def _describe(self, devices: Sequence[_blockdevice.Device]) -> list[Family]:
        formatted = [device for device in devices if device.udev.get("ID_FS_TYPE")]
        mapped = [device for device in devices if device.udev.get("DM_NAME")]
        by_ata = [device for device in devices if device.udev.get("ID_ATA")]
        return [
            self.info((device.identity, 1.0) for device in devices),
            self.filesystem(
                (device.labels("ID_FS_TYPE", "ID_FS_USAGE", "ID_FS_UUID", "ID_FS_VERSION"), 1.0) for device in formatted
            ),
            self.mapper(
                (device.labels("DM_NAME", "DM_UUID", "DM_VG_NAME", "DM_LV_NAME", "DM_LV_LAYER"), 1.0)
                for device in mapped
            ),
            *(
                metric({device.name: number for device in by_ata if (number := device.number(name)) is not None})
                for name, metric in self.ata.items()
            ),
        ]


def parse(text: bytes, ignores: Callable[[str], bool]) -> list[Row]:
    """Return the lines of a /proc/diskstats (Documentation/admin-guide/iostats.rst) whose device is not ignored.

    A row has as many values as this kernel has columns, and no more than are known here. Lines that are too short are
    left out. Raises ``ValueError`` where there is something else than numbers.
    """
    rows = []
    for line in text.splitlines():
        columns = line.split(None, 3)
        if len(columns) < 4 or ignores(name := columns[2].decode("utf-8", "replace")):
            continue
        numbers = columns[3].split()
        try:
            if len(numbers) >= COLUMNS:
                values = list(map(mul, map(float, numbers), UNITS))
                rows.append(Row(str(int(columns[0])), str(int(columns[1])), name, values))
        except ValueError:
            raise ValueError(f"expected numbers in diskstats, found {line[:200]!r}") from None
    return rows


@hookimpl
def agentd_collectors() -> list[type[Diskstats]]:
    """Register the collector."""
    return [Diskstats]
