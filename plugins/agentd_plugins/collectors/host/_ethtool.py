"""Asks the drivers of network devices what they are and what they count: linux/ethtool.h, by ioctl (netdevice(7))."""

import ctypes
import fcntl
import mmap
import socket
import struct
from struct import Struct
from typing import Any, NamedTuple, Protocol

SIOCETHTOOL = 0x8946
ETHTOOL_GSET, ETHTOOL_GDRVINFO, ETHTOOL_GSTRINGS, ETHTOOL_GSTATS = 0x1, 0x3, 0x1B, 0x1D
ETH_SS_STATS = 1

IFREQ = Struct("16sP16x")
"""``struct ifreq``: name of the device, address of the data."""
SETTINGS = Struct("=IIIHBBBBBBIIHBBI8x")
"""``struct ethtool_cmd``: the command, modes that are supported and advertised, …, whether the mode is negotiated …"""
DRIVER = Struct("=I32s32s32s32s32s12xIIIII")
"""``struct ethtool_drvinfo``: the command, driver, version, firmware, bus, option ROM, …, number of counters …"""
STRINGS = Struct("=III")
"""The head of ``struct ethtool_gstrings``: the command, which strings, how many."""
STATISTICS = Struct("=II")
"""The head of ``struct ethtool_stats``: the command, how many."""

STRING_SIZE = 32
MOST = 32768
"""Counters that a driver may have here; the kernel writes as many as there are just then, however many were meant."""

SPEEDS = {
    0: "10/half/T",
    1: "10/full/T",
    2: "100/half/T",
    3: "100/full/T",
    4: "1000/half/T",
    5: "1000/full/T",
    12: "10000/full/T",
    17: "1000/full/KX",
    18: "10000/full/KX4",
    19: "10000/full/KR",
    20: "10000/full/R_FEC",
    21: "20000/full/MLD2",
    22: "20000/full/KR2",
    23: "40000/full/KR4",
    24: "40000/full/CR4",
    25: "40000/full/SR4",
    26: "40000/full/LR4",
    27: "56000/full/KR4",
    28: "56000/full/CR4",
    29: "56000/full/SR4",
    30: "56000/full/LR4",
    31: "25000/full/CR",
}
"""Megabits a second, duplex mode and medium of the modes that have a speed, by their bit."""

PORTS = {7: "TP", 8: "AUI", 9: "MII", 10: "FIBRE", 11: "BNC", 16: "Backplane"}
"""Sockets that a device may have, by their bit."""

CAPABILITIES = {"autonegotiate": 6, "pause": 13, "asymmetricpause": 14}
"""What a link may be able to do, by name its bit."""


class Settings(NamedTuple):
    """How a link comes about; ``supported`` and ``advertised`` have a bit for each mode (ETHTOOL_LINK_MODE_*)."""

    supported: int
    advertised: int
    negotiated: int


class Driver(NamedTuple):
    """Which driver a device has."""

    driver: str
    version: str
    firmware: str
    bus: str
    rom: str


class Ethtool(Protocol):
    """What the collector asks of a device. Errors are ``OSError``: most drivers lack the one or the other answer."""

    def settings(self, device: str) -> Settings:
        """Return how the device's link comes about, as far as its first 32 modes go."""

    def driver(self, device: str) -> Driver:
        """Return which driver the device has."""

    def statistics(self, device: str) -> list[tuple[str, int]]:
        """Return name and number of all that the driver counts."""

    def close(self) -> None:
        """Close what the first question opened."""


class EthtoolSocket:
    """The kernel's answers, for devices in the agent's network namespace."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        # Pages of it that no driver writes to are never made. It has room for all that the kernel might write.
        self._memory = mmap.mmap(-1, STRINGS.size + MOST * STRING_SIZE)

    def settings(self, device: str) -> Settings:
        """See ``Ethtool``."""
        return parse_settings(self._ask(device, struct.pack("=I", ETHTOOL_GSET), SETTINGS.size))

    def driver(self, device: str) -> Driver:
        """See ``Ethtool``."""
        return parse_driver(self._about(device))[0]

    def statistics(self, device: str) -> list[tuple[str, int]]:
        """See ``Ethtool``."""
        _, count = parse_driver(self._about(device))
        if not 0 < count <= MOST:
            return []
        size = count * STRING_SIZE
        names = self._ask(device, STRINGS.pack(ETHTOOL_GSTRINGS, ETH_SS_STATS, count), STRINGS.size + size)
        numbers = self._ask(device, STATISTICS.pack(ETHTOOL_GSTATS, count), STATISTICS.size + count * 8)
        return parse_statistics(names, numbers)

    def close(self) -> None:
        """See ``Ethtool``."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _about(self, device: str) -> bytes:
        return self._ask(device, struct.pack("=I", ETHTOOL_GDRVINFO), DRIVER.size)

    def _ask(self, device: str, request: bytes, size: int) -> bytes:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._memory[:size] = request.ljust(size, b"\0")
        view = (ctypes.c_char * len(self._memory)).from_buffer(self._memory)
        fcntl.ioctl(
            self._socket, SIOCETHTOOL, IFREQ.pack(device.encode(errors="surrogateescape"), ctypes.addressof(view))
        )
        return self._memory[:size]


def parse_settings(answer: bytes) -> Settings:
    """Return the settings from a ``struct ethtool_cmd``. Raises ``ValueError`` where it is cut off."""
    _, supported, advertised, _, _, _, _, _, negotiated, *_ = unpack(SETTINGS, answer)
    return Settings(supported, advertised, negotiated)


def parse_driver(answer: bytes) -> tuple[Driver, int]:
    """Return the driver and its number of counters from a ``struct ethtool_drvinfo``. Raises ``ValueError``."""
    _, *words, _, count, _, _, _ = unpack(DRIVER, answer)
    return Driver(*map(text, words)), count


def parse_statistics(names: bytes, numbers: bytes) -> list[tuple[str, int]]:
    """Return name and number of each counter; nothing where there are more numbers than names, or fewer.

    That is so where the driver got other counters between the two questions. Raises ``ValueError`` where an answer is
    cut off.
    """
    _, _, count = unpack(STRINGS, names)
    _, other = unpack(STATISTICS, numbers)
    if count != other:
        return []
    if len(names) < STRINGS.size + count * STRING_SIZE or len(numbers) < STATISTICS.size + count * 8:
        raise ValueError(f"ethtool: {count} counters do not fit into {len(names)} and {len(numbers)} bytes")
    starts = range(STRINGS.size, STRINGS.size + count * STRING_SIZE, STRING_SIZE)
    values = struct.unpack_from(f"={count}Q", numbers, STATISTICS.size)
    found = ((text(names[start : start + STRING_SIZE]), value) for start, value in zip(starts, values, strict=True))
    return [(name, value) for name, value in found if name]


def text(field: bytes) -> str:
    """Return what is in a field of fixed length, up to a zero."""
    return field.partition(b"\0")[0].decode(errors="replace")


def unpack(layout: Struct, answer: bytes) -> tuple[Any, ...]:
    """Return the fields of a structure. Raises ``ValueError`` where the answer is cut off."""
    if len(answer) < layout.size:
        raise ValueError(f"ethtool: {len(answer)} bytes where {layout.size} are needed")
    return layout.unpack_from(answer)
