"""Size and free space of mounted file systems, from the mountinfo of the first process and statvfs(3)."""

import errno
import os
from collections.abc import Awaitable
from itertools import chain
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Duration, Family, Frame, Labels, Layout, Regex, gauge, hookimpl
from agentd_plugins.collectors.host import _mountinfo
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host._watch import Watch

MOUNT_POINTS = Regex(
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
)
"""Where the kernel shows itself, and where containers have their layers."""

FS_TYPES = Regex(
    r"^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay"
    r"|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$"
)
"""File systems that store nothing, or on which nothing can be written."""

MOUNT = ("device", "mountpoint", "fstype", "device_error")

HANGS = "mountpoint timeout"
"""The ``device_error`` of a mount that does not answer."""

SHORTEST = 0.02
"""A wait of fewer seconds would take every mount for one that hangs."""

Place = tuple[int, bytes]
"""A mount's id and the path to ask: what is mounted there later is another place."""


Answers = dict[Place, os.statvfs_result | str | None]
"""What statvfs gave for each place, or the text of its error; None where it hangs."""

PROMPT = frozenset({"ext2", "ext3", "ext4", "vfat", "tmpfs", "ramfs"})
"""Local file systems that keep their numbers in memory: statvfs waits for no device once these are known.

Not xfs, whose statfs has waited in some kernels for inodes that were being freed.
"""

PASSABLE = PROMPT | {"btrfs", "xfs", "devtmpfs", "f2fs", "overlay", "proc", "rootfs", "squashfs", "sysfs"}
"""File systems in which the way to a mount point, which the kernel keeps in memory, asks no server or other process."""


class FilesystemConfig(Config, frozen=True):
    """Options of the collector filesystem."""

    mount_points_exclude: Regex | None = MOUNT_POINTS
    """Mount points to leave out."""
    mount_points_include: Regex | None = None
    """Mount points to tell of, and of no others. Takes the place of ``mount_points_exclude``."""
    fs_types_exclude: Regex | None = FS_TYPES
    """Types of file systems to leave out."""
    fs_types_include: Regex | None = None
    """Types of file systems to tell of, and of no others. Takes the place of ``fs_types_exclude``."""
    mount_timeout: Duration = Duration(5)
    """How long to wait for a mount before it counts as hanging; never longer than a scrape leaves time for."""
    stat_workers: int = 4
    """Without effect: one worker asks all mounts, and a mount that hangs does not hold up the others."""

    def __post_init__(self) -> None:
        exclusive(self, "mount_points_exclude", "mount_points_include")
        exclusive(self, "fs_types_exclude", "fs_types_include")
        if self.mount_timeout <= 0:
            raise ValueError('mount_timeout has to be longer than "0s"')


class Shown(NamedTuple):
    """A mount that is told of."""

    place: Place
    labels: Labels
    """Device, mount point and type."""
    info: Labels
    readonly: float
    prompt: bool
    """Whether asking it waits for nothing, once it has answered."""


