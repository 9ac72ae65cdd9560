"""The collectors psutil, sensors and battery: against psutil itself, and against what it says on other systems."""

import logging
import sys
from collections import namedtuple

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import NoData, Regex
from agentd_plugins.collectors._psutil import number
from agentd_plugins.collectors.battery import Battery
from agentd_plugins.collectors.psutil import Psutil, PsutilConfig
from agentd_plugins.collectors.sensors import Sensors

REAL = ("node_boot_time_seconds", "node_load1", "node_load15", "node_cpu_seconds_total", "node_memory_total_bytes",
        "node_memory_free_bytes", "node_network_receive_bytes_total", "node_network_transmit_errs_total")  # fmt: skip
"""Families that every machine has."""


def told(collector):
    """Return the samples of families by their names."""
    return {family.name: family.samples for family in collector.collect()}


def made(kind, **fields):
    """Return one of psutil's structures with these fields."""
    return namedtuple(kind, fields)(**fields)


@pytest.fixture
def darwin(monkeypatch):
    """What psutil answers on a pretended macOS."""
    answers = {
        "boot_time": lambda: 1.7e9,
        "cpu_times": lambda percpu: [made("cpu", user=1.0, nice=2.0, system=3.0, idle=4.0)] * 2,
        "virtual_memory": lambda: made(
            "memory", total=16, available=9, percent=1.0, used=7, free=5, active=3, inactive=2, wired=1
        ),
        "swap_memory": lambda: made("swap", total=8, used=4, free=4, percent=50.0, sin=20, sout=30),
        "disk_io_counters": lambda perdisk, nowrap: {
            "disk0": made("disk", read_count=1, write_count=2, read_bytes=3, write_bytes=4, read_time=5, write_time=6)
        },
        "net_io_counters": lambda pernic, nowrap: {
            name: made(
                "net",
                bytes_sent=1,
                bytes_recv=2,
                packets_sent=3,
                packets_recv=4,
                errin=5,
                errout=6,
                dropin=7,
                dropout=0,
            )
            for name in ("en0", "lo0")
        },
    }
    for name, answer in answers.items():
        monkeypatch.setattr(psutil, name, answer)
    return answers


@pytest.mark.skipif(sys.platform == "win32", reason="there are no load averages under Windows")
def test_this_machine_is_told_of():
    """Against psutil itself, each family of this machine is there, and has psutil's numbers where they stand still."""
    families = told(Psutil())
    assert set(REAL) <= families.keys()
    assert families["node_boot_time_seconds"] == {(): psutil.boot_time()}
    assert families["node_memory_total_bytes"] == {(): float(psutil.virtual_memory().total)}
    assert {device for (device,) in families["node_network_receive_bytes_total"]} == set(psutil.net_io_counters(True))
    modes = {mode for _, mode in families["node_cpu_seconds_total"]}
    assert {"user", "system", "idle"} <= modes
    assert not {mode for mode in modes if mode.startswith("guest")}
    assert all(type(value) is float for samples in families.values() for value in samples.values())


def test_darwin_has_the_names_of_darwin(darwin):
    """On macOS the names and units are those of node_exporter there; what psutil cannot know is left out."""
    families = told(Psutil(platform="darwin"))
    for name in [name for name in families if name.startswith("node_load")]:
        del families[name]
    assert families.pop("node_cpu_seconds_total")["1", "nice"] == 2.0
    assert {name: next(iter(samples.values())) for name, samples in families.items()} == {
        "node_boot_time_seconds": 1.7e9,
        "node_memory_total_bytes": 16.0,
        "node_memory_free_bytes": 5.0,
        "node_memory_active_bytes": 3.0,
        "node_memory_inactive_bytes": 2.0,
        "node_memory_wired_bytes": 1.0,
        "node_memory_swap_total_bytes": 8.0,
        "node_memory_swap_used_bytes": 4.0,
        "node_memory_swapped_in_bytes_total": 20.0,
        "node_memory_swapped_out_bytes_total": 30.0,
        "node_disk_reads_completed_total": 1.0,
        "node_disk_writes_completed_total": 2.0,
        "node_disk_read_bytes_total": 3.0,
        "node_disk_written_bytes_total": 4.0,
        "node_disk_read_time_seconds_total": 0.005,
        "node_disk_write_time_seconds_total": 0.006,
        "node_network_transmit_bytes_total": 1.0,
        "node_network_receive_bytes_total": 2.0,
        "node_network_transmit_packets_total": 3.0,
        "node_network_receive_packets_total": 4.0,
        "node_network_receive_errs_total": 5.0,
        "node_network_transmit_errs_total": 6.0,
        "node_network_receive_drop_total": 7.0,
    }


