"""What isolation costs: a collection inline, in a thread and in a process, and the memory of 50 processes."""

import asyncio
import contextlib
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from agentd.config import CollectorKeys
from agentd.isolation.describe import described_class
from agentd.isolation.launcher import Launcher
from agentd.isolation.proxy import isolated
from agentd.isolation.source import Source
from agentd.metrics.slot import Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, Context
from agentd.registry import Registry
from benchmarks.figures import row, spread, title

ROUNDS, TIMES = 11, 100
SERIES, PLUGINS = 100, 50

SOURCE = f'''
from agentd.plugin import Collector, Config, gauge, hookimpl


class Hundred(Collector[Config]):
    """Tells {SERIES} series."""

    name = "hundred"
    level = gauge("hundred_level", "Levels.", ("number", "side"))

    def collect(self):
        return [self.level({{(str(number), "left"): float(number) for number in range({SERIES})}})]


@hookimpl
def agentd_collectors():
    return [Hundred]
'''


def run() -> None:
    """Measure times, then memory."""
    with tempfile.TemporaryDirectory() as folder, launched() as launcher:
        Path(folder, "hundred.py").write_text(SOURCE)
        cls = Registry([folder]).plugin_class("collectors", "hundred")
        assert issubclass(cls, Collector)
        source = Source("collectors", "hundred", "benchmarks.hundred", f"{folder}/hundred.py")
        asyncio.run(times(cls, source, launcher))
        asyncio.run(memory(source, launcher))


@contextlib.contextmanager
def launched() -> Iterator[Launcher]:
    """Yield what begins processes, and end them."""
    launcher = Launcher()
    try:
        yield launcher
    finally:
        launcher.close()


def stand_in(source: Source, launcher: Launcher, number: int, cls: type[Collector[Config]]) -> Collector[Config]:
    """Return what stands for a collector in a process of its own."""
    context = Context(name=f"collectors.hundred{number}")
    keys = CollectorKeys(isolation="process")
    made = isolated(cls, source, launcher, config=cls.config_type(), context=context, keys=keys)
    assert isinstance(made, Collector)
    return made


async def times(cls: type[Collector[Config]], source: Source, launcher: Launcher) -> None:
    """Measure a collection as the gatherer makes one, in turns."""
    title(f"A collection of {SERIES} series, median of {TIMES}, {ROUNDS} rounds in turn (milliseconds)")
    workers = Workers()
    apart = stand_in(source, launcher, 0, cls)
    await apart.start()
    slots = {
        "inline": slot(cls(), workers, threaded=False),
        "thread": slot(cls(), workers, threaded=True),
        "process": slot(apart, workers, threaded=None),
    }
    found: dict[str, list[float]] = {name: [] for name in slots}
    bare: dict[str, list[float]] = {"thread": [], "process": []}
    with echoing() as hops:
        for _ in range(ROUNDS):
            for name, each in slots.items():
                found[name].append(await once(each))
            for name, hop in hops.items():
                bare[name].append(hop_takes(hop))
    await apart.stop()
    workers.close()
    for name, values in found.items():
        row(name, spread(values, " ms", 3))
    for name, values in bare.items():
        row(f"a bare hop to a {name} and back", spread(values, " ms", 3))
    for name, reach in (("thread", 0.1), ("process", 0.5)):
        added = [value - inline for value, inline in zip(found[name], found["inline"], strict=True)]
        row(f"{name} adds", spread(added, " ms", 3), f"reach {reach} ms")


@contextlib.contextmanager
def echoing() -> Iterator[dict[str, Callable[[], object]]]:
    """Yield what wakes a thread, and what wakes a process, and waits for the answer: what no isolation can save."""
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answered: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def echo() -> None:
        while word := asked.get():
            answered.put(word)

    threading.Thread(target=echo, daemon=True).start()
    program = "import os, sys\nwhile word := os.read(0, 10): os.write(0, word)"
    ours, theirs = socket.socketpair()
    with subprocess.Popen([sys.executable, "-c", program], stdin=theirs) as process, ours:
        theirs.close()

        def to_thread() -> object:
            asked.put(b"x")
            return answered.get()

        def to_process() -> object:
            ours.send(b"x")
            return ours.recv(10)

        to_process()  # it has begun
        yield {"thread": to_thread, "process": to_process}
        asked.put(b"")
        process.kill()


def hop_takes(hop: Callable[[], object]) -> float:
    """Return the milliseconds of a hop."""
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        hop()
        taken.append(time.perf_counter() - begun)
    return median(taken) * 1e3


def slot(collector: Collector[Config], workers: Workers, *, threaded: bool | None) -> Slot:
    """Return the place of a collector in an agent."""
    return Slot(collector, name="hundred", workers=workers, timeout=5.0, max_series=1000, threaded=threaded)


async def once(each: Slot) -> float:
    """Return the milliseconds that a collection takes."""
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        await each.first()
        taken.append(time.perf_counter() - begun)
        assert each.last is not None
        assert each.last.status == "ok"
        assert each.last.series == SERIES
    return median(taken) * 1e3


async def memory(source: Source, launcher: Launcher) -> None:
    """Measure what processes have for themselves, when all have collected."""
    title(f"Memory of {PLUGINS} plugins, each in a process of its own")
    cls = described_class(launcher, source)
    assert issubclass(cls, Collector)
    plugins = [stand_in(source, launcher, number, cls) for number in range(PLUGINS)]
    began = time.perf_counter()
    pids: list[int] = []
    for count, plugin in enumerate(plugins):
        await plugin.start()
        for _ in range(20):
            await plugin.collect()
        pids.append(plugin.keeper.process.pid)  # type: ignore[attr-defined]  # what stands for one has a keeper
        if not count:
            first = proportional([launcher.pid or 0, *pids])
    took = time.perf_counter() - began
    row("the first, with the template", f"{first:.1f} MB")
    more = proportional([launcher.pid or 0, *pids]) - first
    row("each of the others (its share, PSS)", f"{more / (PLUGINS - 1):.2f} MB", "reach 4 MB")
    row("each of them, private (USS)", f"{sum(map(private, pids)) / PLUGINS:.2f} MB")
    row("to begin one, and 20 collections", f"{took / PLUGINS * 1e3:.0f} ms")
    await asyncio.gather(*(plugin.stop() for plugin in plugins))


def proportional(pids: list[int]) -> float:
    """Return the megabytes of processes, what they share counted once."""
    return sum(rollup(pid)["Pss"] for pid in pids)


def private(pid: int) -> float:
    """Return the megabytes that a process has for itself."""
    found = rollup(pid)
    return found["Private_Clean"] + found["Private_Dirty"]


def rollup(pid: int) -> dict[str, float]:
    """Return the sizes in proc_pid_smaps_rollup(5), in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
