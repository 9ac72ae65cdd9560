"""A collector in a process of its own: what it tells, how it ends, and that it comes back."""

import asyncio
import logging
import os
import signal

import pytest

from agentd.errors import ToldError
from agentd.options import Size
from agentd.plugin import Family, Histogram, NoData, Refused
from agentd.plugin.declared import declared_metrics
from tests.isolation.conftest import COLLECTOR, interpreters, until


async def test_families_come_as_they_are_returned(standing):
    """Names, kinds, labels and values arrive, and those that are no float as what they are."""
    plugin = standing(
        COLLECTOR.format("""return [
            Family.gauge("a", "A.", {"x": 1, "y": float("nan"), None: float("-inf")}, ("l",)),
            Family.counter("b_total", "B.", self.config.number),
            Family("c", "histogram", "C.", (), {(): Histogram(((1.0, 2.0),), 2, 9.0)}),
        ]"""),
        options={"number": 8},
    )
    await plugin.start()
    for _ in range(2):  # the second time, only values are told
        first, second, third = await plugin.collect()
        assert first.label_names == ("l",)
        assert first.samples["x",] == 1.0
        assert first.samples["y",] != first.samples["y",]
        assert first.samples[None,] == float("-inf")
        assert second == Family.counter("b_total", "B.", 8.0)
        assert third == Family.histogram("c", "C.", Histogram(((1.0, 2.0),), 2, 9.0))


async def test_what_it_declares_is_known(standing):
    """What stands for a collector declares the metrics of its class."""
    code = COLLECTOR.format("return []").replace("    def", "    level = gauge('level', 'Level.')\n    def", 1)
    assert [metric.name for metric in declared_metrics(type(standing(code)))] == ["level"]


async def test_other_families_than_the_last_time_arrive(standing):
    """Where the series change from one collection to the next, so does what arrives."""
    body = """self.n = getattr(self, "n", 0) + 1
        return [Family.gauge("a", "A.", {str(i): float(i) for i in range(self.n)}, ("l",))]"""
    plugin = standing(COLLECTOR.format(body))
    await plugin.start()
    assert [len(next(iter(await plugin.collect())).samples) for _ in range(3)] == [1, 2, 3]


async def test_metrics_of_prometheus_client_arrive(standing):
    """A collector of prometheus_client needs no change."""
    body = """from prometheus_client.core import GaugeMetricFamily
        family = GaugeMetricFamily("a", "A.", labels=["l"])
        family.add_metric(["x"], 2.0)
        return [family, Family.gauge("b", "B.", 1.0)]"""
    plugin = standing(COLLECTOR.format(body))
    await plugin.start()
    own, client = await plugin.collect()
    assert own.name == "b"
    assert [(each.name, each.labels, each.value) for each in client.samples] == [("a", {"l": "x"}, 2.0)]


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ("raise NoData('no such thing')", NoData, "no such thing"),
        ("raise Refused('ask root')", Refused, "ask root"),
        ("raise KeyError('x')", ToldError, "KeyError: 'x' (at "),
        ("sys.exit(3)", ToldError, "SystemExit: 3 (at "),
        ("raise StopIteration", ToldError, "RuntimeError: StopIteration"),
        ("os._exit(9)", ToldError, "its process has ended: exit status 9"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", ToldError, "its process has ended: ended by SIGSEGV"),
        ("bytearray(1 << 30)", ToldError, "its process has ended: it got no more memory, its memory_limit is 64 MiB"),
    ],
)
async def test_what_goes_wrong_is_told(standing, body, error, text):
    """What is raised arrives with its type and place, and the end of a process with its reason."""
    plugin = standing(COLLECTOR.format(body), memory_limit=Size(64 << 20))
    await plugin.start()
    with pytest.raises(error) as caught:
        await plugin.collect()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("42", "42, of type int: expected a list or an iterator of Family"),
        ("{'a': 1.0}", "{'a': 1.0}, of type dict: expected a list or an iterator of Family"),
        ("Family.gauge('a', 'A.', 1.0)", ", of type Family: put it into a list"),
    ],
)
@pytest.mark.parametrize("python", [None, *interpreters().values()][:2], ids=lambda each: "another" if each else "own")
async def test_what_is_no_answer_is_told_without_a_place_in_agentd(standing, returned, said, python):
    """A process says what was returned, and what would be right, as the agent says it of others."""
    plugin = standing(COLLECTOR.format(f"return {returned}"), python=python)
    await plugin.start()
    with pytest.raises(ToldError) as caught:
        await plugin.collect()
    assert str(caught.value).startswith("TypeError: returned ")
    assert str(caught.value).endswith(said)


async def test_process_that_ended_comes_back(standing):
    """After a crash there is a new process, which answers; until then, the error says why there is none."""
    plugin = standing(COLLECTOR.format("return [Family.gauge('pid', 'Pid.', float(os.getpid()))]"))
    await plugin.start()
    first = plugin.keeper.process.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: plugin.keeper.restarting)
    assert "its process has ended: ended by SIGKILL" in plugin.keeper.restarting
    with pytest.raises(ToldError, match="SIGKILL"):
        await plugin.collect()
    await until(lambda: plugin.keeper.process is not None)
    assert plugin.keeper.restarts == 1
    assert not plugin.keeper.restarting
    (family,) = await plugin.collect()
    assert family.samples[()] == plugin.keeper.process.pid != first


