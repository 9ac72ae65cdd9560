"""The collector buddyinfo."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.buddyinfo import Buddyinfo, parse

TEXT = b"Node 0, zone      DMA      1      0      3 \nNode 1, zone   Normal     12    700      5 \n"


def test_collect_tells_free_blocks_by_node_zone_and_order(tmp_path):
    """Each column is the order of a size; the commas behind the node's number are not part of it."""
    (tmp_path / "buddyinfo").write_bytes(TEXT)
    (family,) = Buddyinfo(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert (family.name, family.kind, family.label_names) == (
        "node_buddyinfo_blocks",
        "gauge",
        ("node", "zone", "size"),
    )
    assert family.samples == {
        ("0", "DMA", "0"): 1.0,
        ("0", "DMA", "1"): 0.0,
        ("0", "DMA", "2"): 3.0,
        ("1", "Normal", "0"): 12.0,
        ("1", "Normal", "1"): 700.0,
        ("1", "Normal", "2"): 5.0,
    }


def test_parse_takes_any_number_of_columns():
    """The kernel may be built for larger blocks, and a zone without columns has no samples."""
    line = b"Node 0, zone Normal" + b" 1" * 19 + b"\nNode 0, zone Movable\n"
    assert parse(line) == {("0", "Normal", str(order)): 1.0 for order in range(19)}


@pytest.mark.parametrize("text", [b"Node 0, zone\n", b"\n", b"Node 0, zone DMA many\n"])
def test_parse_refuses_a_line_that_is_none(text):
    """A line without a zone, or with something else than numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected 'Node|could not convert"):
        parse(text)


@given(st.lists(st.integers(0, 10**400), max_size=12))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(numbers):
    """Any numbers are read; those beyond any float become infinite."""
    text = b"Node 3, zone %8s %s \n" % (b"DMA32", b" ".join(b"%6d" % number for number in numbers))
    assert parse(text) == {("3", "DMA32", str(order)): float(str(number)) for order, number in enumerate(numbers)}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
