"""The collector filefd."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.filefd import Filefd, parse

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def test_collect_tells_allocated_and_maximum():
    """The first and the third number become gauges; the second, which is always 0, does not."""
    families = Filefd(context=Context(host=Host(HostPaths(procfs=str(PROC))))).collect()
    assert [(family.name, family.kind, family.samples) for family in families] == [
        ("node_filefd_allocated", "gauge", {(): 2272.0}),
        ("node_filefd_maximum", "gauge", {(): 2.0**63}),
    ]


@pytest.mark.parametrize("text", [b"", b"\n", b"1024\t0\n", b"1024\t0\tmany\n"])
def test_parse_refuses_what_is_no_file_nr(text):
    """A file with fewer than three numbers is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected three numbers|could not convert"):
        parse(text)


@given(st.integers(0, 10**400), st.integers(0, 10**400), st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_takes_huge_numbers_and_further_columns(allocated, maximum, rest):
    """Numbers beyond any float become infinite instead of raising OverflowError, and added columns do no harm."""
    text = b"%d\t0\t%d\t" % (allocated, maximum)
    assert parse(text + rest) == (float(str(allocated)), float(str(maximum)))


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(text):
    """Binary junk never raises anything but ValueError."""
    with suppress(ValueError):
        parse(text)