async def test_one_that_nobody_waits_for_is_ended(standing):
    """An endless loop is ended when whoever has asked gives up."""
    plugin = standing(COLLECTOR.format("while True: pass"))
    await plugin.start()
    process = plugin.keeper.process
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await plugin.collect()
    await until(lambda: process.why)
    assert process.why == "its process has ended: it did not answer in time (collect)"


async def test_what_it_has_begun_ends_with_it(standing):
    """A program that a plugin has started is ended with its process."""
    body = """import subprocess
        return [Family.gauge("pid", "Pid.", float(subprocess.Popen(["sleep", "600"]).pid))]"""
    plugin = standing(COLLECTOR.format(body))
    await plugin.start()
    (family,) = await plugin.collect()
    other = int(family.samples[()])

    def gone():
        try:
            with open(f"/proc/{other}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"  # whoever has adopted it has not looked yet
        except OSError:
            return True

    assert not gone()
    os.kill(plugin.keeper.process.pid, signal.SIGKILL)
    await until(gone)


async def test_copy_of_itself_does_not_answer(standing):
    """Where a plugin forks and returns twice, there is one answer, and the next call is answered as well."""
    plugin = standing(COLLECTOR.format("os.fork()\n        return [Family.gauge('pid', 'P.', float(os.getpid()))]"))
    await plugin.start()
    for _ in range(3):
        (family,) = await plugin.collect()
        assert family.samples[()] == plugin.keeper.process.pid


async def test_what_it_prints_and_logs_is_logged(standing, caplog):
    """Its standard output, its standard error and its logger lead into the agent's log, under its name."""
    caplog.set_level(logging.INFO)
    body = """print("said")
        os.write(2, b"no line break \\xff")
        self.log.error("level %d", 40)
        return []"""
    plugin = standing(COLLECTOR.format(body))
    await plugin.start()
    await plugin.collect()
    await plugin.stop()
    await until(lambda: any("no line break" in record.getMessage() for record in caplog.records))
    told = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    assert {
        ("agentd.collectors.mine", "INFO", "said"),
        ("agentd.collectors.mine", "WARNING", "no line break \ufffd"),
        ("agentd.collectors.mine", "ERROR", "level 40"),
    } <= told


async def test_events_and_state_reach_the_journal(standing):
    """``emit`` and ``commit`` do what they do in the agent, and state is there again in the next process."""
    code = """
class Plugin(Collector[Options]):
    name = "mine"
    async def collect(self):
        self.emit("door.opened", {"by": "me"})
        count = self.state.get("count", 0) + 1
        await self.commit([self.event("counted")], {"count": count})
        assert self.state["count"] == count
        return [Family.gauge("count", "C.", count)]

@hookimpl
def agentd_collectors():
    return [Plugin]
"""
    plugin = standing(code)
    await plugin.start()
    assert next(iter(await plugin.collect())).samples[()] == 1
    assert [(each.type, each.source, each.payload) for each in standing.kept.events] == [
        ("door.opened", "collectors.mine", {"by": "me"})
    ]
    (((event,), state),) = standing.kept.commits
    assert (event.type, state) == ("counted", {"count": 1})
    plugin.keeper.process.kill("a test")
    await until(lambda: plugin.keeper.restarts and plugin.keeper.process is not None)
    assert next(iter(await plugin.collect())).samples[()] == 2


async def test_flood_of_events_is_slowed_down(standing):
    """One that emits without end does not keep the event loop busy: it waits itself."""
    code = """
import threading
class Plugin(Collector[Options]):
    name = "mine"
    async def start(self):
        def flood():
            while True:
                self.emit("flood", {"x": "y" * 100})
        threading.Thread(target=flood, daemon=True).start()
    def collect(self):
        return [Family.gauge("a", "A.", 1.0)]

@hookimpl
def agentd_collectors():
    return [Plugin]
"""
    plugin = standing(code)
    await plugin.start()
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(1.0)
    lasted = asyncio.get_running_loop().time() - begun
    assert 100 < len(standing.kept.events) <= 1000 * (lasted + 2)


async def test_limit_of_cpu_time_holds(standing):
    """A process that would use a whole CPU is halted, and on the average gets no more than its share."""
    code = """
import threading
def spin():
    while True: pass
class Plugin(Collector[Options]):
    name = "mine"
    async def start(self):
        threading.Thread(target=spin, daemon=True).start()
    def collect(self):
        return []

@hookimpl
def agentd_collectors():
    return [Plugin]
"""
    plugin = standing(code, cpu_limit=0.02)
    await plugin.start()

    def halted():
        with open(f"/proc/{plugin.keeper.process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    await until(halted)
    used = plugin.keeper.cpu_seconds()
    await asyncio.sleep(1.0)
    assert plugin.keeper.cpu_seconds() == used


async def test_one_that_does_not_start_says_why(standing):
    """What ``start`` raises keeps the plugin from starting, and leaves no process behind."""
    code = COLLECTOR.format("return []").replace(
        "    def collect", "    async def start(self):\n        raise OSError('no port')\n    def collect"
    )
    plugin = standing(code)
    with pytest.raises(ToldError, match=r"OSError: no port \(at .*mine.py"):
        await plugin.start()
    assert plugin.keeper.process is None
    assert not plugin.keeper.restarting
