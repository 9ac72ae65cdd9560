"""How many processes and threads there are in each state, from the folders of single processes in /proc."""

import os
from collections import Counter
from collections.abc import Iterator

from agentd.plugin import Collector, Config, Context, Family, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Processes(Collector[Config]):
    """Processes and threads of the whole machine, and how many there may be."""

    name = "processes"
    # Kernel memory only, but a file for each of what may be thousands of threads.
    blocking = True

    threads = gauge("node_processes_threads", "Number of threads of all processes.")
    max_threads = gauge("node_processes_max_threads", "Number of threads that there may be (kernel.threads-max).")
    states = gauge(
        "node_processes_state", "Number of processes whose first thread is in a state (proc_pid_stat(5)).", ("state",)
    )
    thread_states = gauge(
        "node_processes_threads_state", "Number of threads in a state (proc_pid_stat(5)).", ("thread_state",)
    )
    pids = gauge("node_processes_pids", "Number of processes.")
    max_processes = gauge("node_processes_max_processes", "Greatest number of a process or thread (kernel.pid_max).")

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._refused = False

    def collect(self) -> list[Family]:
        """Return the numbers; processes that end meanwhile are left out."""
        procfs = self.host.paths.procfs
        states: Counter[str] = Counter()
        thread_states: Counter[str] = Counter()
        threads = 0.0
        listed = os.path.isdir(f"{procfs}/self/task")  # noqa: PTH112 - a copy of procfs need not have them
        for pid, state, number in self._stats(""):
            states[state] += 1
            threads += number
            if not listed:
                continue
            if number == 1:  # most: there is nothing to look up
                thread_states[state] += 1
            else:
                thread_states.update(state for _, state, _ in self._stats(f"{pid}/task/"))
        families = [
            self.states({state: float(number) for state, number in states.items()}),
            self.threads(threads),
            self.pids(float(states.total())),
        ]
        if thread_states:
            families.append(self.thread_states({state: float(number) for state, number in thread_states.items()}))
        for metric, parameter in ((self.max_threads, "threads-max"), (self.max_processes, "pid_max")):
            try:
                families.append(metric(parsed(self.host, f"sys/kernel/{parameter}", float)))
            except OSError:  # not shown to this container
                continue
        return families

    def _stats(self, folder: str) -> Iterator[tuple[str, str, float]]:
        """Yield the number, the state and the number of threads of all processes, or of one process's threads."""
        try:
            names = os.listdir(f"{self.host.paths.procfs}/{folder}")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return
        if not folder and "1" not in names:  # the first process is always there
            self._say_refused()
        for name in names:
            if name.isdecimal():
                try:
                    yield name, *parsed(self.host, f"{folder}{name}/stat", parse)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                except PermissionError:
                    self._say_refused()

    def _say_refused(self) -> None:
        if not self._refused:
            self._refused = True
            self.log.warning(
                "processes of other users are left out: /proc is mounted with hidepid, and seeing them takes "
                "the drop-in processes.conf, or the group that its option gid names"
            )


def parse(text: bytes) -> tuple[str, float]:
    """Return the state and the number of threads from a process's or thread's stat file (proc_pid_stat(5))."""
    _, bracket, rest = text.rpartition(b")")  # a name may have brackets and blanks in it
    words = rest.split(None, 18)
    if not bracket or len(words) < 18:
        raise ValueError(f"expected a name in brackets and 18 fields in stat, found {text[:80]!r}")
    return words[0].decode(errors="backslashreplace"), float(words[17])


@hookimpl
def agentd_collectors() -> list[type[Processes]]:
    """Register the collector."""
    return [Processes]
