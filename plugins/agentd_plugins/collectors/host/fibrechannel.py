"""What the ports of Fibre Channel adapters are and have counted, from /sys/class/fc_host."""

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

HOST = ("fc_host",)

LABELS = (
    *("speed", "port_state", "port_type", "port_id", "port_name", "fabric_name"),
    *("symbolic_name", "supported_classes", "supported_speeds", "dev_loss_tmo"),
)
"""Attributes that say what a port is; drivers may lack any of them."""

ADDRESSES = frozenset({"port_id", "port_name", "fabric_name"})
"""Attributes with 0x before them, which is left out of the label."""

UNSUPPORTED = float(2**64 - 1)
"""What a driver gives for a number that its adapter does not count (drivers/scsi/scsi_transport_fc.c)."""


class Fibrechannel(Collector[Config]):
    """Fibre Channel ports of this machine."""

    name = "fibrechannel"
    blocking = True  # statistics are fetched from the adapter's firmware

    info = gauge("node_fibrechannel_info", "Always 1: the labels say what the port is.", (*HOST, *LABELS))
    counts = {
        "dumped_frames": counter("node_fibrechannel_dumped_frames_total", "Frames that were dropped.", HOST),
        "error_frames": counter("node_fibrechannel_error_frames_total", "Frames that had an error.", HOST),
        "invalid_crc_count": counter("node_fibrechannel_invalid_crc_total", "Frames with a wrong checksum.", HOST),
        "rx_frames": counter("node_fibrechannel_rx_frames_total", "Frames received.", HOST),
        "rx_words": counter("node_fibrechannel_rx_words_total", "Words of 32 bits received.", HOST),
        "tx_frames": counter("node_fibrechannel_tx_frames_total", "Frames sent.", HOST),
        "tx_words": counter("node_fibrechannel_tx_words_total", "Words of 32 bits sent.", HOST),
        "seconds_since_last_reset": counter(
            "node_fibrechannel_seconds_since_last_reset_total",
            "Seconds since the port's numbers were reset.",
            HOST,
            unit="seconds",
        ),
        "invalid_tx_word_count": counter(
            "node_fibrechannel_invalid_tx_words_total", "Words on the wire that had no meaning.", HOST
        ),
        "link_failure_count": counter("node_fibrechannel_link_failure_total", "Times that the link failed.", HOST),
        "loss_of_sync_count": counter(
            "node_fibrechannel_loss_of_sync_total", "Times that the beat of bits or words was lost.", HOST
        ),
        "loss_of_signal_count": counter(
            "node_fibrechannel_loss_of_signal_total", "Times that nothing more came over the wire.", HOST
        ),
        "nos_count": counter(
            "node_fibrechannel_nos_total", "Times that the other side called itself not operational.", HOST
        ),
        "fcp_packet_aborts": counter("node_fibrechannel_fcp_packet_aborts_total", "Packets that were aborted.", HOST),
    }

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has("class/fc_host")

    def collect(self) -> list[Family]:
        """Return what each port is and has counted."""
        try:
            names = self._sysfs.names("class/fc_host")
        except FileNotFoundError:
            raise NoData("no Fibre Channel adapters: the kernel's module for them is not loaded") from None
        about = {name: {file: self._label(name, file) for file in LABELS} for name in names}
        about = {name: labels for name, labels in about.items() if any(labels.values())}  # the others went away
        families = [self.info((self._labels(name, labels), 1.0) for name, labels in about.items())]
        for file, metric in self.counts.items():
            samples = {}
            for name in about:
                # A port that is switched off counts nothing; node_exporter calls that 0.
                off = about[name]["port_state"] in ("", "Unknown")
                value = 0.0 if off else parse(self._sysfs.text(f"class/fc_host/{name}/statistics/{file}"))
                if value is not None:
                    samples[name] = value
            families.append(metric(samples))
        return [family for family in families if family.samples]

    def _label(self, name: str, file: str) -> str:
        word = self._sysfs.text(f"class/fc_host/{name}/{file}") or ""
        return word[2:] if file in ADDRESSES and len(word) > 2 else word

    def _labels(self, name: str, labels: dict[str, str]) -> Labels:
        return name, *labels.values()


def parse(text: str | None) -> float | None:
    """Return a number of Documentation/ABI/testing/sysfs-class-fc_host, ``0x1f`` say; None where nobody counts it."""
    try:
        value = float(int(text or "", 0))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value < UNSUPPORTED else None


@hookimpl
def agentd_collectors() -> list[type[Fibrechannel]]:
    """Register the collector."""
    return [Fibrechannel]
