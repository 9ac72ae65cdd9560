"""Functions under ``@collector``: the same contract as a class, and no hook."""

import asyncio
import inspect
import sys
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import GaugeMetricFamily

from agentd.discovery import Found
from agentd.errors import described
from agentd.metrics.gather import Gatherer
from agentd.metrics.slot import Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Collector, Config, Family, Histogram, collector, counter, gauge
from agentd.plugin.declared import declared_metrics
from agentd.registry import Registry

DOOR = gauge("door_open", "Whether the door is open.")
OPENED = counter("door_opened_total", "How often it was opened.")
HALLS = gauge("hall_temperature_celsius", "How warm a hall is.", ("hall",))


class DoorConfig(Config):
    """Options of the door."""

    scale: float = 2.0
    """What is multiplied."""


def told(function, config=None):
    """Return the families that a function's class collects."""
    found = function.plugin(config).collect()
    return list(asyncio.run(found) if inspect.isawaitable(found) else found)


@pytest.mark.parametrize("number", [1.5, 1, True])
def test_a_number_is_the_declared_metric(number):
    """The name, the help and the kind are those of the declaration."""

    @collector(DOOR, interval="5s")
    def door():
        return number

    assert told(door) == [DOOR(number)]
    assert door.plugin.name == "door"
    assert door.plugin.interval == 5.0
    assert declared_metrics(door.plugin) == [DOOR]
    assert door() == number  # a test calls it as what it is


def test_label_values_are_those_of_the_declared_metric():
    """One metric with labels is told by a mapping from their values."""

    @collector(HALLS)
    def halls():
        return {"north": 19.0, "south": 21.5}

    assert told(halls) == [HALLS({"north": 19.0, "south": 21.5})]


def test_names_are_told_by_a_mapping():
    """What is declared is told as declared, what is not goes by its name, and what is not known is absent."""

    @collector(DOOR, OPENED, HALLS)
    def door():
        """What the door of the hall says.

        It says much.
        """
        return {
            "door_open": None,
            "door_opened_total": 3,
            "hall_temperature_celsius": {"north": 19.0},
            "door_angle": 20,
            "door_closed_total": 2,
        }

    text = "What the door of the hall says."
    assert told(door) == [
        OPENED(3),
        HALLS({"north": 19.0}),
        Family("door_angle", "gauge", text, (), {(): 20}),
        Family("door_closed_total", "counter", text, (), {(): 2}),
    ]


@given(st.dictionaries(st.sampled_from(["a_total", "b", "c"]), st.none() | st.floats() | st.integers()))
@settings(max_examples=100, deadline=None)
def test_any_mapping_is_told(values):
    """Each value that is known is told once, whatever it is, and none that is not."""

    @collector
    def numbers():
        return values

    known = {name: value for name, value in values.items() if value is not None}
    assert {family.name: family.samples[()] for family in told(numbers)} == known


@pytest.mark.parametrize(
    "families",
    [
        [DOOR(1.0)],
        DOOR(1.0),
        (DOOR(1.0),),
        [GaugeMetricFamily("a", "A.", 1)],
        Histogram(((1.0, 2),), 2, 1.5),
    ],
)
def test_families_are_told_as_they_are(families):
    """A function returns whatever a class may, one family alone included."""

    @collector(DOOR)
    def door():
        return families

    expected = [DOOR(families)] if isinstance(families, Histogram) else families
    assert told(door) == ([expected] if isinstance(expected, Family) else list(expected))


def test_a_generator_is_told():
    """A function may yield its families."""

    @collector
    def door():
        yield DOOR(1.0)

    assert told(door) == [DOOR(1.0)]


def test_one_that_waits():
    """An async function is an async collector, and so is a plain one that returns something to await."""

    @collector(DOOR)
    async def door():
        await asyncio.sleep(0)
        return 1.0

    async def later():
        return 2.0

    @collector(DOOR)
    def returning():
        return later()

    assert asyncio.iscoroutinefunction(door.plugin.collect)
    assert told(door) == [DOOR(1.0)]
    assert told(returning) == [DOOR(2.0)]


