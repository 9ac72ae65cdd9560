"""The system's time and zone, and the clock sources of the kernel, from /sys/devices/system/clocksource."""

import os
import time

from agentd.plugin import Collector, Config, Family, Frame, Layout, gauge, hookimpl

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
    _told: tuple[object, ...] = ()
    _layout = Layout()

    def collect(self) -> Frame:
        """Return the time, and the clock sources where sysfs tells of them."""
        now = self.clock.time()
        local = time.localtime(now)
        if self._devices is None:  # there is one, which is there from the boot on
            self._devices = self._folders()
        sources = [(folder, *self._sources(folder)) for folder in self._devices]
        told = (local.tm_zone, sources)
        if told != self._told:
            self._told = told
            self._layout = Layout(self._families(now, local.tm_zone, sources))
        return self._layout.fill([now, float(local.tm_gmtoff), *[1.0] * (self._layout.series - 2)])

    def _families(self, now: float, zone: str, sources: list[tuple[str, bytes, bytes]]) -> list[Family]:
        families = [self.seconds(now), self.zone({zone: 0.0})]
        available: dict[tuple[str, str], float] = {}
        current: dict[tuple[str, str], float] = {}
        for folder, names, name in sources:
            device = folder.removeprefix("clocksource")
            available |= {(device, each): 1.0 for each in names.decode("utf-8", "replace").split()}
            if name.strip():
                current[device, name.decode("utf-8", "replace").strip()] = 1.0
        return [*families, *(family for family in (self.available(available), self.current(current)) if family.samples)]

    def _sources(self, folder: str) -> tuple[bytes, bytes]:
        """Return the clock sources that there are, and the one that counts."""
        path = f"{FOLDER}/{folder}"
        return self._read(f"{path}/available_clocksource"), self._read(f"{path}/current_clocksource")

    def _read(self, path: str) -> bytes:
        try:
            return self.host.sys(path, lasting=True)
        except OSError:  # whatever the clock source says, the machine has a time
            return b""

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
