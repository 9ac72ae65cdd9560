"""The child's one file: of the standard library alone, for Python 3.8 and newer, and complete."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import agentd.plugin
from agentd.isolation import child
from agentd.plugin import Family, NoData, Retry
from tests.isolation.conftest import interpreters

FILE = Path(child.__file__)

MISSING = {
    "Answer", "Parameter", "Principal", "Route", "Scope",  # a child answers no requests
    "Exporter", "Sample", "Snapshot", "UnknownCollectorError",  # exporters run in the agent
    "Frame", "Layout",  # what they save is saved by what is said with the agent
    "Backoff", "EventError", "cloud_event", "event_from_json", "Kind",
}  # fmt: skip
"""What a child of another interpreter does without."""

OTHERS = interpreters()


def test_syntax_is_that_of_python_3_8():
    """A Python 3.8 can read the file."""
    ast.parse(FILE.read_text(), feature_version=(3, 8))


def test_nothing_but_the_standard_library_is_imported():
    """Whatever it imports by a statement is part of every Python since 3.8."""
    for node in ast.walk(ast.parse(FILE.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_stand_in_has_what_a_plugin_may_import():
    """Of what ``agentd.plugin`` exports, the stand-in has all that is of use in a child."""
    before = {name: sys.modules[name] for name in ("agentd", "agentd.plugin")}
    try:
        module = child.stand_in()
    finally:
        sys.modules.update(before)
    there = {name for name in agentd.plugin.__all__ if name in vars(module)}
    assert set(agentd.plugin.__all__) - there == MISSING
    assert module.API_VERSION == agentd.plugin.API_VERSION
    with pytest.raises(ImportError, match="has no Route in a process of another interpreter"):
        module.Route  # noqa: B018  # what importing it does


def test_stand_in_takes_the_same_arguments():
    """What plugins call has the same parameters in both."""
    import inspect

    for name in ("gauge", "counter", "unknown"):
        assert list(inspect.signature(getattr(child, name)).parameters) == list(
            inspect.signature(getattr(agentd.plugin, name)).parameters
        )
    for name in ("Family", "Metric", "Collector", "Sink", "Host", "Record", "Retry", "Reject"):
        ours, theirs = getattr(agentd.plugin, name), getattr(child, name)
        public = {each for each in dir(ours) if not each.startswith("_") and inspect.isroutine(getattr(ours, each))}
        known = {each for each in dir(theirs) if not each.startswith("_")}
        lacking = public - known - {"follow", "authenticate", "waits", "forget", "close"}
        assert lacking == set(), name
        for each in public & known:
            try:
                expected = list(inspect.signature(getattr(ours, each)).parameters)
            except (ValueError, TypeError):  # no function
                continue
            assert list(inspect.signature(getattr(theirs, each)).parameters) == expected, f"{name}.{each}"


PLUGIN = '''
import os, sys
class Mine(Config):
    number: int
    every: "Duration" = Duration(1)
    name: "Regex" = Regex("^x")
    secret: "Secret" = Secret("")
class Plugin(Collector[Mine]):
    """Mine."""
    name = "mine"
    version = gauge("version", "Version.", ("of",))
    async def start(self):
        assert self.config.every == 2.5 and isinstance(self.config.every, Duration)
        assert self.config.name.search("xy") and self.config.secret.reveal() == "hidden"
        self.log.warning("started with %d, %s", self.config.number, self.config.secret)
        self.seen = 0
    async def collect(self):
        self.seen += 1
        if self.seen == 3:
            raise NoData("no more")
        self.emit("seen", {"n": self.seen})
        await self.commit([self.event("kept", target="r1")], {"seen": self.seen, "gone": None})
        assert self.state == {"seen": self.seen}
        assert await self.in_worker(max, 1, 2) == 2
        assert self.host.proc("loadavg") and 0 < self.time_left()
        return [self.version({"python": float("%d.%02d" % sys.version_info[:2])}),
                Family.histogram("h", "H.", Histogram([(1.0, 1.0)], 1, 0.5)),
                Family.counter("c_total", "C.", 4)]
@hookimpl
def agentd_collectors():
    return [Plugin]
'''


@pytest.mark.parametrize("version", OTHERS or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
async def test_plugin_runs_in_another_interpreter(standing, caplog, version):
    """Options, host, log, events, commits, state, deadlines and families work without agentd."""
    code = "from agentd.plugin import Duration, Regex, Secret\n" + PLUGIN
    options = {"number": 3, "every": 2.5, "name": "^x", "secret": "hidden"}
    plugin = make(standing, code, options, version)
    major, minor = of(OTHERS[version])
    await plugin.start()
    assert "started with 3, Secret(***)" in caplog.text
    for count in (1, 2):
        plugin.context.deadline = plugin.clock.monotonic() + 30
        families = list(await plugin.collect())
        assert families[0] == Family.gauge("version", "Version.", {("python",): float(f"{major}.{minor:02}")}, ("of",))
        assert families[2] == Family.counter("c_total", "C.", 4.0)
        assert standing.kept.events[-1].payload == {"n": count}
        (event,), state = standing.kept.commits[-1]
        assert (event.type, event.target, state) == ("kept", "r1", {"seen": count, "gone": None})
        standing.kept.state.pop("gone")
    with pytest.raises(NoData, match="no more"):
        await plugin.collect()


def of(python):
    """Return the version of an interpreter."""
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    return map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())


def make(standing, code, options, version):
    """Return what stands for the plugin, with options of their types."""
    from agentd.options import Duration, Regex, Secret

    typed = {
        "number": options["number"],
        "every": Duration(options["every"]),
        "name": Regex(options["name"]),
        "secret": Secret(options["secret"]),
    }
    return standing(code, options=typed, python=OTHERS[version])


FUNCTIONS = """
from agentd.plugin import collector

