"""Reads the adapters and ports below /sys/class/infiniband: Documentation/ABI/stable/sysfs-class-infiniband."""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agentd.plugin import Host

LANES = 4
"""What counts of data have to be multiplied by to be bytes: they are kept in words of 32 bits."""

GIGABIT = 1_000_000_000 / 8
"""Bytes in the unit of a port's rate."""

WORDS = {"port_rcv_data", "port_xmit_data", "port_rcv_data_64", "port_xmit_data_64"}
"""Counters that count words instead of bytes."""


class Port(NamedTuple):
    """One port of an adapter: its numbers by the names of their files, which are in folders of counters mostly."""

    device: str
    number: str
    values: Mapping[str, float]


def listed(host: Host, folder: str) -> list[str]:
    """Return the names in a folder of sysfs. Raises ``OSError``."""
    return os.listdir(f"{host.paths.sysfs}/{folder}")


def ports(host: Host, device: str) -> Iterator[Port]:
    """Yield the ports of an adapter, none where it went away."""
    folder = f"class/infiniband/{device}/ports"
    try:
        numbers = listed(host, folder)
    except OSError:
        return
    for number in numbers:
        if number.isdecimal():
            yield Port(device, str(int(number)), dict(values(host, f"{folder}/{number}")))


def values(host: Host, folder: str) -> Iterator[tuple[str, float]]:
    """Yield name and value of the numbers that a port has; those that cannot be read now are left out."""
    for name, parse in (("state", state), ("phys_state", state), ("rate", rate)):
        if (value := parse(text(host, f"{folder}/{name}"))) is not None:
            yield name, value
    for counters in ("counters", "counters_ext", "hw_counters"):  # the second before Linux 4.5
        try:
            names = listed(host, f"{folder}/{counters}")
        except OSError:
            continue
        for name in names:
            if (value := count(text(host, f"{folder}/{counters}/{name}"))) is not None:
                yield f"{counters}/{name}", value * LANES if name in WORDS else value


def text(host: Host, path: str) -> str:
    """Return the contents of a file of sysfs, empty where it cannot be read."""
    try:
        return host.sys(path).decode(errors="replace").strip()
    except OSError:
        return ""


def state(content: str) -> float | None:
    """Return the number in ``4: ACTIVE``."""
    return count(content.partition(":")[0].strip())


def rate(content: str) -> float | None:
    """Return the bytes a second that ``100 Gb/sec (4X EDR)`` stands for."""
    try:
        bytes_a_second = float(content.partition(" ")[0]) * GIGABIT
    except ValueError:
        return None
    return float(int(bytes_a_second)) if 0 <= bytes_a_second < 2**64 else None


def count(content: str) -> float | None:
    """Return a count; None for ``N/A (no PMA)`` and whatever else is none."""
    number = float(content) if content.isascii() and content.isdecimal() else None
    return number if number is None or number <= 2**64 else None
