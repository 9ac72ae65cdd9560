"""Each rule of ``check_plugin`` finds a plugin that breaks just that rule, and lets a sound one pass."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

from agentd.metrics.exposition import Renderer
from agentd.plugin import (
    Collector,
    Config,
    Duration,
    Exporter,
    Family,
    NoData,
    Reject,
    Retry,
    Sink,
    Url,
    counter,
    gauge,
    unknown,
)
from agentd.testing import RULES, Broken, check_plugin
from agentd.testing.contract.metrics import ABBREVIATED, BASES, lint


class Options(Config):
    """Options of a door."""

    every: Duration = Duration(5)
    """How often it is looked at."""
    side: Literal["left", "right"] = "left"
    """Which one it is."""
    names: list[str] = []
    """Names of doors."""


class Door(Collector[Options]):
    """A door that breaks no rule."""

    name = "door"

    opened = counter("door_opened_total", "How often it was opened.")
    width = gauge("door_width_meters", "How wide it is.", ("side",))
    any = unknown("door_*_ratio", "What the door says of {}.")

    def __init__(self, config=None, context=None):
        super().__init__(config, context)
        self._task = None

    async def start(self):
        await self.stop()
        self._task = asyncio.create_task(asyncio.sleep(3600))

    async def stop(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def collect(self):
        time.sleep(0.001)  # in a worker, where it may
        return [self.opened(3.0), self.width({self.config.side: 0.9}), self.any.named("light", 0.5)]


class Loop(Door):
    """A door that is looked at on the event loop."""

    blocking = False

    def collect(self):
        self.host.proc("door")
        return [self.opened(3.0)]


class Ledger(Sink[Config]):
    """A sink that takes everything."""

    name = "ledger"

    async def send(self, events):
        await self.in_worker(len, events)


PROC = {"proc": {"door": "1"}}


def findings(plugin, **keywords):
    """Return the rules that a plugin breaks, with what they are broken by."""
    with pytest.raises(Broken) as error:
        check_plugin(plugin, **{**PROC, **keywords})
    assert isinstance(error.value, AssertionError)
    for each in error.value.findings:
        assert each.what in str(error.value)
        assert RULES[each.rule] in str(error.value)
    return [(each.rule, each.subject) for each in error.value.findings]


def made(base=Door, doc="A door.", **attributes):
    """Return a plugin like another, but for this."""
    return type(base)("Made", (base,), {"__doc__": doc, **attributes})


@pytest.mark.parametrize("plugin", [Door, Loop, Ledger])
def test_a_sound_plugin_passes(plugin):
    """What breaks no rule is told nothing of; the families that were seen are returned."""
    seen = check_plugin(plugin, **PROC)
    assert {family.name for family in seen} >= ({"door_opened_total"} if plugin is not Ledger else set())


def test_every_finding_is_told_at_once():
    """Several broken rules are one error, each with what to do, and how to waive it."""

    class Bad(Door):
        name = "Bad Door"
        bad = gauge("door_open_ms", "")

        async def stop(self):
            raise OSError("stuck")

    with pytest.raises(Broken, match=r"Bad breaks the contract of plugins in 6 points:\n") as error:
        check_plugin(Bad)
    text = str(error.value)
    assert "name: 'Bad Door' is not in snake case\n      -> give the class a name in snake case" in text
    assert "metric-unit (door_open_ms): its name has 'ms', which abbreviates a unit" in text
    assert 'waive={"metric-unit:a_name": "why"}' in text
    assert [each.rule for each in error.value.findings] == [
        "name",
        "doc",
        "metric-help",
        "metric-unit",
        "start",
        "stop",
    ]


def test_what_is_waived_is_not_told():
    """By rule, or by rule and subject; each with a reason, and no rule that there is not."""
    bad = made(one=gauge("door_one_ms", "One."), two=gauge("door_two_ms", "Two."))
    assert findings(bad) == [("metric-unit", "door_one_ms"), ("metric-unit", "door_two_ms")]
    assert findings(bad, waive={"metric-unit:door_one_ms": "it was so"}) == [("metric-unit", "door_two_ms")]
    check_plugin(bad, **PROC, waive={"metric-unit": "it was so"})
    with pytest.raises(ValueError, match="there is no rule 'metric-units'"):
        check_plugin(bad, waive={"metric-units": "it was so"})
    with pytest.raises(ValueError, match="needs a reason"):
        check_plugin(bad, waive={"metric-unit": " "})
    with pytest.raises(TypeError, match="expected a class of Collector"):
        check_plugin(Options)


@pytest.mark.parametrize("name", ["Door", "door-left", "1door", "door_", 7])
def test_names_are_in_snake_case(name):
    """A plugin's name is what its section is called."""
    assert findings(made(name=name)) == [("name", "")]


