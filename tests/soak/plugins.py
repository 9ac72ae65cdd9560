"""Plugins of the agent that is soaked, and its configuration, which is another one at each reload."""

INSIDE = '''
"""Events from inside, and how many objects there are."""

import gc
import json
import sys

from agentd.plugin import Collector, Config, Family, Route, Scope, hookimpl

TYPE = "accounting.number"
COUNTS = {"emitted": 0, "committed": 0}  # of all instances: a reload that changes the labels begins all plugins anew
UNSURE = []  # numbers whose commit was given up: that of an instance that a reload has ended


class Inside(Collector[Config]):
    """Emits two numbered events at each scrape, commits a third, and tells what only the process itself knows."""

    name = "inside"
    blocking = False

    async def collect(self):
        for _ in range(2):
            self.emit(TYPE, {"writer": 1, "number": COUNTS["emitted"]})
            COUNTS["emitted"] += 1
        number = COUNTS["committed"]
        COUNTS["committed"] += 1
        try:
            await self.commit([self.event(TYPE, {"writer": 2, "number": number})])
        except BaseException:
            UNSURE.append(number)
            raise
        return [Family.counter("inside_events_total", "Events.", float(sum(COUNTS.values())))]

    def routes(self):
        return [Route("GET", "/inside", self.tell, Scope.ADMIN, "what the process itself knows")]

    async def tell(self, request, _principal):
        from aiohttp import web

        if request.query.get("tidy"):  # what the collector will find some time is no leak, and makes the count restless
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        return web.Response(text=json.dumps(COUNTS | {"unsure": UNSURE, "blocks": sys.getallocatedblocks()}))


@hookimpl
def agentd_collectors():
    return [Inside]
'''

CHANGING = '''
"""Is begun anew by a reload: with other options, or because the file has changed."""

from agentd.plugin import Collector, Config, Family, hookimpl

VERSION = 0


class Options(Config):
    """Options."""

    number: int = 0
    """Any."""
    fail: bool = False
    """Whether it cannot start."""


class Changing(Collector[Options]):
    """Tells which one it is."""

    name = "changing"
    blocking = False

    async def start(self):
        if self.config.fail:
            raise OSError("it is to fail")

    def collect(self):
        return [Family.gauge("changing_number", "Any.", float(self.config.number + VERSION))]


@hookimpl
def agentd_collectors():
    return [Changing]
'''

FAILING = '''
"""Fails again and again, in three ways."""

import threading

from agentd.plugin import Collector, Config, Family, hookimpl


class Options(Config):
    """Options."""

    number: int = 0
    """Any: another one makes a new instance, which is asked at once."""


class Failing(Collector[Options]):
    """Raises in a thread."""

    name = "failing"

    def collect(self):
        raise RuntimeError(f"it fails, {self.config.number}")


class Wrong(Collector[Options]):
    """Returns what cannot be shown, from the event loop."""

    name = "wrong"
    blocking = False

    def collect(self):
        return [Family.gauge("0 is no name", "Wrong.", 1.0), None, self]


class Sluggish(Collector[Options]):
    """Is not done in time."""

    name = "sluggish"

    def collect(self):
        threading.Event().wait(0.3)  # time.sleep fails where libfaketime steps the clock
        return []


@hookimpl
def agentd_collectors():
    return [Failing, Wrong, Sluggish]
'''

CONFIG = """
labels = {{ label = "{label}" }}

[web]
cors_origins = ["https://{web}.example"]

[journal]
max_size = "8MiB"  # so that events are dropped for room all the time

[collectors.inside]
[collectors.changing]
number = {collector}
[collectors.failing]
number = {failing}
[collectors.wrong]
number = {failing}
[collectors.sluggish]
number = {failing}
timeout = "50ms"
[collectors.robots]
stale_after = "{robots}s"

[exporters.textfile]
path = "{folder}/metrics.prom"
interval = "{exporter}s"

[sinks.archive]
plugin = "file"
start = "beginning"
path = "{folder}/archive/events.jsonl"
max_size = "1MiB"
keep = 100000

[sinks.spare]
plugin = "file"
start = "beginning"
path = "{folder}/spare/events.jsonl"
keep = 100000
batch = {{ events = {sink} }}

[sinks.hook]
plugin = "webhook"
format = "json"
start = "beginning"
timeout = "1s"
url = "http://127.0.0.1:{port}/"
events = ["accounting.*"]
batch = {{ events = {sink} }}
"""

SECTIONS = {
    "label": ("first", "second"),
    "web": ("first", "second"),
    "collector": (0, 1),
    "failing": (0, 1, 2, 3, 4, 5, 6, 7),
    "robots": (30, 31),
    "exporter": (1, 2),
    "sink": (200, 201),
}
"""What a reload changes, and the values that it has in turn. The agent remembers what it has said, so that values
that never came before would have it remember more and more, up to its limits."""

REFUSED = (
    "[collectors.changing\n",
    "\n[collectors.cpu]\nno_such_option = 1\n",
    '\n[collectors.late]\nplugin = "changing"\nfail = true\n',
    '\n[sinks.late]\nplugin = "no_such_plugin"\n',
)
"""What makes a configuration one that is refused: before anything is begun, or when something is."""

SOURCES = {"inside": INSIDE, "changing": CHANGING, "failing": FAILING}
"""The plugins' files."""
