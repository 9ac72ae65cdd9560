"""The collector ethtool."""

import errno
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host._ethtool import (
    Driver,
    EthtoolSocket,
    Settings,
    parse_driver,
    parse_settings,
    parse_statistics,
)
from agentd_plugins.collectors.host.ethtool import EthtoolCollector, EthtoolConfig, metric_name, sanitized, unambiguous

ANY = Regex(".*")


class Drivers:
    """Pretended drivers: what each device answers, or the number of an error."""

    def __init__(self, **devices):
        self.devices = devices
        self.closed = False

    def _answer(self, device, question):
        answer = self.devices.get(device, {}).get(question, errno.EOPNOTSUPP)
        if isinstance(answer, int):
            raise OSError(answer, "no")
        return answer

    def settings(self, device):
        return self._answer(device, "settings")

    def driver(self, device):
        return self._answer(device, "driver")

    def statistics(self, device):
        return self._answer(device, "statistics")

    def close(self):
        self.closed = True


def made(tmp_path, drivers, **options):
    """Return the collector with pretended drivers, and their devices in a sysfs."""
    for name in drivers.devices:
        (tmp_path / "class/net" / name).mkdir(parents=True)
    context = Context(host=Host(HostPaths(sysfs=str(tmp_path))))
    return EthtoolCollector(EthtoolConfig(**options), context, drivers)


def collected(tmp_path, drivers, **options):
    """Return the samples of each family by its name."""
    return {family.name: family.samples for family in made(tmp_path, drivers, **options).collect()}


def test_collect_tells_driver_link_and_counters(tmp_path):
    """What a driver says becomes metrics under node_exporter's names."""
    supported = 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 20
    about = Driver("e1000e", "6.1", "0.13-4", "0000:00:1f.6", "0.5")
    counts = [("rx_bytes", 1), ("tx_packets", 2), ("rx_queue_0_drops", 3), ("Port-tx Errors", 4)]
    drivers = Drivers(eth0={"settings": Settings(supported, 1 << 5, 1), "driver": about, "statistics": counts})
    assert collected(tmp_path, drivers) == {
        "node_ethtool_info": {("0000:00:1f.6", "eth0", "e1000e", "0.5", "0.13-4", "6.1"): 1.0},
        "node_network_supported_port_info": {("eth0", "TP"): 1.0, ("eth0", "MII"): 1.0},
        "node_network_supported_speed_bytes": {
            ("eth0", "full", "100baseT"): 12.5e6,
            ("eth0", "full", "1000baseT"): 125e6,
            ("eth0", "full", "10000baseR_FEC"): 1250e6,
        },
        "node_network_advertised_speed_bytes": {("eth0", "full", "1000baseT"): 125e6},
        "node_network_autonegotiate_supported": {("eth0",): 1.0},
        "node_network_pause_supported": {("eth0",): 0.0},
        "node_network_asymmetricpause_supported": {("eth0",): 0.0},
        "node_network_autonegotiate_advertised": {("eth0",): 0.0},
        "node_network_pause_advertised": {("eth0",): 0.0},
        "node_network_asymmetricpause_advertised": {("eth0",): 0.0},
        "node_network_autonegotiate": {("eth0",): 1.0},
        "node_ethtool_received_bytes_total": {("eth0",): 1.0},
        "node_ethtool_transmitted_packets_total": {("eth0",): 2.0},
        "node_ethtool_received_queue_0_drops": {("eth0",): 3.0},
        "node_ethtool_port_transmitted_errors": {("eth0",): 4.0},
    }


def test_only_counters_are_of_unknown_kind(tmp_path):
    """Nobody says whether what a driver counts goes up only: such families are of unknown kind, all others gauges."""
    drivers = Drivers(eth0={"settings": Settings(1, 1, 1), "statistics": [("rx_bytes", 1), ("speed", 2)]})
    kinds = {family.name: family.kind for family in made(tmp_path, drivers).collect()}
    assert {name for name, kind in kinds.items() if kind == "unknown"} == {
        "node_ethtool_received_bytes_total",
        "node_ethtool_speed",
    }
    assert set(kinds.values()) == {"unknown", "gauge"}


def test_devices_of_several_drivers_share_families(tmp_path):
    """The same counter of two devices is one family with two samples."""
    drivers = Drivers(a={"statistics": [("drops", 1)]}, b={"statistics": [("drops", 2)]})
    assert collected(tmp_path, drivers) == {"node_ethtool_drops": {("a",): 1.0, ("b",): 2.0}}


def test_drivers_that_do_not_answer_cost_their_samples_only(tmp_path, caplog):
    """Any error costs what was asked for, and nothing else; a lack of privilege is said once, in a warning."""
    drivers = Drivers(
        a={"settings": errno.EPERM, "driver": errno.EPERM, "statistics": [("drops", 1)]},
        b={"settings": errno.EIO, "driver": errno.ENODEV, "statistics": errno.EINVAL},
        c={},
    )
    collector = made(tmp_path, drivers)
    for _ in range(2):
        assert {family.name: family.samples for family in collector.collect()} == {"node_ethtool_drops": {("a",): 1.0}}
    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]


