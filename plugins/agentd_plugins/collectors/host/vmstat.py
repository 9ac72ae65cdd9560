"""Counters of the kernel's memory management, from /proc/vmstat."""

from collections.abc import Sequence

from agentd.plugin import Collector, Config, Frame, Layout, Regex, hookimpl, unknown
from agentd_plugins.collectors.host._parsed import parsed
from agentd_plugins.collectors.host._places import NOWHERE, Places


class VmstatConfig(Config):
    """Options of the collector vmstat."""

    fields: Regex = Regex("^(oom_kill|pgpg|pswp|pg.*fault).*")
    """Which fields to tell, by their names in the file."""


class Vmstat(Collector[VmstatConfig]):
    """Paging, swapping, page faults and whatever else the option asks for."""

    name = "vmstat"
    blocking = False

    field = unknown(
        "node_vmstat_*", "Field {} of /proc/vmstat: a number of pages or events, for pgpgin and pgpgout of KiB."
    )

    _places = NOWHERE
    _layout = Layout()

    def collect(self) -> Frame:
        """Return the fields whose names match."""
        numbers = parsed(self.host, "vmstat", self._numbers)  # which may make another layout
        return self._layout.fill(numbers)

    def _numbers(self, text: bytes) -> list[float]:
        words = text.split()
        numbers = self._places.read(words)
        if numbers is None:  # the first time: a running kernel keeps its list
            fields = {name: place for name, place in parse(words).items() if self.config.fields.search(name)}
            self._layout = Layout(self.field.named(name, 0.0) for name in fields)
            self._places = Places(words, range(0, len(words), 2), fields.values())
            numbers = self._places.read(words) or []
        return numbers


def parse(words: Sequence[bytes]) -> dict[str, int]:
    """Return which of the words of /proc/vmstat (proc_vmstat(5)) is the number of each field."""
    if len(words) % 2 or not words:
        raise ValueError(f"expected names and numbers in vmstat, found {words[-1:]!r} at its end")
    return {name.decode("utf-8", "replace"): 2 * row + 1 for row, name in enumerate(words[::2])}


@hookimpl
def agentd_collectors() -> list[type[Vmstat]]:
    """Register the collector."""
    return [Vmstat]
