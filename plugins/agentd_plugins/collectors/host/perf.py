"""What CPUs and kernel count about programs that run: cycles, cache misses, page faults, by perf_event_open(2)."""

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, counter, hookimpl
from agentd_plugins.collectors.host import _perf, _topology
from agentd_plugins.collectors.host._perfevents import CACHES, CPU, HARDWARE, SOFTWARE, Event
from agentd_plugins.collectors.host._sysfs import Sysfs

REFUSALS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)
"""Errors that say that the agent lacks a right, or room. All others say that this CPU cannot count an event."""


class PerfConfig(Config):
    """Options of the collector perf. Lists that are empty stand for all."""

    cpus: str = ""
    """CPUs on which to count: ``0-3,8``, or ``0-10:5`` for every fifth; empty for all."""
    disable_hardware_profilers: bool = False
    """Whether to leave out what CPUs count."""
    hardware_profilers: list[str] = []
    """Which of it to tell: ``CpuCycles``, ``CpuInstr`` …"""
    disable_software_profilers: bool = False
    """Whether to leave out what the kernel counts."""
    software_profilers: list[str] = []
    """Which of it to tell: ``PageFault``, ``ContextSwitch`` …"""
    disable_cache_profilers: bool = False
    """Whether to leave out what caches count."""
    cache_profilers: list[str] = []
    """Which of it to tell: ``L1DataReadHit``, ``LLReadMiss`` …"""
    tracepoint: list[str] = []
    """Tracepoints of the kernel whose hits to tell: ``sched:sched_process_fork``."""

    def __post_init__(self) -> None:
        for known, names in (
            (HARDWARE, self.hardware_profilers),
            (SOFTWARE, self.software_profilers),
            (CACHES, self.cache_profilers),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(f"expected one of {', '.join(known)}, found {name!r}")
        if self.cpus:
            parse_cpus(self.cpus)
        for text in self.tracepoint:
            group, colon, name = text.partition(":")
            if not (colon and group.isidentifier() and name.isidentifier()):
                raise ValueError(f"expected a tracepoint such as sched:sched_switch, found {text!r}")


class Open(NamedTuple):
    """A counter that runs."""

    metric: Metric
    labels: Labels
    descriptor: int


class Perf(Collector[PerfConfig]):
    """Performance events of all programs, by CPU, since the collector's first collection."""

    name = "perf"
    blocking = True  # another CPU is interrupted to learn what it counted

    hardware = tuple(event.metric for event in HARDWARE.values())
    software = tuple(event.metric for event in SOFTWARE.values())
    caches = tuple(event.metric for event in CACHES.values())
    tracepoint = counter("node_perf_*", "How often the kernel came by its tracepoint {}.", CPU)

    opener = staticmethod(_perf.opener)

    def __init__(self, config: PerfConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._counters: list[Open] = []
        self._opened = False
        self._stopped = False
        self._using = threading.Lock()

    async def start(self) -> None:
        """Begin to count at the first collection."""
        self._stopped = False

    async def stop(self) -> None:
        """Close the counters; a collection that is under way does so at its end, lest it reads somebody else's file."""
        self._stopped = True
        if self._using.acquire(blocking=False):
            self._close()
            self._using.release()

    def collect(self) -> list[Family]:
        """Return how often each event was counted so far."""
        with self._using:
            try:
                return self._collect()
            finally:
                if self._stopped:
                    self._close()

    def _close(self) -> None:
        for each in self._counters:
            os.close(each.descriptor)
        self._counters = []
        self._opened = False

    def _collect(self) -> list[Family]:
        if not self._opened:
            try:
                self._begin(self.opener())
            except OSError as error:
                raise NoData(str(error)) from None
            self._opened = True
        families: dict[str, Family] = {}
        for metric, labels, descriptor in self._counters:
            count = _perf.read(descriptor)
            if count is not None:
                if metric.name not in families:
                    families[metric.name] = metric({})
                families[metric.name].samples[labels] = count
        if not families:
            raise NoData("neither CPUs nor kernel count events for the agent: see the drop-in perf.conf")
        return list(families.values())

    def _begin(self, open_: Callable[[int, int, int], int]) -> None:
        events = list(self._events())
        refused: OSError | None = None
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2  # the agent needs the rest for everything else
        for cpu in self._cpus():
            for type_, number, metric in events:
                if self._stopped:
                    return
                try:
                    if len(self._counters) >= room:
                        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                    self._counters.append(Open(metric, (str(cpu),), open_(type_, number, cpu)))
                except OSError as error:  # most CPUs lack some events, and virtual machines all of the hardware's
                    if error.errno in REFUSALS:
                        refused = error
        if refused:
            self.log.warning(
                "performance events are left out: %s; counting takes the drop-in perf.conf (outside of the unit: root, "
                "or kernel.perf_event_paranoid at 0), and an open file for each event and CPU",
                refused.strerror,
            )

    def _events(self) -> Iterator[Event]:
        options = self.config
        for known, disabled, chosen in (
            (HARDWARE, options.disable_hardware_profilers, options.hardware_profilers),
            (SOFTWARE, options.disable_software_profilers, options.software_profilers),
            (CACHES, options.disable_cache_profilers, options.cache_profilers),
        ):
            if not disabled:
                yield from (known[name] for name in dict.fromkeys(chosen or known))
        for text in dict.fromkeys(options.tracepoint):
            group, _, name = text.partition(":")
            number = self._tracepoint(f"events/{group}/{name}/id")
            if number is None:
                self.log.warning("the tracepoint %s is left out: there is no such, or the agent may not see it", text)
            else:
                yield Event(_perf.TRACEPOINT, number, self.tracepoint.bound(f"{group}_{name}"))

    def _tracepoint(self, path: str) -> int | None:
        for folder in ("kernel/tracing", "kernel/debug/tracing"):
            number = self._sysfs.count(f"{folder}/{path}")
            if number is not None:
                return int(number)
        return None

    def _cpus(self) -> list[int]:
        if self.config.cpus:
            return parse_cpus(self.config.cpus)
        try:
            online = _topology.parse_list((self._sysfs.text(f"{_topology.FOLDER}/online") or "").encode())
        except ValueError:
            online = []
        return [int(cpu) for cpu in online] or list(range(os.cpu_count() or 1))


def parse_cpus(text: str) -> list[int]:
    """Return the CPUs that a list such as ``0-3,8`` or ``0-10:5`` names. Raises ``ValueError``."""
    cpus: dict[int, None] = {}
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        numbers = [word.strip() for word in (first, last or first, step or "1")]
        if not all(word.isdecimal() and len(word) <= 5 for word in numbers) or not int(numbers[2]):
            raise ValueError(f"expected a list of CPUs such as 0-3,8 or 0-10:5, found {text!r}")
        cpus |= dict.fromkeys(range(int(numbers[0]), int(numbers[1]) + 1, int(numbers[2])))
    return list(cpus)


@hookimpl
def agentd_collectors() -> list[type[Perf]]:
    """Register the collector."""
    return [Perf]