def test_a_class_and_its_options_are_documented():
    """Those of a base class do not count, and each option has its own."""

    class Silent(Config):
        every: Duration = Duration(5)
        side: str = "left"
        """Which one."""

    assert findings(made(doc=None)) == [("doc", "Made")]

    class Speechless(Collector[Silent]):
        """A door."""

        name = "door"

        def collect(self):
            return []

    assert findings(Speechless) == [("doc", "Silent"), ("option-doc", "every")]

    class Inner(Config):
        """A table within the options."""

        sideWays: bool = False  # noqa: N815  # it is to be found

    class Outer(Config):
        """Options."""

        doors: dict[str, list[Inner]] = {}
        """Doors by name."""

    assert findings(made(config_type=Outer, collect=lambda _self: [])) == [
        ("option-name", "doors.sideWays"),
        ("option-doc", "doors.sideWays"),
    ]


def options(**fields):
    """Return a collector with options that nobody could document: they are in no source."""
    kinds = {name: kind for name, (kind, _) in fields.items()}
    defaults = {name: default for name, (_, default) in fields.items() if default is not ...}
    config = type(Config)("Made", (Config,), {"__doc__": "Options.", "__annotations__": kinds, **defaults})
    return made(config_type=config, collect=lambda _self: [])


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"everyTime": (str, "x")}, ("option-name", "everyTime")),
        ({"interval": (str, "x")}, ("option-reserved", "interval")),
        ({"side": (Literal["left"], "right")}, ("option-default", "side")),
        ({"every": (Duration, 5)}, ("option-default", "every")),
        ({"every": (int, None)}, ("option-default", "every")),
        ({"url": (Url, ...)}, ("config", "")),
    ],
)
def test_options_are_sound(field, found):
    """Names are in snake case and free, defaults are what their types accept, and what is required is given."""
    assert findings(options(**field)) == [found]


def test_options_that_are_given_are_used():
    """What is required is given by the test, as a table or by a function of the host."""
    check_plugin(options(url=(Url, ...)), config={"url": "http://localhost/"})
    check_plugin(options(url=(Url, ...)), config=lambda host: {"url": f"file://{host.path('x')}"})


def test_defaults_that_contradict_each_other_are_found():
    """What the options refuse when they are put together."""

    class Odd(Config):
        """Options."""

        def __post_init__(self):
            raise ValueError("never right")

    assert findings(made(config_type=Odd)) == [("config", "")]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({"blocking": "yes"}, ("attribute", "blocking")),
        ({"interval": [5]}, ("attribute", "interval")),
        ({"interval": -1.0}, ("attribute", "interval")),
        ({"max_series": "many"}, ("attribute", "max_series")),
    ],
)
def test_attributes_have_their_types(attributes, found):
    """What the agent goes by is what it expects."""
    bad = made(**attributes, collect=lambda _self: [])
    assert found in findings(bad)


def test_methods_are_awaited():
    """``start`` and its like are coroutine functions; ``collect`` is no asynchronous generator."""

    async def generate(_self):
        yield

    assert findings(made(collect=generate))[0] == ("async", "collect")
    assert findings(made(base=Ledger, reopen=lambda _self: None))[0] == ("async", "reopen")
    check_plugin(made(base=Ledger, send=lambda _self, _events: None))
    assert findings(made(base=Ledger, stop=lambda _self: None))[0] == ("async", "stop")


