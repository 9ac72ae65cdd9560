"""Hardware that restarts a machine that hangs, from /sys/class/watchdog (Documentation/watchdog)."""

from agentd.plugin import Collector, Config, Context, Family, Labels, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/watchdog"

NAME = ("name",)

WORDS = ("options", "identity", "state", "status", "pretimeout_governor")
"""Attributes that become labels, as the kernel writes them."""


class Watchdog(Collector[Config]):
    """Watchdogs: how they are set, and what they did."""

    name = "watchdog"
    blocking = True  # the time that is left is asked for at the device

    numbers = {
        "bootstatus": gauge(
            "node_watchdog_bootstatus", "Why the machine was booted last: WDIOF_* as one number.", NAME
        ),
        "fw_version": gauge("node_watchdog_fw_version", "Version of the watchdog's firmware.", NAME),
        "nowayout": gauge("node_watchdog_nowayout", "Whether the watchdog cannot be stopped any more: 1 or 0.", NAME),
        "timeleft": gauge("node_watchdog_timeleft_seconds", "Seconds until the watchdog would restart.", NAME),
        "timeout": gauge("node_watchdog_timeout_seconds", "Seconds without a sign of life that it waits.", NAME),
        "pretimeout": gauge("node_watchdog_pretimeout_seconds", "Seconds before that at which it warns.", NAME),
        "access_cs0": gauge("node_watchdog_access_cs0", "Whether it booted from the second flash chip: 1 or 0.", NAME),
    }
    info = gauge("node_watchdog_info", "Always 1: the labels say what a watchdog is and can do.", ("name", *WORDS))

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def waits(self) -> bool:
        """Say whether there is anything to ask."""
        return self.host.has(FOLDER)

    def collect(self) -> list[Family]:
        """Return what each watchdog says; most say but a part of it."""
        try:
            names = self._sysfs.names(FOLDER)
        except OSError:
            raise NoData("the kernel has no support for watchdogs, or does not show them") from None
        families = []
        for file, metric in self.numbers.items():
            samples = {
                name: value for name in names if (value := self._sysfs.number(f"{FOLDER}/{name}/{file}")) is not None
            }
            families.append(metric(samples))
        info: dict[Labels, float] = {
            (name, *(self._sysfs.text(f"{FOLDER}/{name}/{word}") or "" for word in WORDS)): 1.0 for name in names
        }
        return [family for family in (*families, self.info(info)) if family.samples]


@hookimpl
def agentd_collectors() -> list[type[Watchdog]]:
    """Register the collector."""
    return [Watchdog]
