"""What the firmware says about the machine, from /sys/class/dmi/id (Documentation/ABI/testing/sysfs-firmware-dmi)."""

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/dmi/id"

LABELS = (
    "bios_date bios_release bios_vendor bios_version board_asset_tag board_name board_serial board_vendor "
    "board_version chassis_asset_tag chassis_serial chassis_vendor chassis_version product_family product_name "
    "product_serial product_sku product_uuid product_version system_vendor"
).split()
"""Labels, each named as its file is but for the last, whose file is ``sys_vendor``."""

FILES = [*LABELS[:-1], "sys_vendor"]


class Dmi(Collector[Config]):
    """Vendor, model, firmware and, for those who may read them, serial numbers of the machine."""

    name = "dmi"
    blocking = False

    info = gauge("node_dmi_info", "Always 1: the labels are what the firmware says about the machine.", tuple(LABELS))

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._labels: tuple[str | None, ...] = ()

    def collect(self) -> list[Family]:
        """Return the labels, which the kernel read once, when it booted: so they are read once here."""
        if not self._labels:
            try:
                names = set(self._sysfs.names(FOLDER))
            except OSError:
                names = set()
            labels = [self._sysfs.text(f"{FOLDER}/{file}") if file in names else None for file in FILES]
            if not any(label is not None for label in labels):
                raise NoData("this machine's firmware has no DMI tables")
            self._labels = tuple(labels)
        return [self.info({self._labels: 1.0})]


@hookimpl
def agentd_collectors() -> list[type[Dmi]]:
    """Register the collector."""
    return [Dmi]
