"""Disk arrays made by the kernel (md), from /proc/mdstat and /sys/block."""

from pathlib import Path

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host import _mdstat
from agentd_plugins.collectors.host._parsed import parsed
from agentd_plugins.collectors.host._sysfs import Sysfs, number

DEVICE = ("device",)

STATES = {
    "active": "active",
    "inactive": "inactive",
    "recovering": "recovering",
    "resync": "resyncing",
    "check": "checking",
}
"""What the label says, and the state of an array that it stands for."""

WITHOUT_DISKS = frozenset({"", "container", "imsm", "ddf"})
"""Levels of arrays that only hold others together: these have no disks of their own."""

REDUNDANT = frozenset({"raid1", "raid4", "raid5", "raid6", "raid10"})
"""Levels of arrays that can lose disks."""


class Mdadm(Collector[Config]):
    """Disk arrays: their disks, and how far they are in sync."""

    name = "mdadm"
    blocking = True  # an array in trouble can hold locks that the file waits for

    required = gauge("node_md_disks_required", "Number of disks that the array is made of when it is whole.", DEVICE)
    disks = gauge("node_md_disks", "Number of the array's disks that are active, failed or spare.", ("device", "state"))
    states = gauge("node_md_state", "1 for the state in which the array is, 0 for each other.", ("device", "state"))
    blocks = gauge(
        "node_md_blocks", "Size of the array in blocks of 1,024 bytes.", DEVICE, unit="blocks of 1,024 bytes"
    )
    synced = gauge(
        "node_md_blocks_synced",
        "Blocks of 1,024 bytes that are in sync: all of the array, or on each disk how far the present run has come.",
        DEVICE,
        unit="blocks of 1,024 bytes",
    )
    raid_disks = gauge("node_md_raid_disks", "Number of disks in the array when it is whole, as sysfs has it.", DEVICE)
    degraded = gauge("node_md_degraded", "Number of disks by which the array is short.", DEVICE)

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return Path(self.host.paths.procfs, "mdstat").exists()

    def collect(self) -> list[Family]:
        """Return what both files say of the arrays; sysfs has some of which the other knows nothing."""
        try:
            arrays = parsed(self.host, "mdstat", _mdstat.parse)
        except FileNotFoundError:
            raise NoData("no disk arrays: the kernel's module md is not loaded") from None
        families = [*self._told(arrays), *self._attributes()]
        return [family for family in families if family.samples]

    def _told(self, arrays: list[_mdstat.Array]) -> list[Family]:
        disks = {}
        for array in arrays:
            if array.active is not None:
                disks[array.name, "active"] = array.active
            disks |= {(array.name, "failed"): array.failed, (array.name, "spare"): array.spare}
        return [
            self.required({array.name: array.required for array in arrays if array.required is not None}),
            self.disks(disks),
            self.states(
                ((array.name, label), float(array.state == state))
                for array in arrays
                for label, state in STATES.items()
            ),
            self.blocks({array.name: array.blocks for array in arrays if array.blocks is not None}),
            self.synced({array.name: array.synced for array in arrays if array.synced is not None}),
        ]

    def _attributes(self) -> list[Family]:
        disks, degraded = {}, {}
        for name in self._arrays():
            level = self._sysfs.text(f"block/{name}/md/level")
            if level is None:  # no array, or one that was stopped just now
                continue
            if level not in WITHOUT_DISKS:
                # While the number changes the old one stands behind it: "5 (4)".
                current = (self._sysfs.text(f"block/{name}/md/raid_disks") or "").partition(" ")[0]
                if (count := number(current.encode())) is not None:
                    disks[name] = count
            short = self._sysfs.count(f"block/{name}/md/degraded") if level in REDUNDANT else 0.0
            if short is not None:
                degraded[name] = short
        return [self.raid_disks(disks), self.degraded(degraded)]

    def _arrays(self) -> list[str]:
        try:
            return [name for name in self._sysfs.names("block") if name.startswith("md")]
        except OSError:
            return []


@hookimpl
def agentd_collectors() -> list[type[Mdadm]]:
    """Register the collector."""
    return [Mdadm]
