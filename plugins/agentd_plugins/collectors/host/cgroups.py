"""How many control groups there are by controller, from /proc/cgroups."""

from agentd.plugin import Collector, Config, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Cgroups(Collector[Config]):
    """Control groups that use each controller, and whether the controller is enabled."""

    name = "cgroups"
    # Before Linux 5.16 the file was made up under the lock that is held while tasks are moved between groups.
    blocking = True

    groups = gauge(
        "node_cgroups_cgroups", "Number of control groups in the hierarchy of the controller.", ("subsys_name",)
    )
    enabled = gauge(
        "node_cgroups_enabled",
        "Whether the controller is enabled, 1, or was switched off at boot, 0.",
        ("subsys_name",),
    )

    def collect(self) -> list[Family]:
        """Return both for all controllers that the kernel has."""
        try:
            controllers = parsed(self.host, "cgroups", parse)
        except FileNotFoundError:
            raise NoData("the kernel has no control groups, or does not list their controllers") from None
        return [
            self.groups({name: groups for name, (groups, _) in controllers.items()}),
            self.enabled({name: enabled for name, (_, enabled) in controllers.items()}),
        ]


def parse(text: bytes) -> dict[str, tuple[float, float]]:
    """Return the number of groups and whether it is enabled by controller, from a cgroups file (cgroups(7))."""
    controllers = {}
    for line in text.decode(errors="backslashreplace").splitlines():
        if line.startswith("#"):
            continue
        words = line.split()
        if len(words) < 4:
            raise ValueError(f"expected a controller and three numbers in cgroups, found {line[:80]!r}")
        controllers[words[0]] = (float(words[2]), float(words[3]))
    return controllers


@hookimpl
def agentd_collectors() -> list[type[Cgroups]]:
    """Register the collector."""
    return [Cgroups]
