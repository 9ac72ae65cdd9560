"""The collector prometheus_client: what was written for that library, unchanged."""

import sys

import pytest

from agentd_plugins.collectors.prometheus_client import PrometheusClient, PrometheusClientConfig, found

SOURCE = """
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

REGISTRY = CollectorRegistry()
Counter("door_opened", "How often it was opened.", ["door"], registry=REGISTRY).labels("gate").inc(3)
Histogram("door_seconds", "How long it was open.", buckets=(1, 5), registry=REGISTRY).observe(2)
DEFAULT = prometheus_client.REGISTRY

class Doors:
    def collect(self):
        yield GaugeMetricFamily("door_open", "Whether it is open.", 1)

DOORS = Doors()
class Nested:
    inner = DOORS
def make():
    return Doors()
def registry():
    return REGISTRY
def wrong():
    return 3
def broken():
    raise OSError("no doors here")
NUMBER = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of somebody else's, and its name."""
    (tmp_path / "fake_doors.py").write_text(SOURCE)
    (tmp_path / "fake_needy.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "fake_doors"
    sys.modules.pop("fake_doors", None)


async def collected(name):
    """Return the names of samples and their values."""
    plugin = PrometheusClient(PrometheusClientConfig(object=name))
    await plugin.start()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in plugin.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("name", ["REGISTRY", "registry"])
async def test_a_registry_is_told(module, name):
    """All that is registered there is told, whether the registry is named or what returns it."""
    told = await collected(f"{module}:{name}")
    assert told["door_opened_total", "gate"] == 3.0
    assert told["door_seconds_count",] == 1.0
    assert told["door_seconds_bucket", "1.0"] == 0.0


@pytest.mark.parametrize("name", ["DOORS", "Doors", "make", "Nested.inner"])
async def test_a_collector_is_told(module, name):
    """An object with collect(), its class, and what makes one, are told alike."""
    assert await collected(f"{module}:{name}") == {("door_open",): 1.0}


async def test_the_default_registry_lacks_what_the_agent_tells_itself(module):
    """The library's own collectors of the process, the platform and the garbage collector are left out there."""
    import prometheus_client

    mine = prometheus_client.Gauge("fake_default_gauge", "A gauge of the default registry.")
    mine.set(7)
    try:
        assert await collected(f"{module}:DEFAULT") == {("fake_default_gauge",): 7.0}
    finally:
        prometheus_client.REGISTRY.unregister(mine)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("fake_nowhere:A", LookupError, "there is no module fake_nowhere: it has to be installed where agentd is"),
        ("fake_nowhere.inner:A", LookupError, "there is no module fake_nowhere"),
        ("fake_doors.inner:A", LookupError, "there is no module fake_doors.inner"),
        ("fake_needy:A", ModuleNotFoundError, "a_library_that_is_not_there"),
        ("fake_doors:REGISTRI", LookupError, 'fake_doors has no REGISTRI. Did you mean "REGISTRY"?'),
        ("fake_doors:NUMBER", TypeError, "fake_doors:NUMBER is of class int: expected a CollectorRegistry"),
        ("fake_doors:wrong", TypeError, "fake_doors:wrong is of class int"),
        ("fake_doors:broken", OSError, "no doors here"),
    ],
)
async def test_what_cannot_be_told_is_said(module, name, error, says):
    """Where a name leads nowhere, the error says what was found there; so does a probe."""
    with pytest.raises(error) as raised:
        found(name)
    assert says in str(raised.value)
    with pytest.raises(error):
        await PrometheusClient(PrometheusClientConfig(object=name)).probe()


async def test_a_probe_says_what_it_is(module):
    """It names the class of what would be asked."""
    plugin = PrometheusClient(PrometheusClientConfig(object=f"{module}:make"))
    assert await plugin.probe() == "fake_doors:make is of class fake_doors.Doors"


def test_an_agent_tells_them_and_its_own(start_agent, module, tmp_path):
    """Several sections tell several registries; names that the agent has stay its own; a wrong one is named."""
    sections = "".join(
        f'[collectors.{name.lower()}]\nplugin = "prometheus_client"\nobject = "{module}:{name}"\n'
        for name in ("REGISTRY", "DOORS", "DEFAULT", "NUMBER")
    )
    agent = start_agent(sections, environment={"PYTHONPATH": f"{tmp_path}:{':'.join(filter(None, sys.path))}"})
    answer = agent.get("/metrics")
    assert answer.value("door_opened_total", door="gate") == 3.0
    assert answer.value("door_open") == 1.0
    assert answer.value("process_resident_memory_bytes") > 1e6
    assert answer.value("agentd_plugin_up", plugin="collectors.number") == 0.0
    assert "expected a CollectorRegistry" in agent.log()
    rejected = [key for key in answer.samples if key[0] == "agentd_collector_rejected_total"]
    assert rejected == []


def test_a_wrong_name_is_an_error_of_the_configuration(command, tmp_path):
    """What cannot be a name is told with its line."""
    (tmp_path / "a.toml").write_text('[collectors.a]\nplugin = "prometheus_client"\nobject = "fake_doors"\n')
    result = command("check", "--config", str(tmp_path / "a.toml"))
    assert result.returncode == 1
    assert "a.toml:3: collectors.a.object" in result.stderr
