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
        self._wanted: list[tuple[bytes, Metric]] = []

    def collect(self) -> list[Family]:
        """Return the fields whose names match."""
        text = self.host.proc("vmstat")
        numbers = [pick(text, name) for name, _ in self._wanted]
        if not numbers or None in numbers:  # the first time: a running kernel keeps its list
            fields = parse(text)
            names = ((name, name.decode()) for name in fields)
            self._wanted = [(name, self.field.bound(word)) for name, word in names if self.config.fields.search(word)]
            numbers = [fields[name] for name, _ in self._wanted]
        return [metric(float(number)) for (_, metric), number in zip(self._wanted, numbers, strict=True) if number]


def pick(text: bytes, name: bytes) -> bytes | None:
    """Return the number of one field; None where it is not there. Of 160 fields, seven are told by default."""
    place = text.find(b"\n" + name + b" ") + 1
    if not place and not text.startswith(name + b" "):
        return None
    begin = place + len(name) + 1
    end = text.find(b"\n", begin)
    return text[begin : end if end >= 0 else len(text)]


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
