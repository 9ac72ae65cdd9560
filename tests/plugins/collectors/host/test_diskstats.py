"""The collector diskstats, the reader of block devices, and the filter of names."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Config, Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host import _blockdevice
from agentd_plugins.collectors.host._filters import Filter, exclusive
from agentd_plugins.collectors.host.diskstats import UNITS, Diskstats, DiskstatsConfig, parse

FIXTURES = Path(__file__).parents[3] / "fixtures" / "host"
EASY = settings(max_examples=100, deadline=None)


class CountingHost(Host):
    """A host that counts how often each file of sysfs was read."""

    def __init__(self, paths):
        super().__init__(paths)
        self.reads = []

    def sys(self, name):
        self.reads.append(name)
        return super().sys(name)


def collector(root=FIXTURES, **options):
    """Return the collector of the machine whose files are below a folder."""
    paths = HostPaths(procfs=f"{root}/proc", sysfs=f"{root}/sys", udev_data=f"{root}/udev/data")
    return Diskstats(DiskstatsConfig(**options), Context(host=CountingHost(paths)))


def told(diskstats):
    """Return the samples of each family that a collector returns, by the family's name."""
    return {family.name: family.samples for family in diskstats.collect()}


@pytest.fixture
def machine(tmp_path):
    """Return a copy of the fixtures that a test may change."""
    (tmp_path / "proc").mkdir()
    shutil.copy(FIXTURES / "proc/diskstats", tmp_path / "proc/diskstats")
    shutil.copytree(FIXTURES / "sys/block", tmp_path / "sys/block")
    shutil.copytree(FIXTURES / "udev", tmp_path / "udev")
    return tmp_path


def test_numbers_have_the_units_of_their_names():
    """Sectors become bytes, milliseconds become seconds, and discarded sectors stay what they are."""
    samples = {name: values.get(("sda",)) for name, values in told(collector()).items()}
    assert {name: value for name, value in samples.items() if "ata" not in name and "info" not in name} == {
        "node_disk_reads_completed_total": 1000.0,
        "node_disk_reads_merged_total": 20.0,
        "node_disk_read_bytes_total": 80000 * 512.0,
        "node_disk_read_time_seconds_total": 1.5,
        "node_disk_writes_completed_total": 2000.0,
        "node_disk_writes_merged_total": 30.0,
        "node_disk_written_bytes_total": 160000 * 512.0,
        "node_disk_write_time_seconds_total": 2.5,
        "node_disk_io_now": 3.0,
        "node_disk_io_time_seconds_total": 3.1,
        "node_disk_io_time_weighted_seconds_total": 4.1,
        "node_disk_discards_completed_total": 50.0,
        "node_disk_discards_merged_total": 6.0,
        "node_disk_discarded_sectors_total": 7000.0,
        "node_disk_discard_time_seconds_total": 0.08,
        "node_disk_flush_requests_total": 90.0,
        "node_disk_flush_requests_time_seconds_total": 1.234,
    }


def test_kinds_are_those_of_node_exporter():
    """Everything that ends in _total is a counter, and all else a gauge."""
    kinds = {family.name: family.kind for family in collector().collect()}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {n for n in kinds if n.endswith("_total")}
    assert set(kinds.values()) == {"counter", "gauge"}


def test_partitions_and_memory_are_left_out_by_default():
    """RAM disks, loop devices and partitions are not told of, and what the device mapper makes is."""
    devices = {device for (device,) in told(collector())["node_disk_io_now"]}
    assert devices == {"sda", "sdb", "dm-0", "nvme0n1"}


def test_columns_that_a_kernel_lacks_are_absent():
    """Lines of 14, 18 and 20 columns have 11, 15 and 17 numbers, those of 7 none, and columns beyond 20 are ignored."""
    rows = {row.name: row.columns for row in parse((FIXTURES / "proc/diskstats").read_bytes())}
    assert rows == {
        "ram0": 11,
        "loop0": 11,
        "sda": 17,
        "sda1": 17,
        "sdb": 15,
        "dm-0": 11,
        "nvme0n1": 17,
        "nvme0n1p1": 17,
    }


