"""Connections that the packet filter follows, from /proc/sys/net/netfilter and /proc/net/stat/nf_conntrack."""

from collections.abc import Sequence

from agentd.plugin import Collector, Config, Family, Layout, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed
from agentd_plugins.collectors.host._percpu import parse


class Conntrack(Collector[Config]):
    """How full the table of connections is, and how often it was used, after nf_conntrack-sysctl.rst of the kernel."""

    name = "conntrack"
    blocking = False

    entries = gauge("node_nf_conntrack_entries", "Number of connections in the table now.")
    limit = gauge("node_nf_conntrack_entries_limit", "Number of connections that the table may have.")
    counts = {
        "found": gauge("node_nf_conntrack_stat_found", "Number of searches of the table that found a connection."),
        "invalid": gauge("node_nf_conntrack_stat_invalid", "Number of packets that cannot be followed."),
        "ignore": gauge("node_nf_conntrack_stat_ignore", "Number of packets that needed no search of the table."),
        "insert": gauge("node_nf_conntrack_stat_insert", "Number of connections put into the table."),
        "insert_failed": gauge(
            "node_nf_conntrack_stat_insert_failed", "Number of connections that were already in the table."
        ),
        "drop": gauge("node_nf_conntrack_stat_drop", "Number of packets dropped as their connection found no place."),
        "early_drop": gauge(
            "node_nf_conntrack_stat_early_drop", "Number of connections thrown out of the full table for new ones."
        ),
        "search_restart": gauge(
            "node_nf_conntrack_stat_search_restart", "Number of searches begun again because the table was resized."
        ),
    }

    _layout = Layout([entries(0.0), limit(0.0), *(metric(0.0) for metric in counts.values())])

    def collect(self) -> Sequence[Family]:
        """Return the size of the table and its counters, those of all CPUs added up."""
        try:
            entries = parsed(self.host, "sys/net/netfilter/nf_conntrack_count", float)
            limit = parsed(self.host, "sys/net/netfilter/nf_conntrack_max", float)
        except FileNotFoundError:
            raise NoData("the kernel follows no connections: nf_conntrack is not loaded") from None
        try:
            columns = parsed(self.host, "net/stat/nf_conntrack", parse)
        except FileNotFoundError:  # a kernel without CONFIG_NF_CONNTRACK_PROCFS
            return [self.entries(entries), self.limit(limit)]
        # What an old kernel does not count is 0, as in node_exporter.
        return self._layout.fill([entries, limit, *(float(sum(columns.get(name, ()))) for name in self.counts)])


@hookimpl
def agentd_collectors() -> list[type[Conntrack]]:
    """Register the collector."""
    return [Conntrack]