def test_what_a_function_is_given():
    """Its options or the plugin, as the first parameter's annotation says; further ones keep their defaults."""

    @collector(DOOR)
    def by_options(config: DoorConfig):
        return config.scale

    @collector(DOOR)
    def by_plugin(plugin: Collector[DoorConfig]):
        return plugin.config.scale + len(plugin.host.proc("loadavg")) * 0

    @collector(DOOR)
    def by_text(plugin: "Collector[DoorConfig]"):
        return plugin.config.scale

    @collector(DOOR)
    def with_default(config: DoorConfig = DoorConfig(scale=1.0)):  # noqa: B008  # it cannot be changed
        return config.scale

    @collector(DOOR)
    def bare(plugin: Collector):
        return float(type(plugin.config) is Config)

    @collector(DOOR)
    async def waiting(config: DoorConfig, speed=3.0, *, offset=0.0):
        return config.scale * speed + offset

    for function in (by_options, by_plugin, by_text, with_default):
        assert function.plugin.config_type is DoorConfig
        assert told(function, DoorConfig(scale=7.0)) == [DOOR(7.0)]
    assert told(bare) == [DOOR(1.0)]
    assert told(waiting) == [DOOR(6.0)]


def returning(value, *metrics):
    """Return a decorated function that returns something."""

    @collector(*metrics)
    def door():
        return value

    return door


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (returning(1.0, DOOR, OPENED), "of which metric"),
        (returning(1.0, HALLS, DOOR), "of which metric"),
        (returning(None, DOOR), "door() returned None"),
        (returning("3", DOOR), "door() returned '3'"),
        (returning({"halls": {"a": 1}}, DOOR, OPENED), "'halls', which is not declared"),
    ],
)
def test_what_makes_no_sense_is_said(function, says):
    """An answer of which nobody knows what it means is this collector's failure, and the error says what to write."""
    with pytest.raises(TypeError) as error:
        told(function)
    assert says in str(error.value)
    assert described(error.value) == str(error.value), "the place in agentd at which that was seen helps nobody"


def two(a, b):
    """Take two arguments."""


def defaulted(path: str = "/run/door"):
    """Take what looks like an option, and would be none."""


def by_keyword(*, config: DoorConfig):
    """Take options where nobody is given any."""


def perhaps(config: DoorConfig | None = None):
    """Take options or none."""


def unknown(plugin: "Collector[Nowhere]"):  # noqa: F821  # as where it is imported for type checking alone
    """Take something whose annotation cannot be found out."""


@pytest.mark.parametrize(
    ("decorate", "says"),
    [
        (lambda: collector(two), "two() takes a and b: a collector is given one argument"),
        (lambda: collector(defaulted), "defaulted(path): nothing says what path is"),
        (lambda: collector(by_keyword), "by_keyword(config): nothing says"),
        (lambda: collector(perhaps), "`config: DoorConfig`, a class of Config whose fields are the options"),
        (lambda: collector(DOOR)(lambda plugin: 1.0), "is no name"),
        (lambda: collector(DOOR, name="a")(lambda plugin: 1.0), "or `plugin: Collector[DoorConfig]`"),
        (lambda: collector(unknown), "'Nowhere' is not defined"),
        (lambda: collector("door_open"), "such as gauge"),
        (lambda: collector(DOOR)(3), "is for functions"),
        (lambda: collector(DOOR, interval="5")(lambda: 1), "'<lambda>' is no name"),
        (lambda: collector(DOOR, interval="5", name="a")(lambda: 1), "with its unit"),
        (lambda: collector(DOOR, name="a b")(two), "is no name"),
    ],
)
def test_a_wrong_use_is_said(decorate, says):
    """What cannot become a collector is an error of the file, when it is loaded."""
    with pytest.raises((TypeError, ValueError)) as error:
        decorate()
    assert says in str(error.value)


SOURCE = """
from agentd.plugin import Collector, Config, collector, gauge, hookimpl
class Options(Config):
    speed: float = 1.0
@collector(gauge("one_value", "One."), interval="5s")
def one(config: Options):
    '''The first.'''
    return config.speed
@collector(gauge("two_value", "Two."), name="second")
async def two():
    return 2
class Third(Collector[Config]):
    '''The third.'''
    name = "third"
    def collect(self):
        return []
"""
HOOK = "@hookimpl\ndef agentd_collectors():\n    return [Third]\n"


