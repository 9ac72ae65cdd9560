"""Reads /proc/cpuinfo, whose layout differs from one architecture to the next."""

from collections.abc import Mapping

WHOLE_MACHINE = ("system type", "Processor", "vendor_id", "features", "Features")
"""Fields that MIPS, ARM and s390 write once, beside the blocks of the single CPUs."""

SPELLINGS = {
    "vendor": ("vendor_id", "vendor", "cpu", "system type"),
    "family": ("cpu family", "CPU Family"),
    "model": ("model",),
    "model_name": ("model name", "Model Name", "cpu model", "isa", "Processor"),
    "microcode": ("microcode",),
    "stepping": ("stepping",),
    "cachesize": ("cache size",),
    "package": ("physical id",),
    "core": ("core id", "hart"),
    "flags": ("flags", "Features", "features"),
    "bugs": ("bugs",),
}
"""What architectures call a field. Of several spellings in one file the first counts."""


def field(cpu: Mapping[str, str], name: str) -> str:
    """Return a field of one CPU under whatever name this architecture has for it; an empty text where it has none."""
    return next((cpu[spelling] for spelling in SPELLINGS[name] if spelling in cpu), "")


def parse(text: bytes) -> dict[str, dict[str, str]]:
    """Return the fields of each CPU in a cpuinfo file by the CPU's number (arch/*/kernel in the kernel's sources).

    A block begins with ``processor``, on s390 also with ``cpu number``, and ends with an empty line; what is outside of
    the blocks is left out, but for what holds for every CPU. Raises ``ValueError`` where a CPU has no number.
    """
    machine: dict[str, str] = {}
    cpus: dict[str, dict[str, str]] = {}
    fields = machine
    for line in text.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        name = name.strip()
        value = value.removeprefix(" ")  # one blank: some CPUs' names begin with further ones
        if not colon:
            fields = machine
        elif name.startswith("processor") or name == "cpu number":
            number = name.removeprefix("processor").strip() if name[-1].isdigit() else value.strip()
            if not number.isdecimal():
                raise ValueError(f"expected the number of a CPU in cpuinfo, found {line[:80]!r}")
            fields = cpus.setdefault(number, {})
        else:
            fields[name] = value
    common = {name: machine[name] for name in WHOLE_MACHINE if name in machine}
    return {number: common | own for number, own in cpus.items()}
