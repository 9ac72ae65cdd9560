"""What wireless devices say of their network and of the stations that they hear, from the kernel over netlink."""

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._nl80211 import Interface, Station, WirelessSocket

STATION = ("device", "mac_address")


class Wifi(Collector[Config]):
    """Wireless devices, and those at the other end of the air."""

    name = "wifi"
    blocking = True  # asks drivers, and some of those their device

    frequency = gauge(
        "node_wifi_interface_frequency_hertz", "Frequency of the channel in hertz; 0 where none is used.", ("device",)
    )
    info = gauge(
        "node_wifi_station_info",
        "Always 1: the labels say to which network a wireless device belongs.",
        ("device", "bssid", "ssid", "mode"),
    )
    connected = counter("node_wifi_station_connected_seconds_total", "Seconds that the station is connected.", STATION)
    inactive = gauge("node_wifi_station_inactive_seconds", "Seconds since something was heard of the station.", STATION)
    numbers = {
        "receive_rate": gauge(
            "node_wifi_station_receive_bits_per_second", "Bits a second at which the last data came.", STATION
        ),
        "transmit_rate": gauge(
            "node_wifi_station_transmit_bits_per_second", "Bits a second at which the last data went.", STATION
        ),
        "signal": gauge("node_wifi_station_signal_dbm", "Strength of the station's signal, in dBm.", STATION),
        "retries": counter("node_wifi_station_transmit_retries_total", "Times that a packet was sent again.", STATION),
        "failed": counter("node_wifi_station_transmit_failed_total", "Packets that could not be sent.", STATION),
        "beacon_loss": counter(
            "node_wifi_station_beacon_loss_total", "Times that beacons of the station were missed.", STATION
        ),
        "transmitted_packets": counter(
            "node_wifi_station_transmitted_packets_total", "Packets sent to the station.", STATION
        ),
        "received_packets": counter(
            "node_wifi_station_received_packets_total", "Packets received from the station.", STATION
        ),
    }
    received_bytes = counter("node_wifi_station_receive_bytes_total", "Bytes received from the station.", STATION)
    transmitted_bytes = counter("node_wifi_station_transmit_bytes_total", "Bytes sent to the station.", STATION)

    def __init__(
        self, config: Config | None = None, context: Context | None = None, wireless: WirelessSocket | None = None
    ) -> None:
        super().__init__(config, context)
        self._wireless = wireless or WirelessSocket()

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._wireless.close()

    def collect(self) -> list[Family]:
        """Return channel, network and stations of each wireless device."""
        try:
            interfaces = self._wireless.interfaces()
        except FileNotFoundError:
            raise NoData("no wireless devices: the kernel's module for them is not loaded") from None
        except PermissionError:
            raise NoData("the kernel does not let the agent ask about wireless devices") from None
        stations = {
            (interface.name, station.address): station
            for interface in interfaces
            for station in self._stations(interface)
        }
        networks = [labels for interface in interfaces for labels in self._network(interface)]
        families = [
            self.frequency({interface.name: interface.frequency * 1e6 for interface in interfaces}),
            self.info(dict.fromkeys(networks, 1.0)),
            *self._about(stations),
        ]
        return [family for family in families if family.samples]

    def _network(self, interface: Interface) -> list[Labels]:
        try:
            network = self._wireless.network(interface)
        except OSError as error:
            self.log.debug("the driver of %s does not tell its network: %s", interface.name, error.strerror)
            return []
        return [(interface.name, *network)] if network else []

    def _stations(self, interface: Interface) -> list[Station]:
        try:
            return list(self._wireless.stations(interface))
        except OSError as error:
            self.log.debug("the driver of %s does not tell stations: %s", interface.name, error.strerror)
            return []

    def _about(self, stations: dict[tuple[str, str], Station]) -> list[Family]:
        def column(*names: str) -> dict[tuple[str, str], float]:
            return {key: told(station, *names) for key, station in stations.items()}

        return [
            self.connected(column("connected_seconds")),
            self.inactive({key: milliseconds / 1000 for key, milliseconds in column("inactive_milliseconds").items()}),
            self.received_bytes(column("received_bytes", "received_bytes_32")),
            self.transmitted_bytes(column("transmitted_bytes", "transmitted_bytes_32")),
            *(metric(column(name)) for name, metric in self.numbers.items()),
        ]


def told(station: Station, *names: str) -> float:
    """Return the first of some numbers that the driver knows, 0 where it knows none, as node_exporter does."""
    return next((station.numbers[name] for name in names if name in station.numbers), 0.0)


@hookimpl
def agentd_collectors() -> list[type[Wifi]]:
    """Register the collector."""
    return [Wifi]
