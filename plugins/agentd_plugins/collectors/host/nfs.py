"""Calls of this machine to NFS servers, from /proc/net/rpc/nfs."""

from agentd.plugin import Collector, Config, Family, Labels, NoData, counter, hookimpl
from agentd_plugins.collectors.host._nfsstat import CALLS_2, CALLS_3, parse, row
from agentd_plugins.collectors.host._parsed import parsed

CALLS_4 = (
    "Null Read Write Commit Open OpenConfirm OpenNoattr OpenDowngrade Close Setattr FsInfo Renew SetClientID "
    "SetClientIDConfirm Lock Lockt Locku Access Getattr Lookup LookupRoot Remove Rename Link Symlink Create Pathconf "
    "StatFs ReadLink ReadDir ServerCaps DelegReturn GetACL SetACL FsLocations ReleaseLockowner Secinfo FsidPresent "
    "ExchangeID CreateSession DestroySession Sequence GetLeaseTime ReclaimComplete GetDeviceInfo LayoutGet "
    "LayoutCommit LayoutReturn SecinfoNoName TestStateID FreeStateID GetDeviceList BindConnToSession DestroyClientID "
    "Seek Allocate DeAllocate LayoutStats Clone"
).split()
"""What the client asks by NFS 4, in the order of linux/nfs4.h (NFSPROC4_CLNT_…), under node_exporter's names."""

VERSIONS = {"2": CALLS_2, "3": CALLS_3, "4": CALLS_4}


class Nfs(Collector[Config]):
    """The NFS client, all mounts together."""

    name = "nfs"
    blocking = False

    packets = counter("node_nfs_packets_total", "Number of packets sent to and received from servers.", ("protocol",))
    connections = counter("node_nfs_connections_total", "Number of TCP connections that were made.")
    rpcs = counter("node_nfs_rpcs_total", "Number of remote procedure calls that were made.")
    retransmissions = counter("node_nfs_rpc_retransmissions_total", "Number of calls that had to be sent again.")
    refreshes = counter("node_nfs_rpc_authentication_refreshes_total", "Number of times credentials were renewed.")
    requests = counter("node_nfs_requests_total", "Number of calls by NFS version and procedure.", ("proto", "method"))

    def collect(self) -> list[Family]:
        """Return all counters; those of an NFS version that the kernel lacks are 0."""
        try:
            lines = parsed(self.host, "net/rpc/nfs", parse)
        except FileNotFoundError:
            raise NoData("no NFS client: the kernel's module for it is not loaded") from None
        _, udp, tcp, connections = row(lines, b"net", 4)
        rpcs, retransmissions, refreshes = row(lines, b"rpc", 3)
        requests: dict[Labels, float] = {}
        for version, calls in VERSIONS.items():
            counts = row(lines, f"proc{version}".encode(), len(calls))
            requests |= {(version, call): count for call, count in zip(calls, counts, strict=True)}
        return [
            self.packets({"udp": udp, "tcp": tcp}),
            self.connections(connections),
            self.rpcs(rpcs),
            self.retransmissions(retransmissions),
            self.refreshes(refreshes),
            self.requests(requests),
        ]


@hookimpl
def agentd_collectors() -> list[type[Nfs]]:
    """Register the collector."""
    return [Nfs]
