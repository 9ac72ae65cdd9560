"""What the ports of InfiniBand and RoCE adapters have counted, from /sys/class/infiniband."""

from agentd.plugin import Collector, Config, Context, Family, NoData, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _infiniband
from agentd_plugins.collectors.host._filters import Filter, exclusive

PORT = ("device", "port")

IDENTITY = ("board_id", "fw_ver", "hca_type")
"""Files that say what an adapter is; some drivers lack one."""

COUNTERS = {
    "counters_ext/port_multicast_rcv_packets": ("legacy_multicast_packets_received", "Multicast packets received."),
    "counters_ext/port_multicast_xmit_packets": ("legacy_multicast_packets_transmitted", "Multicast packets sent."),
    "counters_ext/port_rcv_data_64": ("legacy_data_received_bytes", "Bytes received."),
    "counters_ext/port_rcv_packets_64": ("legacy_packets_received", "Packets received."),
    "counters_ext/port_unicast_rcv_packets": ("legacy_unicast_packets_received", "Unicast packets received."),
    "counters_ext/port_unicast_xmit_packets": ("legacy_unicast_packets_transmitted", "Unicast packets sent."),
    "counters_ext/port_xmit_data_64": ("legacy_data_transmitted_bytes", "Bytes sent."),
    "counters_ext/port_xmit_packets_64": ("legacy_packets_transmitted", "Packets sent."),
    "counters/excessive_buffer_overrun_errors": (
        "excessive_buffer_overrun_errors",
        "Times that buffers overran in as many updates of the flow control in a row as the port tolerates.",
    ),
    "counters/link_downed": ("link_downed", "Times that a failed link could not be recovered and went down."),
    "counters/link_error_recovery": ("link_error_recovery", "Times that a failed link was recovered."),
    "counters/local_link_integrity_errors": (
        "local_link_integrity_errors",
        "Times that there were more errors on the wire than the port tolerates.",
    ),
    "counters/multicast_rcv_packets": ("multicast_packets_received", "Multicast packets received, faulty ones too."),
    "counters/multicast_xmit_packets": ("multicast_packets_transmitted", "Multicast packets sent, faulty ones too."),
    "counters/port_rcv_constraint_errors": (
        "port_constraint_errors_received",
        "Packets that a switch's port received and threw away because of a rule.",
    ),
    "counters/port_xmit_constraint_errors": (
        "port_constraint_errors_transmitted",
        "Packets that a switch's port did not send because of a rule.",
    ),
    "counters/port_rcv_data": ("port_data_received_bytes", "Bytes received."),
    "counters/port_xmit_data": ("port_data_transmitted_bytes", "Bytes sent."),
    "counters/port_rcv_discards": ("port_discards_received", "Packets thrown away on their way in."),
    "counters/port_xmit_discards": ("port_discards_transmitted", "Packets thrown away on their way out."),
    "counters/port_rcv_errors": ("port_errors_received", "Packets received that had an error."),
    "counters/port_rcv_packets": ("port_packets_received", "Packets received on all virtual lanes, faulty ones too."),
    "counters/port_xmit_packets": ("port_packets_transmitted", "Packets sent on all virtual lanes, faulty ones too."),
    "counters/port_xmit_wait": (
        "port_transmit_wait",
        "Ticks in which there was something to send, but no room for it.",
    ),
    "counters/unicast_rcv_packets": ("unicast_packets_received", "Unicast packets received, faulty ones too."),
    "counters/unicast_xmit_packets": ("unicast_packets_transmitted", "Unicast packets sent, faulty ones too."),
    "counters/port_rcv_remote_physical_errors": (
        "port_receive_remote_physical_errors",
        "Packets received that somebody on their way had marked as bad.",
    ),
    "counters/port_rcv_switch_relay_errors": (
        "port_receive_switch_relay_errors",
        "Packets received that the switch could not pass on.",
    ),
    "counters/symbol_error": ("symbol_error", "Small errors on the lanes of the wire."),
    "counters/VL15_dropped": ("vl15_dropped", "Packets of the subnet's management dropped for want of room."),
    "hw_counters/duplicate_request": ("duplicate_requests_packets", "Requests received that had been served before."),
    "hw_counters/implied_nak_seq_err": (
        "implied_nak_seq_errors",
        "Acknowledgements received that skipped a read or an atomic operation.",
    ),
    "hw_counters/local_ack_timeout_err": ("local_ack_timeout_errors", "Times that no acknowledgement came in time."),
    "hw_counters/np_cnp_sent": ("np_cnp_packets_sent", "Notes of congestion sent to those who send too much."),
    "hw_counters/np_ecn_marked_roce_packets": (
        "np_ecn_marked_roce_packets_received",
        "RoCE packets received that were marked as having met congestion.",
    ),
    "hw_counters/out_of_buffer": ("out_of_buffer_drops", "Packets dropped because nobody had offered a buffer."),
    "hw_counters/out_of_sequence": ("out_of_sequence_packets_received", "Packets received out of their order."),
    "hw_counters/packet_seq_err": ("packet_sequence_errors", "Refusals received because of packets out of order."),
    "hw_counters/req_cqe_error": ("req_cqes_errors", "Requests made here that ended with an error."),
    "hw_counters/req_cqe_flush_error": ("req_cqes_flush_errors", "Requests made here that were flushed."),
    "hw_counters/req_remote_access_errors": (
        "req_remote_access_errors",
        "Requests made here that the other side did not allow.",
    ),
    "hw_counters/req_remote_invalid_request": (
        "req_remote_invalid_request_errors",
        "Requests made here that the other side found invalid.",
    ),
    "hw_counters/resp_cqe_error": ("resp_cqes_errors", "Answers given here that ended with an error."),
    "hw_counters/resp_cqe_flush_error": ("resp_cqes_flush_errors", "Answers given here that were flushed."),
    "hw_counters/resp_local_length_error": ("resp_local_length_errors", "Requests received with a wrong length."),
    "hw_counters/resp_remote_access_errors": ("resp_remote_access_errors", "Requests received that are not allowed."),
    "hw_counters/rnr_nak_retry_err": (
        "rnr_nak_retry_packets_received",
        "Answers received that the other side was not ready for a packet.",
    ),
    "hw_counters/roce_adp_retrans": ("roce_adp_retransmits", "Adaptive retransmissions."),
    "hw_counters/roce_adp_retrans_to": ("roce_adp_retransmits_timeout", "Adaptive retransmissions that timed out."),
    "hw_counters/roce_slow_restart": ("roce_slow_restart_used", "Times that a slow restart was used."),
    "hw_counters/roce_slow_restart_cnps": (
        "roce_slow_restart_cnps",
        "Notes of congestion that slow restarts brought about.",
    ),
    "hw_counters/roce_slow_restart_trans": ("roce_slow_restart", "Times that a slow restart was begun."),
    "hw_counters/rp_cnp_handled": ("rp_cnp_packets_handled", "Notes of congestion heeded by sending more slowly."),
    "hw_counters/rp_cnp_ignored": ("rp_cnp_ignored_packets_received", "Notes of congestion that were not heeded."),
    "hw_counters/rx_atomic_requests": ("rx_atomic_requests", "Atomic requests received."),
    "hw_counters/rx_dct_connect": ("rx_dct_connect_requests", "Requests received to connect dynamically."),
    "hw_counters/rx_read_requests": ("rx_read_requests", "Read requests received."),
    "hw_counters/rx_write_requests": ("rx_write_requests", "Write requests received."),
    "hw_counters/rx_icrc_encapsulated": ("rx_icrc_encapsulated_errors", "RoCE packets with a wrong checksum."),
}
"""The counters of a port: the file with its folder, the metric's name without what all have, and what it counts."""