@pytest.mark.parametrize("hook", [HOOK, ""])
def test_functions_of_a_file_are_found(tmp_path, hook):
    """Each decorated function of a file is a plugin, on by default, beside those that a hook registers."""
    (tmp_path / "mine.py").write_text(SOURCE + hook)
    registry = Registry([str(tmp_path)])
    assert registry.broken_files == {}
    expected = ["third", "one", "second"] if hook else ["one", "second"]
    assert [name for name in registry.defaults("collectors") if name in ("one", "second", "third")] == expected
    assert registry.plugin_class("collectors", "one").__doc__ == "The first."
    assert registry.metrics("collectors", "one") == {"one_value"}
    assert list(registry.config_type("collectors", "one").__struct_fields__) == ["speed"]


def test_a_parameter_that_cannot_be_configured_is_an_error_of_the_file(tmp_path):
    """It is found when the file is loaded, and told with the line; no collector runs with a default for ever."""
    (tmp_path / "mine.py").write_text(SOURCE.replace("config: Options", 'path: str = "/run/door"'))
    registry = Registry([str(tmp_path)])
    assert "one(path): nothing says what path is" in registry.broken_files["plugin_dirs.mine"]
    assert registry.broken_files["plugin_dirs.mine"].endswith(f"(at {tmp_path}/mine.py:5)")
    assert "one" not in registry.defaults("collectors")


def test_an_imported_function_is_not_this_files(tmp_path, monkeypatch):
    """A function that a file imports belongs to the file that has it."""
    other = ModuleType("fake_other_door")
    monkeypatch.setitem(sys.modules, "fake_other_door", other)
    exec(SOURCE.replace("__name__", "x"), other.__dict__)
    (tmp_path / "mine.py").write_text("from fake_other_door import one\nfrom agentd.plugin import collector\nx = 1\n")
    registry = Registry([str(tmp_path)])
    assert "registers nothing" in registry.broken_files["plugin_dirs.mine"]


def test_functions_of_an_installed_package(tmp_path, monkeypatch):
    """An entry point may lead to a module that has nothing but functions."""
    (tmp_path / "fake_functions.py").write_text(SOURCE)
    (tmp_path / "fake-1.dist-info").mkdir()
    (tmp_path / "fake-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1\n")
    (tmp_path / "fake-1.dist-info/entry_points.txt").write_text("[agentd.collectors]\none = fake_functions\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        registry = Registry()
        assert registry.plugin_class("collectors", "one").interval == 5.0
    finally:
        sys.modules.pop("fake_functions", None)


def test_an_option_may_not_be_a_key_of_the_core(tmp_path):
    """The rules for classes hold for functions."""
    (tmp_path / "mine.py").write_text(SOURCE.replace("speed", "interval"))
    registry = Registry([str(tmp_path)])
    assert "option interval" in registry.broken_files["plugin_dirs.mine"]


async def test_a_function_runs_in_a_slot_as_a_class_does(tmp_path):
    """What it raises is its own failure, in a worker thread or on the loop."""
    (tmp_path / "mine.py").write_text(SOURCE)
    module = Found("mine", None, "fake_mine", tmp_path / "mine.py").load()
    workers, gatherer = Workers(), Gatherer()

    @collector(DOOR)
    def broken():
        raise OSError("no door")

    plugins = [module.one.plugin(), module.two.plugin(), broken.plugin()]
    slots = [
        Slot(plugin, name=plugin.name, workers=workers, timeout=30.0, max_series=10, interval=None)
        for plugin in plugins
    ]
    gatherer.take(slots)
    snapshot = await gatherer.gather(deadline=30.0)
    await gatherer.stop()
    workers.close()
    del sys.modules["fake_mine"]
    told = {family.name: family.samples for family in snapshot.families}
    assert told["one_value"] == {(): 1.0}
    assert told["two_value"] == {(): 2.0}
    assert [slot.last.status for slot in slots] == ["ok", "ok", "failed"]
    assert "OSError: no door" in slots[2].last.error
