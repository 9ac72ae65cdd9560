"""What the agent tells about the processes of its plugins."""

from collections import Counter
from typing import Any

from agentd.isolation.launcher import Launcher
from agentd.metrics.family import counter, gauge
from agentd.metrics.frame import Frame, Layout


class Children:
    """The processes that a launcher has begun. What those that are gone have cost is kept."""

    resident = gauge(
        "agentd_plugin_process_resident_memory_bytes",
        "Memory in RAM of the process in which a plugin runs, in bytes; what several share is counted for each.",
        ("plugin",),
    )
    restarts = counter(
        "agentd_plugin_process_restarts_total", "How often the process of a plugin was started again.", ("plugin",)
    )

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._keys: tuple[object, ...] = ()
        self._layout = Layout()

    def families(self) -> Frame:
        """Return them as they are now; nothing where no plugin has a process."""
        resident: dict[str, float] = {}
        restarts: Counter[str] = Counter()
        for keeper in sorted(self._launcher.keepers, key=lambda each: each.key):
            restarts[keeper.key] += keeper.restarts
            size = keeper.process.resident_bytes() if keeper.process is not None else None
            if size is not None:
                resident[keeper.key] = float(size)
        keys = (*resident, "", *restarts)
        if keys != self._keys:
            self._keys = keys
            told = self.resident(resident), self.restarts(dict.fromkeys(restarts, 0.0))
            self._layout = Layout(family for family in told if family.samples)
        return self._layout.fill([*resident.values(), *map(float, restarts.values())])

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time of all processes that there have been, by plugin."""
        return dict(self._launcher.spent) | {
            keeper.key: self._launcher.spent[keeper.key] + keeper.cpu_seconds() for keeper in self._launcher.keepers
        }


def restarting(plugin: Any) -> str:
    """Return why the process of a plugin is being started again; nothing where it runs, or has none."""
    keeper = getattr(plugin, "keeper", None)
    return keeper.restarting if keeper is not None else ""
