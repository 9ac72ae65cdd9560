"""How the kernel disciplines its clock, from adjtimex(2)."""

import ctypes
import os
from collections.abc import Callable

from agentd.plugin import Collector, Config, Family, Refused, counter, gauge, hookimpl

TIME_ERROR = 5
"""What adjtimex returns where the clock follows no reference (linux/timex.h)."""

STA_NANO = 0x2000
"""The bit in the status that says that offsets and jitter are nanoseconds; without it they are microseconds."""

MICROSECOND = 1e6
NANOSECOND = 1e9

PPM = 65536.0 * 1e6
"""Frequencies are parts per million with 16 bits behind the binary point."""


class Answer(ctypes.Structure):
    """``struct timex`` of the C library."""

    _fields_ = [  # ctypes reads it once, when the class is made
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    ]


def adjtimex() -> Callable[[], tuple[int, Answer]]:
    """Return a function that asks the kernel, changing nothing, for the state of its clock and the rest.

    It raises ``OSError``; so does this where the C library has no adjtimex.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        raise OSError("the C library has no adjtimex") from None

    def ask() -> tuple[int, Answer]:
        answer = Answer()
        state = call(ctypes.byref(answer))
        if state < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return state, answer

    return ask


class Timex(Collector[Config]):
    """The clock's discipline: by how much it is off, and what is done about it."""

    name = "timex"
    blocking = False

    sync_status = gauge("node_timex_sync_status", "Whether the clock follows a reliable reference: 1 or 0.")
    offset = gauge("node_timex_offset_seconds", "Seconds by which the clock is still to be moved to its reference.")
    freq = gauge(
        "node_timex_frequency_adjustment_ratio", "How fast the clock is made to go: 1 is as it goes by itself."
    )
    maxerror = gauge("node_timex_maxerror_seconds", "Seconds by which the clock may be wrong at most.")
    esterror = gauge("node_timex_estimated_error_seconds", "Seconds by which the clock is thought to be wrong.")
    status = gauge("node_timex_status", "The status bits STA_* of adjtimex(2), as one number.")
    constant = gauge("node_timex_loop_time_constant", "Time constant of the phase-locked loop; greater is slower.")
    tick = gauge("node_timex_tick_seconds", "Seconds between two ticks of the clock.")
    ppsfreq = gauge("node_timex_pps_frequency_hertz", "Frequency offset that a pulse per second shows, as a ratio.")
    jitter = gauge("node_timex_pps_jitter_seconds", "Seconds by which the pulses per second vary.")
    shift = gauge("node_timex_pps_shift_seconds", "Length of the interval between calibrations: a power of 2, seconds.")
    stabil = gauge("node_timex_pps_stability_hertz", "Mean change of the frequency offset lately, as a ratio.")
    jitcnt = counter("node_timex_pps_jitter_total", "Number of pulses that came too early or too late.")
    calcnt = counter("node_timex_pps_calibration_total", "Number of intervals of calibration.")
    errcnt = counter("node_timex_pps_error_total", "Number of calibrations that failed.")
    stbcnt = counter("node_timex_pps_stability_exceeded_total", "Number of times that the frequency varied too much.")
    tai = gauge("node_timex_tai_offset_seconds", "Seconds by which International Atomic Time is ahead of UTC.")

    _ask: Callable[[], tuple[int, Answer]] | None = None

    def collect(self) -> list[Family]:
        """Return what the kernel says about its clock."""
        try:
            self._ask = self._ask or adjtimex()
            state, now = self._ask()
        except PermissionError:  # reading needs no right: a filter of system calls forbids it
            raise Refused("calling adjtimex takes the drop-in clock.conf: a filter of calls forbids it") from None
        return self._families(state, now)

    def _families(self, state: int, now: Answer) -> list[Family]:
        fraction = NANOSECOND if now.status & STA_NANO else MICROSECOND
        return [
            self.sync_status(float(state != TIME_ERROR)),
            self.offset(now.offset / fraction),
            self.freq(1 + now.freq / PPM),
            self.maxerror(now.maxerror / MICROSECOND),
            self.esterror(now.esterror / MICROSECOND),
            self.status(float(now.status)),
            self.constant(float(now.constant)),
            self.tick(now.tick / MICROSECOND),
            self.ppsfreq(now.ppsfreq / PPM),
            self.jitter(now.jitter / fraction),
            self.shift(float(now.shift)),
            self.stabil(now.stabil / PPM),
            self.jitcnt(float(now.jitcnt)),
            self.calcnt(float(now.calcnt)),
            self.errcnt(float(now.errcnt)),
            self.stbcnt(float(now.stbcnt)),
            self.tai(float(now.tai)),
        ]


@hookimpl
def agentd_collectors() -> list[type[Timex]]:
    """Register the collector."""
    return [Timex]
