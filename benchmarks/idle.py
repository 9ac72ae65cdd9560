"""CPU of an agent that is scraped every 15 seconds, as Prometheus does, beside node_exporter's."""

import time

from agentd_plugins import DEFAULTS
from benchmarks.figures import row, title
from benchmarks.processes import agentd, node_exporter, offered

EVERY = 15.0
SCRAPES = 8


def run() -> None:
    """Let both do nothing but answer a scrape now and then, for two minutes."""
    title(f"{SCRAPES} scrapes, one every {EVERY:g} s")
    both = tuple(name for name in DEFAULTS["collectors"] if name in offered())
    with agentd() as ours, node_exporter(both) as theirs:
        for server in (ours, theirs):
            for _ in range(20):
                server.scrape()
        before = ours.cpu(), theirs.cpu()
        for _ in range(SCRAPES):
            time.sleep(EVERY)
            ours.scrape()
            theirs.scrape()
        used = ours.cpu() - before[0], theirs.cpu() - before[1]
        row("CPU a scrape and its 15 s, agentd", f"{used[0] / SCRAPES * 1e3:.2f} ms")
        row("CPU a scrape and its 15 s, node_exporter", f"{used[1] / SCRAPES * 1e3:.2f} ms")
        row("ratio", f"{used[0] / used[1]:.2f}", "reach 0.5")
