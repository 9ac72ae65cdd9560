"""The collector timex."""

import ctypes

import pytest

from agentd.plugin import NoData, Refused
from agentd_plugins.collectors.host.timex import Answer, Timex


def told(state, **fields):
    """Return what the collector tells about such an answer of the kernel."""
    collector = Timex()
    collector._ask = lambda: (state, Answer(**fields))
    return {family.name.removeprefix("node_timex_"): family.samples[()] for family in collector.collect()}


def test_scales_are_those_of_adjtimex():
    """Without STA_NANO offset and jitter are microseconds; frequencies have 16 bits behind the point."""
    samples = told(0, offset=-1500, freq=65536 * 3, maxerror=2000, esterror=10, tick=10000, jitter=7, ppsfreq=65536)
    assert samples["offset_seconds"] == -0.0015
    assert samples["frequency_adjustment_ratio"] == 1.000003
    assert samples["maxerror_seconds"] == 0.002
    assert samples["estimated_error_seconds"] == 1e-5
    assert samples["tick_seconds"] == 0.01
    assert samples["pps_jitter_seconds"] == 7e-6
    assert samples["pps_frequency_hertz"] == 1e-6


def test_nanoseconds_where_the_status_says_so():
    """With STA_NANO the offset is in nanoseconds, the errors still in microseconds."""
    samples = told(0, status=0x2001, offset=1500, jitter=7, maxerror=2000)
    assert samples["offset_seconds"] == 1.5e-6
    assert samples["pps_jitter_seconds"] == 7e-9
    assert samples["maxerror_seconds"] == 0.002
    assert samples["status"] == 0x2001


@pytest.mark.parametrize(("state", "synced"), [(0, 1.0), (1, 1.0), (4, 1.0), (5, 0.0)])
def test_only_an_error_says_that_there_is_no_reference(state, synced):
    """Leap seconds that are announced change nothing about being synchronised."""
    assert told(state)["sync_status"] == synced


def test_a_filter_of_system_calls_is_no_failure():
    """Where the call is forbidden there is no data, and what allows it is named."""

    def forbidden():
        raise PermissionError(1, "Operation not permitted")

    collector = Timex()
    collector._ask = forbidden
    with pytest.raises(Refused, match=r"adjtimex.*clock\.conf"):
        collector.collect()


def test_the_kernel_answers():
    """The structure has the size of the C library's, and the tick, of all, is the kernel's hundredth of a second."""
    assert ctypes.sizeof(Answer) == (208 if ctypes.sizeof(ctypes.c_long) == 8 else 128)
    try:
        samples = {family.name: family.samples[()] for family in Timex().collect()}
    except NoData as error:
        pytest.skip(str(error))
    assert len(samples) == 17
    assert samples["node_timex_tick_seconds"] == pytest.approx(0.01, rel=0.11)  # adjtimex(8) may change it so far