def test_device_include_takes_the_place_of_the_default():
    """With an include, what the default excludes can be told of, and nothing else is."""
    assert told(collector(device_include=Regex("^sda")))["node_disk_io_now"].keys() == {("sda",), ("sda1",)}


def test_an_empty_exclude_excludes_nothing():
    """An empty expression leaves nothing out, as with node_exporter."""
    assert ("ram0",) in told(collector(device_exclude=Regex("")))["node_disk_io_now"]


def test_info_has_what_udev_and_sysfs_know():
    """The labels of node_disk_info are filled from udev and sysfs, empty where nothing is known."""
    (info,) = (family for family in collector().collect() if family.name == "node_disk_info")
    names = ("device", "major", "minor", "path", "wwn", "model", "serial", "revision", "rotational")
    assert info.label_names == names
    wwn, where = "0x5000c500a0000001", "pci-0000:00:17.0-ata-1"
    assert set(info.samples) == {
        ("sda", "8", "0", where, wwn, "Example_Disk", "LABEL0001", "A1B2", "1"),
        ("sdb", "8", "16", "", "", "Example_SSD", "Example_SSD_LONG0002", "", "0"),
        ("dm-0", "253", "0", "", "", "", "", "", "0"),
        ("nvme0n1", "259", "0", "", "", "", "", "", "0"),
    }


def test_file_systems_and_logical_volumes_are_told():
    """A device that is formatted, and one of the device mapper, have an info of their own."""
    samples = told(collector())
    assert set(samples["node_disk_filesystem_info"]) == {
        ("sdb", "ext4", "filesystem", "11111111-2222-3333-4444-555555555555", "1.0"),
        ("dm-0", "xfs", "filesystem", "99999999-8888-7777-6666-555555555555", ""),
    }
    assert set(samples["node_disk_device_mapper_info"]) == {("dm-0", "hall-data", "LVM-abcdef", "hall", "data", "")}


def test_ata_properties_that_are_no_numbers_are_absent():
    """Of the properties of ATA disks those are told that are there, and are numbers."""
    samples = told(collector())
    assert samples["node_disk_ata_write_cache"] == {("sda",): 1.0}
    assert samples["node_disk_ata_write_cache_enabled"] == {("sda",): 0.0}
    assert samples["node_disk_ata_rotation_rate_rpm"] == {("sda",): 7200.0}


def test_a_machine_without_udev_has_numbers_all_the_same(machine):
    """Where udev's database is absent, as in containers, numbers and node_disk_info are told nevertheless."""
    shutil.rmtree(machine / "udev")
    samples = told(collector(machine))
    assert samples["node_disk_io_now"]["sda",] == 3.0
    assert ("sda", "8", "0", "", "", "", "", "", "1") in samples["node_disk_info"]
    assert "node_disk_filesystem_info" not in samples


def test_what_udev_learns_is_told_and_nothing_is_read_in_vain(machine):
    """Properties are read again when udev's file changes, and nothing about devices is while none does."""
    diskstats = collector(machine)
    diskstats.collect()
    diskstats.host.reads.clear()
    diskstats.collect()
    assert diskstats.host.reads == []
    file = machine / "udev/data/b8:0"
    file.write_text("E:ID_MODEL=Another\n")
    os.utime(file, ns=(1, 1))
    assert ("sda", "8", "0", "", "", "Another", "", "", "1") in told(diskstats)["node_disk_info"]


def test_a_device_that_is_gone_is_forgotten(machine):
    """A device that /proc/diskstats no longer has is told no more, its info included."""
    diskstats = collector(machine)
    diskstats.collect()
    lines = (machine / "proc/diskstats").read_text().splitlines(keepends=True)
    (machine / "proc/diskstats").write_text("".join(line for line in lines if "sdb" not in line))
    samples = told(diskstats)
    assert not [labels for values in samples.values() for labels in values if labels[0] == "sdb"]
    assert "node_disk_filesystem_info" in samples


