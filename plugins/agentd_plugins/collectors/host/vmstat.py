"""Counters of the kernel's memory management, from /proc/vmstat."""

from agentd.plugin import Collector, Config, Context, Family, Metric, Regex, hookimpl, unknown


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

    def __init__(self, config: VmstatConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._names: list[bytes] = []
        self._wanted: list[tuple[bytes, Metric]] = []

    def collect(self) -> list[Family]:
        """Return the fields whose names match."""
        fields = parse(self.host.proc("vmstat"))
        names = list(fields)
        if names != self._names:  # the first time: a running kernel keeps its list
            self._names = names
            decoded = ((name, name.decode()) for name in names)
            self._wanted = [(name, self.field.bound(text)) for name, text in decoded if self.config.fields.search(text)]
        return [metric(float(fields[name])) for name, metric in self._wanted]


def parse(text: bytes) -> dict[bytes, bytes]:
    """Return the fields of /proc/vmstat (proc_vmstat(5)), their numbers unread: most are never asked for."""
    words = text.split()
    if len(words) % 2 or not words:
        raise ValueError(f"expected names and numbers in vmstat, found {text[-80:]!r} at its end")
    return dict(zip(words[::2], words[1::2], strict=True))


@hookimpl
def agentd_collectors() -> list[type[Vmstat]]:
    """Register the collector."""
    return [Vmstat]
