"""Merging of equal pages, from /sys/kernel/mm/ksm."""

from agentd.plugin import Collector, Config, Family, counter, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import number


class Ksmd(Collector[Config]):
    """Settings and results of kernel samepage merging, after the kernel's Documentation/admin-guide/mm/ksm.rst."""

    name = "ksmd"
    blocking = False

    files = {
        "full_scans": counter("node_ksmd_full_scans_total", "Number of times that all mergeable memory was scanned."),
        "general_profit": gauge(
            "node_ksmd_general_profit_bytes", "Memory that merging saves less what it costs, in bytes; may be negative."
        ),
        "merge_across_nodes": gauge(
            "node_ksmd_merge_across_nodes", "Whether pages of different NUMA nodes are merged: 1 or 0."
        ),
        "pages_shared": gauge("node_ksmd_pages_shared", "Number of merged pages that are kept."),
        "pages_sharing": gauge("node_ksmd_pages_sharing", "Number of further places that use a merged page: the gain."),
        "pages_to_scan": gauge("node_ksmd_pages_to_scan", "Number of pages to be scanned between two sleeps."),
        "pages_unshared": gauge("node_ksmd_pages_unshared", "Number of pages found without an equal, again and again."),
        "pages_volatile": gauge("node_ksmd_pages_volatile", "Number of pages that change too fast to be compared."),
        "run": gauge("node_ksmd_run", "Whether merging runs, 1, is stopped, 0, or is being undone, 2."),
        "sleep_millisecs": gauge("node_ksmd_sleep_seconds", "Seconds that ksmd sleeps between two batches."),
    }

    def collect(self) -> list[Family]:
        """Return what this kernel has; without CONFIG_KSM that is nothing."""
        families = []
        for file, metric in self.files.items():
            try:
                value = number(self.host.sys(f"kernel/mm/ksm/{file}", lasting=True))
            except OSError:  # an older kernel lacks some, one without NUMA merge_across_nodes
                continue
            if value is not None:
                families.append(metric(value / 1000 if file == "sleep_millisecs" else value))
        return families


@hookimpl
def agentd_collectors() -> list[type[Ksmd]]:
    """Register the collector."""
    return [Ksmd]
