"""Time that each CPU spent in each mode, from /proc/stat, and what CPUs are like, from /proc/cpuinfo and /sys."""

from collections.abc import Awaitable, Mapping, Sequence

from agentd.plugin import Collector, Config, Context, Family, Labels, Layout, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _cpuinfo, _topology
from agentd_plugins.collectors.host._filters import given
from agentd_plugins.collectors.host._parsed import parsed

MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of a CPU's line in /proc/stat (proc_stat(5))."""

GUEST_MODES = ("user", "nice")
"""The two columns behind them."""

IDLE = MODES.index("idle")

TICKS = 100.0
"""Ticks a second in which the kernel tells times: USER_HZ, 100 on all architectures that Linux still supports."""

JUMP = 3 * TICKS
"""An idle time that falls by this much or more says that the CPU was switched off, and counts from the beginning."""

SURVEY_SECONDS = 600.0
"""How long what stays as it is while the same CPUs run is believed."""

NEVER = float("-inf")

INFO = ("package", "core", "vendor", "family", "model", "model_name", "microcode", "stepping", "cachesize")


class CpuConfig(Config, frozen=True):
    """Options of the collector cpu."""

    guest: bool = True
    """Whether to tell the time that CPUs spent in guests (virtual machines)."""
    info: bool = False
    """Whether to tell what /proc/cpuinfo says about each CPU, how fast it is clocked included."""
    info_flags_include: Regex | None = None
    """Which of the features that /proc/cpuinfo lists for the first CPU to tell. Giving it turns ``info`` on."""
    info_bugs_include: Regex | None = None
    """Which of the flaws that /proc/cpuinfo lists for the first CPU to tell. Giving it turns ``info`` on."""


