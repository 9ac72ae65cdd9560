"""What the agent's own process costs, under the names that all Prometheus client libraries use (``process_*``)."""

import os
import resource
import time

from agentd.host import Host
from agentd.metrics.family import Metric, counter, gauge


class ProcessMetrics:
    """Metrics of this process, from proc_pid_statm(5) and proc_pid_fd(5); none where there is no procfs."""

    cpu = counter("process_cpu_seconds_total", "CPU time that this process has used, in the kernel too, in seconds.")
    virtual = gauge("process_virtual_memory_bytes", "Address space of this process, in bytes.")
    resident = gauge("process_resident_memory_bytes", "Memory of this process that lies in RAM, in bytes.")
    started = gauge("process_start_time_seconds", "When this process began, in seconds since 1970.")
    open_fds = gauge("process_open_fds", "Files, sockets and the like that this process has open.")
    max_fds = gauge("process_max_fds", "How many of them it may have open.")

    def __init__(self) -> None:
        self._host = Host()
        self._page = resource.getpagesize()
        self._started = _start_time(self._host)
        self._max_fds = float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def numbers(self) -> list[tuple[Metric, float]]:
        """Return them as they are now; nothing where there is no procfs."""
        try:
            virtual, resident = self._host.proc("self/statm").split()[:2]
            folder = f"{self._host.paths.procfs}/self/fd"
            # Since Linux 6.2 the size of this folder is the number of files; before, they had to be listed.
            files = os.stat(folder).st_size or len(os.listdir(folder)) - 1
        except (OSError, ValueError, IndexError):
            return []
        return [
            (self.cpu, time.process_time()),
            (self.virtual, float(virtual) * self._page),
            (self.resident, float(resident) * self._page),
            *([(self.started, self._started)] if self._started is not None else ()),
            (self.open_fds, float(files)),
            (self.max_fds, self._max_fds),
        ]


def _start_time(host: Host) -> float | None:
    try:
        # Behind the name, which may hold anything, field 3 of proc_pid_stat(5) is the first.
        ticks = float(host.proc("self/stat").rpartition(b")")[2].split()[19])
        booted = next(line for line in host.proc("stat").splitlines() if line.startswith(b"btime "))
        return float(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
