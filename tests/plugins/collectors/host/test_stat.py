"""The collector stat."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.stat import VECTORS, Stat, StatConfig, parse

TEXT = b"""cpu  301854 612 111922 8979004 3552 2 3944 0 44 36
cpu0 150927 306 55961 4489502 1776 1 1972 0 22 18
cpu1 150927 306 55961 4489502 1776 1 1972 0 22 18
intr 8885917 17 0 0 1 79281
ctxt 38014093
btime 1418183276
processes 26442
procs_running 2
procs_blocked 1
softirq 5057579 250191 1481983 1647 211099 186066 0 1783454 622196 12499 508444
"""
TOLD = {
    "node_intr_total": ("counter", {(): 8885917.0}),
    "node_context_switches_total": ("counter", {(): 38014093.0}),
    "node_forks_total": ("counter", {(): 26442.0}),
    "node_boot_time_seconds": ("gauge", {(): 1418183276.0}),
    "node_procs_running": ("gauge", {(): 2.0}),
    "node_procs_blocked": ("gauge", {(): 1.0}),
}


def collected(folder, text, **options):
    """Return kind and samples of each family for the text of a stat file."""
    (folder / "stat").write_bytes(text)
    collector = Stat(StatConfig(**options), Context(host=Host(HostPaths(procfs=str(folder)))))
    return {family.name: (family.kind, family.samples) for family in collector.collect()}


def test_collect_tells_the_whole_machines_lines(tmp_path):
    """Each line that is no CPU's becomes a metric; software interrupts do not unless asked for."""
    assert collected(tmp_path, TEXT) == TOLD


def test_collect_tells_software_interrupts_by_vector(tmp_path):
    """With the option, the numbers behind the line's sum come under their names."""
    numbers = [250191, 1481983, 1647, 211099, 186066, 0, 1783454, 622196, 12499, 508444]
    samples = {(vector,): float(number) for vector, number in zip(VECTORS, numbers, strict=True)}
    assert collected(tmp_path, TEXT, softirq=True) == TOLD | {"node_softirqs_total": ("counter", samples)}


@pytest.mark.parametrize(("numbers", "told"), [(b"3 1 2", 2), (b"66 0 1 2 3 4 5 6 7 8 9 10 11", 10)])
def test_collect_tells_as_many_vectors_as_both_know(tmp_path, numbers, told):
    """An older kernel's missing vectors are left out, not 0; those that a newer one adds are left out too."""
    families = collected(tmp_path, TEXT.rpartition(b"softirq ")[0] + b"softirq " + numbers + b"\n", softirq=True)
    assert list(families["node_softirqs_total"][1]) == [(vector,) for vector in VECTORS[:told]]


@pytest.mark.parametrize("line", TEXT.splitlines(keepends=True)[3:9])
def test_collect_leaves_out_what_the_kernel_does_not_say(tmp_path, line):
    """A line that is missing leaves its own metric out, and no other."""
    families = collected(tmp_path, TEXT.replace(line, b""))
    assert len(families) == 5
    assert families.items() <= TOLD.items()


def test_parse_needs_no_lines_of_cpus():
    """The lines are found at the very beginning of a file, too."""
    assert parse(b"btime 7\nctxt 8\n") == {b"btime": [7.0], b"ctxt": [8.0]}


@pytest.mark.parametrize("text", [b"", b"cpu 1 2 3\n", b"page 1 2\n"])
def test_parse_refuses_a_file_that_tells_nothing(text):
    """A file without a single known line is an error, not an empty answer."""
    with pytest.raises(ValueError, match="expected lines such as"):
        parse(text)


@pytest.mark.parametrize("text", [b"ctxt\n", b"ctxt many\n", b"softirq 1 many\n"])
def test_parse_refuses_a_known_line_without_a_number(text):
    """A known line without its number is an error, not a 0."""
    with pytest.raises(ValueError, match="could not convert"):
        parse(text)


@given(st.integers(0, 10**400), st.lists(st.integers(0, 2**64), max_size=20))
@settings(max_examples=100, deadline=None)
def test_parse_takes_huge_and_many_numbers(total, parts):
    """Of the line ``intr`` the sum is read, whatever follows; numbers beyond any float become infinite."""
    assert parse(b" ".join([b"intr %d" % total, *(b"%d" % part for part in parts)])) == {b"intr": [float(str(total))]}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
