"""What ZFS has counted, and the states of its pools, from /proc/spl/kstat/zfs."""

import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, gauge, hookimpl, unknown

FOLDER = "spl/kstat/zfs"

STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "suspended")
"""What a pool can be."""

SIGNED, UNSIGNED = b"3", b"4"
"""The types of the numbers in a table: KSTAT_DATA_INT64 and KSTAT_DATA_UINT64 (sys/kstat.h)."""

HEADING = [b"name", b"type", b"data"]
"""The line above a table of names and values."""

DATASET = "dataset_name"
"""The row of an objset file that says of which dataset the others are."""


class Zfs(Collector[Config]):
    """ZFS: its caches and its other parts, its pools and datasets."""

    name = "zfs"
    blocking = True  # a pool that is being imported or that hangs holds locks which some of the files wait for

    tables = {
        file: unknown(f"node_zfs_{part}_*", "Row {} of " + f"{file}, a table in which ZFS counts {meaning}.")
        for file, part, meaning in (
            ("abdstats", "abd", "its buffers, in numbers and bytes"),
            ("arcstats", "arc", "what its cache of blocks, the ARC, does and holds, in events and bytes"),
            ("dbufstats", "dbuf", "what its cache of decompressed blocks does and holds, in events and bytes"),
            ("dmu_tx", "dmu_tx", "how transactions were assigned or held up, in events"),
            ("dnodestats", "dnode", "what became of its dnodes, the heads of its objects, in events"),
            ("fm", "fm", "what it has reported to those who manage faults, in events"),
            ("vdev_cache_stats", "vdev_cache", "what the cache of its devices did, in events"),
            ("vdev_mirror_stats", "vdev_mirror", "how it chose among the sides of a mirror, in events"),
            ("xuio_stats", "xuio", "buffers that it lent instead of copying them, in events"),
            ("zfetchstats", "zfetch", "what its reading ahead does, in events"),
            ("zil", "zil", "what went through its log of synchronous writes, in events and bytes"),
        )
    }
    pool = unknown("node_zfs_zpool_*", "Column {} of a pool's file io: operations, bytes or nanoseconds.", ("zpool",))
    dataset = unknown(
        "node_zfs_zpool_dataset_*", "Row {} of a dataset's table: operations, bytes or files.", ("zpool", "dataset")
    )
    states = gauge(
        "node_zfs_zpool_state", "1 for the state in which the pool is, 0 for each other.", ("zpool", "state")
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._bound: dict[tuple[Metric, str], Metric] = {}

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return Path(self.host.paths.procfs, FOLDER).exists()

    def collect(self) -> list[Family]:
        """Return all tables and pools; which there are depends on the version of ZFS."""
        try:
            with os.scandir(f"{self.host.paths.procfs}/{FOLDER}") as entries:
                pools = sorted(entry.name for entry in entries if entry.is_dir())
        except OSError:
            raise NoData("no ZFS: the kernel's module zfs is not loaded") from None
        families = [*self._tables(), *self._io(pools), *self._datasets(pools), self._states(pools)]
        return [family for family in families if family.samples]

    def _tables(self) -> Iterable[Family]:
        for file, metric in self.tables.items():
            try:
                rows = table(self.host.proc(f"{FOLDER}/{file}"))
            except (OSError, ValueError):  # this version of ZFS has no such file, or none that is known
                continue
            for name, number in rows.items():
                yield self._metric(metric, name)(number)

    def _io(self, pools: Iterable[str]) -> Iterable[Family]:
        columns: dict[str, dict[Labels, float]] = {}
        for pool in pools:
            for name, number in io(self._read(pool, "io")).items():
                columns.setdefault(name, {})[pool,] = number
        return [self._metric(self.pool, name)(samples) for name, samples in columns.items()]

    def _datasets(self, pools: Iterable[str]) -> Iterable[Family]:
        columns: dict[str, dict[Labels, float]] = {}
        for pool in pools:
            for file in self._files(pool):
                try:
                    dataset, rows = objset(self._read(pool, file))
                except ValueError:  # it went away meanwhile
                    continue
                for name, number in rows.items():
                    columns.setdefault(name, {})[pool, dataset] = number
        return [self._metric(self.dataset, name)(samples) for name, samples in columns.items()]

    def _states(self, pools: Iterable[str]) -> Family:
        found = {pool: self._read(pool, "state").decode("utf-8", "replace").strip().lower() for pool in pools}
        return self.states(
            ((pool, state), float(state == now)) for pool, now in found.items() if now for state in STATES
        )

    def _files(self, pool: str) -> list[str]:
        try:
            names = os.listdir(f"{self.host.paths.procfs}/{FOLDER}/{pool}")
        except OSError:
            return []
        return sorted(name for name in names if name.startswith("objset-"))

    def _read(self, pool: str, file: str) -> bytes:
        # Not kept open: a machine may have more datasets than descriptors.
        try:
            with open(f"{self.host.paths.procfs}/{FOLDER}/{pool}/{file}", "rb", buffering=0) as opened:
                return opened.read()
        except OSError:
            return b""

    def _metric(self, group: Metric, name: str) -> Metric:
        key = group, name
        if key not in self._bound:
            self._bound[key] = group.bound(name)
        return self._bound[key]


def named(name: bytes) -> str:
    """Return what stands for the name of a row in the name of a metric; empty where it cannot be in one."""
    text = name.rpartition(b".")[2].decode("utf-8", "replace").replace("-", "_")
    return text if text.isascii() and f"_{text}".isidentifier() else ""


def table(text: bytes) -> dict[str, float]:
    """Return the numbers of a table by their names. Raises ``ValueError`` where there is no heading of a table.

    Rows that are no numbers, or none that can be understood, are left out.
    """
    return {name: value for words in rows(text) if (name := named(words[0])) and (value := number(words)) is not None}


def rows(text: bytes) -> list[list[bytes]]:
    """Return the rows of a table (module/os/linux/spl/spl-kstat.c) as name, type and value. Raises ``ValueError``."""
    lines = iter(text.split(b"\n"))
    for line in lines:
        if line.split() == HEADING:
            return [words for words in (line.split(None, 2) for line in lines) if len(words) == 3]
    raise ValueError(f"expected name, type and data above a table of ZFS, found {text[:80]!r}")


def number(words: list[bytes]) -> float | None:
    """Return the number in a row; None where it has something else."""
    try:
        return float(words[2]) if words[1] in (SIGNED, UNSIGNED) else None
    except ValueError:
        return None


def objset(text: bytes) -> tuple[str, dict[str, float]]:
    """Return a dataset's name, and its numbers by their names. Raises ``ValueError`` where there is no name."""
    found = rows(text)
    for words in found:
        if words[0] == DATASET.encode():
            numbers = {
                name: value
                for row in found
                if row[1] == UNSIGNED and (name := named(row[0])) and (value := number(row)) is not None
            }
            return words[2].decode("utf-8", "replace"), numbers
    raise ValueError(f"expected a row {DATASET} in a dataset's table, found {text[:80]!r}")


def io(text: bytes) -> dict[str, float]:
    """Return the numbers in a pool's file io (kstat_io_t in sys/kstat.h) by the names above them."""
    lines = [line.split() for line in text.split(b"\n")]
    for heading, values in pairwise(lines):
        if heading[:1] == [b"nread"] and len(heading) >= 12:
            try:
                return {
                    name: float(value) for word, value in zip(heading, values, strict=True) if (name := named(word))
                }
            except ValueError:
                return {}
    return {}


@hookimpl
def agentd_collectors() -> list[type[Zfs]]:
    """Register the collector."""
    return [Zfs]
