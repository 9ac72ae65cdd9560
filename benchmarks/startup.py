"""From exec to the first answered scrape, also with many plugins, and what each import costs."""

import compileall
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from agentd_plugins import DEFAULTS
from benchmarks.figures import row, spread, title
from benchmarks.processes import agentd, bare_aiohttp

ROUNDS = 7
BUNDLED = ("cpu", "loadavg", "meminfo", "netdev")
"""With the exporter ``prometheus``, five bundled plugins."""
INSTALLED = 95
MODULE = '''"""A collector of a package."""

from agentd.plugin import Collector, Config, Duration, Family, gauge, hookimpl


class Options(Config):
    """What may be set."""

    path: str = "/proc/self/stat"
    """The file that is read."""
    pause: Duration = Duration(1)
    """How long to wait."""


class Plugin{number}(Collector[Options]):
    """Counts nothing in particular."""

    name = "plugin{number}"
    blocking = False
    size = gauge("plugin{number}_size_bytes", "How much there was to read.")

    def collect(self) -> list[Family]:
        with open(self.config.path, "rb") as file:
            return [self.size(float(len(file.read())))]


@hookimpl
def agentd_collectors() -> list[type[Plugin{number}]]:
    """Register the collector."""
    return [Plugin{number}]
'''


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
    with_many_plugins()
    title("What the imports of `agentd run` cost (milliseconds with all that they import in turn)")
    for milliseconds, module in imports():
        row(module, f"{milliseconds:.0f} ms")


def with_many_plugins() -> None:
    """Start it with the bundled five, and with these and many from packages, in turn."""
    title(f"The same with five bundled plugins, and with {INSTALLED} more of as many packages, {ROUNDS} rounds in turn")
    off = [name for name in DEFAULTS["collectors"] if name not in BUNDLED]
    five, hundred = [], []
    cpu: dict[str, list[float]] = {"five": [], "hundred": []}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        install(Path(folder))
        path = {"PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))}
        for _ in range(ROUNDS):
            with agentd(f"[collectors]\ndisable = {json.dumps(off)}\n") as server:
                five.append(server.first_answer)
                cpu["five"].append(server.cpu())
            on = [f"plugin{number}" for number in range(INSTALLED)]
            text = f"[collectors]\ndisable = {json.dumps(off)}\nenable = {json.dumps(on)}\n"
            with agentd(text, environment=path) as server:
                hundred.append(server.first_answer)
                cpu["hundred"].append(server.cpu())
                assert server.scrape(**{"Accept-Encoding": "identity"}).count(b"_size_bytes ") >= INSTALLED
    row("five bundled plugins", spread(five, " s", 3))
    row(f"the same and {INSTALLED} of packages", spread(hundred, " s", 3))
    row("ratio of the medians", f"{median(hundred) / median(five):.2f}", "reach 1.5")
    row("the same of the CPU time", f"{median(cpu['hundred']) / median(cpu['five']):.2f}")


def install(folder: Path) -> None:
    """Put packages into a folder as pip does: each a module, its compiled form, and a dist-info with an entry point."""
    for number in range(INSTALLED):
        (folder / f"package{number}.py").write_text(MODULE.replace("{number}", str(number)))
        about = folder / f"package{number}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: package{number}\nVersion: 1.0\n\n{'A text. ' * 500}"
        )
        (about / "entry_points.txt").write_text(f"[agentd.collectors]\nplugin{number} = package{number}\n")
        (about / "INSTALLER").write_text("pip\n")
        (about / "RECORD").write_text(
            f"package{number}.py,,\n{about.name}/METADATA,,\n{about.name}/entry_points.txt,,\n"
        )
    compileall.compile_dir(folder, quiet=2)


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
