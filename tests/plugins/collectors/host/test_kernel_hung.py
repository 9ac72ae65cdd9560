"""The collector kernel_hung."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.kernel_hung import KernelHung


@pytest.fixture
def file(tmp_path):
    """Return the file in which the kernel counts hung tasks."""
    file = tmp_path / "sys" / "kernel" / "hung_task_detect_count"
    file.parent.mkdir(parents=True)
    return file


def collector(tmp_path):
    """Return a collector that reads a fake procfs."""
    return KernelHung(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))


def test_collect_tells_the_count(file, tmp_path):
    """The kernel's number is told as a counter."""
    file.write_bytes(b"3\n")
    (family,) = collector(tmp_path).collect()
    assert (family.name, family.kind, family.samples) == ("node_kernel_hung_tasks_total", "counter", {(): 3.0})


def test_collect_has_no_data_where_nothing_is_counted(file, tmp_path):
    """A kernel that does not look for hung tasks is no failure."""
    assert not file.exists()
    with pytest.raises(NoData, match="CONFIG_DETECT_HUNG_TASK"):
        collector(tmp_path).collect()


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"many\n"])
def test_collect_refuses_what_is_no_number(file, tmp_path, content):
    """A file that is empty or holds junk is an error, not a 0."""
    file.write_bytes(content)
    with pytest.raises(ValueError, match="could not convert"):
        collector(tmp_path).collect()
