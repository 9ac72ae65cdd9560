"""Devices on PCI buses, and their links, from /sys/bus/pci (Documentation/ABI/testing/sysfs-bus-pci)."""

from pathlib import Path
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, gauge, hookimpl
from agentd_plugins.collectors.host import _pciids
from agentd_plugins.collectors.host._pci import NOT_KNOWN, location, padded, speed
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "bus/pci/devices"

PLACE = ("segment", "bus", "device", "function")
PARENT = tuple(f"parent_{part}" for part in PLACE)
NUMBERS = ("class_id", "vendor_id", "device_id", "subsystem_vendor_id", "subsystem_device_id", "revision")
NAMES = ("vendor_name", "device_name", "subsystem_vendor_name", "subsystem_device_name", "class_name")

FILES = {"class": 6, "vendor": 4, "device": 4, "subsystem_vendor": 4, "subsystem_device": 4, "revision": 2}
"""The files of ``NUMBERS``, and how many hexadecimal digits each number has at least."""

STATES = ("D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error")

LISTS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
"""Where distributions keep the list of names."""


class PcideviceConfig(Config):
    """Options of the collector pcidevice."""

    names: bool = False
    """Whether to tell the names of vendors, devices and classes, for which there has to be a file pci.ids."""
    idsfile: str = ""
    """That file, where it is in none of the usual places."""


class Device(NamedTuple):
    """A device, where it is and what it is."""

    place: Labels
    parent: Labels
    numbers: tuple[str, ...]
    """As ``NUMBERS``, with the prefix 0x."""
    path: str


class Pcidevice(Collector[PcideviceConfig]):
    """PCI devices: what they are, how fast their links are, and what power they take."""

    name = "pcidevice"
    blocking = True  # the speed of a link is asked for at the device, which may have to wake up

    info = gauge("node_pcidevice_info", "Always 1: what a device is, by its numbers.", (*PLACE, *PARENT, *NUMBERS))
    named_info = gauge(info.name, "Always 1: what a device is, by numbers and names.", (*info.labels, *NAMES))
    speeds = {
        "max_link_speed": gauge(
            "node_pcidevice_max_link_transfers_per_second",
            "Transfers a second of the link at best; -1: unknown.",
            PLACE,
        ),
        "current_link_speed": gauge(
            "node_pcidevice_current_link_transfers_per_second", "Transfers a second of the link; -1: unknown.", PLACE
        ),
    }
    widths = {
        "max_link_width": gauge("node_pcidevice_max_link_width", "Lanes of the link at best; -1: unknown.", PLACE),
        "current_link_width": gauge("node_pcidevice_current_link_width", "Lanes of the link; -1: unknown.", PLACE),
    }
    flags = {
        "d3cold_allowed": gauge(
            "node_pcidevice_d3cold_allowed", "Whether it may be cut off from power: 1 or 0.", PLACE
        ),
        "sriov_drivers_autoprobe": gauge(
            "node_pcidevice_sriov_drivers_autoprobe",
            "Whether its virtual functions get drivers at once: 1 or 0.",
            PLACE,
        ),
    }
    counts = {
        "sriov_numvfs": gauge("node_pcidevice_sriov_numvfs", "Number of virtual functions in use.", PLACE),
        "sriov_totalvfs": gauge("node_pcidevice_sriov_totalvfs", "Number of virtual functions there can be.", PLACE),
        "sriov_vf_total_msix": gauge(
            "node_pcidevice_sriov_vf_total_msix", "Number of interrupt vectors for virtual functions.", PLACE
        ),
    }
    numa_node = gauge("node_pcidevice_numa_node", "NUMA node that the device is next to.", PLACE)
    power_state = gauge(
        "node_pcidevice_power_state", "Whether the device is in this power state: 1 or 0.", (*PLACE, "state")
    )

    def __init__(self, config: PcideviceConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._names: dict[_pciids.Numbers, _pciids.Names] = {}

    def collect(self) -> list[Family]:
        """Return what is known about each device."""
        try:
            listed = self._sysfs.names(FOLDER)
        except OSError:
            raise NoData("this machine has no PCI bus") from None
        devices = [device for name in listed if (device := self._device(name)) is not None]
        families = [self._info(devices)]
        for file, metric in self.speeds.items():
            families.append(metric({device.place: speed(self._text(device, file)) for device in devices}))
        for file, metric in self.widths.items():
            families.append(metric({device.place: self._number(device, file, NOT_KNOWN) for device in devices}))
        for file, metric in self.flags.items():
            families.append(metric({device.place: float(self._number(device, file, 0.0) != 0) for device in devices}))
        for file, metric in self.counts.items():
            families.append(metric({device.place: self._number(device, file, 0.0) for device in devices}))
        nodes = {device.place: self._number(device, "numa_node", NOT_KNOWN) for device in devices}
        families.append(self.numa_node({place: node for place, node in nodes.items() if node != NOT_KNOWN}))
        states = {device.place: state for device in devices if (state := self._text(device, "power_state"))}
        families.append(
            self.power_state(
                {(*place, each): float(each == state) for place, state in states.items() for each in STATES}
            )
        )
        return [family for family in families if family.samples]

    def _device(self, name: str) -> Device | None:
        path = f"{FOLDER}/{name}"
        *_, above, own = ("", *(self._sysfs.link(path) or "").split("/"))
        place, parent = location(own), location(above)
        numbers = tuple(padded(self._sysfs.text(f"{path}/{file}"), digits) for file, digits in FILES.items())
        if place is None or "" in numbers:  # it went away, or is none
            return None
        return Device(place, parent or ("*",) * len(PLACE), numbers, path)

    def _info(self, devices: list[Device]) -> Family:
        if not self.config.names:
            return self.info({(*device.place, *device.parent, *device.numbers): 1.0 for device in devices})
        wanted = {device.place: identity(device.numbers) for device in devices}
        if not self._names.keys() >= set(wanted.values()):  # the list is long: it is not kept
            self._names = _pciids.names(self._list(), wanted.values())
        return self.named_info(
            {
                (*device.place, *device.parent, *device.numbers, *self._names[wanted[device.place]]): 1.0
                for device in devices
            }
        )

    def _list(self) -> str:
        for path in (self.config.idsfile,) if self.config.idsfile else LISTS:
            try:
                return Path(path).read_text("utf-8", "replace")
            except OSError as error:
                problem = error
        self.log.warning("names of PCI devices are left out: %s", problem)
        return ""

    def _text(self, device: Device, file: str) -> str:
        return self._sysfs.text(f"{device.path}/{file}") or ""

    def _number(self, device: Device, file: str, otherwise: float) -> float:
        number = self._sysfs.number(f"{device.path}/{file}")
        return otherwise if number is None else number


def identity(numbers: tuple[str, ...]) -> _pciids.Numbers:
    """Return the numbers of a device as the list of names has them."""
    class_, vendor, device, subsystem_vendor, subsystem_device, _ = (number.removeprefix("0x") for number in numbers)
    return _pciids.Numbers(vendor, device, subsystem_vendor, subsystem_device, class_)


@hookimpl
def agentd_collectors() -> list[type[Pcidevice]]:
    """Register the collector."""
    return [Pcidevice]
