"""The system's time and zone, and the clock sources of the kernel, from /sys/devices/system/clocksource."""

import os
import time

from agentd.plugin import Collector, Config, Family, gauge, hookimpl

FOLDER = "devices/system/clocksource"


class Time(Collector[Config]):
    """What time the machine thinks it is, and which clock it counts by."""

    name = "time"
    blocking = False

    seconds = gauge("node_time_seconds", "The machine's time in seconds since 1970, UTC.")
    zone = gauge("node_time_zone_offset_seconds", "How far local time is ahead of UTC, in seconds.", ("time_zone",))
    available = gauge(
        "node_time_clocksource_available_info",
        "Clock sources that the kernel could count time by; always 1.",
        ("device", "clocksource"),
    )
    current = gauge(
        "node_time_clocksource_current_info",
        "Clock source that the kernel counts time by; always 1.",
        ("device", "clocksource"),
    )

    _devices: list[str] | None = None

    def collect(self) -> list[Family]:
        """Return the time, and the clock sources where sysfs tells of them."""
        now = self.clock.time()
        local = time.localtime(now)
        families = [self.seconds(now), self.zone({local.tm_zone: float(local.tm_gmtoff)})]
        available: dict[tuple[str, str], float] = {}
        current: dict[tuple[str, str], float] = {}
        if self._devices is None:  # there is one, which is there from the boot on
            self._devices = self._folders()
        for folder in self._devices:
            device = folder.removeprefix("clocksource")
            names = self.host.sys(f"{FOLDER}/{folder}/available_clocksource", lasting=True).decode()
            available |= {(device, name): 1.0 for name in names.split()}
            name = self.host.sys(f"{FOLDER}/{folder}/current_clocksource", lasting=True).decode().strip()
            current[device, name] = 1.0
        if current:
            families += [self.available(available), self.current(current)]
        return families

    def _folders(self) -> list[str]:
        try:
            names = os.listdir(f"{self.host.paths.sysfs}/{FOLDER}")
        except FileNotFoundError:  # a container without sysfs still has the time
            return []
        return sorted(name for name in names if name.startswith("clocksource"))


@hookimpl
def agentd_collectors() -> list[type[Time]]:
    """Register the collector."""
    return [Time]
