"""The collector cgroups."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.cgroups import Cgroups, parse

TEXT = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t41\t1\nmemory\t0\t7\t0\n"


def test_collect_tells_groups_and_whether_a_controller_is_enabled(tmp_path):
    """Both are told for each controller, under the label that node_exporter has."""
    (tmp_path / "cgroups").write_bytes(TEXT)
    groups, enabled = Cgroups(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert groups.samples == {("cpu",): 41.0, ("memory",): 7.0}
    assert enabled.samples == {("cpu",): 1.0, ("memory",): 0.0}
    assert groups.label_names == enabled.label_names == ("subsys_name",)
    assert (groups.name, enabled.name) == ("node_cgroups_cgroups", "node_cgroups_enabled")


def test_collect_has_no_data_without_control_groups(tmp_path):
    """A kernel without the file is no failure."""
    with pytest.raises(NoData, match="no control groups"):
        Cgroups(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_parse_takes_further_columns():
    """A column that a newer kernel adds does no harm."""
    assert parse(b"#names\ncpu 1 2 1 9\n") == {"cpu": (2.0, 1.0)}


@pytest.mark.parametrize("text", [b"cpu 1 2\n", b"\n", b"cpu 1 many 1\n"])
def test_parse_refuses_a_line_that_is_none(text):
    """A line that is too short, or has something else than numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a controller|could not convert"):
        parse(text)


@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,12}\Z"), st.integers(0, 10**400)))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(controllers):
    """Any controllers are read; numbers beyond any float become infinite."""
    lines = [b"%s\t%d\t%d\t%d\n" % (name.encode(), 1, number, 1) for name, number in controllers.items()]
    assert parse(b"#\n" + b"".join(lines)) == {name: (float(str(number)), 1.0) for name, number in controllers.items()}


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(TEXT[:length] + junk)