class Filesystem(Collector[FilesystemConfig]):
    """Mounted file systems."""

    name = "filesystem"
    blocking = False
    statvfs = staticmethod(os.statvfs)

    numbers = (
        gauge("node_filesystem_size_bytes", "Size of the file system in bytes.", MOUNT),
        gauge("node_filesystem_free_bytes", "Bytes that are free, those kept for root included.", MOUNT),
        gauge("node_filesystem_avail_bytes", "Bytes that are free for everybody.", MOUNT),
        gauge("node_filesystem_files", "Number of files (inodes) for which there is room in all.", MOUNT),
        gauge("node_filesystem_files_free", "Number of further files for which there is room.", MOUNT),
    )
    readonly = gauge("node_filesystem_readonly", "Whether nothing can be written: 1 or 0.", MOUNT)
    device_error = gauge("node_filesystem_device_error", "Whether asking for the numbers failed: 1 or 0.", MOUNT)
    mount_info = gauge(
        "node_filesystem_mount_info",
        "Always 1: the labels say on which device, by its numbers, a file system is.",
        ("device", "major", "minor", "mountpoint"),
    )

    def __init__(self, config: FilesystemConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._by_path = Filter(self.config.mount_points_exclude, self.config.mount_points_include)
        self._by_type = Filter(self.config.fs_types_exclude, self.config.fs_types_include)
        self._root = os.fsencode(self.host.paths.rootfs).rstrip(b"/")
        self._watch = Watch(self._ask, self._hangs, self._returned)
        self._mountinfo: bytes | None = None
        self._mounts: list[Shown] = []
        self._answered: set[Place] = set()
        self._shown: tuple[list[Shown], list[str]] = ([], [])
        self._layout = Layout()
        self._refused = False

    def collect(self) -> Frame | Awaitable[Frame]:
        """Return what every mount answers within the time that there is.

        Mounts whose numbers the kernel has in memory are asked at once. All others are asked in a worker thread, as any
        is for the first time.
        """
        mountinfo = self._read()
        if mountinfo != self._mountinfo:
            self._mounts = self._chosen(_mountinfo.parse(mountinfo))
            self._mountinfo = mountinfo
            self._answered &= {mount.place for mount in self._mounts if mount.prompt}
        answers: Answers = {place: self._ask(place) for place in self._answered}
        rest = list(dict.fromkeys(mount.place for mount in self._mounts if mount.place not in answers))
        return self._wait(rest, answers) if rest else self._told(answers)

    async def _wait(self, places: list[Place], answers: Answers) -> Frame:
        answers |= await self._watch.ask(places, self.in_worker, self._patience)
        self._answered = {
            mount.place for mount in self._mounts if mount.prompt and answers.get(mount.place) is not None
        }
        return self._told(answers)

    def _told(self, answers: Answers) -> Frame:
        shown = [mount for mount in self._mounts if mount.place in answers]  # there was no time left for others
        given = [answers[mount.place] for mount in shown]
        errors = [HANGS if answer is None else answer if isinstance(answer, str) else "" for answer in given]
        if self._shown != (shown, errors):
            self._shown = shown, errors
            self._layout = Layout(self._families(shown, errors))
        rows = [numbers(answer) for answer in given if answer is not None and not isinstance(answer, str)]
        values = list(chain.from_iterable(zip(*rows, strict=True)))
        values += [mount.readonly for mount in shown]
        values += [float(bool(error)) for error in errors]
        values += [1.0] * (self._layout.series - len(values))
        return self._layout.fill(values)

    def _families(self, shown: list[Shown], errors: list[str]) -> list[Family]:
        told = {(*mount.labels, error): 0.0 for mount, error in zip(shown, errors, strict=True)}
        answered = {labels: 0.0 for labels in told if not labels[-1]}
        info = {mount.info: 1.0 for mount, error in zip(shown, errors, strict=True) if not error}
        families = [metric(answered) for metric in self.numbers]
        families += (self.readonly(told), self.device_error(told), self.mount_info(info))
        return [family for family in families if family.samples]

    def _read(self) -> bytes:
        try:
            return self.host.proc("1/mountinfo")
        except (FileNotFoundError, PermissionError):  # hidden from us (proc(5), hidepid): our own mounts are next best
            return self.host.proc("self/mountinfo")

    def _chosen(self, mounts: list[_mountinfo.Mount]) -> list[Shown]:
        upmost = {mount.path: mount.id for mount in mounts}  # of several in one place, this is the one that answers
        chosen: dict[Labels, Shown] = {}
        for mount in mounts:
            path = mount.path
            if self._root and (path == self._root or path.startswith(self._root + b"/")):
                path = path[len(self._root) :] or b"/"
            point = _mountinfo.label(path)
            if not self._by_path.ignores(point) and not self._by_type.ignores(mount.fstype):
                labels, info = (mount.device, point, mount.fstype), (mount.device, mount.major, mount.minor, point)
                place = upmost[mount.path], self._root + path
                chosen[labels] = Shown(place, labels, info, float(mount.readonly), self._is_prompt(mount, mounts))
        return list(chosen.values())

    def _is_prompt(self, mount: _mountinfo.Mount, mounts: list[_mountinfo.Mount]) -> bool:
        # Under another root, what is on the way to a mount point is not what this file says.
        on_the_way = (each.fstype for each in mounts if mount.path.startswith(each.path.rstrip(b"/") + b"/"))
        return not self._root and mount.fstype in PROMPT and PASSABLE.issuperset(on_the_way)

    def _ask(self, place: Place) -> os.statvfs_result | str:
        try:
            return self.statvfs(place[1])
        except OSError as error:
            if error.errno == errno.EACCES and not self._refused:
                self._refused = True
                self.log.warning(
                    "mount %s, and others like it, is told without its sizes: to enter the folders above it takes the "
                    "drop-in read-all.conf, or root",
                    _mountinfo.label(place[1]),
                )
            return spelled(error)

    def _patience(self) -> float:
        left = 0.8 * self.time_left()
        return min(self.config.mount_timeout, left) if left > SHORTEST else 0.0

    def _hangs(self, place: Place, seconds: float) -> None:
        self.log.warning(
            "mount %s did not answer within %.3g s: its device or server hangs. Its sizes are left out, and it is not "
            "asked again while that call hangs",
            _mountinfo.label(place[1]),
            seconds,
        )

    def _returned(self, place: Place) -> None:
        self.log.warning("mount %s has recovered: it is asked again", _mountinfo.label(place[1]))


def numbers(answer: os.statvfs_result) -> tuple[float, float, float, float, float]:
    """Return the size in bytes, how much of it is free, and free for everybody; the number of files, and of free ones.

    node_exporter reckons with the size of a block for transfers, so we do, though for some file systems it is not the
    one in which blocks are counted (statvfs(3)).
    """
    block, files, files_free = float(answer.f_bsize), float(answer.f_files), float(answer.f_ffree)
    return answer.f_blocks * block, answer.f_bfree * block, answer.f_bavail * block, files, files_free


def spelled(error: OSError) -> str:
    """Return the text of an error as Go programs spell it, by which dashboards may know it."""
    if error.errno == errno.ESTALE:
        return "stale NFS file handle"
    text = error.strerror or str(error) or "unknown error"
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


@hookimpl
def agentd_collectors() -> list[type[Filesystem]]:
    """Register the collector."""
    return [Filesystem]
