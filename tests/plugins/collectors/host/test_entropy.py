"""The collector entropy."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.entropy import Entropy


@pytest.fixture
def folder(tmp_path):
    """Return the folder in which the kernel tells of its random number generator."""
    folder = tmp_path / "sys" / "kernel" / "random"
    folder.mkdir(parents=True)
    return folder


def collector(tmp_path):
    """Return a collector that reads a fake procfs."""
    return Entropy(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))


def test_collect_tells_bits(folder, tmp_path):
    """What is in the pool and what could be are told as they are."""
    (folder / "entropy_avail").write_bytes(b"201\n")
    (folder / "poolsize").write_bytes(b"256\n")
    families = collector(tmp_path).collect()
    assert [(family.name, family.kind, family.samples) for family in families] == [
        ("node_entropy_available_bits", "gauge", {(): 201.0}),
        ("node_entropy_pool_size_bits", "gauge", {(): 256.0}),
    ]


def test_collect_has_no_data_where_the_kernel_does_not_tell(folder, tmp_path):
    """Where one of the files is missing, it is no failure."""
    (folder / "entropy_avail").write_bytes(b"201\n")
    with pytest.raises(NoData, match="random number generator"):
        collector(tmp_path).collect()


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"many\n", b"1 2\n"])
def test_collect_refuses_what_is_no_number(folder, tmp_path, content):
    """A file that is empty or holds something else than one number is an error, not a 0."""
    (folder / "entropy_avail").write_bytes(content)
    (folder / "poolsize").write_bytes(b"256\n")
    with pytest.raises(ValueError, match="could not convert"):
        collector(tmp_path).collect()
