"""File systems of the kind bcachefs, from /sys/fs/bcachefs."""

import re
from collections.abc import Iterable

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _bcachefs
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "fs/bcachefs"

UUID = ("uuid",)
DEVICE = ("uuid", "device")

Place = tuple[str, str]
"""A file system and one of its devices."""


class Bcachefs(Collector[Config]):
    """Mounted bcachefs file systems and their devices."""

    name = "bcachefs"
    blocking = True  # some attributes walk through the file system's own structures

    info = gauge("node_bcachefs_info", "Always 1, for each file system that is mounted.", UUID)
    btree_cache = gauge("node_bcachefs_btree_cache_size_bytes", "Bytes of memory that hold nodes of the B-trees.", UUID)
    compressed = gauge(
        "node_bcachefs_compression_compressed_bytes",
        "Bytes that data compressed in this way takes.",
        ("uuid", "algorithm"),
    )
    uncompressed = gauge(
        "node_bcachefs_compression_uncompressed_bytes",
        "Bytes of data that were compressed in this way.",
        ("uuid", "algorithm"),
    )
    errors = counter("node_bcachefs_errors_total", "Errors found in the file system.", ("uuid", "error_type"))
    count = counter(
        "node_bcachefs_*_total", "What the file system has counted as {} since it was made: events or sectors.", UUID
    )
    writes = counter(
        "node_bcachefs_btree_writes_total", "Nodes of B-trees that were written, for this reason.", ("uuid", "type")
    )
    write_size = gauge(
        "node_bcachefs_btree_write_average_size_bytes",
        "Bytes that were written on average to write a node of a B-tree, for this reason.",
        ("uuid", "type"),
    )
    device_info = gauge(
        "node_bcachefs_device_info",
        "Always 1: the labels say what the device is called, and its state, in brackets among all that there are.",
        (*DEVICE, "label", "state"),
    )
    bucket_size = gauge("node_bcachefs_device_bucket_size_bytes", "Bytes in a bucket of the device.", DEVICE)
    numbers = {
        "nbuckets": gauge("node_bcachefs_device_buckets", "Number of buckets that the device has.", DEVICE),
        "durability": gauge(
            "node_bcachefs_device_durability", "How many copies a copy on this device stands for.", DEVICE
        ),
    }
    done = counter(
        "node_bcachefs_device_io_done_bytes_total",
        "Bytes read from the device or written to it, by the kind of data.",
        (*DEVICE, "operation", "data_type"),
    )
    device_errors = counter(
        "node_bcachefs_device_io_errors_total",
        "Errors of the device since the file system was made.",
        (*DEVICE, "type"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._counts: dict[str, Metric] = {}

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has(FOLDER)

    def collect(self) -> list[Family]:
        """Return what each file system says of itself and of its devices."""
        uuids = self._names(FOLDER)
        if not uuids:
            raise NoData("no bcachefs file system is mounted")
        members = {uuid: self._names(f"{FOLDER}/{uuid}") for uuid in uuids}
        uuids = [uuid for uuid in uuids if members[uuid]]  # a file, or a file system that was unmounted just now
        devices = [
            (uuid, name.removeprefix("dev-")) for uuid in uuids for name in members[uuid] if name.startswith("dev-")
        ]
        families = [*self._filesystems(uuids), *self._counters(uuids), *self._devices(devices)]
        return [family for family in families if family.samples]

    def _filesystems(self, uuids: Iterable[str]) -> Iterable[Family]:
        compression = {uuid: _bcachefs.pairs(self._text(f"{uuid}/compression_stats")) for uuid in uuids}
        writes = {uuid: _bcachefs.pairs(self._text(f"{uuid}/btree_write_stats")) for uuid in uuids}
        errors = {uuid: _bcachefs.errors(self._text(f"{uuid}/errors")) for uuid in uuids}
        yield self.info(dict.fromkeys(uuids, 1.0))
        yield self.btree_cache(
            {uuid: size for uuid in uuids if (size := self._size(f"{uuid}/btree_cache_size")) is not None}
        )
        for tables, metrics in (
            (compression, (self.compressed, self.uncompressed)),
            (writes, (self.writes, self.write_size)),
        ):
            for column, metric in enumerate(metrics):
                yield metric(((uuid, name), row[column]) for uuid in uuids for name, row in tables[uuid].items())
        yield self.errors(((uuid, name), count) for uuid in uuids for name, count in errors[uuid].items())

    def _counters(self, uuids: Iterable[str]) -> Iterable[Family]:
        counted: dict[str, dict[Labels, float]] = {}
        for uuid in uuids:
            for name in self._names(f"{FOLDER}/{uuid}/counters"):
                count = _bcachefs.since_creation(self._text(f"{uuid}/counters/{name}"))
                if count is not None:
                    counted.setdefault(name, {})[uuid,] = count
        for name, samples in counted.items():
            if name not in self._counts:
                self._counts[name] = self.count.bound(re.sub("[^a-zA-Z0-9_]", "_", name))
            yield self._counts[name](samples)

    def _devices(self, devices: Iterable[Place]) -> Iterable[Family]:
        folders = {(uuid, device): f"{uuid}/dev-{device}" for uuid, device in devices}
        yield self.device_info(
            ((*place, self._text(f"{folder}/label"), self._text(f"{folder}/state")), 1.0)
            for place, folder in folders.items()
        )
        sizes = {place: self._size(f"{folder}/bucket_size") for place, folder in folders.items()}
        yield self.bucket_size((place, size) for place, size in sizes.items() if size is not None)
        for file, metric in self.numbers.items():
            numbers = {place: self._sysfs.count(f"{FOLDER}/{folder}/{file}") for place, folder in folders.items()}
            yield metric((place, number) for place, number in numbers.items() if number is not None)
        yield self.done(
            ((*place, *kind), count)
            for place, folder in folders.items()
            for kind, count in _bcachefs.done(self._text(f"{folder}/io_done")).items()
        )
        yield self.device_errors(
            ((*place, kind), count)
            for place, folder in folders.items()
            for kind, count in _bcachefs.device_errors(self._text(f"{folder}/io_errors")).items()
        )

    def _names(self, folder: str) -> list[str]:
        try:
            return self._sysfs.names(folder)
        except OSError:
            return []

    def _text(self, path: str) -> str:
        return self._sysfs.text(f"{FOLDER}/{path}") or ""

    def _size(self, path: str) -> float | None:
        try:
            return _bcachefs.size(self._text(path))
        except ValueError:
            return None


@hookimpl
def agentd_collectors() -> list[type[Bcachefs]]:
    """Register the collector."""
    return [Bcachefs]
