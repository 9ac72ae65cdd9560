"""From exec to the first answered scrape, and what each import costs."""

import re
import subprocess
import sys

from benchmarks.figures import row, spread, title
from benchmarks.processes import agentd, bare_aiohttp

ROUNDS = 7


def run() -> None:
    """Start it again and again; then list the imports."""
    title(f"From exec to the first answered scrape, {ROUNDS} rounds in turn")
    ours, bare = [], []
    for _ in range(ROUNDS):
        with agentd() as server:
            ours.append(server.first_answer)
        with bare_aiohttp() as server:
            bare.append(server.first_answer)
    row("bare aiohttp server", spread(bare, " s"))
    row("agentd", spread(ours, " s"), "reach 0.7 s")
    title("What the imports of `agentd run` cost (milliseconds with all that they import in turn)")
    for milliseconds, module in imports():
        row(module, f"{milliseconds:.0f} ms")


def imports() -> list[tuple[float, str]]:
    """Return the costliest imports of what a running agent has loaded."""
    program = "import agentd.cli.run, agentd.daemon, agentd_plugins.exporters.prometheus, agentd.web.server"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True, check=True
    )
    found = re.findall(r"\|\s+(\d+) \| ( *)(\S+)$", result.stderr, re.MULTILINE)
    wanted = ("agentd.daemon", "aiohttp", "aiohttp.web", "asyncio", "click", "email", "importlib.metadata", "isal",
              "logging", "msgspec", "pluggy", "prometheus_client", "ssl", "site")  # fmt: skip
    return sorted(((int(micros) / 1e3, module) for micros, _, module in found if module in wanted), reverse=True)