class InfinibandConfig(Config):
    """Options of the collector infiniband."""

    device_include: Regex | None = None
    """Adapters to tell of, all others left out; not together with ``device_exclude``."""
    device_exclude: Regex | None = None
    """Adapters to leave out."""

    def __post_init__(self) -> None:
        exclusive(self, "device_exclude", "device_include")


class Infiniband(Collector[InfinibandConfig]):
    """InfiniBand and RoCE adapters with their ports."""

    name = "infiniband"
    blocking = True  # the counters are fetched from the adapter's firmware

    info = gauge(
        "node_infiniband_info",
        "Always 1: the labels say what kind of adapter it is.",
        ("device", "board_id", "firmware_version", "hca_type"),
    )
    gauges = {
        "state": gauge(
            "node_infiniband_state_id", "State of the port: 1 down, 2 beginning, 3 armed, 4 active, 5 deferred.", PORT
        ),
        "phys_state": gauge(
            "node_infiniband_physical_state_id",
            "State of the wire: 1 sleeping, 2 polling, 3 switched off, 4 training, 5 up, 6 recovering, 7 in a test.",
            PORT,
        ),
        "rate": gauge("node_infiniband_rate_bytes_per_second", "Bytes a second of which the port is capable.", PORT),
        "hw_counters/lifespan": gauge(
            "node_infiniband_lifespan_seconds", "Whole seconds for which the adapter's counters may be old.", PORT
        ),
    }
    counters = {
        file: counter(f"node_infiniband_{name}_total", meaning, PORT) for file, (name, meaning) in COUNTERS.items()
    }

    def __init__(self, config: InfinibandConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filter = Filter(self.config.device_exclude, self.config.device_include)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has("class/infiniband")

    def collect(self) -> list[Family]:
        """Return what each port has counted."""
        try:
            names = _infiniband.listed(self.host, "class/infiniband")
        except FileNotFoundError:
            raise NoData("no InfiniBand adapters: the kernel's module for them is not loaded") from None
        devices = [name for name in names if not self._filter.ignores(name)]
        ports = [port for name in devices for port in _infiniband.ports(self.host, name)]
        families = [self.info({self._labels(name): 1.0 for name in devices})]
        for file, metric in (*self.gauges.items(), *self.counters.items()):
            scale = seconds if file == "hw_counters/lifespan" else float
            samples = {(port.device, port.number): scale(port.values[file]) for port in ports if file in port.values}
            families.append(metric(samples))
        return [family for family in families if family.samples]

    def _labels(self, device: str) -> tuple[str, ...]:
        words = (_infiniband.text(self.host, f"class/infiniband/{device}/{name}") for name in IDENTITY)
        return device, *words


def seconds(milliseconds: float) -> float:
    """Return whole seconds, as node_exporter does."""
    return milliseconds // 1000


@hookimpl
def agentd_collectors() -> list[type[Infiniband]]:
    """Register the collector."""
    return [Infiniband]
