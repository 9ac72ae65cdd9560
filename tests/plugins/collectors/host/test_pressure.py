"""The collector pressure."""

import errno
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.pressure import Pressure, parse

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"
LINE = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\n"


class RefusingHost(Host):
    """A machine whose files all answer with one error."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def proc(self, name):
        raise OSError(self.number, "refused", name)


def test_collect_tells_seconds_by_resource():
    """Microseconds become seconds; what is ``full`` of the CPU is not told."""
    families = Pressure(context=Context(host=Host(HostPaths(procfs=str(PROC))))).collect()
    assert {family.name: family.samples[()] for family in families} == {
        "node_pressure_cpu_waiting_seconds_total": 14.036781,
        "node_pressure_io_waiting_seconds_total": 2.5,
        "node_pressure_io_stalled_seconds_total": 1.25,
        "node_pressure_memory_waiting_seconds_total": 0.00004,
        "node_pressure_memory_stalled_seconds_total": 0.00002,
        "node_pressure_irq_stalled_seconds_total": 0.008494,
    }
    assert {family.kind for family in families} == {"counter"}


def test_collect_tells_what_an_older_kernel_has(tmp_path):
    """Resources without a file (interrupts before Linux 6.1) are left out, the others told."""
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_bytes(LINE % 1_000_000)
    families = Pressure(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    assert {family.name: family.samples[()] for family in families} == {"node_pressure_cpu_waiting_seconds_total": 1.0}


def test_collect_has_no_data_without_psi(tmp_path):
    """A kernel without pressure stall information is no failure: there is nothing to tell."""
    with pytest.raises(NoData, match="no pressure stall information"):
        Pressure(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()


def test_collect_has_no_data_where_psi_is_switched_off():
    """The kernel's EOPNOTSUPP says that it was switched off at boot."""
    with pytest.raises(NoData, match="switched off"):
        Pressure(context=Context(host=RefusingHost(errno.EOPNOTSUPP))).collect()


def test_one_resource_that_is_switched_off_leaves_the_others(tmp_path):
    """The kernel may refuse the file of interrupts alone; it is not asked for again."""

    class Partly(Host):
        asked = 0

        def proc(self, name):
            if name == "pressure/irq":
                self.asked += 1
                raise OSError(errno.EOPNOTSUPP, "not supported")
            return LINE % 1_000_000

    collector = Pressure(context=Context(host=Partly(HostPaths(procfs=str(tmp_path)))))
    for _ in range(2):
        assert len(collector.collect()) == 3
    assert collector.host.asked == 1


def test_collect_fails_on_any_other_error():
    """A file that may not be read is a failure, not a lack."""
    with pytest.raises(PermissionError):
        Pressure(context=Context(host=RefusingHost(errno.EACCES))).collect()


def test_parse_takes_further_fields():
    """A field that a newer kernel adds behind the total does no harm."""
    assert parse((LINE % 2_000_000).rstrip() + b" peak=7\n") == {b"some": 2.0}


@pytest.mark.parametrize("text", [b"some avg10=0.00\n", b"\n", b"some total=\n", b"some total=many\n"])
def test_parse_refuses_a_line_without_a_total(text):
    """A line that lacks its total is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a line with total=|could not convert"):
        parse(text)


@given(st.integers(0, 10**400))
@settings(max_examples=100, deadline=None)
def test_parse_takes_any_number(total):
    """Numbers beyond any float become infinite instead of raising OverflowError."""
    assert parse(LINE % total) == {b"some": float(str(total)) / 1e6}


@given(st.integers(0, 60), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A line cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse((LINE % 14036781)[:length] + junk)