METRICS = [
    (gauge("door", "One word."), "metric-name"),
    (gauge("doorWidth_meters", "Camel case."), "metric-name"),
    (gauge("door:width_meters", "Colon."), "metric-name"),
    (gauge("door_width_meters", ""), "metric-help"),
    (counter("door_opened", "No total."), "metric-counter"),
    (gauge("door_opened_total", "Total."), "metric-counter"),
    (gauge("door_open_milliseconds", "Not the base."), "metric-unit"),
    (gauge("door_open_ms", "Abbreviated."), "metric-unit"),
    (gauge("door_open_percent", "No ratio."), "metric-unit"),
    (gauge("door_gauge_x", "Kind."), "metric-kind"),
    (gauge("door_open_count", "Suffix."), "metric-suffix"),
    (gauge("door_open_ratio", "Camel case.", ("theDoor",)), "metric-label"),
    (gauge("door_open_ratio", "Taken.", ("instance",)), "metric-label"),
]


@pytest.mark.parametrize(("metric", "rule"), METRICS, ids=lambda value: getattr(value, "name", value))
def test_metrics_follow_the_rules(metric, rule):
    """Each rule for metrics finds a declaration that breaks it, and nothing else."""
    bad = made(own=metric, opened=None, any=None, width=None, collect=lambda _self: [])
    assert findings(bad) == [(rule, metric.name)]


OURS = {"pct", "percent"}
"""Words that Prometheus's tool lets be: here ratios go from 0 to 1."""


def test_the_rules_for_metrics_are_those_of_prometheus(server_binary):
    """Promtool finds something wrong with the very names that are found here, of all that these words give."""
    sizes = [f"{size}{unit}" for size in ("milli", "kilo", "mebi", "tebi") for unit in ("seconds", "bytes", "volts")]
    plain = "open light total count sum bucket info ratio gauge counter summary histogram untyped second watts".split()
    words = {*plain, *sizes, *ABBREVIATED, *BASES} - OURS
    names = {form.format(word) for word in words for form in ("door_{}", "door_{}_x", "{}_door", "door_{}_total")}
    metrics = [gauge(name, "Help.") for name in names] + [counter(f"of_{name}", "Help.") for name in names]
    text = Renderer().render([metric(1.0) for metric in metrics])
    command = [server_binary("promtool"), "check", "metrics"]
    run = subprocess.run(command, input=text, capture_output=True, check=False, timeout=60)
    found = {line.split()[0] for line in (run.stdout + run.stderr).decode().splitlines()}
    assert len(found) > 300
    for metric in metrics:
        mine = {rule for rule, _ in lint(metric.name, metric.kind, metric.help, metric.labels)}
        # Newer ones of the tool let the names of other kinds be, where older ones took none.
        if mine != {"metric-kind"} or metric.kind in metric.name.split("_"):
            assert bool(mine) == (metric.name in found), metric.name


def test_what_is_told_is_what_was_declared():
    """A family that was not declared, or is another, is found; so is one whose values nobody can show."""

    def tell(*families):
        return made(collect=lambda _self: list(families))

    assert findings(tell(Family.gauge("door_new_ratio2", "New.", 1.0))) == [("metric-undeclared", "door_new_ratio2")]
    other = Family.gauge("door_opened_total", "How often it was opened.", 1.0)
    assert ("metric-differs", "door_opened_total") in findings(tell(other))
    labelled = Family.gauge("door_width_meters", "How wide it is.", {"a": 1.0}, ("door",))
    assert findings(tell(labelled)) == [("metric-differs", "door_width_meters")]
    text = Family.counter("door_opened_total", "How often it was opened.", {(): "many"})
    assert findings(tell(text)) == [("families", "door_opened_total")]
    foreign = tell(Family.gauge("door_new_ratio2", "New.", 1.0))
    foreign.foreign = True
    check_plugin(foreign)


