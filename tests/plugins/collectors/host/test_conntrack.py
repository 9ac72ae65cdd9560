"""The collector conntrack."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.conntrack import Conntrack

CONNECTIONS = (
    b"entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  "
    b"expect_new expect_create expect_delete search_restart\n"
    b"0000001a  00000000 00000002 00000000 00000001 0000000a 00000000 00000003 00000004 00000005 00000006 00000007 "
    b"00000000  00000000 00000000 00000000 00000008\n"
    b"0000001a  00000000 fffffffe 00000000 00000001 00000000 00000000 00000003 00000000 00000000 00000000 00000000 "
    b"00000000  00000000 00000000 00000000 00000000\n"
)


@pytest.fixture
def stat(tmp_path):
    """Return the folder of the files in a fake procfs."""
    folder = tmp_path / "net" / "stat"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def netfilter(tmp_path):
    """Return the folder of the parameters in a fake procfs whose table has 13 connections."""
    folder = tmp_path / "sys" / "net" / "netfilter"
    folder.mkdir(parents=True)
    (folder / "nf_conntrack_count").write_bytes(b"13\n")
    (folder / "nf_conntrack_max").write_bytes(b"65536\n")
    return folder


def told(tmp_path):
    """Return the samples of each family that a collector tells from a fake procfs."""
    families = Conntrack(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.kind for family in families} == {"gauge"}
    return {family.name: family.samples for family in families}


def test_collect_adds_up_what_cpus_count(stat, netfilter, tmp_path):
    """The counters of all CPUs are added, in the columns that a newer kernel names otherwise, too."""
    (stat / "nf_conntrack").write_bytes(CONNECTIONS)
    assert told(tmp_path) == {
        "node_nf_conntrack_entries": {(): 13.0},
        "node_nf_conntrack_entries_limit": {(): 65536.0},
        "node_nf_conntrack_stat_found": {(): 2.0**32},
        "node_nf_conntrack_stat_invalid": {(): 2.0},
        "node_nf_conntrack_stat_ignore": {(): 10.0},
        "node_nf_conntrack_stat_insert": {(): 4.0},
        "node_nf_conntrack_stat_insert_failed": {(): 5.0},
        "node_nf_conntrack_stat_drop": {(): 6.0},
        "node_nf_conntrack_stat_early_drop": {(): 7.0},
        "node_nf_conntrack_stat_search_restart": {(): 8.0},
    }


def test_collect_tells_the_table_without_its_counters(netfilter, tmp_path):
    """A kernel may have the table and no counters."""
    assert set(told(tmp_path)) == {"node_nf_conntrack_entries", "node_nf_conntrack_entries_limit"}


def test_collect_says_that_an_old_kernel_counts_nothing(stat, netfilter, tmp_path):
    """A column that is not there is 0."""
    (stat / "nf_conntrack").write_bytes(b"entries found\n0000000d 00000001\n")
    assert told(tmp_path)["node_nf_conntrack_stat_found"] == {(): 1.0}
    assert told(tmp_path)["node_nf_conntrack_stat_search_restart"] == {(): 0.0}


def test_collect_tells_no_data_where_it_is_not_loaded(tmp_path):
    """A kernel that follows no connections is no failure."""
    with pytest.raises(NoData, match="nf_conntrack is not loaded"):
        told(tmp_path)
