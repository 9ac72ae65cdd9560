"""Replicated block devices, from /proc/drbd, which DRBD 8 fills; DRBD 9 says no more than its version there."""

from agentd.plugin import Collector, Config, Family, Labels, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed

DEVICE = ("device",)
NODE = ("device", "node")

KIB = 1024.0
"""Bytes in what the kernel counts data in."""

SCALES = {"ns": KIB, "dw": KIB, "dr": KIB, "oos": KIB}
"""Numbers that are not told as they are. ``nr`` is in KiB too, but node_exporter tells it as it is."""


class Drbd(Collector[Config]):
    """Replicated block devices: what they sent and wrote, what they wait for, and whether both sides are well."""

    name = "drbd"
    blocking = True  # reading waits for the lock under which devices are configured

    numbers = {
        "ns": counter("node_drbd_network_sent_bytes_total", "Bytes of data sent to the peer.", DEVICE),
        "nr": counter(
            "node_drbd_network_received_bytes_total",
            "Data received from the peer: in KiB, whatever the name says, as node_exporter tells it.",
            DEVICE,
        ),
        "dw": counter("node_drbd_disk_written_bytes_total", "Bytes of data written to the local disk.", DEVICE),
        "dr": counter("node_drbd_disk_read_bytes_total", "Bytes of data read from the local disk.", DEVICE),
        "al": counter("node_drbd_activitylog_writes_total", "Number of writes to the activity log.", DEVICE),
        "bm": counter("node_drbd_bitmap_writes_total", "Number of writes to the bitmap of what is in sync.", DEVICE),
        "lo": gauge("node_drbd_local_pending", "Number of requests that the local disk has not answered yet.", DEVICE),
        "pe": gauge("node_drbd_remote_pending", "Number of requests that the peer has not answered yet.", DEVICE),
        "ua": gauge(
            "node_drbd_remote_unacknowledged", "Number of the peer's requests that are not answered yet.", DEVICE
        ),
        "ap": gauge("node_drbd_application_pending", "Number of requests of programs not answered yet.", DEVICE),
        "ep": gauge("node_drbd_epochs", "Number of epochs, between two write barriers each, under way.", DEVICE),
        "oos": gauge("node_drbd_out_of_sync_bytes", "Bytes that are known to differ on the two sides.", DEVICE),
    }
    states = {
        "ro": gauge("node_drbd_node_role_is_primary", "Whether the node has the role Primary: 1 or 0.", NODE),
        "ds": gauge("node_drbd_disk_state_is_up_to_date", "Whether the node's disk is up to date: 1 or 0.", NODE),
    }
    connected = gauge("node_drbd_connected", "Whether the device is connected to its peer: 1 or 0.", DEVICE)

    def collect(self) -> list[Family]:
        """Return what the file says of each device."""
        try:
            found = parsed(self.host, "drbd", parse)
        except FileNotFoundError:
            raise NoData("no replicated block devices: the kernel's module drbd is not loaded") from None
        metrics = {**self.numbers, **self.states, "cs": self.connected}
        return [metrics[key](samples) for key, samples in found.items()]


def parse(text: bytes) -> dict[str, dict[Labels, float]]:
    """Return the samples in a /proc/drbd of version 8 by the words before the colons (drivers/block/drbd/drbd_proc.c).

    What stands there before the first device is that of the device ``unknown``. Words that are not known, and numbers
    that are none, are left out.
    """
    found: dict[str, dict[Labels, float]] = {}
    device = "unknown"
    for word in text.decode("utf-8", "replace").split():
        key, colon, value = word.partition(":")
        if not colon or ":" in value:
            continue
        if not value and key.isdecimal():
            device = f"drbd{int(key)}"
        elif key in Drbd.states:
            good = "Primary" if key == "ro" else "UpToDate"
            sides = zip(("local", "remote"), value.split("/"), strict=False)
            found.setdefault(key, {}).update({(device, node): float(state == good) for node, state in sides})
        elif key == "cs":
            found.setdefault(key, {})[device,] = float(value == "Connected")
        elif key in Drbd.numbers:
            try:
                found.setdefault(key, {})[device,] = float(value) * SCALES.get(key, 1.0)
            except ValueError:
                continue
    return found


@hookimpl
def agentd_collectors() -> list[type[Drbd]]:
    """Register the collector."""
    return [Drbd]