def test_a_collector_stays_within_its_series():
    """More than ``max_series`` are found, not cut off."""

    def collect(self):
        return [self.width({str(number): 1.0 for number in range(20)})]

    assert findings(made(max_series=10, collect=collect)) == [("series", "door_width_meters")]


def test_failures_are_found_and_lack_of_data_is_none():
    """Whatever ``collect`` raises but NoData, whatever the constructor and ``start`` raise."""

    def fail(error):
        def raising(*_arguments):
            raise error

        return raising

    async def no_start(_self):
        raise OSError("no")

    check_plugin(made(collect=fail(NoData("none"))))
    assert findings(made(collect=fail(OSError("broken")))) == [("collect", "")]
    assert findings(made(__init__=fail(OSError("broken")))) == [("construct", "")]
    assert findings(made(__init__=lambda *_: None)) == [("construct", "")]
    assert findings(made(start=no_start)) == [("start", "")]
    assert findings(made(shed=fail(OSError("broken")))) == [("shed", "shed")]
    assert findings(made(routes=fail(OSError("broken")))) == [("routes", "routes")]
    assert findings(made(about=fail(OSError("broken")))) == [("families", "about")]
    for method, rule in (("collect", "collect"), ("__init__", "construct"), ("shed", "shed")):
        assert findings(made(**{method: fail(SystemExit("enough"))}))[0][0] == rule
    assert findings(made(blocking=False, collect=fail(SystemExit("enough")))) == [("collect", "")]


def test_start_and_stop_may_be_called_in_any_way():
    """Twice, without a start, and after a start that was cancelled or failed."""

    class Twice(Ledger):
        """Refuses a second start."""

        begun = False

        async def start(self):
            if self.begun:
                raise RuntimeError("begun already")
            self.begun = True

    class Unstarted(Ledger):
        """Goes by what only start() sets."""

        async def start(self):
            self.opened = []

        async def stop(self):
            self.opened.clear()

    class Once(Ledger):
        """Closes what it has closed."""

        ended = False

        async def stop(self):
            if self.ended:
                raise RuntimeError("ended already")
            self.ended = True

    class Halfway(Ledger):
        """Goes by what is set at the end of start()."""

        async def start(self):
            self.begun = True
            await self.in_worker(time.sleep, 0.001)
            self.opened = []

        async def stop(self):
            if hasattr(self, "begun"):
                self.opened.clear()

    class Never(Ledger):
        """Cannot be stopped."""

        async def stop(self):
            raise RuntimeError("no")

    assert findings(Twice) == [("start-twice", "")]
    assert findings(Unstarted) == [("stop-unstarted", "")]
    assert findings(Once) == [("stop-twice", "")]
    assert findings(Halfway) == [("stop-failed-start", "")]
    assert findings(Never)[0] == ("stop", "")


def test_what_is_left_behind_is_found(monkeypatch):
    """A task, a thread and a descriptor that go on after stop() was called; not what ends by itself in a moment."""
    end = threading.Event()
    opened = []

    class Task(Ledger):
        """Leaves a task."""

        async def start(self):
            self.tasks = [*getattr(self, "tasks", ()), asyncio.create_task(asyncio.sleep(3600))]

    class Thread(Ledger):
        """Leaves a thread."""

        async def start(self):
            threading.Thread(target=end.wait, args=(60,), daemon=True, name="left").start()

    class Descriptor(Ledger):
        """Leaves a descriptor."""

        async def start(self):
            opened.append(os.open("/dev/null", os.O_RDONLY))

    class Ends(Ledger):
        """Leaves what ends by itself in a moment."""

        async def start(self):
            threading.Thread(target=time.sleep, args=(0.05,)).start()
            self.tasks = [*getattr(self, "tasks", ()), asyncio.create_task(asyncio.sleep(0.05))]

    check_plugin(Ends)
    monkeypatch.setattr("agentd.testing.contract.leftovers.PATIENCE", 0.2)
    assert findings(Task) == [("left-task", "")]
    assert findings(Thread) == [("left-thread", "")]
    assert findings(Descriptor) == [("left-descriptor", "")]
    end.set()
    for descriptor in opened:
        os.close(descriptor)


