"""Hardware interrupts by CPU and source, from /proc/interrupts."""

from collections.abc import Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Regex, counter, hookimpl
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._parsed import parsed


class InterruptsConfig(Config):
    """Options of the collector interrupts.

    The expressions are searched for in an interrupt's type, info and devices, put together with semicolons:
    ``16;IR-IO-APIC-fasteoi;ehci_hcd:usb1, mmc0`` say.
    """

    name_include: Regex | None = None
    """Interrupts to tell of, all others left out."""
    name_exclude: Regex | None = None
    """Interrupts to leave out, even where ``name_include`` matches them."""
    include_zeros: bool = True
    """Whether to tell of interrupts that a CPU has never had."""


class Source(NamedTuple):
    """A line of the file: where interrupts come from, and how often they came to each CPU, in the order of columns."""

    type: str
    """The interrupt's number, or the letters that the architecture has given it."""
    info: str
    devices: str
    """Empty where the interrupt has no number."""
    counts: list[float]


class Interrupts(Collector[InterruptsConfig]):
    """Interrupts that each CPU has served since boot."""

    name = "interrupts"
    blocking = False

    served = counter(
        "node_interrupts_total",
        "Number of interrupts that the CPU has served.",
        ("cpu", "type", "info", "devices"),
    )

    def __init__(self, config: InterruptsConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filters = (Filter(self.config.name_exclude), Filter(None, self.config.name_include))

    def collect(self) -> list[Family]:
        """Return the counts of all interrupts that the options ask for."""
        samples: dict[Labels, float] = {}
        for source in parsed(self.host, "interrupts", lambda text: list(parse(text))):
            if self._ignores(source):
                continue
            for cpu, count in enumerate(source.counts):
                if count or self.config.include_zeros:
                    samples[str(cpu), source.type, source.info, source.devices] = count
        return [self.served(samples)]

    def _ignores(self, source: Source) -> bool:
        name = f"{source.type};{source.info};{source.devices}"
        return any(names.ignores(name) for names in self._filters)


def parse(text: bytes) -> Iterator[Source]:
    """Yield the interrupts in an interrupts file (proc_interrupts(5)).

    Lines without a count for each CPU and a description (``ERR`` and ``MIS`` on x86) are left out. The counts are
    numbered by their columns, as node_exporter does: where a CPU is switched off, those behind it move up.
    """
    heading, _, rest = text.partition(b"\n")
    cpus = len(heading.split())
    if not cpus:
        raise ValueError(f"expected a heading with CPUs in interrupts, found {heading[:80]!r}")
    for line in rest.split(b"\n"):
        name, _, columns = line.partition(b":")  # nothing but the colon may stand between them (arm64)
        words = columns.split(None, cpus)
        if len(words) <= cpus:
            continue
        description = words[cpus].decode(errors="backslashreplace").split()
        kind = name.decode(errors="backslashreplace").strip()
        split = 1 if kind.isdecimal() else len(description)
        yield Source(kind, " ".join(description[:split]), " ".join(description[split:]), list(map(float, words[:cpus])))


@hookimpl
def agentd_collectors() -> list[type[Interrupts]]:
    """Register the collector."""
    return [Interrupts]
