"""The collector btrfs, and how it asks file systems."""

import errno
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host import _btrfs
from agentd_plugins.collectors.host._mountinfo import Mount
from agentd_plugins.collectors.host.btrfs import Btrfs, parse, ratio

UUID = "01020304-0506-0708-090a-0b0c0d0e0f10"
RAW = bytes(range(1, 17))


def write(sysfs, files, uuid=UUID):
    """Write files of one file system."""
    for name, text in files.items():
        place = sysfs / "fs/btrfs" / uuid / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")


def collected(root, **given):
    """Return the samples of each family by its name without what all have in common."""
    paths = HostPaths(procfs=str(root), sysfs=str(root), rootfs=str(root))
    made = Btrfs(None, Context(host=Host(paths)), **given)
    return {family.name.removeprefix("node_btrfs_"): family.samples for family in made.collect()}


class Kernel:
    """Answers the requests of a file system with these devices; a number that is missing is no device's."""

    def __init__(self, devices, *, refuses=None, highest=9):
        self.devices = devices
        self.refuses = refuses
        self.highest = highest
        self.asked = []

    def __call__(self, descriptor, request, answer):
        """Fill in the answer to one request."""
        os.fstat(descriptor)
        self.asked.append(request)
        if request == self.refuses:
            raise OSError(errno.EPERM, "refused")
        if request == _btrfs.FS_INFO:
            struct.pack_into("=QQ16s", answer, 0, self.highest, len(self.devices), RAW)
            return
        (number,) = struct.unpack_from("=Q", answer)
        if number not in self.devices:
            raise OSError(errno.ENODEV, "no such device")
        path, used, total, errors = self.devices[number]
        if request == _btrfs.DEV_INFO:
            struct.pack_into("=Q16sQQ", answer, 0, number, bytes([number] * 16), used, total)
            answer[3072 : 3072 + len(path)] = path
        else:
            struct.pack_into("=QQQ5Q", answer, 0, number, 5, 0, *errors)


def mounted(path, device="/dev/sda", fstype="btrfs"):
    """Return a mount of a file system in this place."""
    return Mount(1, "0", "42", os.fsencode(path), fstype, device, False)


def test_collect_tells_what_sysfs_has(tmp_path):
    """Space is told by kind and mode, sectors in bytes, and milliseconds in seconds."""
    write(
        tmp_path,
        {
            "label": "home",
            "metadata_uuid": UUID,
            "commit_stats": "commits 3\nlast_commit_ms 1500\nmax_commit_ms 2500\ntotal_commit_ms 4000\nnew 1\n",
            "devices/sda/size": "8",
            "devices/sdb/size": "",
            "allocation/global_rsv_size": "512",
            "allocation/data/bytes_reserved": "1",
            "allocation/data/raid1/used_bytes": "2",
            "allocation/data/raid1/total_bytes": "3",
            "allocation/metadata/raid5/used_bytes": "-4",
        },
    )
    (tmp_path / "fs/btrfs/features").mkdir()
    assert collected(tmp_path) == {
        "info": {(UUID, "home"): 1.0},
        "global_rsv_size_bytes": {(UUID,): 512.0},
        "commits_total": {(UUID,): 3.0},
        "last_commit_seconds": {(UUID,): 1.5},
        "max_commit_seconds": {(UUID,): 2.5},
        "commit_seconds_total": {(UUID,): 4.0},
        "reserved_bytes": {(UUID, "data"): 1.0},
        "used_bytes": {(UUID, "data", "raid1"): 2.0},
        "size_bytes": {(UUID, "data", "raid1"): 3.0},
        "allocation_ratio": {(UUID, "data", "raid1"): 2.0, (UUID, "metadata", "raid5"): 2.0},
        "device_size_bytes": {(UUID, "sda", None): 4096.0},
    }


def test_collect_prefers_what_the_file_system_answers(tmp_path):
    """Where the file system lets itself be asked, its devices are told with their UUIDs, and those of sysfs are not."""
    write(tmp_path, {"devices/sda/size": "8"})
    (tmp_path / "home").mkdir()
    (tmp_path / "1").mkdir()
    (tmp_path / "1/mountinfo").write_text("36 35 0:42 / /home rw - btrfs /dev/sda rw\n")
    kernel = Kernel({1: (b"/dev/sda", 100, 300, (1, 2, 3, 4, 5))})
    samples = collected(tmp_path, ioctl=kernel)
    device = (UUID, "sda", "01010101-0101-0101-0101-010101010101")
    assert samples["device_size_bytes"] == {device: 300.0}
    assert samples["device_unused_bytes"] == {device: 200.0}
    kinds = ("write", "read", "flush", "corruption", "generation")
    assert samples["device_errors_total"] == {(*device, kind): float(n) for n, kind in enumerate(kinds, 1)}
    assert samples["commits_total"] == {(UUID,): 0.0}


def test_a_machine_without_file_systems_tells_nothing(tmp_path):
    """That none is mounted is an answer, not a failure."""
    assert collected(tmp_path) == {}


