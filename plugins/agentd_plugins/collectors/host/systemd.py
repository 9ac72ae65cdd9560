"""Units of systemd: their states, and what services, sockets and timers count. Asked over D-Bus."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, Regex, counter, gauge, hookimpl
from agentd_plugins.collectors.host import _dbus

SERVICE = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
MANAGER = f"{SERVICE}.Manager"
STATES = ("active", "activating", "deactivating", "inactive", "failed")
UNLIMITED = 2**64 - 1
"""How systemd writes that a number is not known or has no limit (org.freedesktop.systemd1(5))."""
MICROSECOND = 1e-6
UNIT = ("name",)


class SystemdConfig(Config, frozen=True):
    """Options of the collector systemd."""

    unit_include: Regex = Regex(".+")
    """Units to tell of; the expression has to match the whole name. Others count in ``node_systemd_units`` only."""
    unit_exclude: Regex = Regex(r".+\.(automount|device|mount|scope|slice)")
    """Units to leave out even if they are included; the expression has to match the whole name."""
    enable_task_metrics: bool = False
    """Whether to tell how many tasks each service has and may have."""
    enable_restarts_metrics: bool = False
    """Whether to tell how often each service was restarted by systemd (since systemd 235)."""
    enable_start_time_metrics: bool = False
    """Whether to tell since when each unit is active."""


class Unit(NamedTuple):
    """A unit as ``ListUnits`` tells of it."""

    name: str
    load_state: str
    active_state: str
    path: str

    @property
    def kind(self) -> str:
        """What the name ends in, ``service`` say."""
        return self.name.rpartition(".")[2]


class Detail(NamedTuple):
    """A number that units of some kind have: under which name systemd keeps it, and what it becomes here."""

    interface: str
    property: str
    metric: Metric
    unit: float = 1.0


class Systemd(Collector[SystemdConfig]):
    """Units of the system's systemd."""

    name = "systemd"
    extra = "systemd"

    version = gauge(
        "node_systemd_version", "Version of systemd as a number; the label has the whole of it.", ("version",)
    )
    virtualization = gauge(
        "node_systemd_virtualization_info",
        "Always 1: in which kind of virtual machine or container systemd found itself; none on bare metal.",
        ("virtualization_type",),
    )
    units = gauge("node_systemd_units", "Number of units, loaded or not, that are in a state.", ("state",))
    running = gauge("node_systemd_system_running", "1 where the whole system runs and no unit has failed, else 0.")
    states = gauge(
        "node_systemd_unit_state",
        "1 for the state that the unit is in, 0 for the others; type is that of a service or of a mount.",
        ("name", "state", "type"),
    )
    start_time = gauge(
        "node_systemd_unit_start_time_seconds",
        "When the unit became active, in seconds since 1970; 0 where it is not.",
        UNIT,
    )
    details = {
        "socket": (
            Detail(
                f"{SERVICE}.Socket",
                "NAccepted",
                counter("node_systemd_socket_accepted_connections_total", "Number of connections accepted.", UNIT),
            ),
            Detail(
                f"{SERVICE}.Socket",
                "NConnections",
                gauge("node_systemd_socket_current_connections", "Number of connections that are open.", UNIT),
            ),
            Detail(
                f"{SERVICE}.Socket",
                "NRefused",
                gauge("node_systemd_socket_refused_connections_total", "Number of connections refused.", UNIT),
            ),
        ),
        "timer": (
            Detail(
                f"{SERVICE}.Timer",
                "LastTriggerUSec",
                gauge(
                    "node_systemd_timer_last_trigger_seconds",
                    "When the timer last elapsed, in seconds since 1970; 0 where it never did.",
                    UNIT,
                ),
                MICROSECOND,
            ),
        ),
    }
    detailed = tuple(detail.metric for each in details.values() for detail in each)
    restarts = counter("node_systemd_service_restart_total", "Times that systemd restarted the service.", UNIT)
    tasks = gauge("node_systemd_unit_tasks_current", "Number of tasks of the service.", UNIT)
    tasks_max = gauge("node_systemd_unit_tasks_max", "Number of tasks that the service may have.", UNIT)

    def __init__(self, config: SystemdConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._include = re.compile(self.config.unit_include.pattern)
        self._exclude = re.compile(self.config.unit_exclude.pattern)
        of_services: list[Detail] = []
        if self.config.enable_restarts_metrics:
            of_services += [Detail(f"{SERVICE}.Service", "NRestarts", self.restarts)]
        if self.config.enable_task_metrics:
            of_services += [
                Detail(f"{SERVICE}.Service", "TasksCurrent", self.tasks),
                Detail(f"{SERVICE}.Service", "TasksMax", self.tasks_max),
            ]
        self._details = self.details | {"service": tuple(of_services)}

    async def start(self) -> None:
        """Check that the library is there."""
        _dbus.need()

    async def collect(self) -> list[Family]:
        """Return the state of all units at this moment."""
        async with _dbus.service(SERVICE) as systemd:
            text, virtual, state = await systemd.properties(
                [(ROOT, MANAGER, name) for name in ("Version", "Virtualization", "SystemState")]
            )
            everything = parse(await systemd.call(ROOT, MANAGER, "ListUnits"))
            units = [unit for unit in everything if self._tells(unit)]
            families = await self._states(systemd, units)
            families += await self._numbers(systemd, units)
            if self.config.enable_start_time_metrics:
                families.append(await self._start_times(systemd, units))
        number = version(text)
        about = [
            self.version({text if number else "": number}),
            self.virtualization({kind_of_machine(virtual): 1.0}),
            self.units(summary(everything)),
        ]
        if isinstance(state, str):  # systemd 212 and later
            about.append(self.running(float(state == "running")))
        return [*about, *(family for family in families if family.samples)]

    def _tells(self, unit: Unit) -> bool:
        return (
            unit.load_state == "loaded"
            and self._include.fullmatch(unit.name) is not None
            and self._exclude.fullmatch(unit.name) is None
        )

    async def _states(self, systemd: _dbus.Service, units: Sequence[Unit]) -> list[Family]:
        typed = [unit for unit in units if unit.kind in ("service", "mount")]
        types = await systemd.properties([(unit.path, f"{SERVICE}.{unit.kind.capitalize()}", "Type") for unit in typed])
        type_of = {unit.name: type_ for unit, type_ in zip(typed, types, strict=True) if isinstance(type_, str)}
        samples: dict[Labels, float] = {
            (unit.name, state, type_of.get(unit.name, "")): float(state == unit.active_state)
            for unit in units
            for state in STATES
        }
        return [self.states(samples)]

    async def _numbers(self, systemd: _dbus.Service, units: Sequence[Unit]) -> list[Family]:
        wanted = [(unit, detail) for unit in units for detail in self._details.get(unit.kind, ())]
        found = await systemd.properties([(unit.path, detail.interface, detail.property) for unit, detail in wanted])
        samples: dict[Metric, dict[str, float]] = {}
        for (unit, detail), value in zip(wanted, found, strict=True):
            if isinstance(value, int) and value != UNLIMITED:
                samples.setdefault(detail.metric, {})[unit.name] = float(value * detail.unit)
        return [metric(numbers) for metric, numbers in samples.items()]

    async def _start_times(self, systemd: _dbus.Service, units: Sequence[Unit]) -> Family:
        active = [unit for unit in units if unit.active_state == "active"]
        times = await systemd.properties([(unit.path, f"{SERVICE}.Unit", "ActiveEnterTimestamp") for unit in active])
        entered = {unit.name: time for unit, time in zip(active, times, strict=True)}
        return self.start_time(
            {unit.name: time * MICROSECOND for unit in units if isinstance(time := entered.get(unit.name, 0), int)}
        )


def parse(listed: Iterable[Any]) -> list[Unit]:
    """Return the units of an answer of ``ListUnits`` (org.freedesktop.systemd1(5)). Raises ``ValueError``."""
    try:
        return [Unit(name, load, active, path) for name, _, load, active, _, _, path, *_ in listed]
    except (TypeError, ValueError):
        raise ValueError("expected a list of units with at least seven fields each") from None


def summary(units: Iterable[Unit]) -> dict[str, float]:
    """Return how many units are in each state, those in which none is included."""
    counts = Counter(unit.active_state for unit in units)
    return dict.fromkeys(STATES, 0.0) | {state: float(count) for state, count in counts.items()}


def version(text: object) -> float:
    """Return the number in systemd's version, ``252.39`` of ``252.39-1~deb12u1`` say; 0 where there is none."""
    match = re.search(r"[0-9]{3,}(\.[0-9]+)?", text) if isinstance(text, str) else None
    number = float(match[0]) if match else 0.0
    return number if math.isfinite(number) else 0.0


def kind_of_machine(virtualization: object) -> str:
    """Return the label for what systemd says of the machine: nothing means bare metal."""
    return virtualization or "none" if isinstance(virtualization, str) else "unknown"


@hookimpl
def agentd_collectors() -> list[type[Systemd]]:
    """Register the collector."""
    return [Systemd]
