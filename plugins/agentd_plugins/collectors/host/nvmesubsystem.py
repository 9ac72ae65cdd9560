"""NVMe subsystems and the paths to them, from /sys/class/nvme-subsystem."""

from collections.abc import Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

SUBSYSTEM = ("subsystem",)

IDENTITY = ("subsysnqn", "model", "serial", "iopolicy")
"""Attributes that say what a subsystem is, and how its paths are chosen."""

STATES = {
    **{state: state for state in ("connecting", "dead", "deleting", "live", "new", "resetting")},
    "deleting (no IO)": "deleting",
}
"""What the kernel calls the state of a controller, and what the label says (drivers/nvme/host/sysfs.c)."""

SHOWN = (*sorted(set(STATES.values())), "unknown")


class Controller(NamedTuple):
    """A controller through which a subsystem is reached."""

    subsystem: str
    name: str
    transport: str
    state: str


class Nvmesubsystem(Collector[Config]):
    """NVMe subsystems: over how many controllers they can be reached, and how these are."""

    name = "nvmesubsystem"
    blocking = True  # some attributes wait for a lock that is held while a controller is reset

    info = gauge(
        "node_nvmesubsystem_info",
        "Always 1: the labels say what the subsystem is.",
        ("subsystem", "nqn", "model", "serial", "iopolicy"),
    )
    namespace_info = gauge(
        "node_nvmesubsystem_namespace_info",
        "Always 1: the labels say to which subsystem a block device belongs.",
        ("subsystem", "device"),
    )
    paths = gauge("node_nvmesubsystem_paths", "Number of controllers that lead to the subsystem.", SUBSYSTEM)
    paths_live = gauge(
        "node_nvmesubsystem_paths_live", "Number of controllers that lead to the subsystem and are live.", SUBSYSTEM
    )
    path_state = gauge(
        "node_nvmesubsystem_path_state",
        "1 for the state in which the controller is, 0 for each other.",
        ("subsystem", "controller", "transport", "state"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family]:
        """Return the subsystems, their namespaces and their controllers."""
        try:
            names = self._sysfs.names("class/nvme-subsystem")
        except (FileNotFoundError, PermissionError):
            raise NoData(
                "no NVMe subsystems: the kernel's module nvme is not loaded, or sysfs may not be read"
            ) from None
        members = {name: self._members(name) for name in names if name.startswith("nvme-subsys")}
        controllers = {name: list(self._controllers(name, members[name])) for name in members}
        families = [
            self.info(((name, *self._about(name)), 1.0) for name in members),
            self.namespace_info(
                ((name, member), 1.0) for name in members for member in members[name] if is_namespace(member)
            ),
            self.paths({name: float(len(found)) for name, found in controllers.items()}),
            self.paths_live(
                {name: float(sum(each.state == "live" for each in found)) for name, found in controllers.items()}
            ),
            self.path_state(
                ((each.subsystem, each.name, each.transport, state), float(each.state == state))
                for found in controllers.values()
                for each in found
                for state in SHOWN
            ),
        ]
        return [family for family in families if family.samples]

    def _about(self, name: str) -> list[str]:
        return [self._sysfs.text(f"class/nvme-subsystem/{name}/{file}") or "" for file in IDENTITY]

    def _members(self, name: str) -> list[str]:
        return self._sysfs.numbered(f"class/nvme-subsystem/{name}", "nvme")

    def _controllers(self, subsystem: str, members: list[str]) -> Iterator[Controller]:
        for name in members:
            if name.removeprefix("nvme").isdecimal():
                folder = f"class/nvme-subsystem/{subsystem}/{name}"
                state, transport = self._sysfs.text(f"{folder}/state"), self._sysfs.text(f"{folder}/transport")
                if state is not None or transport is not None:  # otherwise it went away just now
                    yield Controller(subsystem, name, transport or "", STATES.get(state or "", "unknown"))


def is_namespace(name: str) -> bool:
    """Say whether a name is that of a namespace's block device, ``nvme0n1`` say."""
    controller, _, number = name.removeprefix("nvme").partition("n")
    return controller.isdecimal() and number.isdecimal()


@hookimpl
def agentd_collectors() -> list[type[Nvmesubsystem]]:
    """Register the collector."""
    return [Nvmesubsystem]