def test_ask_passes_over_gaps_between_devices(tmp_path):
    """Numbers without a device are skipped, and asking ends with the last device."""
    devices = {1: (b"/dev/a b", 0, 1, (0,) * 5), 4: (b"", 0, 2, (0,) * 5)}
    kernel = Kernel(devices, highest=2**60)
    found = _btrfs.ask([mounted(tmp_path)], b"", kernel).devices
    assert [(device.name, device.total) for device in found[UUID]] == [("a b", 1.0), ("", 2.0)]
    assert len(kernel.asked) == 1 + 5 + 2


@pytest.mark.parametrize("request_", [_btrfs.FS_INFO, _btrfs.DEV_INFO, _btrfs.DEV_STATS])
def test_ask_leaves_out_what_refuses(tmp_path, request_):
    """Where one of the requests is refused, nothing is told of that file system."""
    kernel = Kernel({1: (b"/dev/a", 0, 1, (0,) * 5)}, refuses=request_)
    assert _btrfs.ask([mounted(tmp_path)], b"", kernel) == ({}, [])


def test_ask_tries_each_place_until_one_answers(tmp_path):
    """A place that cannot be opened is passed over, and a device that has answered is not asked again."""
    kernel = Kernel({1: (b"/dev/a", 0, 1, (0,) * 5)})
    places = [mounted(tmp_path / "gone"), mounted(tmp_path), mounted(tmp_path), mounted(tmp_path, "/dev/b", "ext4")]
    assert list(_btrfs.ask(places, b"", kernel).devices) == [UUID]
    assert kernel.asked.count(_btrfs.FS_INFO) == 1


def test_ask_names_places_that_may_not_be_opened(monkeypatch):
    """Only file systems that did not answer in another place are named, each with the first place."""

    def refuse(path, flags):
        if path.startswith(b"/open"):
            return os.dup(0)
        raise PermissionError(errno.EACCES, "refused", path)

    monkeypatch.setattr(_btrfs.os, "open", refuse)
    places = [mounted("/a"), mounted("/b", "/dev/sdb"), mounted("/open", "/dev/sdb"), mounted("/c")]
    answers = _btrfs.ask(places, b"", Kernel({1: (b"/dev/a", 0, 1, (0,) * 5)}))
    assert (list(answers.devices), answers.refused) == ([UUID], ["/a"])


def test_collect_says_once_which_right_is_lacking(tmp_path, monkeypatch, caplog):
    """Without the right to open the mount point, sizes come from sysfs, and the log says so once."""
    write(tmp_path, {"devices/sda/size": "8"})
    (tmp_path / "1").mkdir()
    (tmp_path / "1/mountinfo").write_text("36 35 0:42 / /home rw - btrfs /dev/sda rw\n")
    monkeypatch.setattr(_btrfs, "ask", lambda *_: _btrfs.Answers({}, ["/home"]))
    made = Btrfs(None, Context(host=Host(HostPaths(procfs=str(tmp_path), sysfs=str(tmp_path), rootfs=str(tmp_path)))))
    for _ in range(2):
        families = {family.name: family.samples for family in made.collect()}
        assert families["node_btrfs_device_size_bytes"] == {(UUID, "sda", None): 4096.0}
    [said] = [record.getMessage() for record in caplog.records if "read-all.conf" in record.getMessage()]
    what, takes = said.split(": ")
    assert what == "errors and unused bytes of the devices under /home are left out"
    assert takes == "opening it takes the drop-in read-all.conf, or root"


def test_ask_looks_below_the_root(tmp_path):
    """Mount points are found below the root that is watched, whether it stands before them or not."""
    (tmp_path / "data").mkdir()
    root = os.fsencode(tmp_path)
    for path in ("/data", str(tmp_path / "data")):
        kernel = Kernel({1: (b"/dev/a", 0, 1, (0,) * 5)})
        assert list(_btrfs.ask([mounted(path)], root, kernel).devices) == [UUID]


def test_ask_survives_a_file_system_of_another_kind(tmp_path):
    """A folder that is not on Btrfs refuses the real request, which costs nothing but its answer."""
    found = _btrfs.ask([mounted(tmp_path)], b"").devices
    assert all(isinstance(devices, list) for devices in found.values())


@pytest.mark.parametrize(
    ("mode", "devices", "expected"),
    [
        ("raid0", 2, 1),
        ("dup", 1, 2),
        ("raid1c4", 4, 4),
        ("raid5", 3, 1.5),
        ("raid6", 4, 2),
        ("raid5", 1, None),
        ("x", 3, 0),
    ],
)
def test_ratio_depends_on_mode_and_devices(mode, devices, expected):
    """Copies count once each, parities as a share of all devices; with too few devices there is no ratio."""
    assert ratio(mode, devices) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_parse_takes_anything(text):
    """Junk gives numbers or none, and no error."""
    assert all(number >= 0 for number in parse(f"commits 1\n{text}").values())


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["commits", "max_commit_ms", "new"]), st.integers(0, 2**64 - 1)))
def test_parse_reads_any_number(numbers):
    """Numbers of 64 bits arrive by their names, known or not."""
    text = "".join(f"{name} {number}\n" for name, number in numbers.items())
    assert parse(text) == {name: float(number) for name, number in numbers.items()}
