"""What /sys/devices/system/cpu says about CPUs (Documentation/ABI/testing/sysfs-devices-system-cpu)."""

from pathlib import Path

from agentd.plugin import Host, Labels

FOLDER = "devices/system/cpu"

HIGHEST = 65_535
"""No kernel is built for CPUs with greater numbers; a list that names them is broken."""


def cpus(host: Host) -> list[str]:
    """Return the numbers of all CPUs, those switched off included, in the order of the folders' names: 0, 1, 10, 2."""
    try:
        names = [path.name for path in Path(host.paths.sysfs, FOLDER).iterdir()]
    except OSError:
        return []
    return sorted(name[3:] for name in names if name.startswith("cpu") and name[3:].isdecimal())


def number(host: Host, path: str) -> int | None:
    """Return the whole number that a file below sysfs holds; None where there is no such file, or no such number."""
    try:
        text = host.sys(path).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) <= 20 else None


def throttles(host: Host) -> tuple[dict[Labels, str], dict[Labels, str]]:
    """Return the files that count a core's throttling by package and core, and those that count a package's by package.

    All threads of a core show the same number, and so do all cores of a package: of each only the first is named that
    can be read. A CPU that is switched off has neither a place nor counts.
    """
    of_cores: dict[Labels, str] = {}
    of_packages: dict[Labels, str] = {}
    for path in (f"{FOLDER}/cpu{cpu}" for cpu in cpus(host)):
        package = number(host, f"{path}/topology/physical_package_id")
        core = number(host, f"{path}/topology/core_id")
        if package is None or core is None:
            continue
        for files, labels, name in (
            (of_cores, (str(package), str(core)), "core_throttle_count"),
            (of_packages, (str(package),), "package_throttle_count"),
        ):
            file = f"{path}/thermal_throttle/{name}"
            if labels not in files and number(host, file) is not None:
                files[labels] = file
    return of_cores, of_packages


def online(host: Host) -> dict[str, float]:
    """Return for each CPU whether it is in use, 1 or 0; nothing where the first cannot be switched off and on."""
    numbers = cpus(host)
    if not numbers or not Path(host.paths.sysfs, FOLDER, f"cpu{numbers[0]}", "online").exists():
        return {}
    return {cpu: float(number(host, f"{FOLDER}/cpu{cpu}/online") == 1) for cpu in numbers}


def isolated(host: Host) -> list[str]:
    """Return the CPUs that were taken from the scheduler; none where their list cannot be read or understood."""
    try:
        return parse_list(host.sys(f"{FOLDER}/isolated"))
    except (OSError, ValueError):
        return []


def parse_list(text: bytes) -> list[str]:
    """Return the numbers in the kernel's notation for a list of CPUs, ``0-3,9`` say; an empty text lists none."""
    numbers: list[str] = []
    for part in text.decode("ascii", "replace").strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and len(last) <= 5 and len(first) <= 5 and int(last) <= HIGHEST):
            raise ValueError(f"expected a list of CPUs such as 0-3,9, found {text[:80]!r}")
        numbers += map(str, range(int(first), int(last) + 1))
    return numbers
