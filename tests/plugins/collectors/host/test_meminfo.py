"""The collector meminfo."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.meminfo import Meminfo

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def test_collect_tells_the_known_fields_in_bytes_or_as_numbers():
    """Sizes come in bytes and under ``_bytes``, numbers of pages bare; brackets in names become underscores."""
    families = Meminfo(context=Context(host=Host(HostPaths(procfs=str(PROC))))).collect()
    assert {family.name: family.samples[()] for family in families} == {
        "node_memory_MemTotal_bytes": 16316412 * 1024.0,
        "node_memory_MemFree_bytes": 1204564 * 1024.0,
        "node_memory_MemAvailable_bytes": 9876540 * 1024.0,
        "node_memory_Active_anon_bytes": 2020004 * 1024.0,
        "node_memory_KReclaimable_bytes": 65454080.0,
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


def told(text):
    """Return what a collector that has read nothing yet tells of such a file."""
    collector = Meminfo(context=Context(host=SimpleNamespace(paths=HostPaths(), proc=lambda _: text)))
    return {family.name: family.samples[()] for family in collector.collect()}


def test_what_is_not_known_may_hold_anything():
    """A field that nobody asked for, a field without a number and a line that is no field are passed over."""
    assert told(b"MemFree: 2 kB\nNewField: some words\nNoColon\nMemTotal:\n") == {"node_memory_MemFree_bytes": 2048.0}


@pytest.mark.parametrize("text", [b"", b"\n\n", b"NewField: 1 kB\n"])
def test_a_file_without_any_known_field_is_refused(text):
    """A file that tells nothing is an error, not an empty answer."""
    with pytest.raises(ValueError, match="in meminfo, found"):
        told(text)


@pytest.mark.parametrize("text", [b"MemFree: kB\n", b"MemFree: many kB\n"])
def test_a_known_field_with_something_else_than_a_number_is_refused(text):
    """A known field without a number is an error, not a 0."""
    with pytest.raises(ValueError, match="could not convert"):
        told(text)


@given(st.dictionaries(st.sampled_from(sorted(Meminfo.fields)), st.integers(0, 10**400), min_size=1))
@settings(max_examples=100, deadline=None)
def test_what_a_kernel_would_write_is_read(fields):
    """Any set of fields in any order is read, and numbers beyond any float become infinite."""
    text = b"".join(b"%s:%15d kB\n" % item for item in fields.items())
    assert told(text) == {Meminfo.fields[field].name: float(str(number)) * 1024 for field, number in fields.items()}


@given(st.integers(0, 500), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        told((PROC / "meminfo").read_bytes()[:length] + junk)
