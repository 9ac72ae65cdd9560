"""The collector nfs, and the reader that it shares with nfsd."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host._nfsstat import parse, row
from agentd_plugins.collectors.host.nfs import VERSIONS, Nfs

TEXT = b"net 9 1 8 2\nrpc 100 5 101\nproc3 4 7 6 5 4\nproc4 61 %s\nnewer 3 x\n" % b" ".join(
    b"%d" % number for number in range(61)
)


@pytest.fixture
def rpc(tmp_path):
    """Return the folder of the files in a fake procfs."""
    folder = tmp_path / "net" / "rpc"
    folder.mkdir(parents=True)
    return folder


def samples(tmp_path):
    """Return the samples of each family that a collector tells from a fake procfs."""
    families = Nfs(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.kind for family in families} == {"counter"}
    return {family.name: family.samples for family in families}


def test_collect_tells_calls_of_all_versions(rpc, tmp_path):
    """Procedures are told by their places; what the kernel does not count is 0, what only a newer one has left out."""
    (rpc / "nfs").write_bytes(TEXT.replace(b"newer 3 x\n", b"newer 3\n"))
    told = samples(tmp_path)
    requests = told.pop("node_nfs_requests_total")
    assert told == {
        "node_nfs_packets_total": {("udp",): 1.0, ("tcp",): 8.0},
        "node_nfs_connections_total": {(): 2.0},
        "node_nfs_rpcs_total": {(): 100.0},
        "node_nfs_rpc_retransmissions_total": {(): 5.0},
        "node_nfs_rpc_authentication_refreshes_total": {(): 101.0},
    }
    assert set(requests) == {(version, call) for version, calls in VERSIONS.items() for call in calls}
    assert {value for (version, _), value in requests.items() if version == "2"} == {0.0}
    assert {call: value for (version, call), value in requests.items() if version == "3" and value} == {
        "Null": 7.0,
        "GetAttr": 6.0,
        "SetAttr": 5.0,
        "Lookup": 4.0,
    }
    assert (requests["4", "Read"], requests["4", "Access"], requests["4", "Clone"]) == (1.0, 17.0, 58.0)


def test_collect_tells_no_data_without_a_client(tmp_path):
    """A kernel without an NFS client is no failure."""
    with pytest.raises(NoData, match="no NFS client"):
        samples(tmp_path)


@pytest.mark.parametrize(
    "text", [b"\n", b"net\n", b"net many\n", b"proc3\n", b"proc3 2 1\n", b"proc3 1 2 3\n", b"proc4ops -1 5\n"]
)
def test_parse_refuses_lines_that_are_cut_off(text):
    """A line without numbers, or with fewer or more than it says, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected|could not convert"):
        parse(text)


def test_row_fills_up_and_cuts_off():
    """A row has as many numbers as are asked for, whatever the line has."""
    lines = {b"rpc": [1.0, 2.0, 3.0]}
    assert row(lines, b"rpc", 2) == [1.0, 2.0]
    assert row(lines, b"rpc", 4) == [1.0, 2.0, 3.0, 0.0]
    assert row(lines, b"net", 1) == [0.0]
    assert lines == {b"rpc": [1.0, 2.0, 3.0]}


@given(st.dictionaries(st.sampled_from([b"proc2", b"proc3", b"proc4ops"]), st.lists(st.integers(0, 2**70))))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(procedures):
    """Any numbers are read, without the count before them."""
    lines = [b" ".join([name, *(b"%d" % number for number in (len(row), *row))]) for name, row in procedures.items()]
    assert parse(b"\n".join(lines)) == {name: [float(number) for number in row] for name, row in procedures.items()}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
