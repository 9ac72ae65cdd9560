"""The collector meminfo."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.meminfo import Meminfo, parse

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def test_collect_tells_the_known_fields_in_bytes_or_as_numbers():
    """Sizes come in bytes and under ``_bytes``, numbers of pages bare; brackets in names become underscores."""
    families = Meminfo(context=Context(host=Host(HostPaths(procfs=str(PROC))))).collect()
    assert {family.name: family.samples[()] for family in families} == {
        "node_memory_MemTotal_bytes": 16316412 * 1024.0,
        "node_memory_MemFree_bytes": 1204564 * 1024.0,
        "node_memory_MemAvailable_bytes": 9876540 * 1024.0,
        "node_memory_Active_anon_bytes": 2020004 * 1024.0,
        "node_memory_Inactive_file_bytes": 145676 * 1024.0,
        "node_memory_VmallocTotal_bytes": 34359738367 * 1024.0,
        "node_memory_HugePages_Total": 7.0,
        "node_memory_HugePages_Free": 3.0,
        "node_memory_Hugepagesize_bytes": 2048 * 1024.0,
        "node_memory_DirectMap2M_bytes": 3698688 * 1024.0,
    }
    assert {family.kind for family in families} == {"gauge"}


def test_every_name_says_its_unit():
    """Whatever the kernel gives in kB is declared under ``_bytes``, and only the numbers of huge pages are not."""
    bare = {metric.name for metric in Meminfo.fields.values() if not metric.name.endswith("_bytes")}
    assert bare == {f"node_memory_HugePages_{part}" for part in ("Total", "Free", "Rsvd", "Surp")}
    assert all(("in bytes" in metric.help) == (metric.name not in bare) for metric in Meminfo.fields.values())


def test_parse_leaves_out_what_is_not_wanted():
    """A field that nobody asked for may hold anything."""
    assert parse(b"MemFree: 2 kB\nNewField: some words\nNoColon\n", {b"MemFree"}) == {b"MemFree": 2048.0}


@pytest.mark.parametrize("text", [b"", b"\n\n", b"NewField: 1 kB\n"])
def test_parse_refuses_a_file_without_any_known_field(text):
    """A file that tells nothing is an error, not an empty answer."""
    with pytest.raises(ValueError, match="expected lines such as"):
        parse(text, {b"MemFree"})


@pytest.mark.parametrize("text", [b"MemFree:\n", b"MemFree: kB\n", b"MemFree: many kB\n"])
def test_parse_refuses_a_wanted_field_without_a_number(text):
    """A known field without a number is an error, not a 0."""
    with pytest.raises(ValueError, match="could not convert"):
        parse(text, {b"MemFree"})


@given(st.dictionaries(st.sampled_from(sorted(Meminfo.fields)), st.integers(0, 10**400), min_size=1))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(fields):
    """Any set of fields in any order is read, and numbers beyond any float become infinite."""
    text = b"".join(b"%s:%15d kB\n" % item for item in fields.items())
    assert parse(text, Meminfo.fields) == {field: float(str(number)) * 1024 for field, number in fields.items()}


@given(st.integers(0, 500), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse((PROC / "meminfo").read_bytes()[:length] + junk, Meminfo.fields)
