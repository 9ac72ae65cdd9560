"""The collector nfsd."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host._nfsstat import CALLS_2, CALLS_3
from agentd_plugins.collectors.host.nfsd import OPERATIONS_4, Nfsd, requests

TEXT = b"""rc 1 2 3
fh 4 0 0 0 0
io 5 6
th 8 0 0.000 0.000
ra 32 0 0 0 0 0 0 0 0 0 0 7
net 11 9 10 12
rpc 13 14 15 16 17
proc3 3 1 2 3
proc4 2 1 2
wdeleg_getattr 18
newer 1
"""


@pytest.fixture
def rpc(tmp_path):
    """Return the folder of the files in a fake procfs."""
    folder = tmp_path / "net" / "rpc"
    folder.mkdir(parents=True)
    return folder


def collect(tmp_path):
    """Return what a collector tells from a fake procfs."""
    return Nfsd(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_collect_tells_the_lines_of_the_file(rpc, tmp_path):
    """Each number is told under its name; lines that only a newer kernel has are passed over."""
    (rpc / "nfsd").write_bytes(TEXT)
    told = {family.name.removeprefix("node_nfsd_"): family.samples for family in collect(tmp_path)}
    calls = told.pop("requests_total")
    assert told == {
        "reply_cache_hits_total": {(): 1.0},
        "reply_cache_misses_total": {(): 2.0},
        "reply_cache_nocache_total": {(): 3.0},
        "file_handles_stale_total": {(): 4.0},
        "disk_bytes_read_total": {(): 5.0},
        "disk_bytes_written_total": {(): 6.0},
        "server_threads": {(): 8.0},
        "read_ahead_cache_size_blocks": {(): 32.0},
        "read_ahead_cache_not_found_total": {(): 7.0},
        "packets_total": {("udp",): 9.0, ("tcp",): 10.0},
        "connections_total": {(): 12.0},
        "rpc_errors_total": {("fmt",): 15.0, ("auth",): 16.0, ("cInt",): 17.0},
        "server_rpcs_total": {(): 13.0},
    }
    assert {labels: value for labels, value in calls.items() if value} == {
        ("3", "GetAttr"): 2.0,
        ("3", "SetAttr"): 3.0,
        ("4", "WdelegGetattr"): 18.0,
    }


def test_only_sizes_are_gauges(rpc, tmp_path):
    """The number of threads and the size of a cache go up and down, all else only grows."""
    (rpc / "nfsd").write_bytes(TEXT)
    gauges = {family.name for family in collect(tmp_path) if family.kind == "gauge"}
    assert gauges == {"node_nfsd_server_threads", "node_nfsd_read_ahead_cache_size_blocks"}


def test_operations_are_told_by_their_numbers():
    """The first three numbers of NFS 4 belong to no operation, and two operations are not told."""
    told = requests({b"proc4ops": [float(number) for number in range(72)]})
    version4 = {call: value for (version, call), value in told.items() if version == "4"}
    # Numbers of operations after RFC 7530.
    assert (version4["Access"], version4["Open"], version4["PutFH"], version4["Read"]) == (3.0, 18.0, 22.0, 25.0)
    assert (version4["Write"], version4["RelLockOwner"]) == (38.0, 39.0)
    assert set(version4) == {*OPERATIONS_4, "WdelegGetattr"} - {"PutPubFH", "PutRootFH"}


def test_procedures_that_ask_nothing_are_not_told():
    """Of NFS 2 and 3 Null is left out; all others are told, 0 where the kernel does not count them."""
    told = requests({})
    assert {call for version, call in told if version == "2"} == set(CALLS_2) - {"Null"}
    assert {call for version, call in told if version == "3"} == set(CALLS_3) - {"Null"}
    assert set(told.values()) == {0.0}


def test_collect_tells_no_data_without_a_server(tmp_path):
    """A kernel without an NFS server is no failure."""
    with pytest.raises(NoData, match="no NFS server"):
        collect(tmp_path)


def test_collect_fails_on_a_line_that_is_cut_off(rpc, tmp_path):
    """Half a line is an error rather than counters that fall to 0."""
    (rpc / "nfsd").write_bytes(b"rc 1 2 3\nproc3 22 1 2 3")
    with pytest.raises(ValueError, match="expected 22 numbers"):
        collect(tmp_path)
