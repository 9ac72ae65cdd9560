"""What the agent says about itself, beside what the gatherer says about each collector.

These are plain numbers, turned into families at each scrape. A registry of prometheus_client in their place cost
0.36 ms a scrape, a third of what all host collectors together may cost.
"""

import asyncio
import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import inf

from agentd import __version__
from agentd.metrics.family import Histogram, Metric, gauge
from agentd.metrics.frame import Frame, Layout
from agentd.metrics.process import ProcessMetrics

LAG_EVERY = 5.0
"""Seconds between two measurements of how late the event loop is. Each wakes the process up, for nothing else."""

LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, inf)


class SelfMetrics:
    """The agent's own metrics. They belong to one agent, not to the process."""

    build_info = gauge("agentd_build_info", "Always 1; the version of agentd and of Python.", ("version", "python"))
    plugin_up = gauge("agentd_plugin_up", "Whether a plugin was loaded and started (1) or not (0).", ("plugin",))
    reload_successful = gauge(
        "agentd_config_last_reload_successful",
        "Whether the configuration was accepted when it was last read (1) or not.",
    )
    reload_timestamp = gauge(
        "agentd_config_last_reload_success_timestamp_seconds",
        "When the present configuration was read, in seconds since 1970.",
    )
    lag = Metric(
        "agentd_loop_lag_seconds", "histogram", "How much later than asked for the event loop ran a timer, in seconds."
    )
    workers = gauge("agentd_worker_threads", "Threads for collectors that may block, those that hang included.")
    tasks = gauge("agentd_tasks", "Tasks of the event loop that are not done yet.")

    def __init__(self) -> None:
        self.up: dict[str, bool] = {}
        """Plugin instance -> whether it runs."""
        self.configured_at = 0.0
        self.configuration_accepted = True
        self.worker_threads = 0
        self._lag_counts = [0] * len(LAG_BOUNDS)
        self._lag_sum = 0.0
        self._lag = self._histogram()
        self._process = ProcessMetrics()
        self._told: tuple[object, ...] = ()
        self._layout = Layout()

    def families(self) -> Frame:
        """Return all of them as they are now, ``process_*`` of this process included."""
        process = self._process.numbers()
        told = (*self.up, len(process))
        if told != self._told:
            self._told = told
            agent = [
                self.build_info({(__version__, platform.python_version()): 1.0}),
                self.plugin_up(dict.fromkeys(self.up, 1.0)),
                self.reload_successful(1.0),
                self.reload_timestamp(0.0),
                self.lag(self._lag),
                self.workers(0.0),
                self.tasks(0.0),
            ]
            self._layout = Layout(
                family for family in (*agent, *(metric(0.0) for metric, _ in process)) if family.samples
            )
        values = [1.0, *map(float, self.up.values()), float(self.configuration_accepted), self.configured_at]
        rest = [float(self.worker_threads), float(alive()), *(number for _, number in process)]
        return self._layout.fill([*values, self._lag, *rest])

    def resident_bytes(self) -> int | None:
        """Return how much memory of this process lies in RAM; None where there is no procfs."""
        return next(
            (int(number) for metric, number in self._process.numbers() if metric is ProcessMetrics.resident), None
        )

    async def measure_lag(self, *then: Callable[[], None]) -> None:
        """Observe the lag of the event loop, until cancelled. What else has to be looked at every few seconds, and
        raises nothing, is done ``then``: that spares the process another waking.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self.observe_lag(max(0.0, loop.time() - due))
            for each in then:
                each()

    def observe_lag(self, seconds: float) -> None:
        """Count one measurement."""
        self._lag_counts[bisect_left(LAG_BOUNDS, seconds)] += 1
        self._lag_sum += seconds
        self._lag = self._histogram()

    def _histogram(self) -> Histogram:
        cumulative = [float(count) for count in accumulate(self._lag_counts)]
        return Histogram(tuple(zip(LAG_BOUNDS, cumulative, strict=True)), cumulative[-1], self._lag_sum)


def alive() -> int:
    """Return how many tasks of the running event loop are not done; 0 where none runs. Takes 0.3 µs a task."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def declared() -> Iterable[Metric]:
    """Return what is declared above, and in ``process``, for the reference page."""
    return [
        metric
        for owner in (SelfMetrics, ProcessMetrics)
        for metric in vars(owner).values()
        if isinstance(metric, Metric)
    ]
