"""The collector time."""

import time
from pathlib import Path

import pytest

from agentd.plugin import Clock, Context, Host, HostPaths
from agentd_plugins.collectors.host.time import Time

SYS = Path(__file__).parents[3] / "fixtures" / "host" / "sys"


class FixedClock(Clock):
    """A clock that stands still."""

    def time(self):
        return 1700000000.25


@pytest.fixture
def half_past(monkeypatch):
    """A time zone two and a half hours ahead of UTC, described so that no zone database is needed."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-2:30")
        time.tzset()
        yield
    time.tzset()


def samples(sysfs):
    """Return the samples by family's name, after checking that all are gauges."""
    families = Time(context=Context(host=Host(HostPaths(sysfs=str(sysfs))), clock=FixedClock())).collect()
    assert {family.kind for family in families} == {"gauge"}
    return {family.name: family.samples for family in families}


def test_collect_tells_time_zone_and_clock_sources(half_past):
    """The agent's clock, the offset of local time, and the kernel's clock sources by device are told."""
    assert samples(SYS) == {
        "node_time_seconds": {(): 1700000000.25},
        "node_time_zone_offset_seconds": {("XYZ",): 9000.0},
        "node_time_clocksource_available_info": {("0", "tsc"): 1.0, ("0", "hpet"): 1.0, ("0", "acpi_pm"): 1.0},
        "node_time_clocksource_current_info": {("0", "tsc"): 1.0},
    }


def test_collect_sees_that_the_kernel_changed_its_clock(tmp_path):
    """The list of sources is read anew each time: the kernel drops one that proved unstable."""
    folder = tmp_path / "devices" / "system" / "clocksource" / "clocksource0"
    folder.mkdir(parents=True)
    for available, current in (("tsc hpet", "tsc"), ("hpet", "hpet")):
        (folder / "available_clocksource").write_text(available)
        (folder / "current_clocksource").write_text(current)
        told = samples(tmp_path)
        assert set(told["node_time_clocksource_available_info"]) == {("0", name) for name in available.split()}
        assert set(told["node_time_clocksource_current_info"]) == {("0", current)}


def test_collect_tells_the_time_without_sysfs(tmp_path):
    """Where sysfs has no clock sources, their families are left out and the time is told all the same."""
    assert set(samples(tmp_path)) == {"node_time_seconds", "node_time_zone_offset_seconds"}
