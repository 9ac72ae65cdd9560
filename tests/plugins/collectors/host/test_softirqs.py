"""The collector softirqs."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.softirqs import KINDS, Softirqs, parse

TEXT = (
    b"                    CPU0       CPU1\n          HI:          7          0\n      NET_RX:     430660     104508\n"
)


def test_collect_tells_counts_by_cpu_and_kind(tmp_path):
    """Each column is a CPU, each line a kind."""
    (tmp_path / "softirqs").write_bytes(TEXT)
    (family,) = Softirqs(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert (family.name, family.kind, family.label_names) == (
        "node_softirqs_functions_total",
        "counter",
        ("cpu", "type"),
    )
    assert family.samples == {
        ("0", "HI"): 7.0,
        ("1", "HI"): 0.0,
        ("0", "NET_RX"): 430660.0,
        ("1", "NET_RX"): 104508.0,
    }


def test_parse_leaves_out_kinds_that_node_exporter_does_not_know():
    """What a newer kernel adds brings no new series, whatever its line holds."""
    assert parse(b"CPU0\nNEWER: 1\nRCU: 2\nno colon\nODD: many\n") == {("0", "RCU"): 2.0}


@pytest.mark.parametrize("text", [b"", b"\nHI: 1\n", b"CPU0\nHI: many\n"])
def test_parse_refuses_what_is_no_table(text):
    """A file that is empty, or has something else than numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a heading|could not convert"):
        parse(text)


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 10**400), max_size=5)))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(kinds):
    """Any counts of any number of CPUs are read; those beyond any float become infinite."""
    lines = [b"%12s: %s\n" % (kind, b" ".join(b"%10d" % number for number in row)) for kind, row in kinds.items()]
    assert parse(b"  CPU0\n" + b"".join(lines)) == {
        (str(cpu), kind.decode()): float(str(number)) for kind, row in kinds.items() for cpu, number in enumerate(row)
    }


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
