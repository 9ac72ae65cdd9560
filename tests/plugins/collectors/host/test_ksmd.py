"""The collector ksmd."""

import errno

import pytest

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.ksmd import Ksmd


@pytest.fixture
def folder(tmp_path):
    """Return the folder in which the kernel tells about merged pages."""
    folder = tmp_path / "kernel" / "mm" / "ksm"
    folder.mkdir(parents=True)
    return folder


def values(tmp_path):
    """Return the value of each family that a collector tells from a fake sysfs."""
    families = Ksmd(context=Context(host=Host(HostPaths(sysfs=str(tmp_path))))).collect()
    return {family.name: family.samples[()] for family in families}


def test_collect_tells_settings_and_results(folder, tmp_path):
    """All files are told; milliseconds become seconds."""
    for number, file in enumerate(sorted(Ksmd.files)):
        (folder / file).write_bytes(b"%d\n" % number)
    assert values(tmp_path) == {
        "node_ksmd_full_scans_total": 0.0,
        "node_ksmd_general_profit_bytes": 1.0,
        "node_ksmd_merge_across_nodes": 2.0,
        "node_ksmd_pages_shared": 3.0,
        "node_ksmd_pages_sharing": 4.0,
        "node_ksmd_pages_to_scan": 5.0,
        "node_ksmd_pages_unshared": 6.0,
        "node_ksmd_pages_volatile": 7.0,
        "node_ksmd_run": 8.0,
        "node_ksmd_sleep_seconds": 0.009,
    }


def test_only_the_number_of_scans_is_a_counter():
    """All other numbers go up and down."""
    assert [file for file, metric in Ksmd.files.items() if metric.kind == "counter"] == ["full_scans"]


def test_collect_leaves_out_what_a_kernel_lacks(folder, tmp_path):
    """An older kernel has fewer files, and one may hold nothing."""
    (folder / "run").write_bytes(b"0\n")
    (folder / "pages_shared").write_bytes(b"")
    (folder / "pages_sharing").write_bytes(b"\xff\n")
    assert values(tmp_path) == {"node_ksmd_run": 0.0}


def test_collect_tells_a_loss(folder, tmp_path):
    """Merging may cost more memory than it saves: the profit is then negative."""
    (folder / "general_profit").write_bytes(b"-4096\n")
    assert values(tmp_path) == {"node_ksmd_general_profit_bytes": -4096.0}


def test_collect_tells_nothing_without_ksm(tmp_path):
    """A kernel that cannot merge pages is no failure, and has nothing to tell."""
    assert values(tmp_path) == {}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EINVAL])
def test_collect_leaves_out_what_cannot_be_read(number):
    """A file that cannot be read leaves out its own sample."""

    class RefusingHost(Host):
        def sys(self, name, *, lasting=False):
            if not name.endswith("/run"):
                raise OSError(number, "refused", name)
            return b"1"

    families = Ksmd(context=Context(host=RefusingHost())).collect()
    assert [(family.name, family.samples) for family in families] == [("node_ksmd_run", {(): 1.0})]
