"""The collector zoneinfo."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.zoneinfo import Zone, Zoneinfo, parse

TEXT = b"""Node 0, zone    DMA32
  per-node stats
      nr_inactive_anon 95
      nr_dirtied   1189
      nr_newer     7
  pages free     2949
        boost    0
        min      8
        high     14
        managed  3973
        protection: (0, 2039, 31932)
      nr_free_pages 2949
      numa_hit     6
  pagesets
    cpu: 0
              count: 3
              high:  77
  vm stats threshold: 8
  node_unreclaimable:  0
Node 1, zone  Movable
  pages free     0
        min      32
        protection: (0, 0, 0)
"""


def test_collect_tells_the_known_fields_of_each_zone(tmp_path):
    """Fields are told by node and zone; what is about single CPUs, or not known, is not."""
    (tmp_path / "zoneinfo").write_bytes(TEXT)
    families = Zoneinfo(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    first, second = ("0", "DMA32"), ("1", "Movable")
    assert {family.name: family.samples for family in families} == {
        "node_zoneinfo_nr_inactive_anon_pages": {first: 95.0},
        "node_zoneinfo_nr_dirtied_total": {first: 1189.0},
        "node_zoneinfo_min_pages": {first: 8.0, second: 32.0},
        "node_zoneinfo_high_pages": {first: 14.0},
        "node_zoneinfo_managed_pages": {first: 3973.0},
        "node_zoneinfo_nr_free_pages": {first: 2949.0},
        "node_zoneinfo_numa_hit_total": {first: 6.0},
        "node_zoneinfo_protection_0": {first: 0.0, second: 0.0},
        "node_zoneinfo_protection_1": {first: 2039.0, second: 0.0},
        "node_zoneinfo_protection_2": {first: 31932.0, second: 0.0},
    }
    assert {family.label_names for family in families} == {("node", "zone")}


def test_only_totals_are_counters():
    """Whatever only grows says so in its name, and nothing else does."""
    metrics = [*Zoneinfo.fields.values(), Zoneinfo.protection]
    assert all((metric.kind == "counter") == metric.name.endswith("_total") for metric in metrics)


def test_collect_follows_zones_that_come(tmp_path):
    """Memory that is added later brings its zone, and with it a further place in each zone's protection."""
    file = tmp_path / "zoneinfo"
    collector = Zoneinfo(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))
    file.write_bytes(b"Node 0, zone DMA\n protection: (0)\n")
    assert [family.name for family in collector.collect()] == ["node_zoneinfo_protection_0"]
    file.write_bytes(b"Node 0, zone DMA\n protection: (0, 5)\nNode 0, zone Normal\n protection: (0, 0)\n")
    assert [family.samples for family in collector.collect()] == [
        {("0", "DMA"): 0.0, ("0", "Normal"): 0.0},
        {("0", "DMA"): 5.0, ("0", "Normal"): 0.0},
    ]


@pytest.mark.parametrize(
    "text", [b"Node zero, zone DMA\n", b"Node 0, zone\n", b"Node 0\n", b"Node 0, zone A\n min x\n"]
)
def test_parse_refuses_what_is_no_zone(text):
    """A heading without a zone, or a field without a number, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected 'Node|could not convert"):
        parse(text)


def test_parse_finds_nothing_in_an_empty_file():
    """A file without zones has none."""
    assert parse(b"") == []


@given(st.dictionaries(st.sampled_from(sorted(Zoneinfo.fields)), st.integers(0, 10**400)), st.lists(st.integers(0, 9)))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(fields, protection):
    """Any fields are read; numbers beyond any float become infinite."""
    lines = b"".join(b"      %-12s %d\n" % item for item in fields.items())
    text = b"Node 7, zone   Normal\n%s        protection: (%s)\n" % (lines, ", ".join(map(str, protection)).encode())
    expected = {field: float(str(number)) for field, number in fields.items()}
    assert parse(text) == [Zone(("7", "Normal"), expected, [float(number) for number in protection])]


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