def run_a_program():
    """Run a program and wait for its end."""
    subprocess.run([sys.executable, "-c", ""], check=True, timeout=60)


def connect_to_somebody():
    """Connect to a port at which nobody listens."""
    with socket.socket() as made, pytest.raises(ConnectionRefusedError):
        made.connect(("127.0.0.1", 1))


CALLS = {
    "opens /": lambda: open(__file__).close(),
    "time.sleep(0.001)": lambda: time.sleep(0.001),
    "address of 'localhost'": lambda: socket.getaddrinfo("localhost", 80),
    "opens the database": lambda: sqlite3.connect(__file__).close(),
    "waits for its end": run_a_program,
    "connects a socket": connect_to_somebody,
    "opens /etc": lambda: os.listdir("/etc"),
    "runs b'true'": lambda: os.system("true"),
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.replace("/", "-"))
@pytest.mark.parametrize("way", ["inline", "async", "worker", "sink", "task"])
def test_calls_that_may_wait_are_found_on_the_loop(way, call):
    """Wherever the plugin's code runs on the loop they are found, with the line; in a worker they are welcome."""

    def collect(_self):
        CALLS[call]()
        return []

    async def collect_later(self):
        return collect(self)

    async def send(_self, _events):
        CALLS[call]()

    async def in_a_task(self):
        return await asyncio.create_task(collect_later(self))

    plugin = {
        "inline": made(blocking=False, collect=collect),
        "async": made(collect=collect_later),
        "worker": made(collect=collect),
        "sink": made(Ledger, send=send),
        "task": made(collect=in_a_task),
    }[way]
    if way == "worker":
        check_plugin(plugin)
        return
    with pytest.raises(Broken) as error:
        check_plugin(plugin)
    found, *more = error.value.findings[::-1]
    assert (found.rule, call in found.what, "test_contract.py:" in found.what) == ("loop-call", True, True)
    assert {each.rule for each in more} <= {"loop-held"}  # a program takes its time


def test_calls_that_do_not_wait_are_let_be():
    """Files of the kernel and of a fake one, modules that are imported, addresses that need no asking, a sleep of 0."""

    def read(self):
        Path("/proc/self/stat").read_bytes()
        os.listdir("/sys")
        self.host.proc("door")
        Path("/dev/null").read_bytes()
        sys.modules.pop("colorsys", None)
        import colorsys

        assert colorsys
        time.sleep(0)

    async def collect(self):
        read(self)
        sqlite3.connect(":memory:").close()
        socket.getaddrinfo("127.0.0.1", 80)
        with socket.socket() as made:
            made.setblocking(False)
            with pytest.raises(BlockingIOError):
                made.connect(("127.0.0.1", 1))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await process.wait()
        await asyncio.to_thread(time.sleep, 0.001)
        return []

    check_plugin(made(collect=collect), **PROC)


