"""The collector bcachefs, and its reader."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host import _bcachefs
from agentd_plugins.collectors.host.bcachefs import Bcachefs

UUID = "aaaaaaaa-0000-0000-0000-000000000001"

ERRORS = """IO errors since filesystem creation
  read:    3
  write:   0
IO errors since 2 d ago
  read:    1
"""


def write(sysfs, files, uuid=UUID):
    """Write files of one file system."""
    for name, text in files.items():
        place = sysfs / "fs/bcachefs" / uuid / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")


def collected(sysfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Bcachefs(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    assert made.collect()
    return {family.name.removeprefix("node_bcachefs_"): family.samples for family in made.collect()}


def test_collect_tells_file_systems(tmp_path):
    """Sizes written for people become bytes, and counters have the names of their files."""
    write(
        tmp_path,
        {
            "btree_cache_size": "1.50M",
            "compression_stats": "type compressed uncompressed average\nlz4  1.00k  2.00k  4\nbroken 1\nnone x y z",
            "btree_write_stats": "     nr   size\ninitial:    7    1.00k\n",
            "errors": "bad_sum      4    1700000000\nworse x 1\nalone",
            "counters/io_read": "since mount:    1.00k\nsince filesystem creation:   2.00k",
            "counters/odd-name": "since filesystem creation: 5",
            "counters/strange": "5",
        },
    )
    assert collected(tmp_path) == {
        "info": {(UUID,): 1.0},
        "btree_cache_size_bytes": {(UUID,): 1.5 * 2**20},
        "compression_compressed_bytes": {(UUID, "lz4"): 1024.0},
        "compression_uncompressed_bytes": {(UUID, "lz4"): 2048.0},
        "btree_writes_total": {(UUID, "initial"): 7.0},
        "btree_write_average_size_bytes": {(UUID, "initial"): 1024.0},
        "errors_total": {(UUID, "bad_sum"): 4.0},
        "io_read_total": {(UUID,): 2048.0},
        "odd_name_total": {(UUID,): 5.0},
    }


def test_collect_tells_devices(tmp_path):
    """A device has the number behind dev-; its errors are those since the file system was made."""
    write(
        tmp_path,
        {
            "dev-0/label": "fast one",
            "dev-0/state": "[rw] ro",
            "dev-0/bucket_size": "512k",
            "dev-0/nbuckets": "9",
            "dev-0/durability": "2",
            "dev-0/io_done": "read:\nuser  :   10\nwrite:\nuser  :  20\njournal : x",
            "dev-0/io_errors": ERRORS,
            "dev-1/nbuckets": "-1",
        },
    )
    device = (UUID, "0")
    samples = collected(tmp_path)
    assert samples.pop("info") == {(UUID,): 1.0}
    assert samples == {
        "device_info": {(*device, "fast one", "[rw] ro"): 1.0, (UUID, "1", "", ""): 1.0},
        "device_bucket_size_bytes": {device: 524288.0},
        "device_buckets": {device: 9.0},
        "device_durability": {device: 2.0},
        "device_io_done_bytes_total": {(*device, "read", "user"): 10.0, (*device, "write", "user"): 20.0},
        "device_io_errors_total": {(*device, "read"): 3.0, (*device, "write"): 0.0},
    }


def test_a_machine_without_file_systems_has_no_data(tmp_path):
    """Neither a missing folder nor an empty one has anything to tell."""
    for _ in range(2):
        with pytest.raises(NoData):
            Bcachefs(None, Context(host=Host(HostPaths(sysfs=str(tmp_path))))).collect()
        (tmp_path / "fs/bcachefs").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("text", ["", " ", "k", "-1", "-1k", "nan", "inf", "infG", "1.5Q"])
def test_size_refuses_what_is_none(text):
    """Whatever is no size raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        _bcachefs.size(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 6))
def test_size_knows_all_units(number, power):
    """Whole numbers of each unit arrive exactly, in small letters and in capitals."""
    unit = ["", *"kMGTPE"][power]
    assert _bcachefs.size(f" {number}{unit} ") == _bcachefs.size(f"{number}{unit.swapcase()}") == number * 1024.0**power


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=200), st.integers(0, len(ERRORS)).map(lambda end: ERRORS[:end])))
def test_parsers_take_anything(text):
    """Junk and truncated files give finite numbers or none, and no error."""
    for parser in (_bcachefs.errors, _bcachefs.done, _bcachefs.device_errors):
        assert all(number >= 0 for number in parser(text).values())
        parser(f"read:\n{text}")
    assert all(math.isfinite(number) for row in _bcachefs.pairs(f"\n{text}").values() for number in row)
    count = _bcachefs.since_creation(f"since filesystem creation:{text}")
    assert count is None or count >= 0
