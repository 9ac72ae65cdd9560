"""What XFS file systems have counted, from /sys/fs/xfs."""

from agentd.plugin import Collector, Config, Context, Family, counter, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

Columns = tuple[tuple[str, str], ...]

TREE: Columns = (
    ("lookups", "Lookups in the B-tree of {}."),
    ("compares", "Comparisons of keys in the B-tree of {}."),
    ("records_inserted", "Records put into the B-tree of {}."),
    ("records_deleted", "Records taken out of the B-tree of {}."),
)


def tree(prefix: str, subject: str) -> Columns:
    """Return the columns of a line that is about a B-tree."""
    return tuple((f"{prefix}_{name}", meaning.replace("{}", subject)) for name, meaning in TREE)


LINES: dict[bytes, Columns] = {
    b"extent_alloc": (
        ("extent_allocation_extents_allocated", "Extents, runs of blocks, that were allocated."),
        ("extent_allocation_blocks_allocated", "Blocks that were allocated."),
        ("extent_allocation_extents_freed", "Extents, runs of blocks, that were freed."),
        ("extent_allocation_blocks_freed", "Blocks that were freed."),
    ),
    b"abt": tree("allocation_btree", "free space"),
    b"blk_map": (
        ("block_mapping_reads", "Times that the place of a file's blocks was looked up to read them."),
        ("block_mapping_writes", "Times that the place of a file's blocks was looked up to write them."),
        ("block_mapping_unmaps", "Times that blocks were taken from a file."),
        ("block_mapping_extent_list_insertions", "Extents put into a file's list of extents."),
        ("block_mapping_extent_list_deletions", "Extents taken out of a file's list of extents."),
        ("block_mapping_extent_list_lookups", "Lookups in a file's list of extents."),
        ("block_mapping_extent_list_compares", "Comparisons in a file's list of extents."),
    ),
    b"bmbt": tree("block_map_btree", "the extents of a file"),
    b"dir": (
        ("directory_operation_lookup", "Names looked up that the kernel's cache of names did not have."),
        ("directory_operation_create", "Entries of directories that were made."),
        ("directory_operation_remove", "Entries of directories that were removed."),
        ("directory_operation_getdents", "Times that a directory was listed."),
    ),
    b"ig": (
        ("inode_operation_attempts", "Inodes looked for in the cache."),
        ("inode_operation_found", "Inodes that were found in the cache."),
        ("inode_operation_recycled", "Inodes found in the cache that were just being recycled."),
        ("inode_operation_missed", "Inodes that were not in the cache."),
        ("inode_operation_duplicates", "Inodes that somebody else had put into the cache meanwhile."),
        ("inode_operation_reclaims", "Inodes dropped from the cache for their memory."),
        ("inode_operation_attribute_changes", "Changes that were made to attributes of inodes."),
    ),
    b"rw": (
        ("write_calls", "Calls of write(2) for files of the file system."),
        ("read_calls", "Calls of read(2) for files of the file system."),
    ),
    b"vnodes": (
        ("vnode_active", "Inodes in memory that are in use."),
        ("vnode_allocate", "Inodes in memory that were allocated."),
        ("vnode_get", "Times that a reference to an inode was asked for."),
        ("vnode_hold", "Times that a reference to an inode was taken."),
        ("vnode_release", "Times that a reference to an inode was given back."),
        ("vnode_reclaim", "Inodes in memory that were reclaimed."),
        ("vnode_remove", "Inodes in memory that were removed."),
    ),
}
"""The lines of a statistics file that are told: names and meanings of columns, of which a kernel may have more."""


class Xfs(Collector[Config]):
    """XFS file systems, each by the name of its device."""

    name = "xfs"
    blocking = False  # counters in memory, one set for each CPU

    columns = {
        (line, place): counter(f"node_xfs_{name}_total", meaning, ("device",))
        for line, columns in LINES.items()
        for place, (name, meaning) in enumerate(columns)
    }

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._names: list[str] = []

    def collect(self) -> list[Family]:
        """Return the counters of each file system. Where there is none, that is no failure."""
        try:
            names = self._sysfs.names("fs/xfs")
        except OSError:
            return []
        if names != self._names:  # what was kept open may be of file systems that are unmounted
            self.host.forget("fs/xfs")
            self._names = names
        found = {name: parse(text) for name in names if (text := self._read(name)) is not None}
        if not found:  # the module is loaded, but nothing mounted
            return []
        families = (
            metric({name: rows[line][place] for name, rows in found.items() if len(rows.get(line, ())) > place})
            for (line, place), metric in self.columns.items()
        )
        return [family for family in families if family.samples]

    def _read(self, name: str) -> bytes | None:
        try:
            return self.host.sys(f"fs/xfs/{name}/stats/stats", lasting=True)
        except OSError:  # a folder that is none of a file system, or one that was unmounted just now
            return None


def parse(text: bytes) -> dict[bytes, list[float]]:
    """Return the numbers of the known lines of a statistics file (fs/xfs/xfs_stats.c), without broken ones."""
    rows = {}
    for line in text.splitlines():
        name, _, numbers = line.strip().partition(b" ")
        if name in LINES:
            try:
                rows[name] = list(map(float, numbers.split()))
            except ValueError:
                continue
    return rows


@hookimpl
def agentd_collectors() -> list[type[Xfs]]:
    """Register the collector."""
    return [Xfs]
