"""Load averages, from /proc/loadavg."""

from agentd.plugin import Collector, Config, Frame, Layout, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class LoadAvg(Collector[Config]):
    """Load averages over one, five and fifteen minutes."""

    name = "loadavg"
    blocking = False

    load1 = gauge("node_load1", "Runnable and uninterruptible tasks, averaged over 1 minute.")
    load5 = gauge("node_load5", "Runnable and uninterruptible tasks, averaged over 5 minutes.")
    load15 = gauge("node_load15", "Runnable and uninterruptible tasks, averaged over 15 minutes.")

    _layout = Layout([load1(0.0), load5(0.0), load15(0.0)])

    def collect(self) -> Frame:
        """Return the three averages."""
        return self._layout.fill(parsed(self.host, "loadavg", parse))


def parse(text: bytes) -> tuple[float, float, float]:
    """Return the three averages at the head of a loadavg file (proc_loadavg(5))."""
    fields = text.split(maxsplit=3)
    if len(fields) < 3:
        raise ValueError(f"expected three averages in loadavg, found {text[:80]!r}")
    return float(fields[0]), float(fields[1]), float(fields[2])


@hookimpl
def agentd_collectors() -> list[type[LoadAvg]]:
    """Register the collector."""
    return [LoadAvg]
