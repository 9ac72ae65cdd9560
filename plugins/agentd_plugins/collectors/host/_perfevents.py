"""The performance events that are counted, by the names that node_exporter's options have for them."""

from typing import NamedTuple

from agentd.plugin import Metric, counter
from agentd_plugins.collectors.host import _perf

CPU = ("cpu",)

L1D, L1I, LL, DTLB, ITLB, BPU = range(6)
READ, WRITE = 0, 1
ALL, MISSED = 0, 1


class Event(NamedTuple):
    """A performance event."""

    type: int
    number: int
    metric: Metric


def hardware(number: int, name: str, help: str) -> Event:
    """Return an event that the CPU counts."""
    return Event(_perf.HARDWARE, number, counter(f"node_perf_{name}_total", help, CPU))


def software(number: int, name: str, help: str) -> Event:
    """Return an event that the kernel counts."""
    return Event(_perf.SOFTWARE, number, counter(f"node_perf_{name}_total", help, CPU))


def cache(level: int, operation: int, result: int, name: str, help: str) -> Event:
    """Return an event of a cache."""
    number = _perf.cache(level, operation, result)
    return Event(_perf.CACHE, number, counter(f"node_perf_cache_{name}_total", help, CPU))


HARDWARE = {
    "CpuCycles": hardware(0, "cpucycles", "Number of cycles, at the frequency that the CPU had."),
    "CpuInstr": hardware(1, "instructions", "Number of instructions that were completed."),
    "CacheRef": hardware(2, "cache_refs", "Number of times that the last cache was asked, mostly."),
    "CacheMisses": hardware(3, "cache_misses", "Number of times that the last cache was asked in vain."),
    "BranchInstr": hardware(4, "branch_instructions", "Number of branches that were completed."),
    "BranchMisses": hardware(5, "branch_misses", "Number of branches that were foretold wrongly."),
    "StalledCyclesFrontend": hardware(7, "stalled_cycles_frontend", "Number of cycles in which no work came in."),
    "StalledCyclesBackend": hardware(8, "stalled_cycles_backend", "Number of cycles in which work had to wait."),
    "RefCpuCycles": hardware(9, "ref_cpucycles", "Number of cycles, at a frequency that stays the same."),
}
"""Events of the CPU (``PERF_COUNT_HW_*``) by the names that the options know."""

SOFTWARE = {
    "PageFault": software(2, "page_faults", "Number of page faults."),
    "ContextSwitch": software(3, "context_switches", "Number of switches from one task to another."),
    "CpuMigration": software(4, "cpu_migrations", "Number of tasks that moved to another CPU."),
    "MinorFault": software(5, "minor_faults", "Number of page faults for which no disk was read."),
    "MajorFault": software(6, "major_faults", "Number of page faults for which a disk was read."),
}
"""Events of the kernel (``PERF_COUNT_SW_*``)."""

CACHES = {
    "L1DataReadHit": cache(L1D, READ, ALL, "l1d_read_hits", "Number of reads from the first cache of data."),
    "L1DataReadMiss": cache(L1D, READ, MISSED, "l1d_read_misses", "Number of reads past the first cache of data."),
    "L1DataWriteHit": cache(L1D, WRITE, ALL, "l1d_write_hits", "Number of writes to the first cache of data."),
    "L1InstrReadMiss": cache(
        L1I, READ, MISSED, "l1_instr_read_misses", "Number of instructions not in the first cache."
    ),
    "LLReadHit": cache(LL, READ, ALL, "ll_read_hits", "Number of reads from the last cache."),
    "LLReadMiss": cache(LL, READ, MISSED, "ll_read_misses", "Number of reads past the last cache."),
    "LLWriteHit": cache(LL, WRITE, ALL, "ll_write_hits", "Number of writes to the last cache."),
    "LLWriteMiss": cache(LL, WRITE, MISSED, "ll_write_misses", "Number of writes past the last cache."),
    "DataTLBReadHit": cache(DTLB, READ, ALL, "tlb_data_read_hits", "Number of addresses of data looked up to read."),
    "DataTLBReadMiss": cache(DTLB, READ, MISSED, "tlb_data_read_misses", "Number of addresses to read not found."),
    "DataTLBWriteHit": cache(DTLB, WRITE, ALL, "tlb_data_write_hits", "Number of addresses looked up to write."),
    "DataTLBWriteMiss": cache(DTLB, WRITE, MISSED, "tlb_data_write_misses", "Number of addresses to write not found."),
    "InstrTLBReadHit": cache(ITLB, READ, ALL, "tlb_instr_read_hits", "Number of instructions' addresses looked up."),
    "InstrTLBReadMiss": cache(
        ITLB, READ, MISSED, "tlb_instr_read_misses", "Number of instructions' addresses not found."
    ),
    "BPUReadHit": cache(BPU, READ, ALL, "bpu_read_hits", "Number of branches that the CPU tried to foretell."),
    "BPUReadMiss": cache(BPU, READ, MISSED, "bpu_read_misses", "Number of branches it could not foretell."),
}
"""Events of caches (``PERF_COUNT_HW_CACHE_*``). As in node_exporter, hits are all accesses, misses included."""
