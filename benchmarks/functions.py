"""A collector in a decorated function beside the same in a class, both as the agent runs them."""

import asyncio
import gc
import time
from statistics import median

from agentd.metrics.family import Family
from agentd.metrics.slot import Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, collector, gauge
from benchmarks.figures import row, spread, title

ROUNDS, TIMES = 41, 2000
ONE = gauge("door_open", "Whether the door is open.")
MANY = gauge("hall_temperature_celsius", "How warm it is.", ("place",))
PLACES = {f"place-{number}": float(number) for number in range(100)}


class OneClass(Collector[Config]):
    """One number, written out."""

    name = "one_class"
    blocking = False

    def collect(self) -> list[Family]:
        return [ONE(1.0)]


class ManyClass(Collector[Config]):
    """A hundred, written out."""

    name = "many_class"
    blocking = False

    def collect(self) -> list[Family]:
        return [MANY(PLACES)]


@collector(ONE, blocking=False)
def one() -> float:
    """One number."""
    return 1.0


@collector(MANY, blocking=False)
def many() -> dict[str, float]:
    """A hundred."""
    return PLACES


@collector(MANY, blocking=False)
def families() -> list[Family]:
    """A hundred, as families."""
    return [MANY(PLACES)]


def slot(cls: type[Collector[Config]], workers: Workers) -> Slot:
    return Slot(cls(), name=cls.name, workers=workers, timeout=5.0, max_series=1000)


def collections(each: Slot, times: int) -> float:
    """Return the microseconds of a collection."""
    begun = time.perf_counter()
    for _ in range(times):
        each.begin(1e18)
    return (time.perf_counter() - begun) / times * 1e6


async def measure() -> None:
    workers = Workers()
    for what, cls, function, times in (
        ("one number", OneClass, one, TIMES),
        ("100 series by a mapping", ManyClass, many, TIMES // 10),
        ("100 series as families", ManyClass, families, TIMES // 10),
    ):
        slots = slot(cls, workers), slot(function.plugin, workers)
        taken: tuple[list[float], list[float]] = ([], [])
        gc.disable()
        for turn in range(ROUNDS):
            for place in (0, 1) if turn % 2 else (1, 0):
                taken[place].append(collections(slots[place], times))
        gc.enable()
        row(f"{what}: class", spread(taken[0], " µs"))
        row(f"{what}: function", spread(taken[1], " µs"))
        ratio = median(mine / theirs for theirs, mine in zip(*taken, strict=True))
        row(f"{what}: function / class", f"{ratio:.3f} ×", "reach 1.2 ×")


def run() -> None:
    """Measure in turn."""
    title(f"A collection by a function beside the same by a class, {ROUNDS} rounds in turn")
    asyncio.run(measure())
