"""Resident memory after many scrapes, beside a bare aiohttp server."""

from benchmarks.figures import row, title
from benchmarks.processes import agentd, bare_aiohttp
from benchmarks.scrape import COLLECTORS, OTHERS


def run() -> None:
    """Scrape 1,000 times, then 10,000 times more."""
    title(f"Resident memory, {len(COLLECTORS)} collectors")
    with bare_aiohttp() as bare, agentd(OTHERS) as ours:
        for _ in range(1000):
            bare.scrape()
            ours.scrape()
        base, first = bare.resident(), ours.resident()
        row("bare aiohttp server after 1,000 requests", f"{base:.1f} MiB")
        row("agentd after 1,000 scrapes", f"{first:.1f} MiB, {first / base:.2f} ×", "reach 1.25 ×")
        descriptors = ours.descriptors()
        for _ in range(10_000):
            ours.scrape()
        growth = ours.resident() - first
        row("agentd, growth over the next 10,000 scrapes", f"{growth:+.2f} MiB", "reach 0")
        row("agentd, descriptors before and after", f"{descriptors}, {ours.descriptors()}", "equal")
