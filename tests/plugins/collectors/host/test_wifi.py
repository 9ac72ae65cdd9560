"""The collector wifi, and its reader."""

import errno
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import NoData
from agentd_plugins.collectors.host._nl80211 import (
    Interface,
    Network,
    Station,
    WirelessSocket,
    parse_interface,
    parse_network,
    parse_station,
    ssid,
)
from agentd_plugins.collectors.host.wifi import Wifi

INTERFACE, STATION, SCAN = 5, 17, 32


def attribute(kind, value):
    """Return an attribute, padded as the kernel does."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind, value, width="I"):
    """Return an attribute that is a number."""
    return attribute(kind, pack(f"={width}", value))


def interface(ifindex, name, frequency=None):
    """Return what the kernel says of a wireless device."""
    channel = b"" if frequency is None else number(38, frequency)
    return number(3, ifindex) + (attribute(4, name) if name else b"") + channel


def network(status, name=b"barn"):
    """Return what the kernel says of a network that a device heard."""
    elements = b"\1\2ab" + bytes([0, len(name)]) + name + b"\3\1\6"
    belongs = b"" if status is None else number(9, status)
    return number(3, 4) + attribute(47, attribute(1, b"\x0a\x0b\x0c\x0d\x0e\x0f") + attribute(6, elements) + belongs)


def station(*about):
    """Return what the kernel says of a station."""
    return attribute(6, bytes.fromhex("020406080a0c")) + attribute(21, b"".join(about))


FULL = station(
    number(1, 1500),
    number(2, 11),
    number(3, 12),
    number(7, 256 - 61, "B"),
    attribute(8, number(1, 65535, "H") + number(5, 72000)),
    number(9, 13),
    number(10, 14),
    number(11, 15),
    number(12, 16),
    attribute(14, number(1, 540, "H")),
    number(16, 3600),
    number(18, 17),
    number(23, 2**33, "Q"),
    number(24, 2**34, "Q"),
)


class Family:
    """The kernel's nl80211 family, pretended: answers by command, or exceptions."""

    def __init__(self, answers):
        self.answers = answers
        self.closed = 0

    def ask(self, command, request=b""):
        answer = self.answers.get(command, [])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed += 1


def collected(answers):
    """Return the samples of each family by its name without what all have in common."""
    families = Wifi(wireless=WirelessSocket(Family(answers))).collect()
    return {family.name.removeprefix("node_wifi_"): family.samples for family in families}


def test_collect_tells_channel_network_and_stations():
    """What the kernel says becomes metrics under node_exporter's names and in their units."""
    samples = collected(
        {INTERFACE: [interface(4, b"wlan0\0", 5180)], SCAN: [network(None, b"other"), network(1)], STATION: [FULL]}
    )
    assert samples.pop("interface_frequency_hertz") == {("wlan0",): 5.18e9}
    assert samples.pop("station_info") == {("wlan0", "0a:0b:0c:0d:0e:0f", "barn", "client"): 1.0}
    assert {name: values["wlan0", "02:04:06:08:0a:0c"] for name, values in samples.items()} == {
        "station_connected_seconds_total": 3600.0,
        "station_inactive_seconds": 1.5,
        "station_receive_bits_per_second": 54e6,
        "station_transmit_bits_per_second": 7.2e9,
        "station_receive_bytes_total": 2.0**33,
        "station_transmit_bytes_total": 2.0**34,
        "station_signal_dbm": -61.0,
        "station_transmit_retries_total": 15.0,
        "station_transmit_failed_total": 16.0,
        "station_beacon_loss_total": 17.0,
        "station_transmitted_packets_total": 14.0,
        "station_received_packets_total": 13.0,
    }


def test_counters_and_gauges():
    """What ends in _total is a counter, the rest are gauges."""
    wireless = WirelessSocket(Family({INTERFACE: [interface(4, b"wlan0\0")], STATION: [FULL]}))
    for family in Wifi(wireless=wireless).collect():
        assert family.kind == ("counter" if family.name.endswith("_total") else "gauge")


def test_what_a_driver_does_not_know():
    """Numbers that a driver does not know are 0, as node_exporter has them; bytes may be of 32 bits only."""
    samples = collected({INTERFACE: [interface(4, b"wlan0\0")], STATION: [station(number(2, 11))]})
    key = "wlan0", "02:04:06:08:0a:0c"
    assert samples["interface_frequency_hertz"] == {("wlan0",): 0.0}
    assert samples["station_receive_bytes_total"] == {key: 11.0}
    assert samples["station_transmit_bytes_total"] == {key: 0.0}
    assert samples["station_signal_dbm"] == {key: 0.0}
    assert "station_info" not in samples


def test_devices_without_a_name_are_left_out():
    """Devices that exist only within the driver have no name, and are not told."""
    assert collected({INTERFACE: [interface(4, None), interface(5, b"ap0\0")]}) == {
        "interface_frequency_hertz": {("ap0",): 0.0}
    }


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENODEV, errno.EIO])
def test_a_driver_that_does_not_answer_costs_its_samples_only(error):
    """Where network or stations cannot be had, the rest is told all the same."""
    wlan = [interface(4, b"wlan0\0")]
    assert set(collected({INTERFACE: wlan, SCAN: OSError(error, "no"), STATION: OSError(error, "no")})) == {
        "interface_frequency_hertz"
    }


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no family"), PermissionError(1, "no")])
def test_no_wireless_devices(error):
    """Where the kernel knows no wireless devices, or tells nobody of them, there is no data, which is no error."""
    with pytest.raises(NoData):
        collected({INTERFACE: error})


async def test_stop_closes_the_socket():
    """Stopping closes what the first collection opened, and may come twice."""
    family = Family({})
    collector = Wifi(wireless=WirelessSocket(family))
    await collector.stop()
    await collector.stop()
    assert family.closed == 2


def test_parsers_take_apart_what_the_kernel_says():
    """Each answer becomes a plain tuple."""
    assert parse_interface(interface(4, b"wlan0\0", 2412)) == Interface(4, "wlan0", 2412)
    assert parse_network(network(2)) == Network("0a:0b:0c:0d:0e:0f", "barn", "ad-hoc")
    assert parse_network(network(7)).mode == "unknown"
    assert parse_network(network(None)) is None
    assert parse_station(station(number(16, 5))) == Station("02:04:06:08:0a:0c", {"connected_seconds": 5.0})
    assert parse_station(number(3, 4)) is None


@pytest.mark.parametrize(
    ("elements", "name"),
    [(b"", ""), (b"\0", ""), (b"\0\0", ""), (b"\0\5ab", "ab"), (b"\1\1x\0\2\xc3\xa4", "ä"), (b"\0\1\xff", "\ufffd")],
)
def test_ssid(elements, name):
    """A name may be empty, cut off, behind other elements, or no text."""
    assert ssid(elements) == name


@given(st.binary(max_size=120), st.integers(0, len(FULL)))
@settings(max_examples=100, deadline=None)
def test_parsers_return_or_raise_value_error(junk, length):
    """Answers cut off anywhere, or of any content, never raise anything but ValueError."""
    for answer in (junk, FULL[:length] + junk, attribute(47, junk), attribute(21, junk)):
        for parse in (parse_interface, parse_network, parse_station):
            with suppress(ValueError):
                parse(answer)
    ssid(junk)
