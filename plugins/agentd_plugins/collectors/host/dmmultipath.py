"""Disks that are reached over several paths (dm-multipath), from /sys/block."""

from collections.abc import Awaitable
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

DEVICE = ("device", "sysfs_name")

SECTOR = 512.0
"""Bytes in the unit of sizes, whatever the device's own blocks are."""

USABLE = frozenset({"running", "live"})
"""States of a path that carries data: those of SCSI and of NVMe."""


class Disk(NamedTuple):
    """A disk over several paths; the state of a path is None where the kernel does not tell it."""

    name: str
    sysfs_name: str
    uuid: str
    suspended: float | None
    sectors: float | None
    paths: dict[str, str | None]

    @property
    def labels(self) -> tuple[str, str]:
        """Return the values of the labels that most metrics have."""
        return self.name, self.sysfs_name

    @property
    def usable(self) -> int:
        """Return how many paths carry data."""
        return sum(state in USABLE for state in self.paths.values())


class Dmmultipath(Collector[Config]):
    """Disks over several paths, and the states of these."""

    name = "dmmultipath"
    blocking = False  # names of the device mapper wait for a lock that is held while its tables change: in a worker

    info = gauge(
        "node_dmmultipath_device_info",
        "Always 1: the labels say which disk over several paths this is.",
        (*DEVICE, "uuid"),
    )
    active = gauge("node_dmmultipath_device_active", "1, or 0 while the disk is suspended.", DEVICE)
    size = gauge("node_dmmultipath_device_size_bytes", "Size of the disk in bytes.", DEVICE)
    paths = gauge("node_dmmultipath_device_paths", "Number of paths to the disk.", DEVICE)
    paths_active = gauge(
        "node_dmmultipath_device_paths_active", "Number of paths that are running (SCSI) or live (NVMe).", DEVICE
    )
    paths_failed = gauge("node_dmmultipath_device_paths_failed", "Number of paths in any other state.", DEVICE)
    path_state = gauge(
        "node_dmmultipath_path_state",
        "Always 1: the labels say in which state the device at the end of a path is.",
        ("device", "path", "state"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return the disks and their paths."""
        try:
            names = [name for name in self._sysfs.names("block") if name.startswith("dm-")]
        except (FileNotFoundError, PermissionError):
            raise NoData("sysfs has no list of block devices that could be read") from None
        return self.in_worker(self._ask, names) if names else []

    def _ask(self, names: list[str]) -> list[Family]:
        disks = [disk for name in names if (disk := self._disk(name))]
        families = [
            self.info(((*disk.labels, disk.uuid), 1.0) for disk in disks),
            self.active((disk.labels, float(disk.suspended != 1)) for disk in disks if disk.suspended is not None),
            self.size((disk.labels, disk.sectors * SECTOR) for disk in disks if disk.sectors is not None),
            self.paths((disk.labels, float(len(disk.paths))) for disk in disks),
            self.paths_active((disk.labels, float(disk.usable)) for disk in disks),
            self.paths_failed((disk.labels, float(len(disk.paths) - disk.usable)) for disk in disks),
            self.path_state(
                ((disk.name, path, state), 1.0)
                for disk in disks
                for path, state in disk.paths.items()
                if state is not None
            ),
        ]
        return [family for family in families if family.samples]

    def _disk(self, sysfs_name: str) -> Disk | None:
        folder = f"block/{sysfs_name}"
        uuid = self._sysfs.text(f"{folder}/dm/uuid")
        if uuid is None or not uuid.startswith("mpath-"):  # another kind of device mapper, or gone
            return None
        name = self._sysfs.text(f"{folder}/dm/name")
        if name is None:
            return None
        suspended, sectors = self._sysfs.count(f"{folder}/dm/suspended"), self._sysfs.count(f"{folder}/size")
        return Disk(name, sysfs_name, uuid, suspended, sectors, self._paths(folder))

    def _paths(self, folder: str) -> dict[str, str | None]:
        try:
            paths = self._sysfs.names(f"{folder}/slaves")
        except OSError:
            return {}
        return {path: self._sysfs.text(f"block/{path}/device/state") for path in paths}


@hookimpl
def agentd_collectors() -> list[type[Dmmultipath]]:
    """Register the collector."""
    return [Dmmultipath]
