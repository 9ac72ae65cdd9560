"""Kernel parameters that the options name, from /proc/sys."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, gauge, hookimpl, unknown

UNFIT = re.compile(r"_*[^0-9A-Za-z_]+_*")
"""What becomes one underscore in the name of a metric."""


class SysctlConfig(Config):
    """Options of the collector sysctl.

    Parameters are named as sysctl(8) names them, but every dot stands for a folder, one in an interface's name too.
    """

    include: list[str] = []
    """Numeric parameters: ``kernel.threads-max``. Of several numbers each has the label ``index``, or with
    ``fs.file-nr:total,current,max`` a name of its own."""
    include_info: list[str] = []
    """Parameters whose words are told as the label ``value``: ``kernel.seccomp.actions_avail``."""

    def __post_init__(self) -> None:
        for text in self.include:
            parameter(text)
        for text in self.include_info:
            if parameter(text).keys:
                raise ValueError(f"include_info names no values: expected only the parameter's name, found {text!r}")


class Parameter(NamedTuple):
    """A kernel parameter, and what its values are to be called, if anything."""

    name: str
    keys: tuple[str, ...]


class Sysctl(Collector[SysctlConfig]):
    """Kernel parameters, as numbers or as texts."""

    name = "sysctl"
    # Most are plain memory, but some are made up with care: vm.stat_refresh waits for every CPU, and what lies under
    # fs.binfmt_misc may be mounted only by being asked for.
    blocking = True

    number = unknown("node_sysctl_*", "Kernel parameter {}, in its own unit.")
    indexed = unknown(number.name, "Kernel parameter {}, in its own unit, by place.", ("index",))
    info = gauge(
        "node_sysctl_info", "Always 1: the labels tell the words of a kernel parameter.", ("name", "value", "index")
    )

    def __init__(self, config: SysctlConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._numeric = [parameter(text) for text in dict.fromkeys(self.config.include)]
        self._texts = [parameter(text) for text in dict.fromkeys(self.config.include_info)]
        self._metrics: dict[tuple[str, bool], Metric] = {}
        self._said: set[str] = set()

    def collect(self) -> list[Family]:
        """Return the parameters; one that cannot be told is left out, and the log says so once."""
        families: list[Family] = []
        problem = ""
        for wanted in self._numeric:
            try:
                families += self._numbers(wanted, numbers(self._read(wanted)))
            except (OSError, ValueError) as error:
                problem = self._say(wanted, error)
        words: dict[Labels, float] = {}
        for wanted in self._texts:
            try:
                found = self._read(wanted).decode(errors="backslashreplace").split()
                words |= {(wanted.name, word, str(index)): 1.0 for index, word in enumerate(found)}
            except OSError as error:
                problem = self._say(wanted, error)
        if words:
            families.append(self.info(words))
        if problem and not families:
            raise ValueError(problem)
        return families

    def _read(self, wanted: Parameter) -> bytes:
        return self.host.proc("sys/" + wanted.name.replace(".", "/"))

    def _numbers(self, wanted: Parameter, values: Sequence[float]) -> Iterator[Family]:
        if wanted.keys:
            if len(values) != len(wanted.keys):
                raise ValueError(f"{len(wanted.keys)} names were given for {len(values)} values")
            for key, value in zip(wanted.keys, values, strict=True):
                yield self._metric(f"{wanted.name}_{key}")(value)
        elif len(values) == 1:
            yield self._metric(wanted.name)(values[0])
        else:
            yield self._metric(wanted.name, indexed=True)({str(index): value for index, value in enumerate(values)})

    def _metric(self, name: str, *, indexed: bool = False) -> Metric:
        if (name, indexed) not in self._metrics:
            declared = self.indexed if indexed else self.number
            self._metrics[name, indexed] = declared.bound(UNFIT.sub("_", name))
        return self._metrics[name, indexed]

    def _say(self, wanted: Parameter, error: Exception) -> str:
        why = "only root may read it" if isinstance(error, PermissionError) else error
        problem = f"the kernel parameter {wanted.name} is left out: {why}"
        if wanted.name not in self._said:
            self._said.add(wanted.name)
            self.log.warning("%s", problem)
        return problem


def parameter(text: str) -> Parameter:
    """Return what an option names: ``NAME`` or ``NAME:KEY,KEY``. Raises ``ValueError`` where keys fit no metric."""
    name, colon, keys = text.partition(":")
    split = tuple(keys.split(",")) if colon else ()
    if not name or not name.isprintable() or not all(re.fullmatch("[0-9A-Za-z_]+", key) for key in split):
        raise ValueError(f"expected a kernel parameter such as kernel.threads-max or fs.file-nr:a,b,c, found {text!r}")
    return Parameter(name, split)


def numbers(text: bytes) -> list[float]:
    """Return the numbers in a file below /proc/sys, which may be hexadecimal. Raises ``ValueError`` where none is."""
    try:
        values = [float(int(word, 0)) for word in text.split()]
    except (ValueError, OverflowError):
        raise ValueError(f"expected numbers, found {text[:80]!r}") from None
    if not values:
        raise ValueError("expected numbers, found nothing")
    return values


@hookimpl
def agentd_collectors() -> list[type[Sysctl]]:
    """Register the collector."""
    return [Sysctl]
