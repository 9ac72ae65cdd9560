"""The collector bcache."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.bcache import Bcache, BcacheConfig, parse, parse_priorities, parse_rates

UUID = "11111111-2222-3333-4444-555555555555"

RATES = """rate:           4.0k/sec
dirty:          1.0G
target:         2.0G
proportional:   -512
integral:       1.0M
change:         -1.0k/sec
next io:        9ms
"""


def write(sysfs, files):
    """Write files of one cache set."""
    for name, text in files.items():
        place = sysfs / "fs/bcache" / UUID / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")


def collected(sysfs, **options):
    """Return the samples of each family by its name without what all have in common."""
    made = Bcache(BcacheConfig(**options), Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_bcache_"): family.samples for family in made.collect()}


def test_collect_tells_sets_backing_devices_and_caches(tmp_path):
    """Numbers written for people become bytes; folders whose names have no dash are no cache sets."""
    write(
        tmp_path,
        {
            "tree_depth": "1",
            "btree_cache_size": "1.0M",
            "internal/btree_read_average_duration_us": "2000",
            "bdev0/dirty_data": "3.0k",
            "bdev0/stats_total/cache_hits": "12",
            "bdev0/stats_total/cache_readaheads": "0",
            "bdev1/stats_total/cache_readaheads": "4",
            "bdev0/writeback_rate_debug": RATES,
            "cache0/written": "5.0G",
            "cache0/priority_stats": "Unused:\t\t7%\nMetadata:\t1%\nAverage:\t10\n",
        },
    )
    (tmp_path / "fs/bcache/register").mkdir()
    first = (UUID, "bdev0")
    told = {
        "tree_depth": {(UUID,): 1.0},
        "btree_cache_size_bytes": {(UUID,): 2.0**20},
        "btree_read_average_duration_seconds": {(UUID,): 2000 * 1e-9},
        "dirty_data_bytes": {first: 3072.0},
        "cache_hits_total": {first: 12.0},
        "cache_readaheads_total": {(UUID, "bdev1"): 4.0},
        "writeback_rate": {first: 4096.0},
        "dirty_target_bytes": {first: 2.0**31},
        "writeback_rate_proportional_term": {first: -512.0},
        "writeback_rate_integral_term": {first: 2.0**20},
        "writeback_change": {first: -1024.0},
        "written_bytes_total": {(UUID, "cache0"): 5 * 2.0**30},
    }
    assert collected(tmp_path) == told
    assert collected(tmp_path, priority_stats=True) == told | {
        "priority_stats_unused_percent": {(UUID, "cache0"): 7.0},
        "priority_stats_metadata_percent": {(UUID, "cache0"): 1.0},
    }


def test_what_cannot_be_read_is_left_out(tmp_path):
    """Empty files, units that nobody knows and words cost their own samples."""
    junk = {
        "congested": "",
        "root_usage_percent": "1.0Q",
        "bdev0/dirty_data": "much",
        "bdev0/writeback_rate_debug": "rate",
    }
    write(tmp_path, {"tree_depth": "0", **junk})
    assert collected(tmp_path) == {"tree_depth": {(UUID,): 0.0}}


def test_a_machine_without_cache_sets_tells_nothing(tmp_path):
    """That nothing is cached is an answer, not a failure."""
    assert collected(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0.0), ("12.9", 12.0), ("1.0k", 1024.0), ("1.5M", 1560576.0), ("-2.0k", -2048.0), ("1.10k", 2024.0)],
)
def test_parse_takes_the_remainder_for_what_it_was(text, number):
    """Behind the point stands the remainder in 1,024ths by a hundred, so that .10 is more than .9."""
    assert parse(text) == number


@pytest.mark.parametrize("text", ["", "-", "k", "x", "1.0Q", "nan", "inf", "1.xM", "infk"])
def test_parse_refuses_what_is_no_number(text):
    """Whatever is no number raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_parsers_take_anything(text):
    """Junk gives finite numbers or ValueError."""
    with suppress(ValueError):
        assert math.isfinite(parse(text))
    assert all(math.isfinite(number) for number in parse_rates(f"rate: {text}\n{text}").values())
    parse_priorities(f"Unused: {text}%\n{text}")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1023), st.integers(0, len("kMGTPEZY") - 1))
def test_parse_knows_all_units(number, power):
    """Whole numbers of each unit arrive exactly."""
    assert parse(f"{number}.0{'kMGTPEZY'[power]}") == number * 1024.0 ** (power + 1)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(RATES)))
def test_truncated_rates_lose_no_line_before_the_end(end):
    """Wherever the file ends, the whole lines are told."""
    whole = RATES[:end].count("\n")
    assert len(parse_rates(RATES[:end])) >= min(whole, 6)