def compute(seconds):
    """Be busy for some seconds of the processor's time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize("way", ["inline", "async", "generator", "worker", "shed", "routes", "constructor"])
def test_to_hold_the_loop_is_found(way):
    """Code that computes for long on the event loop, each time; in a worker it may."""

    def collect(_self):
        compute(0.15)
        return []

    async def collect_later(_self):
        await asyncio.sleep(0)
        compute(0.15)
        return []

    def generate(self):
        compute(0.15)
        yield self.opened(1.0)

    def construct(self, *arguments):
        compute(0.15)
        Door.__init__(self, *arguments)

    plugin = {
        "inline": made(blocking=False, collect=collect),
        "async": made(collect=collect_later),
        "generator": made(blocking=False, collect=generate),
        "worker": made(collect=collect),
        "shed": made(shed=lambda _self, pressure: compute(0 if pressure else 0.15)),
        "routes": made(routes=collect),
        "constructor": made(__init__=construct),
    }[way]
    if way == "worker":
        check_plugin(plugin)
        return
    subject = {"shed": "shed", "routes": "routes", "constructor": "construct"}.get(way, "collect")
    assert findings(plugin) == [("loop-held", subject)]


def test_what_was_slow_once_is_not_found():
    """A plugin that holds the loop the first times only, as one that imports something does, passes."""
    times = []

    def collect(_self):
        times.append(1)
        compute(0.15 if len(times) <= 4 else 0)
        return []

    check_plugin(made(blocking=False, collect=collect))


def test_what_never_ends_is_found(monkeypatch):
    """A collection, a start and a stop that wait for ever, and one that blocks the loop itself, with the place."""
    monkeypatch.setattr("agentd.testing.contract.life.BEYOND", 0.5)
    monkeypatch.setattr("agentd.testing.contract.life.COLLECTOR_TIMEOUT", 0.1)
    monkeypatch.setattr("agentd.testing.contract.life.START_WITHIN", 0.1)
    end = threading.Event()

    async def for_ever(*_arguments):
        await asyncio.Event().wait()

    assert ("deadline", "collect") in findings(made(collect=for_ever))
    assert ("deadline", "collect") in findings(made(collect=lambda _self: [end.wait(60)][:0]))
    assert ("deadline", "start") in findings(made(Ledger, start=for_ever))
    assert ("deadline", "stop") in findings(made(Ledger, stop=for_ever), deadline=120)
    with pytest.raises(Broken, match=r"(?s)collect\(\) is not done after 3 s\. It hangs here:.*test_contract\.py"):
        check_plugin(made(blocking=False, collect=lambda _self: [end.wait(60)][:0]), deadline=3)
    released(end)


def released(end):
    """Let what hangs go on, and wait for the end of it: the next test has nothing to do with it."""
    end.set()
    for thread in threading.enumerate():
        if thread.name == "agentd-testing":
            thread.join(60)


def test_sinks_find_a_server_that_answers_as_told():
    """The options may name the server; to ask for time, or to refuse an event, is no finding."""
    asked = []

    class Where(Config):
        """Options."""

        url: Url
        """Where."""

    class Asks(Sink[Where]):
        """Asks for time."""

        name = "asks"

        async def send(self, events):
            asked.append((self.config.url, [event.type for event in events]))
            raise Retry("later") if len(asked) % 2 else Reject([events[0].id], "never")

    check_plugin(Asks, config=lambda server: {"url": server.url}, events=["door.opened"])
    assert {(url[:17], *types) for url, types in asked} == {("http://127.0.0.1:", "door.opened")}


def test_exporters_have_something_to_carry():
    """``gather`` and ``render`` answer; a second start and the rest are tried as with all others."""

    class Carries(Exporter[Config]):
        """Carries metrics out."""

        name = "carries"

        async def start(self):
            assert b"agentd_testing 1.0" in await self.render(await self.gather())

    check_plugin(Carries)


def test_exports_are_tried():
    """An export is made as the agent makes it, in a worker or on the loop, and one that raises is found."""
    seen = []

    class Thread(Exporter[Config]):
        """Carries metrics out from a thread."""

        name = "thread"

        def export(self, snapshot):
            time.sleep(0.001)  # where it may
            seen.extend(sample.name for sample in snapshot.samples())

    class Loop(Thread):
        """The same on the event loop."""

        async def export(self, snapshot):
            seen.append(await self.render(snapshot))

    class Broken(Thread):
        """Cannot carry anything out."""

        interval = -1

        def export(self, snapshot):
            raise OSError("no way")

    check_plugin(Thread)
    check_plugin(Loop)
    assert seen[0] == "agentd_testing"
    assert seen[-1].endswith(b"\nagentd_testing 1.0\n")
    assert sorted(set(findings(Broken))) == [("attribute", "interval"), ("export", "")]


def test_each_rule_is_tried_here():
    """Every rule has a test in this module that names it."""
    source = Path(__file__).read_text()
    assert [rule for rule in RULES if f'"{rule}"' not in source] == []
