"""What memory is used for, from /proc/meminfo."""

from collections.abc import Sequence
from operator import mul

from agentd.plugin import Collector, Config, Frame, Layout, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed
from agentd_plugins.collectors.host._places import NOWHERE, Places


class Meminfo(Collector[Config]):
    """Sizes of the kinds of memory.

    The list of fields is that of node_exporter 1.12, and what versions up to 1.8, which took every field, told of the
    kernels of their time: a newer kernel brings no names that no node_exporter has.
    """

    name = "meminfo"
    blocking = False

    fields = {
        field: gauge(f"node_memory_{name}", text)
        for field, name, text in (
            (b"Active", "Active_bytes", "Memory used of late, to be reclaimed last, in bytes."),
            (b"Active(anon)", "Active_anon_bytes", "Memory of no file (tmpfs too) used of late, in bytes."),
            (b"Active(file)", "Active_file_bytes", "Page cache of files used of late, in bytes."),
            (b"AnonHugePages", "AnonHugePages_bytes", "Memory of no file in transparent huge pages, in bytes."),
            (b"AnonPages", "AnonPages_bytes", "Memory of no file that is mapped into processes, in bytes."),
            (b"Balloon", "Balloon_bytes", "Memory that the hypervisor has taken back for now, in bytes."),
            (b"Bounce", "Bounce_bytes", "Bounce buffers for devices that reach part of memory only, in bytes."),
            (b"Buffers", "Buffers_bytes", "Page cache of block devices themselves, in bytes."),
            (b"Cached", "Cached_bytes", "Page cache of files, shared memory included and swap cache not, in bytes."),
            (b"CmaFree", "CmaFree_bytes", "Memory set aside for contiguous allocations and free, in bytes."),
            (b"CmaTotal", "CmaTotal_bytes", "Memory set aside for contiguous allocations, in bytes."),
            (b"CommitLimit", "CommitLimit_bytes", "Most that may be promised under strict overcommit, in bytes."),
            (b"Committed_AS", "Committed_AS_bytes", "Memory promised to processes, used or not, in bytes."),
            (b"DirectMap1G", "DirectMap1G_bytes", "Memory that the kernel maps in pages of 1 GiB, in bytes."),
            (b"DirectMap2M", "DirectMap2M_bytes", "Memory that the kernel maps in pages of 2 MiB, in bytes."),
            (b"DirectMap4k", "DirectMap4k_bytes", "Memory that the kernel maps in pages of 4 KiB, in bytes."),
            (b"Dirty", "Dirty_bytes", "Memory that waits to be written to disk, in bytes."),
            (b"FileHugePages", "FileHugePages_bytes", "Page cache of files in huge pages, in bytes."),
            (b"FilePmdMapped", "FilePmdMapped_bytes", "Page cache that processes map as huge pages, in bytes."),
            (b"HardwareCorrupted", "HardwareCorrupted_bytes", "Memory taken out of use as broken, in bytes."),
            (b"HugePages_Free", "HugePages_Free", "Number of huge pages in the pool that are free."),
            (b"HugePages_Rsvd", "HugePages_Rsvd", "Number of huge pages promised and not yet taken from the pool."),
            (b"HugePages_Surp", "HugePages_Surp", "Number of huge pages in the pool beyond its configured size."),
            (b"HugePages_Total", "HugePages_Total", "Number of huge pages in the pool."),
            (b"Hugepagesize", "Hugepagesize_bytes", "Size of one huge page by default, in bytes."),
            (b"Hugetlb", "Hugetlb_bytes", "Memory in pools of huge pages of all sizes, in bytes."),
            (b"Inactive", "Inactive_bytes", "Memory not used of late, to be reclaimed first, in bytes."),
            (b"Inactive(anon)", "Inactive_anon_bytes", "Memory of no file not used of late, in bytes."),
            (b"Inactive(file)", "Inactive_file_bytes", "Page cache of files not used of late, in bytes."),
            (b"KReclaimable", "KReclaimable_bytes", "Memory of the kernel that it can reclaim, slabs too, in bytes."),
            (b"KernelStack", "KernelStack_bytes", "Kernel stacks of all tasks, in bytes."),
            (b"Mapped", "Mapped_bytes", "Page cache that is mapped into processes, in bytes."),
            (b"MemAvailable", "MemAvailable_bytes", "Estimate of what new processes can have without swap, in bytes."),
            (b"MemFree", "MemFree_bytes", "Memory that nothing uses, in bytes."),
            (b"MemTotal", "MemTotal_bytes", "Memory that the kernel manages, in bytes."),
            (b"Mlocked", "Mlocked_bytes", "Memory locked by mlock(2), in bytes."),
            (b"NFS_Unstable", "NFS_Unstable_bytes", "Pages sent to NFS servers and not yet on their disks, in bytes."),
            (b"PageTables", "PageTables_bytes", "Page tables of processes, in bytes."),
            (b"Percpu", "Percpu_bytes", "Memory that the kernel holds once for each CPU, in bytes."),
            (b"SReclaimable", "SReclaimable_bytes", "Slab memory that can be reclaimed, caches say, in bytes."),
            (b"SUnreclaim", "SUnreclaim_bytes", "Slab memory that cannot be reclaimed, in bytes."),
            (b"SecPageTables", "SecPageTables_bytes", "Page tables of virtual machines and IOMMUs, in bytes."),
            (b"Shmem", "Shmem_bytes", "Shared memory and tmpfs, in bytes."),
            (b"ShmemHugePages", "ShmemHugePages_bytes", "Shared memory and tmpfs in huge pages, in bytes."),
            (b"ShmemPmdMapped", "ShmemPmdMapped_bytes", "Shared memory that processes map as huge pages, in bytes."),
            (b"Slab", "Slab_bytes", "Memory in the kernel's caches of data structures, in bytes."),
            (b"SwapCached", "SwapCached_bytes", "Memory read back from swap that still has its copy there, in bytes."),
            (b"SwapFree", "SwapFree_bytes", "Swap space that nothing uses, in bytes."),
            (b"SwapTotal", "SwapTotal_bytes", "Swap space, in bytes."),
            (b"Unevictable", "Unevictable_bytes", "Memory that cannot be reclaimed, locked memory say, in bytes."),
            (b"VmallocChunk", "VmallocChunk_bytes", "Largest free piece of vmalloc space (0 by now), in bytes."),
            (b"VmallocTotal", "VmallocTotal_bytes", "Address space for the kernel's vmalloc, in bytes."),
            (b"VmallocUsed", "VmallocUsed_bytes", "Address space for the kernel's vmalloc in use, in bytes."),
            (b"Writeback", "Writeback_bytes", "Memory that is being written to disk now, in bytes."),
            (b"WritebackTmp", "WritebackTmp_bytes", "Buffers of FUSE for writing back (0 by now), in bytes."),
            (b"Zswap", "Zswap_bytes", "Memory that zswap takes for compressed pages, in bytes."),
            (b"Zswapped", "Zswapped_bytes", "Size of the pages in zswap before compression, in bytes."),
        )
    }

    _places = NOWHERE
    _units: Sequence[float] = ()
    _layout = Layout()

    def collect(self) -> Frame:
        """Return the known fields that this kernel has."""
        numbers = parsed(self.host, "meminfo", self._numbers)  # which may make another layout
        return self._layout.fill(numbers)

    def _numbers(self, text: bytes) -> list[float]:
        numbers = self._places.read(split(text))
        if numbers is None:  # the first time: a running kernel keeps its list
            found = parse(text)
            fields = [field for field in self.fields if field in found]
            if not fields:
                raise ValueError(f"expected fields such as MemTotal in meminfo, found only {text[:80]!r}")
            self._layout = Layout(self.fields[field](0.0) for field in fields)
            self._units = [found[field][1] for field in fields]
            words, values = split(text), {place for place, _ in found.values()}
            marks = (place for place in range(len(words)) if place not in values)
            self._places = Places(words, marks, [found[field][0] for field in fields])
            numbers = self._places.read(words) or []
        return list(map(mul, numbers, self._units))


def split(text: bytes) -> list[bytes]:
    """Return the words of /proc/meminfo, names of fields without the colon that may touch the number."""
    return text.replace(b":", b" ").split()


def parse(text: bytes) -> dict[bytes, tuple[int, float]]:
    """Return which of the words of /proc/meminfo (proc_meminfo(5)) is a field's number, and what it counts in bytes.

    That is 1024 where it says ``kB``, and 1 for bare numbers.
    """
    fields = {}
    place = 0
    for line in text.splitlines():
        field, colon, rest = line.partition(b":")
        numbers = split(rest)
        if colon and numbers:
            fields[field] = place + len(split(field)), 1024.0 if numbers[1:] == [b"kB"] else 1.0
        place += len(split(line))
    if not fields:
        raise ValueError(f"expected lines such as 'MemTotal: 16 kB' in meminfo, found {text[:80]!r}")
    return fields


@hookimpl
def agentd_collectors() -> list[type[Meminfo]]:
    """Register the collector."""
    return [Meminfo]
