"""The families of groups of processes, as process-exporter names them."""

from collections.abc import Iterator, Mapping

from agentd.plugin import Family, Labels, Metric, counter, gauge
from agentd_plugins.collectors._process_files import Count, Counts, total
from agentd_plugins.collectors._process_ledger import Group, Present

STATES = {"R": "Running", "S": "Sleeping", "D": "Waiting", "Z": "Zombie"}
EMPTY = Present()
GROUP = ("groupname",)
THREAD = ("groupname", "threadname")


class Families:
    """Declares the families, and makes them of what is known about the groups."""

    procs = gauge("namedprocess_namegroup_num_procs", "Number of processes in the group.", GROUP)
    memory = gauge(
        "namedprocess_namegroup_memory_bytes",
        "Memory of the group's processes, in bytes; unique is what nobody else uses.",
        ("groupname", "memtype"),
    )
    oldest = gauge(
        "namedprocess_namegroup_oldest_start_time_seconds", "When the oldest began, in seconds since 1970.", GROUP
    )
    descriptors = gauge("namedprocess_namegroup_open_filedesc", "Number of files that are open.", GROUP)
    worst_ratio = gauge(
        "namedprocess_namegroup_worst_fd_ratio",
        "Open files over those allowed, 0 to 1, of the process that is nearest to its limit.",
        GROUP,
    )
    num_threads = gauge("namedprocess_namegroup_num_threads", "Number of threads.", GROUP)
    states = gauge("namedprocess_namegroup_states", "Number of threads in a state.", ("groupname", "state"))
    restarts = counter(
        "namedprocess_namegroup_restarts_total",
        "Times that all earlier processes of the group were gone and others had come.",
        GROUP,
    )
    cpu = counter("namedprocess_namegroup_cpu_seconds_total", "CPU time, in seconds.", ("groupname", "mode"))
    read = counter("namedprocess_namegroup_read_bytes_total", "Bytes that were read from storage.", GROUP)
    written = counter("namedprocess_namegroup_write_bytes_total", "Bytes that were written to storage.", GROUP)
    major = counter("namedprocess_namegroup_major_page_faults_total", "Page faults that had to read storage.", GROUP)
    minor = counter("namedprocess_namegroup_minor_page_faults_total", "Page faults that read no storage.", GROUP)
    switches = counter(
        "namedprocess_namegroup_context_switches_total",
        "Times that a thread gave up its CPU, or had to.",
        ("groupname", "ctxswitchtype"),
    )
    thread_count = gauge("namedprocess_namegroup_thread_count", "Number of threads of this name.", THREAD)
    thread_cpu = counter(
        "namedprocess_namegroup_thread_cpu_seconds_total",
        "CPU time of the threads of this name, in seconds.",
        (*THREAD, "mode"),
    )
    thread_io = counter(
        "namedprocess_namegroup_thread_io_bytes_total",
        "Bytes that the threads of this name read from and wrote to storage.",
        (*THREAD, "iomode"),
    )
    thread_major = counter(
        "namedprocess_namegroup_thread_major_page_faults_total",
        "Page faults of the threads of this name that had to read storage.",
        THREAD,
    )
    thread_minor = counter(
        "namedprocess_namegroup_thread_minor_page_faults_total",
        "Page faults of the threads of this name that read no storage.",
        THREAD,
    )
    thread_switches = counter(
        "namedprocess_namegroup_thread_context_switches_total",
        "Times that a thread of this name gave up its CPU, or had to.",
        (*THREAD, "ctxswitchtype"),
    )
    scrape_errors = counter("namedprocess_scrape_errors", "Collections that failed as a whole; those are absent.")
    read_errors = counter("namedprocess_scrape_procread_errors", "Processes of which nothing could be read.")
    partial_errors = counter("namedprocess_scrape_partial_errors", "Processes of which something could not be read.")

    def now(self, groups: Mapping[str, Group], present: Mapping[str, Present], *, smaps: bool) -> Iterator[Family]:
        """Yield what the groups have and do at this moment; those without a process have nothing of anything."""
        here = {name: present.get(name, EMPTY) for name in groups}
        yield self.procs({name: float(len(group.members)) for name, group in here.items()})
        yield self.num_threads({name: group.threads for name, group in here.items()})
        yield self.worst_ratio({name: group.worst_ratio for name, group in here.items()})
        yield self.oldest({name: group.oldest for name, group in here.items() if group.members})
        files = {name: total(group.descriptors) for name, group in here.items()}
        yield self.descriptors({name: open_ for name, open_ in files.items() if open_ is not None})
        kinds = ("resident", "virtual", "swapped", "proportionalResident", "proportionalSwapped", "unique")
        sizes: dict[Labels, Count] = {
            (name, kind): total(group.memory.get(kind, ()))
            for name, group in here.items()
            for kind in kinds[: None if smaps else 3]
        }
        yield self.memory({labels: size for labels, size in sizes.items() if size is not None})
        yield self.states(
            {
                (name, state): float(group.states[state])
                for name, group in here.items()
                for state in (*STATES.values(), "Other")
            }
        )

    def since(self, groups: Mapping[str, Group]) -> Iterator[Family]:
        """Yield what the groups have counted."""
        yield self.restarts({name: group.restarts for name, group in groups.items()})
        sums: dict[Labels, Counts] = {(name,): group.sums for name, group in groups.items()}
        for metric, columns in (
            (self.cpu, {"user": "user", "system": "system"}),
            (self.read, {"": "read"}),
            (self.written, {"": "written"}),
            (self.major, {"": "major_faults"}),
            (self.minor, {"": "minor_faults"}),
            (self.switches, {"voluntary": "voluntary", "nonvoluntary": "nonvoluntary"}),
        ):
            yield spread(metric, columns, sums)

    def of_threads(self, groups: Mapping[str, Group], present: Mapping[str, Present]) -> Iterator[Family]:
        """Yield what is known about threads by their names."""
        yield self.thread_count(
            {(name, thread): float(n) for name, group in present.items() for thread, n in group.named.items()}
        )
        sums: dict[Labels, Counts] = {
            (name, thread): counted for name, group in groups.items() for thread, counted in group.threads.items()
        }
        for metric, columns in (
            (self.thread_cpu, {"user": "user", "system": "system"}),
            (self.thread_io, {"read": "read", "write": "written"}),
            (self.thread_major, {"": "major_faults"}),
            (self.thread_minor, {"": "minor_faults"}),
            (self.thread_switches, {"voluntary": "voluntary", "nonvoluntary": "nonvoluntary"}),
        ):
            yield spread(metric, columns, sums)


def spread(metric: Metric, columns: Mapping[str, str], sums: Mapping[Labels, Counts]) -> Family:
    """Return a family of some columns of sums, those not known left out; each adds its own label where it has one."""
    samples: dict[Labels, float] = {}
    for labels, counted in sums.items():
        for label, column in columns.items():
            value: Count = getattr(counted, column)
            if value is not None:
                samples[(*labels, label) if label else labels] = value
    return metric(samples)
