"""Pages of each memory zone, from /proc/zoneinfo."""

from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, counter, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

ZONE = ("node", "zone")


class Zoneinfo(Collector[Config]):
    """What the pages of each zone are used for.

    The list of fields is node_exporter's. What the kernel counts for a whole node it writes beside the node's first
    zone, and there it is told.
    """

    name = "zoneinfo"
    blocking = False

    fields = {
        field: gauge(f"node_zoneinfo_{name}", text, ZONE)
        for field, name, text in (
            (b"nr_free_pages", "nr_free_pages", "Number of pages of the zone that are free."),
            (b"min", "min_pages", "Number of free pages below which allocations have to reclaim by themselves."),
            (b"low", "low_pages", "Number of free pages below which kswapd begins to reclaim."),
            (b"high", "high_pages", "Number of free pages at which kswapd stops to reclaim."),
            (b"scanned", "scanned_pages", "Number of pages scanned since pages were last reclaimed (older kernels)."),
            (b"spanned", "spanned_pages", "Number of pages that the zone extends over, with its holes."),
            (b"present", "present_pages", "Number of pages of the zone that exist."),
            (b"managed", "managed_pages", "Number of pages of the zone that can be allocated."),
            (b"nr_active_anon", "nr_active_anon_pages", "Number of pages of no file used of late."),
            (b"nr_inactive_anon", "nr_inactive_anon_pages", "Number of pages of no file not used of late."),
            (b"nr_isolated_anon", "nr_isolated_anon_pages", "Number of pages of no file being reclaimed or moved."),
            (b"nr_anon_pages", "nr_anon_pages", "Number of pages of no file that are mapped into processes."),
            (
                b"nr_anon_transparent_hugepages",
                "nr_anon_transparent_hugepages",
                "Number of transparent huge pages of no file.",
            ),
            (b"nr_active_file", "nr_active_file_pages", "Number of pages of files used of late."),
            (b"nr_inactive_file", "nr_inactive_file_pages", "Number of pages of files not used of late."),
            (b"nr_isolated_file", "nr_isolated_file_pages", "Number of pages of files being reclaimed or moved."),
            (b"nr_file_pages", "nr_file_pages", "Number of pages in the page cache."),
            (b"nr_slab_reclaimable", "nr_slab_reclaimable_pages", "Number of slab pages that can be reclaimed."),
            (b"nr_slab_unreclaimable", "nr_slab_unreclaimable_pages", "Number of slab pages that cannot be reclaimed."),
            (b"nr_mlock_stack", "nr_mlock_stack_pages", "Number of locked pages set aside (older kernels)."),
            (b"nr_kernel_stack", "nr_kernel_stacks", "Kernel stacks: their number, since Linux 4.8 their size in KiB."),
            (b"nr_mapped", "nr_mapped_pages", "Number of pages of files that are mapped into processes."),
            (b"nr_dirty", "nr_dirty_pages", "Number of pages that wait to be written."),
            (b"nr_writeback", "nr_writeback_pages", "Number of pages that are being written now."),
            (b"nr_unevictable", "nr_unevictable_pages", "Number of pages that cannot be reclaimed, locked ones say."),
            (b"nr_shmem", "nr_shmem_pages", "Number of pages of shared memory and tmpfs."),
        )
    } | {
        field: counter(f"node_zoneinfo_{name}_total", text, ZONE)
        for field, name, text in (
            (b"nr_dirtied", "nr_dirtied", "Number of times that a page became dirty since boot."),
            (b"nr_written", "nr_written", "Number of pages written since boot."),
            (b"numa_hit", "numa_hit", "Number of pages allocated in this node as intended."),
            (b"numa_miss", "numa_miss", "Number of pages allocated in this node though another was intended."),
            (b"numa_foreign", "numa_foreign", "Number of pages intended for this node and allocated in another."),
            (b"numa_interleave", "numa_interleave", "Number of pages allocated in this node as its turn had come."),
            (b"numa_local", "numa_local", "Number of pages allocated by tasks that ran on this node."),
            (b"numa_other", "numa_other", "Number of pages allocated by tasks that ran on another node."),
        )
    }
    protection = gauge(
        "node_zoneinfo_protection_*",
        "Number of pages kept back from allocations that could have been satisfied by zone number {} of the node.",
        ZONE,
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._protections: list[Metric] = []

    def collect(self) -> list[Family]:
        """Return the fields of all zones; one that is empty has only some."""
        samples: dict[bytes, dict[Labels, float]] = {field: {} for field in self.fields}
        protections: list[dict[Labels, float]] = []
        for zone in parsed(self.host, "zoneinfo", parse):
            for field, value in zone.fields.items():
                samples[field][zone.labels] = value
            for place, value in enumerate(zone.protection):
                if place == len(protections):
                    protections.append({})
                protections[place][zone.labels] = value
        for place in range(len(self._protections), len(protections)):
            self._protections.append(self.protection.bound(str(place)))
        return [
            *(metric(samples[field]) for field, metric in self.fields.items() if samples[field]),
            *(metric(values) for metric, values in zip(self._protections, protections, strict=False)),
        ]


class Zone(NamedTuple):
    """A zone, by node and name, with those fields that are told."""

    labels: tuple[str, str]
    fields: dict[bytes, float]
    protection: list[float]


def parse(text: bytes) -> list[Zone]:
    """Return the zones in a zoneinfo file (proc_zoneinfo(5))."""
    zones = []
    for block in (b"\n" + text).split(b"\nNode ")[1:]:
        heading, _, rest = block.partition(b"\n")
        node, comma, name = heading.decode(errors="backslashreplace").partition(", zone")
        if not (comma and node.isdecimal() and name.strip()):
            raise ValueError(f"expected 'Node 0, zone Normal' in zoneinfo, found {heading[:80]!r}")
        zone = Zone((node, name.strip()), {}, [])
        for line in rest.partition(b"\n  pagesets")[0].split(b"\n"):  # what follows is about each CPU
            field, _, value = line.strip().partition(b" ")
            if field in Zoneinfo.fields:
                zone.fields[field] = float(value)
            elif field == b"protection:":
                zone.protection.extend(float(number) for number in value.strip(b"() ").split(b",") if number)
        zones.append(zone)
    return zones


@hookimpl
def agentd_collectors() -> list[type[Zoneinfo]]:
    """Register the collector."""
    return [Zoneinfo]
