"""Counters of the kernel's performance events, one for each CPU, by perf_event_open(2)."""

import ctypes
import os
import platform
import struct
from collections.abc import Callable

HARDWARE, SOFTWARE, TRACEPOINT, CACHE = range(4)
"""Types of events (linux/perf_event.h)."""

CALLS = {
    "x86_64": 298,
    "i686": 336,
    "aarch64": 241,
    "armv7l": 364,
    "loongarch64": 241,
    "ppc64le": 319,
    "riscv64": 241,
    "s390x": 331,
}
"""The number of the system call, for which the C library has no function."""

ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""``struct perf_event_attr`` as it was at first, 64 bytes long, which all kernels take."""

TIMES = 0b11
"""Tell for how long the counter was switched on, and counting."""

EXCLUDE_HYPERVISOR = 1 << 6

EVERY_PROCESS = -1
NO_GROUP = -1
CLOSE_ON_EXEC = 8

VALUE = struct.Struct("=QQQ")


def opener() -> Callable[[int, int, int], int]:
    """Return a function that begins to count an event (its type, its number) on a CPU, and returns a descriptor.

    It raises ``OSError``; so does this where the system call's number is not known for this machine.
    """
    machine = platform.machine()
    if machine not in CALLS or ctypes.sizeof(ctypes.c_void_p) * 8 != (32 if machine in ("i686", "armv7l") else 64):
        raise OSError(f"performance events cannot be counted on {machine}")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long

    def open_(type_: int, event: int, cpu: int) -> int:
        attributes = ATTRIBUTES.pack(type_, ATTRIBUTES.size, event, 0, 0, TIMES, EXCLUDE_HYPERVISOR, 0, 0, 0)
        arguments = (EVERY_PROCESS, cpu, NO_GROUP, CLOSE_ON_EXEC)
        descriptor: int = call(
            ctypes.c_long(CALLS[machine]), ctypes.c_char_p(attributes), *(ctypes.c_long(number) for number in arguments)
        )
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return descriptor

    return open_


def read(descriptor: int) -> float | None:
    """Return how often an event was counted; None where its CPU is switched off, or it was never counted.

    Where there are more events than the CPU has counters, they take turns, and the number is of an event's own turns.
    """
    try:
        content = os.read(descriptor, VALUE.size)
    except OSError:
        return None
    return parse(content)


def parse(content: bytes) -> float | None:
    """Return the number in what a descriptor says; None where it says nothing."""
    if len(content) < VALUE.size:
        return None
    count, _, _ = VALUE.unpack_from(content)
    return float(count)


def cache(level: int, operation: int, result: int) -> int:
    """Return the number of an event of a cache: which cache, reads 0 or writes 1, all 0 or missed 1."""
    return level | operation << 8 | result << 16
