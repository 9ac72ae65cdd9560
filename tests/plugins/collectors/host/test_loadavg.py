"""The collector loadavg."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.loadavg import LoadAvg, parse

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def test_collect_tells_three_averages():
    """The three averages of the file become three gauges under node_exporter's names."""
    families = LoadAvg(context=Context(host=Host(HostPaths(procfs=str(PROC))))).collect()
    assert [(family.name, family.kind, family.samples) for family in families] == [
        ("node_load1", "gauge", {(): 0.52}),
        ("node_load5", "gauge", {(): 0.58}),
        ("node_load15", "gauge", {(): 0.59}),
    ]


@pytest.mark.parametrize("text", [b"", b"0.1 0.2", b"0.1 0.2 many 1/2 3"])
def test_parse_refuses_what_is_no_loadavg(text):
    """A file with fewer than three numbers is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected three averages|could not convert"):
        parse(text)


@given(st.tuples(*[st.floats(0, 1e300)] * 3), st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_takes_any_numbers_and_any_further_columns(averages, rest):
    """However large the averages, and whatever follows them, they are read."""
    assert parse(b"%r %r %r " % averages + rest) == averages


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(text):
    """Binary junk never raises anything but ValueError."""
    with suppress(ValueError):
        parse(text)