def test_devices_in_folders_are_found_in_sysfs(machine):
    """A device whose name has a slash is found in sysfs, where an exclamation mark takes its place."""
    (machine / "proc/diskstats").write_text("104 0 cciss/c0d0 1 2 3 4 5 6 7 8 9 10 11\n")
    (machine / "sys/block/cciss!c0d0/queue").mkdir(parents=True)
    (machine / "sys/block/cciss!c0d0/queue/rotational").write_text("1\n")
    ((device, *_, rotational),) = told(collector(machine))["node_disk_info"]
    assert (device, rotational) == ("cciss/c0d0", "1")


def test_include_and_exclude_contradict_each_other():
    """Giving both is an error that names the two options."""
    with pytest.raises(ValueError, match="device_exclude and device_include"):
        DiskstatsConfig(device_exclude=Regex("a"), device_include=Regex("b"))


def test_exclusive_lets_pass_what_is_not_given():
    """The default, an empty expression and None do not count as given."""

    class Options(Config, frozen=True):
        out: Regex | None = Regex("^lo$")
        only: Regex | None = None

        def __post_init__(self):
            exclusive(self, "out", "only")

    for out, only in [
        (Regex("^lo$"), Regex("a")),
        (Regex(""), Regex("a")),
        (None, Regex("a")),
        (Regex("a"), Regex("")),
    ]:
        assert Options(out=out, only=only).only == only


def test_a_filter_remembers_a_bounded_number_of_names():
    """However many names a filter is asked about, it keeps no more than its limit, and goes on answering right."""
    names = Filter(Regex("7$"))
    names.REMEMBERED = 10
    verdicts = [names.ignores(f"device{number}") for number in range(50)]
    assert verdicts == [number % 10 == 7 for number in range(50)]
    assert len(names._verdicts) <= 10


@EASY
@given(st.text(max_size=20), st.sampled_from([None, "", "a", "^b"]), st.sampled_from([None, "", "a", "c$"]))
def test_a_filter_decides_like_node_exporters(name, exclude, include):
    """An include decides alone; otherwise the exclude does; the second answer is that of the first."""
    names = Filter(None if exclude is None else Regex(exclude), None if include is None else Regex(include))
    expected = not Regex(include).search(name) if include else bool(exclude and Regex(exclude).search(name))
    assert names.ignores(name) == expected == names.ignores(name)


@EASY
@given(st.lists(st.integers(0, 2**64 - 1), min_size=11, max_size=25))
def test_what_a_kernel_may_write_is_read(numbers):
    """Whatever the numbers and columns, each known column has its unit."""
    host = Host(HostPaths(udev_data="/nowhere", sysfs="/nowhere"))
    host.proc = lambda _: f"   8       0 sda {' '.join(map(str, numbers))}\n".encode()
    told = Diskstats(context=Context(host=host)).collect()
    assert [family.samples["sda",] for family in told if family.name != "node_disk_info"] == [
        float(number) * unit for number, unit in zip(numbers, UNITS, strict=False)
    ]


@EASY
@given(
    st.one_of(
        st.binary(max_size=200), st.integers(0, 700).map(lambda n: (FIXTURES / "proc/diskstats").read_bytes()[:n])
    )
)
def test_any_text_is_read_or_refused(text):
    """Binary, truncated and empty texts give an answer or ValueError, and nothing else."""
    _blockdevice.parse(text)
    for padding in (b"", b" 1 2 a 3 4 5 6 7 8 9 10 11 12 13"):
        with suppress(ValueError):
            parse(text + padding)


@pytest.mark.parametrize("line", [b"8 0 sda 1 2 3 4 5 6 7 8 9 10 x", b"x 0 sda 1 2 3 4 5 6 7 8 9 10 11"])
def test_lines_without_numbers_are_errors(machine, line):
    """Where a number should be and is none, the file is refused."""
    (machine / "proc/diskstats").write_bytes(line)
    with pytest.raises(ValueError, match=r"expected (numbers in diskstats|a number behind)"):
        collector(machine).collect()


def test_udev_properties():
    """Of udev's lines the properties are taken, whatever is in their values; one without ``=`` is none."""
    text = b"S:disk/x\nE:A=1\nE:B=\nE:C=a=b c\nE:D\nF:E=1\nE:X=\xff\n"
    assert _blockdevice.parse(text) == {"A": "1", "B": "", "C": "a=b c", "X": "\ufffd"}