def test_freebsd_has_the_names_of_freebsd(darwin, monkeypatch):
    """On the BSDs memory and swap have other names, and the CPU's mode for interrupts is spelled out."""
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [made("cpu", user=1.0, irq=2.0)])
    memory = made("memory", total=16, free=5, active=3, inactive=2, wired=1, cached=6, buffers=7)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    families = told(Psutil(platform="freebsd14"))
    assert families["node_cpu_seconds_total"] == {("0", "user"): 1.0, ("0", "interrupt"): 2.0}
    found = {name[12:]: samples[()] for name, samples in families.items() if name.startswith("node_memory_")}
    assert found == {
        "size_bytes": 16.0,
        "free_bytes": 5.0,
        "active_bytes": 3.0,
        "inactive_bytes": 2.0,
        "wired_bytes": 1.0,
        "cache_bytes": 6.0,
        "buffer_bytes": 7.0,
        "swap_size_bytes": 8.0,
        "swap_used_bytes": 4.0,
        "swap_in_bytes_total": 20.0,
        "swap_out_bytes_total": 30.0,
    }
    assert families["node_network_transmit_drop_total"] == {("en0",): 0.0, ("lo0",): 0.0}


def test_devices_can_be_left_out(darwin):
    """The options choose among disks and network devices."""
    options = PsutilConfig(disk_exclude=Regex("^disk"), network_include=Regex("^en"))
    families = told(Psutil(options, platform="darwin"))
    assert not [name for name in families if name.startswith("node_disk")]
    assert set(families["node_network_receive_bytes_total"]) == {("en0",)}
    with pytest.raises(ValueError, match="contradict"):
        PsutilConfig(disk_exclude=Regex("a"), disk_include=Regex("b"))


@pytest.mark.parametrize("error", [OSError("no"), NotImplementedError("no"), psutil.AccessDenied()])
def test_what_fails_is_left_out_and_said_once(darwin, monkeypatch, caplog, error):
    """A function of psutil that fails costs its families only, and one line in the log."""

    def fails(**arguments):
        raise error

    monkeypatch.setattr(psutil, "disk_io_counters", fails)
    monkeypatch.setattr(psutil, "net_io_counters", lambda **arguments: None)
    monkeypatch.delattr(psutil, "swap_memory")
    collector = Psutil(platform="darwin")
    with caplog.at_level(logging.WARNING):
        families = [told(collector) for _ in range(3)][-1]
    assert "node_memory_free_bytes" in families
    assert not [name for name in families if name.startswith(("node_disk", "node_network", "node_memory_swap"))]
    assert [record.getMessage() for record in caplog.records] == [
        f"psutil.disk_io_counters cannot be had and is left out: {error}"
    ]


def test_sensors_have_the_names_of_hwmon(monkeypatch):
    """Temperatures and fans are numbered within their chip; limits that are not known are left out."""
    warm = [
        made("t", label="Core 0", current=51.0, high=80.0, critical=None),
        made("t", label="", current=40, high=None),
    ]
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": warm}, raising=False)
    monkeypatch.setattr(psutil, "sensors_fans", lambda: {"asus": [made("f", label="cpu", current=2100)]}, raising=False)
    assert told(Sensors()) == {
        "node_hwmon_temp_celsius": {("coretemp", "temp1"): 51.0, ("coretemp", "temp2"): 40.0},
        "node_hwmon_temp_max_celsius": {("coretemp", "temp1"): 80.0},
        "node_hwmon_fan_rpm": {("asus", "fan1"): 2100.0},
        "node_hwmon_sensor_label": {("coretemp", "temp1", "Core 0"): 1.0, ("asus", "fan1", "cpu"): 1.0},
    }


def test_without_sensors_there_is_no_data(monkeypatch):
    """A system whose psutil knows no sensors, or finds none, lacks the thing."""
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    monkeypatch.setattr(psutil, "sensors_fans", dict, raising=False)
    with pytest.raises(NoData, match="no sensors"):
        Sensors().collect()


@pytest.mark.parametrize(
    ("percent", "seconds", "plugged", "expected"),
    [
        (80, 3600, False,
         {"capacity": ("battery", 80.0), "online": ("mains", 0.0), "time_to_empty_seconds": ("battery", 3600.0)}),
        (100.0, psutil.POWER_TIME_UNLIMITED, True, {"capacity": ("battery", 100.0), "online": ("mains", 1.0)}),
        (7, psutil.POWER_TIME_UNKNOWN, None, {"capacity": ("battery", 7.0)}),
    ],
)  # fmt: skip
def test_the_battery_is_told_of(monkeypatch, percent, seconds, plugged, expected):
    """Charge and time left have the names of power supplies; what the system does not know is left out."""
    found = made("battery", percent=percent, secsleft=seconds, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: found, raising=False)
    assert told(Battery()) == {
        f"node_power_supply_{name}": {(supply,): value} for name, (supply, value) in expected.items()
    }


def test_without_a_battery_there_is_no_data(monkeypatch):
    """A machine without a battery lacks the thing."""
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    with pytest.raises(NoData, match="no battery"):
        Battery().collect()


@given(st.integers() | st.floats() | st.text() | st.none())
@settings(max_examples=100, deadline=None)
def test_a_field_is_a_number_or_none(value):
    """Whatever stands in a field, what is told of is a float."""
    try:
        found = number(made("any", field=value), "field")
    except OverflowError:
        assert abs(value) > 1e308
    else:
        assert found is None or type(found) is float
