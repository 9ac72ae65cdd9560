"""The collector xfrm."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.xfrm import Xfrm, parse

TEXT = b"XfrmInError             \t3\nXfrmInNoStates          \t18446744073709551615\nXfrmNewer               \t7\n"


def families(tmp_path):
    """Return what a collector tells from a fake procfs."""
    return Xfrm(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_collect_tells_every_counter(tmp_path):
    """What the kernel counts is told, what it lacks is 0, and what only a newer one has is left out."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "xfrm_stat").write_bytes(TEXT)
    told = families(tmp_path)
    values = {family.name: family.samples[()] for family in told}
    assert len(values) == len(Xfrm.errors)
    assert {name: value for name, value in values.items() if value} == {
        "node_xfrm_in_error_packets_total": 3.0,
        "node_xfrm_in_no_states_packets_total": 2.0**64,
    }
    assert {family.kind for family in told} == {"counter"}


def test_names_follow_those_of_the_kernel():
    """Each name is the kernel's, in small letters, with underscores before what were capitals."""
    for name, metric in Xfrm.errors.items():
        word = metric.name.removeprefix("node_xfrm_").removesuffix("_packets_total")
        assert word.replace("_", "") == name.decode().removeprefix("Xfrm").lower()


def test_collect_tells_no_data_without_ipsec(tmp_path):
    """A kernel without these statistics is no failure."""
    with pytest.raises(NoData, match="CONFIG_XFRM_STATISTICS"):
        families(tmp_path)


@pytest.mark.parametrize("text", [b"", b"XfrmInError", b"XfrmInError many", b"XfrmInError 1 2"])
def test_parse_refuses_what_is_no_list_of_pairs(text):
    """Names without numbers are an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected names and numbers|could not convert"):
        parse(text)


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)


@given(st.dictionaries(st.from_regex(rb"Xfrm[A-Za-z]{1,20}", fullmatch=True), st.integers(-1, 10**30), min_size=1))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(counts):
    """Any counters are read, however large."""
    text = b"".join(b"%-24s\t%d\n" % item for item in counts.items())
    assert parse(text) == {name: float(count) for name, count in counts.items()}
