"""Plugins that do what no plugin should do, and what becomes of each inline, in a thread, and in a process."""

from typing import NamedTuple

WORKS = "works"
FAILS = "fails alone"
LEFT_OUT = "is left out"
CUT = "is cut off at `max_series`"
GIVEN_UP = "is given up at its `timeout`; its thread hangs on"
ENDED = "is ended at its `timeout`, and comes back"
COMES_BACK = "fails alone, and comes back"
AT_LIMIT = "is ended at its `memory_limit`, and comes back"
DIES = "**ends the agent**"
HANGS = "**the agent hangs**, until its watchdog ends it"
GROWS = "**the agent grows**, until its unit ends it"
COPIED = "**a copy of the agent** runs, with its sockets"
DEAF = "**the agent no longer hears SIGTERM**"
REPLACED = "**the agent uses what was put there**"


class Animal(NamedTuple):
    """A bad plugin."""

    does: str
    source: str
    inline: str
    thread: str
    process: str


HEAD = """
import asyncio, ctypes, itertools, os, signal, sys, threading, time
from agentd.plugin import Collector, Config, Family, hookimpl

"""


def animal(name, does, body, inline, thread, process, before=""):
    """Return a plugin whose ``collect`` has this body."""
    lines = "\n        ".join(body.strip().splitlines())
    source = f'''{HEAD}{before}
class Plugin(Collector[Config]):
    """An animal of the zoo."""

    name = "{name}"
    blocking = False

    def collect(self):
        {lines}

@hookimpl
def agentd_collectors():
    return [Plugin]
'''
    return Animal(does, source, inline, thread, process)


GOOD = "return [Family.gauge('of_{0}', 'Good.', 1.0)]"


def at_import(name, does, before, inline=LEFT_OUT, process=LEFT_OUT):
    """Return a plugin that does something when it is imported, and would be good."""
    return animal(name, does, GOOD.format(name), inline, inline, process, before)


ANIMALS = {
    "import_fails": at_import("import_fails", "cannot be imported", "import no_such_module_anywhere"),
    "exits_at_import": at_import("exits_at_import", "raises `SystemExit` when it is imported", "sys.exit(0)"),
    "crashes_at_import": at_import(
        "crashes_at_import", "crashes when it is imported", "ctypes.string_at(0)", DIES, LEFT_OUT
    ),
    "raises": animal("raises", "raises an error", "raise RuntimeError('no such luck')", FAILS, FAILS, FAILS),
    "exits": animal("exits", "raises `SystemExit` when it is asked", "sys.exit(3)", FAILS, FAILS, FAILS),
    "exits_in_thread": animal(
        "exits_in_thread",
        "calls `sys.exit` in a thread of its own",
        f"thread = threading.Thread(target=sys.exit, args=(4,))\nthread.start()\nthread.join()\n"
        f"{GOOD.format('exits_in_thread')}",
        WORKS,
        WORKS,
        WORKS,
    ),
    "prints": animal(
        "prints",
        "prints",
        f"print('a line of the plugin', flush=True)\nos.write(2, b'and another\\n')\n{GOOD.format('prints')}",
        WORKS,
        WORKS,
        WORKS,
    ),
    "registers_twice": animal(
        "registers_twice",
        "registers its name twice",
        GOOD.format("registers_twice"),
        WORKS,
        WORKS,
        WORKS,
        "@hookimpl(specname='agentd_collectors')\ndef again():\n    return [Plugin, Plugin]\n",
    ),
    "mutates": animal(
        "mutates",
        "changes what it was given",
        "self.context.labels['site'] = 'changed'\n"
        "try:\n    self.config.name = 'changed'\nexcept AttributeError:\n    pass\n"
        f"families = {GOOD.format('mutates')[7:]}\nself.seen = getattr(self, 'seen', [])\n"
        "for before in self.seen:\n    before[0].samples.clear()\nself.seen.append(families)\nreturn families",
        WORKS,
        WORKS,
        WORKS,
    ),
    "never_ends": animal(
        "never_ends",
        "returns a generator of families that never ends",
        "return (Family.gauge(f'endless{n}', 'Endless.', 1.0) for n in itertools.count())",
        CUT,
        CUT,
        CUT,
    ),
    "json": animal("json", "has the name of a standard module", GOOD.format("json"), WORKS, WORKS, WORKS),
    "shadows": at_import(
        "shadows",
        "puts a module of its own in the place of a standard one",
        "import types\nsys.modules['colorsys'] = types.ModuleType('colorsys')\n",
        REPLACED,
        WORKS,
    ),
    "takes_signals": animal(
        "takes_signals",
        "changes signal handlers",
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{GOOD.format('takes_signals')}",
        DEAF,
        FAILS,
        WORKS,
    ),
    "forks": animal(
        "forks",
        "forks, and returns in both",
        # The copy ends by itself after a while: where nothing else ends it, the test would leave it behind.
        f"if os.fork() == 0:\n    signal.signal(signal.SIGALRM, signal.SIG_DFL)\n    signal.alarm(20)\n"
        f"{GOOD.format('forks')}",
        COPIED,
        COPIED,
        WORKS,
    ),
    "blocks": animal("blocks", "blocks for ever", "time.sleep(3600)", HANGS, GIVEN_UP, ENDED),
    "spins": animal(
        "spins", "loops without end in C, and lets nobody else run", "sum(itertools.repeat(0))", HANGS, HANGS, ENDED
    ),
    "leaks": animal(
        "leaks",
        "leaks 10 MB each time",
        "self.kept = getattr(self, 'kept', [])\nself.kept.append(b'x' * 10_000_000)\nreturn []",
        GROWS,
        GROWS,
        AT_LIMIT,
    ),
    "segfaults": animal("segfaults", "crashes", "ctypes.string_at(0)", DIES, DIES, COMES_BACK),
    "leaves": animal("leaves", "calls `os._exit`", "os._exit(5)", DIES, DIES, COMES_BACK),
}
