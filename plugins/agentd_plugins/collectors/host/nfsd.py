"""What this machine's NFS server does, from /proc/net/rpc/nfsd."""

from agentd.plugin import Collector, Config, Family, Labels, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._nfsstat import CALLS_2, CALLS_3, Lines, parse, row
from agentd_plugins.collectors.host._parsed import parsed

FIRST_4 = 3
OPERATIONS_4 = (
    "Access Close Commit Create DelegPurge DelegReturn GetAttr GetFH Link Lock Lockt Locku Lookup LookupRoot Nverify "
    "Open OpenAttr OpenConfirm OpenDgrd PutFH PutPubFH PutRootFH Read ReadDir ReadLink Remove Rename Renew RestoreFH "
    "SaveFH SecInfo SetAttr SetClientID SetClientIDConfirm Verify Write RelLockOwner"
).split()
"""The operations of NFS 4.0 from number 3 on (RFC 7530, section 16), under node_exporter's names."""

UNTOLD = {"2": {"Null"}, "3": {"Null"}, "4": {"PutPubFH", "PutRootFH"}}
"""What node_exporter does not tell."""


class Nfsd(Collector[Config]):
    """The NFS server of the kernel."""

    name = "nfsd"
    blocking = False

    hits = counter("node_nfsd_reply_cache_hits_total", "Number of calls that came again, answered as before.")
    misses = counter("node_nfsd_reply_cache_misses_total", "Number of calls whose answer was kept for a repetition.")
    nocache = counter("node_nfsd_reply_cache_nocache_total", "Number of calls whose answer need not be kept.")
    stale = counter("node_nfsd_file_handles_stale_total", "Number of calls for a file that is no longer there.")
    read = counter("node_nfsd_disk_bytes_read_total", "Number of bytes that clients read.", unit="bytes")
    written = counter("node_nfsd_disk_bytes_written_total", "Number of bytes that clients wrote.", unit="bytes")
    threads = gauge("node_nfsd_server_threads", "Number of threads that serve clients.")
    ahead = gauge("node_nfsd_read_ahead_cache_size_blocks", "Size of the cache for reading ahead, in entries.")
    not_found = counter(
        "node_nfsd_read_ahead_cache_not_found_total",
        "Number of times that a file was not in the cache for reading ahead.",
    )
    packets = counter("node_nfsd_packets_total", "Number of packets exchanged with clients.", ("proto",))
    connections = counter("node_nfsd_connections_total", "Number of TCP connections that clients made.")
    errors = counter("node_nfsd_rpc_errors_total", "Number of calls that were refused, by what was wrong.", ("error",))
    rpcs = counter("node_nfsd_server_rpcs_total", "Number of remote procedure calls that clients made.")
    requests = counter(
        "node_nfsd_requests_total", "Number of calls, for NFS 4 of operations, by NFS version.", ("proto", "method")
    )

    def collect(self) -> list[Family]:
        """Return all counters; what the kernel does not count is 0."""
        try:
            lines = parsed(self.host, "net/rpc/nfsd", parse)
        except FileNotFoundError:
            raise NoData("no NFS server: the kernel's module nfsd is not loaded") from None
        hits, misses, nocache = row(lines, b"rc", 3)
        read, written = row(lines, b"io", 2)
        ahead = row(lines, b"ra", 12)
        _, udp, tcp, connections = row(lines, b"net", 4)
        rpcs, _, bad_format, bad_authentication, bad_client = row(lines, b"rpc", 5)
        return [
            self.hits(hits),
            self.misses(misses),
            self.nocache(nocache),
            self.stale(row(lines, b"fh", 1)[0]),
            self.read(read),
            self.written(written),
            self.threads(row(lines, b"th", 1)[0]),
            self.ahead(ahead[0]),
            self.not_found(ahead[-1]),
            self.packets({"udp": udp, "tcp": tcp}),
            self.connections(connections),
            self.errors({"fmt": bad_format, "auth": bad_authentication, "cInt": bad_client}),
            self.rpcs(rpcs),
            self.requests(requests(lines)),
        ]


def requests(lines: Lines) -> dict[Labels, float]:
    """Return how often each procedure or operation was called, by NFS version and name."""
    operations = row(lines, b"proc4ops", FIRST_4 + len(OPERATIONS_4))[FIRST_4:]
    called = {
        "2": zip(CALLS_2, row(lines, b"proc2", len(CALLS_2)), strict=True),
        "3": zip(CALLS_3, row(lines, b"proc3", len(CALLS_3)), strict=True),
        "4": zip(OPERATIONS_4, operations, strict=True),
    }
    samples: dict[Labels, float] = {
        (version, call): count
        for version, counts in called.items()
        for call, count in counts
        if call not in UNTOLD[version]
    }
    samples["4", "WdelegGetattr"] = row(lines, b"wdeleg_getattr", 1)[0]  # asked of a client that may write
    return samples


@hookimpl
def agentd_collectors() -> list[type[Nfsd]]:
    """Register the collector."""
    return [Nfsd]
