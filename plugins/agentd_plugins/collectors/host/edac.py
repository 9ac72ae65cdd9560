"""Errors of the memory, corrected or not, from /sys/devices/system/edac (Documentation/driver-api/edac.rst)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, counter, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "devices/system/edac/mc"

CHANNEL_FILE = re.compile(r"ch([0-9]+)_ce_count")
LEADING_DIGITS = re.compile("[0-9]*")

SURVEY_SECONDS = 60.0
"""How long the list of rows and channels, and the labels of modules, which are given to them at boot, are believed."""

NEVER = float("-inf")

ROW = ("controller", "csrow")
CHANNEL = (*ROW, "channel", "dimm_label")


class Counter(NamedTuple):
    """A file that counts errors, and whose."""

    metric: Metric
    labels: Labels
    path: str


class Edac(Collector[Config]):
    """Memory controllers, their rows of chips, and the channels of those."""

    name = "edac"
    blocking = False

    correctable = counter("node_edac_correctable_errors_total", "Number of errors corrected.", ("controller",))
    uncorrectable = counter("node_edac_uncorrectable_errors_total", "Number of errors not corrected.", ("controller",))
    row_correctable = counter(
        "node_edac_csrow_correctable_errors_total", "Number of errors corrected in a row of chips.", ROW
    )
    row_uncorrectable = counter(
        "node_edac_csrow_uncorrectable_errors_total", "Number of errors not corrected in a row of chips.", ROW
    )
    channel_correctable = counter(
        "node_edac_channel_correctable_errors_total", "Number of errors corrected in a channel of a row.", CHANNEL
    )
    channel_uncorrectable = counter(
        "node_edac_channel_uncorrectable_errors_total", "Number of errors not corrected in a channel of a row.", CHANNEL
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)
        self._counters: list[Counter] = []
        self._surveyed = NEVER

    def collect(self) -> list[Family]:
        """Return the numbers of this moment; none where no driver watches over the memory."""
        now = self.clock.monotonic()
        if now - self._surveyed > SURVEY_SECONDS:
            self._counters = list(self._survey())
            self._surveyed = now
        families: dict[str, Family] = {}
        for metric, labels, path in self._counters:
            number = self._sysfs.count(path)
            if number is not None:
                if metric.name not in families:
                    families[metric.name] = metric({})
                families[metric.name].samples[labels] = number
        return list(families.values())

    def _survey(self) -> Iterator[Counter]:
        for controller in self._sysfs.numbered(FOLDER, "mc"):
            path, number = f"{FOLDER}/{controller}", digits(controller, "mc")
            yield Counter(self.correctable, (number,), f"{path}/ce_count")
            yield Counter(self.row_correctable, (number, "unknown"), f"{path}/ce_noinfo_count")
            yield Counter(self.uncorrectable, (number,), f"{path}/ue_count")
            yield Counter(self.row_uncorrectable, (number, "unknown"), f"{path}/ue_noinfo_count")
            for row in self._sysfs.numbered(path, "csrow"):
                yield from self._survey_row(f"{path}/{row}", (number, digits(row, "csrow")))

    def _survey_row(self, path: str, labels: Labels) -> Iterator[Counter]:
        yield Counter(self.row_correctable, labels, f"{path}/ce_count")
        yield Counter(self.row_uncorrectable, labels, f"{path}/ue_count")
        for file in self._sysfs.numbered(path, "ch"):
            if match := CHANNEL_FILE.fullmatch(file):
                channel = match[1]
                told = (*labels, channel, dimm(self._sysfs.text(f"{path}/ch{channel}_dimm_label")))
                yield Counter(self.channel_correctable, told, f"{path}/{file}")
                yield Counter(self.channel_uncorrectable, told, f"{path}/ch{channel}_ue_count")


def digits(name: str, prefix: str) -> str:
    """Return the digits behind the prefix of a name."""
    match = LEADING_DIGITS.match(name, len(prefix))
    return match[0] if match else ""


def dimm(label: str | None) -> str:
    """Return the label of a memory module as dashboards know it: ``mc#0csrow#1`` is ``mc0_csrow1``."""
    if label is None:
        return "unknown"
    return label.replace("#", "").replace("csrow", "_csrow").replace("channel", "_channel")


@hookimpl
def agentd_collectors() -> list[type[Edac]]:
    """Register the collector."""
    return [Edac]
