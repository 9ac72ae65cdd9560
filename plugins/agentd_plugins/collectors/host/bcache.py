"""Disks that have a faster one as their cache (bcache), from /sys/fs/bcache."""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, counter, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

SET = ("uuid",)
BACKING = ("uuid", "backing_device")
CACHE = ("uuid", "cache_device")

NANOSECOND = 1e-9
"""Seconds in the unit of ``btree_read_average_duration_us``, whatever its name says, as node_exporter reckons it."""

READAHEADS = "stats_total/cache_readaheads"
"""A file that newer kernels lack; a count of 0 is not told, as in node_exporter."""


class BcacheConfig(Config):
    """Options of the collector bcache."""

    priority_stats: bool = False
    """Whether to tell what the cache is used for. To answer this the kernel looks at every bucket of the cache."""


class Part(NamedTuple):
    """A cache set, or one of its backing devices or caches: its label values, and its folder in sysfs."""

    labels: Labels
    folder: str


class Bcache(Collector[BcacheConfig]):
    """Cache sets with their backing devices and caches (Documentation/admin-guide/bcache.rst)."""

    name = "bcache"
    blocking = True  # some attributes wait for locks that are held during input and output

    sets = {
        "average_key_size": gauge(
            "node_bcache_average_key_size_sectors",
            "Data that a key of the B-tree stands for on average, in sectors.",
            SET,
        ),
        "btree_cache_size": gauge("node_bcache_btree_cache_size_bytes", "Bytes of memory that hold the B-tree.", SET),
        "cache_available_percent": gauge(
            "node_bcache_cache_available_percent", "Percentage of the cache that holds nothing to be written back.", SET
        ),
        "congested": gauge("node_bcache_congested", "How congested the cache is; above 0, it is passed by.", SET),
        "root_usage_percent": gauge(
            "node_bcache_root_usage_percent", "Percentage of the B-tree's root that is in use.", SET
        ),
        "tree_depth": gauge("node_bcache_tree_depth", "Levels of the B-tree below its root.", SET),
        "internal/active_journal_entries": gauge(
            "node_bcache_active_journal_entries", "Entries of the journal that the B-tree does not have yet.", SET
        ),
        "internal/btree_nodes": gauge("node_bcache_btree_nodes", "Nodes of the B-tree.", SET),
        "internal/btree_read_average_duration_us": gauge(
            "node_bcache_btree_read_average_duration_seconds", "Seconds that reading a node took on average.", SET
        ),
        "internal/cache_read_races": counter(
            "node_bcache_cache_read_races_total", "Reads whose place in the cache was used anew meanwhile.", SET
        ),
    }
    backing = {
        "dirty_data": gauge("node_bcache_dirty_data_bytes", "Bytes in the cache that are to be written back.", BACKING),
        "stats_total/bypassed": counter(
            "node_bcache_bypassed_bytes_total", "Bytes read and written that went past the cache.", BACKING
        ),
        "stats_total/cache_hits": counter("node_bcache_cache_hits_total", "Operations that the cache served.", BACKING),
        "stats_total/cache_misses": counter(
            "node_bcache_cache_misses_total", "Operations that the cache could not serve.", BACKING
        ),
        "stats_total/cache_bypass_hits": counter(
            "node_bcache_cache_bypass_hits_total",
            "Operations meant to go past the cache, for data that was in it.",
            BACKING,
        ),
        "stats_total/cache_bypass_misses": counter(
            "node_bcache_cache_bypass_misses_total",
            "Operations meant to go past the cache, for data that was not in it.",
            BACKING,
        ),
        "stats_total/cache_miss_collisions": counter(
            "node_bcache_cache_miss_collisions_total",
            "Times that data to be put into the cache after a miss was there already.",
            BACKING,
        ),
        READAHEADS: counter("node_bcache_cache_readaheads_total", "Times that data was read ahead.", BACKING),
    }
    writeback = {
        "target": gauge(
            "node_bcache_dirty_target_bytes", "Bytes to be written back that the cache may hold for now.", BACKING
        ),
        "rate": gauge(
            "node_bcache_writeback_rate", "Bytes a second that are to be written back.", BACKING, unit="bytes a second"
        ),
        "proportional": gauge(
            "node_bcache_writeback_rate_proportional_term",
            "The part of the rate that follows from how far off the target the cache is, in bytes a second.",
            BACKING,
            unit="bytes a second",
        ),
        "integral": gauge(
            "node_bcache_writeback_rate_integral_term",
            "The part of the rate that follows from how long the cache has been off the target, in bytes a second.",
            BACKING,
            unit="bytes a second",
        ),
        "change": gauge(
            "node_bcache_writeback_change",
            "By how much the rate was changed last, in bytes a second.",
            BACKING,
            unit="bytes a second",
        ),
    }
    caches = {
        "io_errors": gauge("node_bcache_io_errors", "Errors of the cache's device, old ones counting less.", CACHE),
        "metadata_written": counter(
            "node_bcache_metadata_written_bytes_total", "Bytes written to the cache that are no data.", CACHE
        ),
        "written": counter("node_bcache_written_bytes_total", "Bytes of data written to the cache.", CACHE),
    }
    priorities = {
        "Unused": gauge(
            "node_bcache_priority_stats_unused_percent", "Percentage of the cache that holds nothing.", CACHE
        ),
        "Metadata": gauge(
            "node_bcache_priority_stats_metadata_percent", "Percentage of the cache that holds no data.", CACHE
        ),
    }

    def __init__(self, config: BcacheConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has("fs/bcache")

    def collect(self) -> list[Family]:
        """Return the numbers of all cache sets. Where there is none, that is no failure."""
        try:
            names = self._sysfs.names("fs/bcache")
        except OSError:
            return []
        sets = [Part((name,), f"fs/bcache/{name}") for name in names if "-" in name]
        backing = [part for each in sets for part in self._parts(each, "bdev")]
        caches = [part for each in sets for part in self._parts(each, "cache")]
        families = [
            *self._files(self.sets, sets),
            *self._files(self.backing, backing),
            *self._lines(self.writeback, backing, "writeback_rate_debug", parse_rates),
            *self._files(self.caches, caches),
        ]
        if self.config.priority_stats:
            families += self._lines(self.priorities, caches, "priority_stats", parse_priorities)
        return [family for family in families if family.samples]

    def _parts(self, of: Part, prefix: str) -> list[Part]:
        return [Part((*of.labels, name), f"{of.folder}/{name}") for name in self._sysfs.numbered(of.folder, prefix)]

    def _files(self, metrics: Mapping[str, Metric], parts: Iterable[Part]) -> Iterable[Family]:
        for file, metric in metrics.items():
            numbers = ((part.labels, self._number(f"{part.folder}/{file}")) for part in parts)
            yield metric(
                (labels, number * NANOSECOND if file.endswith("_us") else number)
                for labels, number in numbers
                if number is not None and (number or file != READAHEADS)
            )

    def _number(self, path: str) -> float | None:
        try:
            return parse(self._sysfs.text(path) or "")
        except ValueError:
            return None

    def _lines(
        self,
        metrics: Mapping[str, Metric],
        parts: Iterable[Part],
        file: str,
        parser: Callable[[str], dict[str, float]],
    ) -> list[Family]:
        found = {part.labels: parser(self._sysfs.text(f"{part.folder}/{file}") or "") for part in parts}
        return [
            metric((labels, numbers[line]) for labels, numbers in found.items() if line in numbers)
            for line, metric in metrics.items()
        ]


def parse(text: str) -> float:
    """Return a number as bcache writes it for people: ``1.1M`` say, in powers of 1,024. Raises ``ValueError``.

    What stands behind the point need be no tenths: older kernels write the remainder, from 0 to 1,023, divided by 100,
    newer ones divided by 103 (bch_hprint in drivers/md/bcache/util.c). As in node_exporter, it is taken for the former.
    """
    sign, text = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    unit = 1024 ** ("kMGTPEZY".find(text[-1:]) + 1) if text[-1:].isalpha() else 0
    if unit <= 1:  # no unit, or one that is not known, which float() refuses
        return sign * int_like(float(text))
    whole, _, rest = text[:-1].partition(".")
    return sign * int_like((float(whole) + float(rest or 0) / 10.24) * unit)


def int_like(number: float) -> float:
    """Return a number without what is behind its point. Raises ``ValueError`` for one that is not finite."""
    if not 0 <= number < float("inf"):
        raise ValueError(f"expected a number, found {number}")
    return number // 1


def parse_rates(text: str) -> dict[str, float]:
    """Return the numbers in the file writeback_rate_debug by their names, without those that cannot be understood."""
    return _numbers(text, "/sec", parse)


def parse_priorities(text: str) -> dict[str, float]:
    """Return the numbers in the file priority_stats by their names, without those that cannot be understood."""
    return _numbers(text, "%", float)


def _numbers(text: str, unit: str, parser: Callable[[str], float]) -> dict[str, float]:
    numbers = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        try:
            number = parser(value.strip().removesuffix(unit))
        except ValueError:
            continue
        if isfinite(number):
            numbers[name] = number
    return numbers


@hookimpl
def agentd_collectors() -> list[type[Bcache]]:
    """Register the collector."""
    return [Bcache]