class Cpu(Collector[CpuConfig]):
    """What the CPUs do, and what they are."""

    name = "cpu"
    blocking = False

    seconds = counter("node_cpu_seconds_total", "Seconds that each CPU spent in each mode.", ("cpu", "mode"))
    guest = counter(
        "node_cpu_guest_seconds_total",
        "Seconds that each CPU spent in guests; they are contained in its modes user and nice.",
        ("cpu", "mode"),
    )
    info = gauge("node_cpu_info", "Always 1: the labels are what /proc/cpuinfo says about a CPU.", ("cpu", *INFO))
    frequency = gauge(
        "node_cpu_frequency_hertz",
        "How fast a CPU is clocked now, as /proc/cpuinfo says, in hertz.",
        ("cpu", "core", "package"),
    )
    flag = gauge("node_cpu_flag_info", "Always 1: a feature that the first CPU has.", ("flag",))
    bug = gauge("node_cpu_bug_info", "Always 1: a flaw that the first CPU is known to have.", ("bug",))
    isolated = gauge("node_cpu_isolated", "Always 1: a CPU on which the scheduler places no tasks.", ("cpu",))
    online = gauge("node_cpu_online", "Whether a CPU is in use: 1, or 0 where it is switched off.", ("cpu",))
    core_throttles = counter(
        "node_cpu_core_throttles_total", "Times that a core was slowed down because of its heat.", ("package", "core")
    )
    package_throttles = counter(
        "node_cpu_package_throttles_total", "Times that a package was slowed down because of its heat.", ("package",)
    )

    _ticks: Mapping[str, list[float]] = {}
    _surveyed = NEVER
    _throttles: tuple[str, ...] = ()
    _lasting: tuple[float, ...] = ()
    _layout = Layout()

    def __init__(self, config: CpuConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        options = self.config
        self._flags, self._bugs = given(options.info_flags_include), given(options.info_bugs_include)
        self._info = options.info or bool(self._flags or self._bugs)

    def collect(self) -> Sequence[Family] | Awaitable[Sequence[Family]]:
        """Return the times and throttle counts of this moment, and what the last survey found."""
        # To tell how fast each is clocked, kernels before 5.17 wait for every CPU.
        return self.in_worker(self._collect) if self._info else self._collect()

    def _collect(self) -> Sequence[Family]:
        before, self._ticks = self._ticks, forward(self._ticks, parsed(self.host, "stat", parse))
        if columns(self._ticks) != columns(before):
            self._surveyed = NEVER
        counts = list(map(self._number, self._throttles))
        # A file that went away is looked for anew, and by that not each time.
        if None in counts or self.clock.monotonic() - self._surveyed > SURVEY_SECONDS:
            counts = self._survey()
        seconds: list[float] = []
        guests: list[float] = []
        for ticks in self._ticks.values():
            times = [count / TICKS for count in ticks]
            seconds += times[: len(MODES)]
            guests += times[len(MODES) :]
        throttled = map(float, counts)  # type: ignore[arg-type]  # there is no None in them
        frame = self._layout.fill([*seconds, *(guests if self.config.guest else ()), *self._lasting, *throttled])
        return [*frame, self.frequency(parsed(self.host, "cpuinfo", hertz))] if self._info else frame

    def _survey(self) -> list[int | None]:
        """Find out what stays as it is while the same CPUs run; return how often they were throttled by now."""
        # Reading all of this each time would cost more than all the rest, and cpuinfo may wait for every CPU.
        self._surveyed = NEVER
        host, config = self.host, self.config
        flags, bugs = self._flags, self._bugs
        cpus = parsed(host, "cpuinfo", _cpuinfo.parse) if self._info else {}
        first = next(iter(cpus.values()), {})
        lasting = [
            self.info({(cpu, *(_cpuinfo.field(fields, name) for name in INFO)): 1.0 for cpu, fields in cpus.items()}),
            self.flag({word: 1.0 for word in _cpuinfo.field(first, "flags").split() if flags and flags.search(word)}),
            self.bug({word: 1.0 for word in _cpuinfo.field(first, "bugs").split() if bugs and bugs.search(word)}),
            self.isolated(dict.fromkeys(_topology.isolated(host), 1.0)),
            self.online(_topology.online(host)),
        ]
        found = [
            [(labels, file, count) for labels, file in files.items() if (count := self._number(file)) is not None]
            for files in _topology.throttles(host)
        ]
        throttled = [
            metric({labels: 0.0 for labels, _, _ in counts})
            for metric, counts in zip((self.core_throttles, self.package_throttles), found, strict=True)
        ]
        columns = {
            cpu: (MODES[: len(ticks)], GUEST_MODES[: len(ticks[len(MODES) :])]) for cpu, ticks in self._ticks.items()
        }
        times = [self.seconds({(cpu, mode): 0.0 for cpu, (modes, _) in columns.items() for mode in modes})]
        if config.guest:
            times.append(self.guest({(cpu, mode): 0.0 for cpu, (_, modes) in columns.items() for mode in modes}))
        self._layout = Layout(family for family in (*times, *lasting, *throttled) if family.samples)
        self._lasting = tuple(float(value) for family in lasting for value in family.samples.values())  # type: ignore[arg-type]
        self._throttles = tuple(file for counts in found for _, file, _ in counts)
        self._surveyed = self.clock.monotonic()
        return [count for counts in found for _, _, count in counts]

    def _number(self, file: str) -> int | None:
        return _topology.number(self.host, file)


def parse(text: bytes) -> dict[str, list[float]]:
    """Return the ticks that each CPU spent in each mode since boot, by the CPU's number, from a /proc/stat.

    Kernels write ten columns (very old ones fewer); what may be added behind them is left out. Raises ``ValueError``
    where there is no CPU, or something else than numbers.
    """
    cpus = {}
    # Behind the CPUs comes a line with a number for each of hundreds of interrupts.
    lines, _, _ = text.partition(b"\nintr ")
    for line in lines.split(b"\n"):
        if line.startswith(b"cpu") and not line.startswith(b"cpu "):
            name, *columns = line.split()
            number = name[3:].decode("ascii", "replace")
            try:
                if not number.isdecimal() or len(columns) <= IDLE:
                    raise ValueError
                cpus[number] = [float(column) for column in columns[: len(MODES + GUEST_MODES)]]
            except ValueError:
                raise ValueError(f"expected a line such as 'cpu0 1 2 3 4' in stat, found {line[:80]!r}") from None
    if not cpus:
        raise ValueError(f"expected lines such as 'cpu0 1 2 3 4' in stat, found {text[:80]!r}")
    return cpus


def columns(ticks: Mapping[str, list[float]]) -> list[tuple[str, int]]:
    """Return which CPUs there are, and how many modes of each are told."""
    return [(cpu, len(counts)) for cpu, counts in ticks.items()]


def forward(before: Mapping[str, list[float]], now: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the ticks of now, with those that went back since ``before`` held where they were.

    The kernel's idle and iowait times may go back a little (proc_stat(5)). A CPU whose idle time fell by ``JUMP`` or
    more was switched off and on: it starts afresh.
    """
    return {
        cpu: list(map(max, before[cpu], ticks)) if _continues(before.get(cpu, ()), ticks) else ticks
        for cpu, ticks in now.items()
    }


def _continues(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and before[IDLE] - now[IDLE] < JUMP


def hertz(text: bytes) -> dict[Labels, float]:
    """Return how fast each CPU is clocked, by its number, core and package; not every architecture's cpuinfo says it.

    Raises ``ValueError`` where there is something else than a number.
    """
    return {
        (cpu, _cpuinfo.field(fields, "core"), _cpuinfo.field(fields, "package")): float(fields["cpu MHz"]) * 1e6
        for cpu, fields in _cpuinfo.parse(text).items()
        if "cpu MHz" in fields
    }


@hookimpl
def agentd_collectors() -> list[type[Cpu]]:
    """Register the collector."""
    return [Cpu]
