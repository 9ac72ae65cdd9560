"""What the agent says about itself."""

import asyncio
import os
import subprocess
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import __version__
from agentd.metrics import selfmetrics
from agentd.metrics.admission import Admission
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Histogram
from agentd.metrics.gather import Gatherer
from agentd.metrics.selfmetrics import SelfMetrics, declared


def values(metrics):
    """Return the samples of each family by its name."""
    return {family.name: family.samples for family in metrics.families()}


def test_it_names_versions_plugins_and_the_configuration():
    """Each plugin is up or not, and nothing is told of one that nobody knows."""
    metrics = SelfMetrics()
    metrics.up = {"collectors.cpu": True, "sinks.fleet": False}
    metrics.configured_at, metrics.worker_threads = 1234.5, 3
    found = values(metrics)
    assert {key[0] for key in found["agentd_build_info"]} == {__version__}
    assert found["agentd_plugin_up"] == {("collectors.cpu",): 1.0, ("sinks.fleet",): 0.0}
    assert found["agentd_config_last_reload_successful"] == {(): 1.0}
    assert found["agentd_config_last_reload_success_timestamp_seconds"] == {(): 1234.5}
    assert found["agentd_worker_threads"] == {(): 3.0}
    metrics.configuration_accepted = False
    assert values(metrics)["agentd_config_last_reload_successful"] == {(): 0.0}


async def test_tasks_are_counted_until_they_are_done():
    """Each task of the event loop counts from its beginning to its end; where no loop runs there is none."""
    metrics, ending = SelfMetrics(), asyncio.Event()

    def tasks():
        return values(metrics)["agentd_tasks"][()]

    before = tasks()
    begun = [asyncio.create_task(ending.wait()) for _ in range(3)]
    assert tasks() == before + 3
    ending.set()
    await asyncio.gather(*begun)
    assert tasks() == before
    assert await asyncio.to_thread(tasks) == 0


def test_it_tells_what_the_process_costs():
    """The names are those of all Prometheus client libraries, and the numbers those of this process."""
    found = values(SelfMetrics())
    assert found["process_cpu_seconds_total"][()] == pytest.approx(sum(os.times()[:2]), abs=1.0)
    assert found["process_open_fds"][()] == pytest.approx(len(os.listdir("/proc/self/fd")), abs=3)
    assert 10e6 < found["process_resident_memory_bytes"][()] < found["process_virtual_memory_bytes"][()]
    assert found["process_start_time_seconds"][()] > 1.5e9


def lag(metrics):
    """Return the histogram of the lag of the event loop."""
    return values(metrics)["agentd_loop_lag_seconds"][()]


def test_the_lag_of_the_loop_is_counted_at_its_bound():
    """An observation that is just a bound belongs to it, and one beyond all bounds to infinity alone."""
    metrics = SelfMetrics()
    for seconds in (0.001, 0.0011, 7.0):
        metrics.observe_lag(seconds)
    histogram = lag(metrics)
    assert histogram.buckets[:3] == ((0.001, 1.0), (0.005, 2.0), (0.01, 2.0))
    assert histogram.buckets[-2:] == ((5.0, 2.0), (inf, 3.0))
    assert (histogram.count, histogram.sum) == (3.0, pytest.approx(7.0021))


@given(st.lists(st.floats(0, 100)))
def test_the_histogram_of_the_lag_is_one(observed):
    """Its buckets are cumulative and end with the count, whatever was observed."""
    metrics = SelfMetrics()
    for seconds in observed:
        metrics.observe_lag(seconds)
    histogram = lag(metrics)
    assert isinstance(histogram, Histogram)
    assert all(count == sum(seconds <= bound for seconds in observed) for bound, count in histogram.buckets)
    assert histogram.count == len(observed)


async def test_a_loop_that_is_held_up_is_measured(monkeypatch):
    """Measuring goes on until it is cancelled."""
    monkeypatch.setattr(selfmetrics, "LAG_EVERY", 0.001)
    metrics = SelfMetrics()
    task = asyncio.create_task(metrics.measure_lag())
    for _ in range(10_000):
        await asyncio.sleep(0.001)
        if lag(metrics).count >= 3:
            break
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lag(metrics).count >= 3
    assert lag(metrics).sum >= 0


def test_all_that_is_told_is_declared_and_valid():
    """The reference page can list it, and nothing has to be left out of it."""
    metrics = SelfMetrics()
    metrics.up = {"collectors.cpu": True}
    families = list(metrics.families())
    assert {family.name for family in families} == {metric.name for metric in declared()}
    assert Admission(1000).admit(families)[1] == []


def test_promtool_has_nothing_to_say_about_the_names_of_the_agent(server_binary):
    """Units, kinds and help texts are as Prometheus wants them, for all but what is named as in node_exporter."""
    metrics = SelfMetrics()
    metrics.up = {"collectors.cpu": True}
    told = [
        metric({("x",) * len(metric.labels): 1.0})
        for metric in Gatherer.METRICS.values()
        if not metric.name.startswith("node_")
    ]
    body = Renderer().render([*metrics.families(), *told])
    done = subprocess.run([server_binary("promtool"), "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
