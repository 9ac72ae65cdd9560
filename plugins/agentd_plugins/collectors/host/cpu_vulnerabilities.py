"""Which known flaws the CPUs have, and what the kernel does about them, from /sys/devices/system/cpu."""

from agentd.plugin import Collector, Config, Context, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "devices/system/cpu/vulnerabilities"

STATES = ("not affected", "vulnerable", "mitigation", "unknown")
"""How the kernel's sentences begin, without regard to capitals (Documentation/ABI/testing/sysfs-devices-system-cpu)."""


class CpuVulnerabilities(Collector[Config]):
    """Flaws of the CPUs, as the kernel judges them."""

    name = "cpu_vulnerabilities"
    blocking = False

    info = gauge(
        "node_cpu_vulnerabilities_info",
        "Always 1: the labels say what a known flaw means for these CPUs, and how the kernel counters it.",
        ("codename", "state", "mitigation"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family]:
        """Return all flaws that the kernel knows of; an old one, or another architecture's, may know none."""
        try:
            names = self._sysfs.names(FOLDER)
        except OSError:
            return []
        told: dict[Labels, float] = {
            (name, *parse(text)): 1.0 for name in names if (text := self._sysfs.text(f"{FOLDER}/{name}")) is not None
        }
        return [self.info(told)]


def parse(text: str) -> tuple[str, str]:
    """Return the state that a sentence of the kernel begins with, and what it says beyond.

    A sentence that begins with none of the states is told whole, as one whose state is unknown.
    """
    lower = text.lower()
    state = next((state for state in STATES if lower.startswith(state)), None)
    if state is None:
        return "unknown", text.strip()
    return state, "" if state == "not affected" else " ".join(text.split()[1:])


@hookimpl
def agentd_collectors() -> list[type[CpuVulnerabilities]]:
    """Register the collector."""
    return [CpuVulnerabilities]
