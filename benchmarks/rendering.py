"""Rendering 200,000 series whose values have all changed, beside prometheus_client; and who waits meanwhile."""

import asyncio
import random
import time
from statistics import median

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family
from benchmarks.figures import row, spread, title

SERIES = 200_000
ROUNDS = 7
KEYS = [(f"robot-{number % 10_000:05}", f"signal-{number // 10_000}") for number in range(SERIES)]


def fresh() -> list[float]:
    """Return doubles of full precision."""
    return [random.uniform(-1e6, 1e6) for _ in KEYS]


class Given:
    """A collector of prometheus_client that returns what it was given, so that only the rendering is measured."""

    def __init__(self, values: list[float]) -> None:
        family = GaugeMetricFamily("robot_signal", "A signal.", labels=("robot", "signal"))
        for key, value in zip(KEYS, values, strict=True):
            family.add_metric(key, value)
        self._families = [family]

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families


def ours(values: list[float]) -> list[Family]:
    return [Family("robot_signal", "gauge", "A signal.", ("robot", "signal"), dict(zip(KEYS, values, strict=True)))]


async def longest_wait(renderer: Renderer, families: list[Family]) -> float:
    """Return the longest time for which a task that always wants to run did not, while a rendering was under way."""
    longest, last, done = 0.0, time.perf_counter(), False

    async def watch() -> None:
        nonlocal longest, last
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await renderer.render_in_slices(families)
    done = True
    await watcher
    return longest


def run() -> None:
    """Measure in turn."""
    title(f"Rendering {SERIES:,} series of full-precision doubles, all changed, {ROUNDS} rounds in turn")
    renderer = Renderer()
    renderer.render(ours(fresh()))
    seconds_ours, seconds_theirs, ratios, waits = [], [], [], []
    for _ in range(ROUNDS):
        values = fresh()
        families, registry = ours(values), CollectorRegistry()
        registry.register(Given(values))  # type: ignore[arg-type]  # it is a collector by its method
        begun = time.perf_counter()
        body = renderer.render(families)
        middle = time.perf_counter()
        theirs = generate_latest(registry)
        end = time.perf_counter()
        seconds_ours.append((middle - begun) * 1e3)
        seconds_theirs.append((end - middle) * 1e3)
        ratios.append((end - middle) / (middle - begun))
        waits.append(asyncio.run(longest_wait(renderer, families)) * 1e3)
    row("prometheus_client.generate_latest", spread(seconds_theirs, " ms", 0))
    row("agentd", spread(seconds_ours, " ms", 0))
    row("times as fast", spread(ratios, " ×", 1), "reach 12 ×")
    row("longest wait of another task meanwhile", f"{median(waits):.1f} ms, worst {max(waits):.1f} ms", "reach 20 ms")
    same = [parsed(body), parsed(theirs)]
    row("both parse to the same samples, bit for bit", str(same[0] == same[1]), "True")


def parsed(body: bytes) -> list[object]:
    return [
        (sample.name, sample.labels, sample.value.hex())
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    ]
