"""Texts by which sysfs tells of PCI devices (Documentation/ABI/testing/sysfs-bus-pci)."""

from agentd.plugin import Labels

GIGA = 1e9

NOT_KNOWN = -1.0
"""What node_exporter tells where a link's speed or width is not known."""


def location(name: str) -> Labels | None:
    """Return segment, bus, device and function that a device's name such as ``0000:45:00.0`` says; None for another."""
    parts = name.replace(".", ":").split(":")
    try:
        numbers = [int(part, 16) for part in parts]
    except ValueError:
        return None
    if len(numbers) != 4 or name.count(".") != 1:
        return None
    segment, bus, device, function = numbers
    return f"{segment:04x}", f"{bus:02x}", f"{device:02x}", f"{function:x}"


def padded(text: str | None, digits: int) -> str:
    """Return a number such as ``0x1af4`` with so many digits at least; an empty text where it is none."""
    try:
        number = int(text or "", 0)
    except ValueError:
        return ""
    return f"0x{number:0{digits}x}" if number >= 0 else ""


def speed(text: str) -> float:
    """Return the transfers a second that ``8.0 GT/s PCIe`` stands for; -1 where the speed is not known."""
    number, _, unit = text.partition(" ")
    try:
        return float(number) * GIGA if unit.startswith("GT/s") else NOT_KNOWN
    except ValueError:
        return NOT_KNOWN
