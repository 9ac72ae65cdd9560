"""NVMe controllers and the namespaces behind them, from /sys/class/nvme."""

from collections.abc import Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

NAMESPACE = ("device", "nsid")

IDENTITY = ("firmware_rev", "model", "serial", "state", "cntlid")
"""Attributes that say what a controller is."""

BLOCK_SIZE = "queue/logical_block_size"


class Namespace(NamedTuple):
    """A namespace of a controller: the numbers of both, and the folder with its attributes."""

    device: str
    number: str
    folder: str


class Nvme(Collector[Config]):
    """NVMe controllers: which they are, how they are, and how full their namespaces."""

    name = "nvme"
    blocking = True  # how much of a namespace is in use, the kernel asks the controller

    info = gauge(
        "node_nvme_info",
        "Always 1: the labels say what the controller is, and its state.",
        ("device", "firmware_revision", "model", "serial", "state", "cntlid"),
    )
    namespace_info = gauge(
        "node_nvme_namespace_info",
        "Always 1: the labels say whether the namespace is best reached over this controller (ANA).",
        (*NAMESPACE, "ana_state"),
    )
    capacity = gauge(
        "node_nvme_namespace_capacity_bytes", "The same as node_nvme_namespace_size_bytes, in bytes.", NAMESPACE
    )
    size = gauge(
        "node_nvme_namespace_size_bytes",
        "Size of the namespace as node_exporter reckons it: sectors of 512 bytes times the size of a block in bytes.",
        NAMESPACE,
    )
    used = gauge("node_nvme_namespace_used_bytes", "Bytes of the namespace that are in use.", NAMESPACE)
    block_size = gauge("node_nvme_namespace_logical_block_size_bytes", "Size of a block in bytes.", NAMESPACE)

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has("class/nvme")

    def collect(self) -> list[Family]:
        """Return what each controller and namespace says of itself; one that went away says nothing."""
        try:
            devices = self._sysfs.names("class/nvme")
        except FileNotFoundError:
            raise NoData("no NVMe controllers: the kernel's module nvme is not loaded") from None
        about = {device: self._about(device) for device in devices}
        about = {device: words for device, words in about.items() if any(words)}
        namespaces = [namespace for device in about for namespace in self._namespaces(device)]
        blocks = self._numbers(namespaces, BLOCK_SIZE)
        sizes = times(self._numbers(namespaces, "size"), blocks)
        families = [
            self.info(((device, *words), 1.0) for device, words in about.items()),
            self.namespace_info((self._path(namespace), 1.0) for namespace in namespaces),
            self.capacity(sizes),
            self.size(sizes),
            self.used(times(self._numbers(namespaces, "nuse"), blocks)),
            self.block_size(blocks),
        ]
        return [family for family in families if family.samples]

    def _about(self, device: str) -> list[str]:
        return [self._sysfs.text(f"class/nvme/{device}/{file}") or "" for file in IDENTITY]

    def _namespaces(self, device: str) -> Iterator[Namespace]:
        # nvme0n1 is a namespace of its own; nvme0c0n1 is a path to one that nvmesubsystem tells.
        for name in self._sysfs.numbered(f"class/nvme/{device}", "nvme"):
            controller, _, number = name.removeprefix("nvme").partition("n")
            if controller.isdecimal() and number.isdecimal():
                yield Namespace(device, number, f"class/nvme/{device}/{name}")

    def _path(self, namespace: Namespace) -> Labels:
        return namespace.device, namespace.number, self._sysfs.text(f"{namespace.folder}/ana_state") or "unknown"

    def _numbers(self, namespaces: list[Namespace], file: str) -> dict[Labels, float]:
        found = ((each[:2], self._sysfs.count(f"{each.folder}/{file}")) for each in namespaces)
        return {labels: number for labels, number in found if number is not None}


def times(blocks: dict[Labels, float], sizes: dict[Labels, float]) -> dict[Labels, float]:
    """Return numbers of blocks in bytes, without those whose size is not known."""
    return {labels: number * sizes[labels] for labels, number in blocks.items() if labels in sizes}


@hookimpl
def agentd_collectors() -> list[type[Nvme]]:
    """Register the collector."""
    return [Nvme]
