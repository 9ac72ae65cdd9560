"""Batteries, chargers and mains, from /sys/class/power_supply (Documentation/ABI/testing/sysfs-class-power)."""

from collections.abc import Awaitable
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, Regex, gauge, hookimpl
from agentd_plugins.collectors.host._devices import Devices
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._powersupply import ATTRIBUTES, WORDS
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/power_supply"


class PowerSupplyConfig(Config):
    """Options of the collector powersupplyclass."""

    ignored_supplies: Regex = Regex("^$")
    """Power supplies to leave out."""


class Supply(NamedTuple):
    """What one power supply says."""

    numbers: dict[str, float]
    """By the names of their files, in the units of their metrics."""
    words: tuple[str | None, ...]
    """In the order of ``WORDS``; None where there is nothing to say."""


class PowerSupplyClass(Collector[PowerSupplyConfig]):
    """Power supplies of every kind."""

    name = "powersupplyclass"
    # The supplies are listed from memory; a battery's own controller may take its time, so it is asked in a worker.
    blocking = False

    numbers = {
        file: gauge(f"node_power_supply_{attribute.name}", attribute.help, ("power_supply",), unit=attribute.unit)
        for file, attribute in ATTRIBUTES.items()
    }
    info = gauge(
        "node_power_supply_info",
        "Always 1: the labels say what a power supply is, and its state.",
        ("power_supply", *WORDS),
    )

    def __init__(self, config: PowerSupplyConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._filter = Filter(self.config.ignored_supplies)
        self._devices = Devices(self, self._read)

    def collect(self) -> list[Family] | Awaitable[list[Family]]:
        """Return what each supply says; most say but a part of it."""
        try:
            names = self._sysfs.names(FOLDER)
        except OSError:
            raise NoData("the kernel has no support for power supplies, or does not show them") from None
        names = [name for name in names if not self._filter.ignores(name)]
        return self._ask(names) if names else []

    async def _ask(self, names: list[str]) -> list[Family]:
        columns: dict[str, dict[Labels, float]] = {file: {} for file in self.numbers}
        info: dict[Labels, float] = {}
        for name, supply in (await self._devices.ask(names)).items():
            for file, number in supply.numbers.items():
                columns[file][(name,)] = number
            info[(name, *supply.words)] = 1.0
        families = [metric(columns[file]) for file, metric in self.numbers.items()]
        return [family for family in (*families, self.info(info)) if family.samples]

    def _read(self, name: str) -> Supply:
        path = f"{FOLDER}/{name}"
        try:
            present = self._sysfs.names(path)
        except OSError:
            present = []
        numbers = {
            file: number / ATTRIBUTES[file].divisor
            for file in present
            if file in ATTRIBUTES and (number := self._sysfs.number(f"{path}/{file}")) is not None
        }
        words = tuple((self._sysfs.text(f"{path}/{file}") or None) if file in present else None for file in WORDS)
        return Supply(numbers, words)


@hookimpl
def agentd_collectors() -> list[type[PowerSupplyClass]]:
    """Register the collector."""
    return [PowerSupplyClass]