class Few(Config):
    number: int = 3

@collector(gauge("alone", "Alone."), name="other")
def another():
    return 5

@collector(gauge("level", "Level.", ("n",)), name="mine", interval="1m30s")
def levels(config: Few):
    '''Levels.'''
    return {str(n): n for n in range(config.number)}

@collector(name="named")
async def named(plugin: Collector[Few]):
    '''Names.'''
    return {"seen_total": plugin.config.number, "unknown": None}
"""


@pytest.mark.parametrize("version", ["own", *OTHERS])
async def test_functions_are_collectors_in_a_process(standing, launcher, version):
    """A decorated function is a collector, here and in another interpreter."""
    plugin = standing(FUNCTIONS, python=OTHERS.get(version), options={"number": 2})
    assert plugin.interval == 90
    await plugin.start()
    assert list(await plugin.collect()) == [Family.gauge("level", "Level.", {"0": 0.0, "1": 1.0}, ("n",))]


@pytest.mark.parametrize("function", [lambda path="/run/door": 1, lambda config: 1])
def test_stand_in_refuses_a_parameter_that_nobody_can_configure(function):
    """A function whose first parameter does not say what it is cannot be loaded, as in the agent."""
    with pytest.raises(TypeError, match="annotate it with a class of Config"):
        child.collector(function)


@pytest.mark.parametrize(
    ("returned", "metrics", "expected"),
    [
        (5, [("alone", ())], [("alone", "gauge", {(): 5})]),
        ({"a": 1}, [("level", ("n",))], [("level", "gauge", {("a",): 1})]),
        ({"x_total": 2, "y": None, "z": 3}, [], [("x_total", "counter", {(): 2}), ("z", "gauge", {(): 3})]),
    ],
)
def test_stand_in_makes_families_as_agentd_does(returned, metrics, expected):
    """What a function returns becomes the same families as in the agent."""
    families = {}
    for api in (child, agentd.plugin):
        declared = [api.gauge(name, "Help.", labels) for name, labels in metrics]

        @api.collector(*declared, name="one")
        def function():
            """Help."""
            return returned

        families[api] = [(each.name, each.kind, each.samples) for each in function.plugin().collect()]
    assert families[child] == families[agentd.plugin] == expected


SINK = """
class Plugin(Sink[Config]):
    name = "mine"
    async def send(self, events):
        raise Retry(events[0].event.payload["why"], after=1.5, accepted=len(events) - 1)
@hookimpl
def agentd_sinks():
    return [Plugin]
"""


@pytest.mark.parametrize("version", OTHERS or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
async def test_sink_runs_in_another_interpreter(standing, version):
    """Records and errors of sinks work without agentd."""
    sink = standing(SINK, "sinks", python=OTHERS[version])
    await sink.start()
    record = agentd.plugin.Record(1, "a", "b", b'{"type":"a","id":"1","payload":{"why":"busy"}}')
    with pytest.raises(Retry, match="busy") as caught:
        await sink.send([record, record])
    assert (caught.value.after, caught.value.accepted) == (1.5, 1)


def test_file_is_in_the_package():
    """Where agentd is installed, the file lies beside its modules."""
    assert importlib.util.find_spec("agentd.isolation.child").origin == str(FILE)
