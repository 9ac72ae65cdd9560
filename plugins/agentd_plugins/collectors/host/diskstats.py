"""What was read from and written to block devices, from /proc/diskstats, and what they are, from udev and sysfs."""

from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Frame, Layout, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _blockdevice
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host._parsed import parsed
from agentd_plugins.collectors.host._places import NOWHERE, Places

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

UNKNOWN: list[_blockdevice.Stamp] = [(-1, -1)]
"""Stamps that no devices have: what is known is to be looked up again."""


class DiskstatsConfig(Config, frozen=True):
    """Options of the collector diskstats."""

    device_exclude: Regex | None = PARTITIONS
    """Devices to leave out."""
    device_include: Regex | None = None
    """Devices to tell of, and of no others. Takes the place of ``device_exclude``."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class Row(NamedTuple):
    """A line of /proc/diskstats: which device, which of all words its first number is, and how many it has."""

    major: str
    minor: str
    name: str
    place: int
    columns: int


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
        self._places = NOWHERE
        self._units: list[float] = []
        self._rows: list[Row] = []
        self._stamps: list[_blockdevice.Stamp] = []
        self._about: list[float] = []
        self._layout = Layout()

    def collect(self) -> Frame:
        """Return the numbers of this moment, and what udev and sysfs say about the devices."""
        numbers = parsed(self.host, "diskstats", self._numbers)
        return self._layout.fill([*map(mul, numbers, self._units), *self._about])

    def _numbers(self, text: bytes) -> list[float]:
        numbers = self._places.read(text.split())
        if numbers is None or self._stamped() != self._stamps:  # devices came or went, or udev learned something new
            numbers = self._learn(text)
        return numbers

    def _learn(self, text: bytes) -> list[float]:
        """Find out which devices there are and what is known about them; return their numbers."""
        words, rows = text.split(), parse(text)
        named = {row.name: row for row in rows if not self._filter.ignores(row.name)}
        self._rows = list(named.values())
        self._stamps = self._stamped()
        columns = [[row for row in self._rows if row.columns > column] for column in range(len(UNITS))]
        self._units = [unit for unit, shown in zip(UNITS, columns, strict=True) for _ in shown]
        counts = (metric({row.name: 0.0 for row in shown}) for metric, shown in zip(self.columns, columns, strict=True))
        devices = [_blockdevice.read(self.host, row.major, row.minor, row.name) for row in self._rows]
        if any(device.rotational is None for device in devices):  # it may answer the next time
            self._stamps = UNKNOWN
        about = self._describe(devices)
        self._layout = Layout([family for family in (*counts, *about) if family.samples])
        self._about = [value for family in about for value in family.samples.values() if isinstance(value, float)]
        changing = {place for row in rows for place in range(row.place, row.place + row.columns)}
        marks = (place for place in range(len(words)) if place not in changing)
        self._places = Places(
            words, marks, [row.place + column for column, shown in enumerate(columns) for row in shown]
        )
        return self._places.read(words) or []

    def _stamped(self) -> list[_blockdevice.Stamp]:
        return [_blockdevice.stamp(self.host, row.major, row.minor) for row in self._rows]

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


def parse(text: bytes) -> list[Row]:
    """Return the lines of a /proc/diskstats (Documentation/admin-guide/iostats.rst) that are long enough.

    A row has as many numbers as this kernel has columns, and no more than are known here. Raises ``ValueError`` where a
    line does not begin with the numbers of a device.
    """
    rows = []
    place = 0
    for line in text.splitlines():
        columns = line.split()
        if len(columns) >= 3 + COLUMNS:
            try:
                major, minor = str(int(columns[0])), str(int(columns[1]))
            except ValueError:
                raise ValueError(f"expected numbers in diskstats, found {line[:200]!r}") from None
            name = columns[2].decode("utf-8", "replace")
            rows.append(Row(major, minor, name, place + 3, min(len(columns) - 3, len(UNITS))))
        place += len(columns)
    return rows


@hookimpl
def agentd_collectors() -> list[type[Diskstats]]:
    """Register the collector."""
    return [Diskstats]
