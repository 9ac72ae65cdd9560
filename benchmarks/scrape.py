"""CPU and time per scrape, agentd beside node_exporter with the same collectors."""

import gzip
import time
from statistics import median

from agentd_plugins import DEFAULTS
from benchmarks.figures import row, spread, title
from benchmarks.processes import Server, agentd, node_exporter

ROUNDS = 9
SCRAPES = 200
COLLECTORS = (
    *("cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev"),
    *("os", "pressure", "stat", "textfile", "time", "uname", "vmstat"),
)
"""Those that make up most dashboards."""
OTHERS = f"[collectors]\ndisable = {sorted(set(DEFAULTS['collectors']) - set(COLLECTORS))}\n"


def series(server: Server) -> int:
    """Return how many series a scrape shows."""
    text = gzip.decompress(server.scrape())
    return sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))


def measure(server: Server) -> tuple[float, list[float]]:
    """Return CPU seconds a scrape, and the seconds that each took."""
    before = server.cpu()
    times = []
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        server.scrape()
        times.append(time.perf_counter() - begun)
    return (server.cpu() - before) / SCRAPES, times


def run() -> None:
    """Measure in turn, so that what else the machine does meets both."""
    title(f"One scrape with gzip, {len(COLLECTORS)} collectors, {ROUNDS} rounds of {SCRAPES} in turn")
    with agentd(OTHERS) as ours, node_exporter(COLLECTORS) as theirs:
        for server in (ours, theirs):
            measure(server)
        count_ours, count_theirs = series(ours), series(theirs)
        cpu_ours, cpu_theirs, ratios, whole = [], [], [], []
        times_ours: list[float] = []
        times_theirs: list[float] = []
        for _ in range(ROUNDS):
            one, times = measure(ours)
            times_ours += times
            two, times = measure(theirs)
            times_theirs += times
            cpu_ours.append(one * 1e3)
            cpu_theirs.append(two * 1e3)
            whole.append(one / two)
            ratios.append(one / count_ours / (two / count_theirs))
        row("series, agentd / node_exporter", f"{count_ours} / {count_theirs}")
        row("CPU a scrape, agentd", spread(cpu_ours, " ms"))
        row("CPU a scrape, node_exporter", spread(cpu_theirs, " ms"))
        row("CPU a scrape, ratio", spread(whole))
        row("CPU a scrape and series, ratio", spread(ratios, digits=3), "reach 0.25")
        for name, times in (("agentd", times_ours), ("node_exporter", times_theirs)):
            ordered = sorted(times)
            p99 = ordered[int(len(ordered) * 0.99)] * 1e3
            row(f"time a scrape, {name}: median, 99th percentile", f"{median(ordered) * 1e3:.2f} ms, {p99:.2f} ms")