@pytest.mark.parametrize("option", [{"device_include": Regex("^b$")}, {"device_exclude": Regex("a")}])
def test_options_choose_devices(tmp_path, option):
    """Devices are included or excluded by an expression, and are then not asked."""
    drivers = Drivers(a={"statistics": [("drops", 1)]}, b={"statistics": [("drops", 2)]})
    assert collected(tmp_path, drivers, **option) == {"node_ethtool_drops": {("b",): 2.0}}


def test_options_choose_counters(tmp_path):
    """Counters are chosen by their name after it was made fit for a metric."""
    drivers = Drivers(a={"statistics": [("rx-drops", 1), ("tx-drops", 2)]})
    assert collected(tmp_path, drivers, metrics_include=Regex("^rx_")) == {"node_ethtool_received_drops": {("a",): 1.0}}


def test_include_and_exclude_contradict_each_other():
    """Both options at once are an error that names the two."""
    with pytest.raises(ValueError, match="device_exclude and device_include"):
        EthtoolConfig(device_include=Regex("a"), device_exclude=Regex("b"))


def test_no_devices_to_be_seen(tmp_path):
    """Without /sys/class/net there is no data, which is no error."""
    with pytest.raises(NoData):
        collected(tmp_path, Drivers())


async def test_stop_closes_the_socket(tmp_path):
    """Stopping closes what asks the drivers, and may come twice."""
    drivers = Drivers()
    collector = made(tmp_path, drivers)
    await collector.stop()
    await collector.stop()
    assert drivers.closed


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        ("rx_queue_0_bytes", "received_queue_0_bytes"),
        ("port.tx", "port_transmitted"),
        ("rx", "received"),
        ("rx0_kicks", "rx0_kicks"),
        ("_Weird__ Name!_", "weird_name_"),
        ("[3]: tx_ok", "3_transmitted_ok"),
        ("rx:tx", "received_transmitted"),
    ],
)
def test_names_of_counters(raw, part):
    """A driver's name is made fit for a metric, and its rx and tx are spelled out."""
    assert metric_name(sanitized(raw)) == part


def test_counters_of_the_same_name_are_left_out():
    """Where several names come to the same metric, none of them is told; an empty name is not told either."""
    counts = [("a b", 1), ("a-b", 2), ("A_b", 3), ("c", 4), ("c", 5), ("_", 6), ("", 7)]
    assert list(unambiguous(counts, ANY)) == [("c", 5)]


def names(*texts):
    """Return an answer with names of counters."""
    return pack("=III", 0x1B, 1, len(texts)) + b"".join(text.ljust(32, b"\0") for text in texts)


def test_parse_statistics_pairs_names_with_numbers():
    """Names end at a zero or fill their field; one that is empty is left out."""
    long = b"x" * 32
    numbers = pack("=II3Q", 0x1D, 3, 2**64 - 1, 0, 5)
    assert parse_statistics(names(b"rx\xff", b"", long), numbers) == [("rx\ufffd", 2**64 - 1), ("x" * 32, 5)]


def test_parse_statistics_of_a_driver_that_changed_its_mind():
    """Where there are more numbers than names, no name can be trusted."""
    assert parse_statistics(names(b"a"), pack("=II2Q", 0x1D, 2, 1, 2)) == []


def test_parse_settings_and_driver():
    """The fields are where the kernel's structures have them."""
    answer = pack("=III", 1, 0xFFFFFFFF, 2) + bytes(6) + b"\1" + bytes(25)
    assert parse_settings(answer) == Settings(0xFFFFFFFF, 2, 1)
    words = [b"drv", b"1.0", b"fw", b"bus", b"rom"]
    answer = pack("=I", 3) + b"".join(word.ljust(32, b"\0") for word in words) + bytes(12) + pack("=5I", 9, 7, 0, 0, 0)
    assert parse_driver(answer) == (Driver("drv", "1.0", "fw", "bus", "rom"), 7)


@given(st.binary(max_size=250), st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_parsers_return_or_raise_value_error(first, second):
    """Answers cut off anywhere, or of any content, never raise anything but ValueError."""
    for parse, *answers in ((parse_settings, first), (parse_driver, first), (parse_statistics, first, second)):
        with suppress(ValueError):
            parse(*answers)


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_metric_names_are_fit_for_metrics(raw):
    """Whatever a driver calls a counter, what is left are lower case letters, digits and underscores."""
    part = metric_name(sanitized(raw))
    assert set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert not part.startswith("_")


def test_the_running_kernel_answers_about_no_such_device():
    """A device that does not exist is an error of the system, whatever is asked."""
    socket = EthtoolSocket()
    for question in (socket.settings, socket.driver, socket.statistics):
        with pytest.raises(OSError, match="Errno"):
            question("no-such-device")
    socket.close()
    socket.close()
