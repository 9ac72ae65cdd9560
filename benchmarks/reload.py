"""Reload: how long until what changed runs, and what those who scrape notice of it."""

import contextlib
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.figures import row, spread, title
from benchmarks.processes import Server, agentd

INSTANCES = 100
RELOADS = 20
SCRAPES = 300

PLUGIN = '''
from agentd.plugin import Collector, Config, Family, hookimpl

class Options(Config):
    """Options."""

    value: float = 0.0
    """What is told."""

class Telling(Collector[Options]):
    """Tells its option."""

    name = "telling"
    blocking = False

    def collect(self):
        yield Family.gauge("told", "What is told.", {(self.context.name,): self.config.value}, ("who",))

@hookimpl
def agentd_collectors():
    return [Telling]
'''


def run() -> None:
    """Reload an agent with many instances of which one changes."""
    title(f"Reload with {INSTANCES} plugin instances and all defaults, of which one changes")
    with tempfile.TemporaryDirectory() as plugins, contextlib.ExitStack() as running:
        (Path(plugins) / "telling.py").write_text(PLUGIN)
        changing = Changing(plugins)
        changing.server = running.enter_context(agentd(changing.text(), prepare=changing.remember))
        until_runs = [changing.reload() for _ in range(RELOADS)]
        row("until what changed runs", spread([1000 * seconds for seconds in until_runs], " ms", 1), "reach 100 ms")
        normal = scrapes(changing.server)
        with changing.again_and_again():
            during = scrapes(changing.server)
    high = percentile(normal), percentile(during)
    row(
        "a scrape without and during reloads, median", f"{1000 * median(normal):.1f} ms, {1000 * median(during):.1f} ms"
    )
    row("99th percentile", f"{1000 * high[0]:.1f} ms, {1000 * high[1]:.1f} ms: {high[1] / high[0]:.2f} x", "reach 2 x")


class Changing:
    """An agent's configuration, in which one instance changes each time."""

    server: Server

    def __init__(self, plugins: str) -> None:
        self._plugins = plugins
        self._value = 0
        self._file = Path()

    def remember(self, folder: Path) -> None:
        """Note where the agent's configuration lies."""
        self._file = folder / "agentd.toml"

    def text(self) -> str:
        """Return the configuration of now."""
        sections = [f'[collectors.telling{n}]\nplugin = "telling"\nvalue = {n}\n' for n in range(1, INSTANCES)]
        changing = f'[collectors.changing]\nplugin = "telling"\nvalue = {self._value}\n'
        return f"[agent]\nplugin_dirs = ['{self._plugins}']\n" + "".join(sections) + changing

    def reload(self) -> float:
        """Change one instance, reload, and return after how many seconds the agent says that the new one runs."""
        self._value += 1
        self._file.write_text(self.text())
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        begun = time.perf_counter()
        connection.request("POST", "/api/v1/reload")
        changes = json.loads(connection.getresponse().read())
        took = time.perf_counter() - begun
        connection.close()
        if changes["changed"] != ["collectors.changing"]:
            raise RuntimeError(f"something else has changed: {changes}")
        return took

    @contextlib.contextmanager
    def again_and_again(self) -> Iterator[None]:
        """Reload four times a second meanwhile, which is more often than anybody does."""
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.25):
                self.reload()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def scrapes(server: Server) -> list[float]:
    """Return how many seconds scrapes took, as many a second as a fleet of impatient servers would send."""
    took = []
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        if b"telling99" not in server.scrape(**{"Accept-Encoding": "identity"}):
            raise RuntimeError("a scrape lacks something")
        took.append(time.perf_counter() - begun)
        time.sleep(0.02)
    return took


def percentile(values: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]
