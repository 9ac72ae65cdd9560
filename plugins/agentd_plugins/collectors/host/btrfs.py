"""Btrfs file systems and their devices, from /sys/fs/btrfs and by asking where they are mounted."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _btrfs, _mountinfo
from agentd_plugins.collectors.host._sysfs import Sysfs

UUID = ("uuid",)
MODE = ("uuid", "block_group_type", "mode")
DEVICE = ("uuid", "device", "btrfs_dev_uuid")

KINDS = ("data", "metadata", "system")
"""What blocks are allocated for."""

COPIES = {"single": 1.0, "raid0": 1.0, "dup": 2.0, "raid1": 2.0, "raid10": 2.0, "raid1c3": 3.0, "raid1c4": 4.0}
"""How many times each byte is stored."""

PARITIES = {"raid5": 1, "raid6": 2}
"""How many of all devices are taken up by what restores the others."""

SECTOR = 512.0
"""Bytes in the unit of sizes, whatever the device's own blocks are."""

MILLISECOND = 0.001


class Filesystem(NamedTuple):
    """A file system: its folder in sysfs, its UUID, and the devices that it is on."""

    folder: str
    uuid: str
    devices: list[str]


class Btrfs(Collector[Config]):
    """Mounted Btrfs file systems: how they use their devices, and how these do."""

    name = "btrfs"
    blocking = True  # opens places where something is mounted

    info = gauge("node_btrfs_info", "Always 1: the label says what the file system is called.", ("uuid", "label"))
    reserve = gauge("node_btrfs_global_rsv_size_bytes", "Bytes kept back for when the file system is full.", UUID)
    commits = {
        "commits": counter("node_btrfs_commits_total", "Transactions that were committed.", UUID),
        "last_commit_ms": gauge("node_btrfs_last_commit_seconds", "Seconds that the last commit took.", UUID),
        "max_commit_ms": gauge("node_btrfs_max_commit_seconds", "Seconds that the slowest commit took.", UUID),
        "total_commit_ms": counter("node_btrfs_commit_seconds_total", "Seconds that all commits took.", UUID),
    }
    reserved = gauge(
        "node_btrfs_reserved_bytes",
        "Bytes set aside for what is about to be written.",
        ("uuid", "block_group_type"),
    )
    modes = {
        "used_bytes": gauge("node_btrfs_used_bytes", "Bytes in use, each counted once however often stored.", MODE),
        "total_bytes": gauge("node_btrfs_size_bytes", "Bytes allocated, each counted once however often stored.", MODE),
    }
    ratio = gauge("node_btrfs_allocation_ratio", "Bytes that a byte takes on the devices, copies included.", MODE)
    size = gauge("node_btrfs_device_size_bytes", "Size of the device in bytes.", DEVICE)
    unused = gauge("node_btrfs_device_unused_bytes", "Bytes of the device that are not allocated.", DEVICE)
    errors = counter(
        "node_btrfs_device_errors_total",
        "Errors of the device: failed operations, wrong checksums, and blocks older than they should be.",
        (*DEVICE, "type"),
    )

    def __init__(
        self, config: Config | None = None, context: Context | None = None, ioctl: _btrfs.Ioctl = fcntl.ioctl
    ) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._ioctl = ioctl
        self._refused = False

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has("fs/btrfs") and len(self._sysfs.names("fs/btrfs")) > 1  # features are always there

    def collect(self) -> list[Family]:
        """Return what is known of each file system. Where there is none, that is no failure."""
        found = list(self._filesystems())
        if not found:
            return []
        families = [
            self.info(((each.uuid, self._sysfs.text(f"{each.folder}/label") or ""), 1.0) for each in found),
            self.reserve(self._numbers({(each.uuid,): f"{each.folder}/allocation/global_rsv_size" for each in found})),
            *self._commits(found),
            *self._allocations(found),
            *self._devices(found),
        ]
        return [family for family in families if family.samples]

    def _filesystems(self) -> Iterator[Filesystem]:
        for name in self._names("fs/btrfs"):
            if "-" in name:
                folder = f"fs/btrfs/{name}"
                uuid = self._sysfs.text(f"{folder}/metadata_uuid") or name
                yield Filesystem(folder, uuid, self._names(f"{folder}/devices"))

    def _commits(self, found: Iterable[Filesystem]) -> Iterable[Family]:
        stats = {each.uuid: parse(self._sysfs.text(f"{each.folder}/commit_stats") or "") for each in found}
        for line, metric in self.commits.items():
            scale = MILLISECOND if line.endswith("_ms") else 1.0
            # Kernels before 6.0 count none: node_exporter calls that 0.
            yield metric({uuid: numbers.get(line, 0.0) * scale for uuid, numbers in stats.items()})

    def _allocations(self, found: Iterable[Filesystem]) -> Iterable[Family]:
        kinds = {(each.uuid, kind): f"{each.folder}/allocation/{kind}" for each in found for kind in KINDS}
        yield self.reserved(self._numbers({key: f"{folder}/bytes_reserved" for key, folder in kinds.items()}))
        modes = {(*key, mode): f"{folder}/{mode}" for key, folder in kinds.items() for mode in self._folders(folder)}
        for file, metric in self.modes.items():
            yield metric(self._numbers({key: f"{folder}/{file}" for key, folder in modes.items()}))
        counts = {each.uuid: len(each.devices) for each in found}
        ratios = {key: ratio(key[-1], counts[key[0]]) for key in modes}
        yield self.ratio((key, value) for key, value in ratios.items() if value is not None)

    def _devices(self, found: Iterable[Filesystem]) -> Iterable[Family]:
        answers = self._answers()
        sizes: dict[Labels, float] = {}
        unused: dict[Labels, float] = {}
        errors: dict[Labels, float] = {}
        for each in found:
            if each.uuid not in answers:
                paths: dict[Labels, str] = {
                    (each.uuid, name, None): f"{each.folder}/devices/{name}/size" for name in each.devices
                }
                sizes |= {labels: size * SECTOR for labels, size in self._numbers(paths).items()}
            for device in answers.get(each.uuid, ()):
                labels = each.uuid, device.name, device.uuid
                sizes[labels] = device.total
                unused[labels] = device.total - device.used
                errors |= {(*labels, kind): count for kind, count in zip(_btrfs.ERRORS, device.errors, strict=True)}
        return self.size(sizes), self.unused(unused), self.errors(errors)

    def _answers(self) -> dict[str, list[_btrfs.Device]]:
        answers = _btrfs.ask(self._mounts(), os.fsencode(self.host.paths.rootfs).rstrip(b"/"), self._ioctl)
        if answers.refused and not self._refused:
            self._refused = True
            self.log.warning(
                "errors and unused bytes of the devices under %s are left out: "
                "opening it takes the drop-in read-all.conf, or root",
                ", ".join(answers.refused),
            )
        return answers.devices

    def _mounts(self) -> list[_mountinfo.Mount]:
        try:
            return _mountinfo.parse(self._mountinfo())
        except (OSError, ValueError):  # sysfs knows the devices as well, if not so much of them
            return []

    def _mountinfo(self) -> bytes:
        try:
            return self.host.proc("1/mountinfo")
        except (FileNotFoundError, PermissionError):  # hidden from us (proc(5), hidepid): our own mounts are next best
            return self.host.proc("self/mountinfo")

    def _names(self, folder: str) -> list[str]:
        try:
            return self._sysfs.names(folder)
        except OSError:
            return []

    def _folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(f"{self.host.paths.sysfs}/{folder}") as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except OSError:
            return []

    def _numbers(self, paths: dict[Labels, str]) -> dict[Labels, float]:
        found = ((labels, self._sysfs.count(path)) for labels, path in paths.items())
        return {labels: number for labels, number in found if number is not None}


def ratio(mode: str | None, devices: int) -> float | None:
    """Return how many bytes are stored for each byte; 0 for an unknown mode, None with too few devices for it."""
    if mode in PARITIES:
        return devices / (devices - PARITIES[mode]) if devices > PARITIES[mode] else None
    return COPIES.get(mode or "", 0.0)


def parse(text: str) -> dict[str, float]:
    """Return the numbers in a file commit_stats by their names, without lines that cannot be understood."""
    numbers = {}
    for line in text.splitlines():
        name, _, number = line.strip().partition(" ")
        if number.strip().isdecimal():
            numbers[name] = float(number)
    return numbers


@hookimpl
def agentd_collectors() -> list[type[Btrfs]]:
    """Register the collector."""
    return [Btrfs]
