"""Collectors run by the kit: on a machine that is made for them, wherever they would be called."""

import threading
from pathlib import Path

import pytest

from agentd.config import ConfigError
from agentd.plugin import Collector, Config, Duration, Family, NoData, Secret, collector, gauge
from agentd.testing import (
    FakeClock,
    Hang,
    LeftOut,
    Recorder,
    Symlink,
    check_plugin,
    collect,
    fuzz_collector,
    machine,
    run_collector,
    running,
    samples,
)


class Options(Config):
    """Options."""

    every: Duration = Duration(1)
    """How often."""
    path: str = "etc/door"
    """Where."""
    password: Secret | None = None
    """A secret."""


class Door(Collector[Options]):
    """Tells of all that it is given."""

    name = "door"
    blocking = False
    begun = ended = 0

    async def start(self):
        type(self).begun += 1

    async def stop(self):
        type(self).ended += 1

    def collect(self):
        return [
            Family.gauge("door_load", "Load.", float(self.host.proc("loadavg").split()[0])),
            Family.gauge("door_speed", "Speed.", float(self.host.sys("class/net/eth0/speed"))),
            Family.gauge("door_open", "Open.", float(self.host.path(self.config.path).read_text())),
            Family.gauge("door_every_seconds", "Every.", self.config.every),
            Family.gauge("door_now", "Now.", self.clock.time()),
        ]


FILES = {
    "proc": {"loadavg": "0.5 0.4 0.3 1/200 4711\n"},
    "sys": {"class/net/eth0": Symlink("../../devices/eth0"), "devices/eth0/speed": b"1000\n"},
    "files": {"etc/door": "1"},
}


def test_a_collector_sees_the_files_that_it_is_given():
    """Files, links and the time are those of the test; the collector is started and stopped once."""
    before = Door.begun, Door.ended
    told = samples(run_collector(Door, **FILES, clock=FakeClock(7.0), config={"every": "1m"}))
    assert told == {"door_load": 0.5, "door_speed": 1000, "door_open": 1, "door_every_seconds": 60, "door_now": 7}
    assert (Door.begun, Door.ended) == (before[0] + 1, before[1] + 1)


def test_a_machine_may_be_there_already(tmp_path):
    """A folder that looks like the root of a machine is taken as one, and not together with files."""
    with machine(**FILES) as made:
        assert samples(run_collector(Door, root=made))["door_speed"] == 1000
        assert samples(run_collector(Door, root=made.rootfs))["door_speed"] == 1000
        with pytest.raises(ValueError, match="either root"):
            run_collector(Door, root=made, proc={})
    assert not Path(made.rootfs).exists()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        run_collector(Door, root=tmp_path)


@pytest.mark.parametrize("name", ["/loadavg", "../loadavg", "net/../../x"])
def test_no_file_is_made_outside_of_the_machine(name):
    """A path that leads elsewhere is refused."""
    with pytest.raises(ValueError, match="expected a path below"):
        run_collector(Door, proc={name: ""})


def test_options_are_checked_as_the_agent_does():
    """All that is wrong with the options is told, with what was probably meant; paths may be given as such."""
    with pytest.raises(
        ConfigError, match=r'(?s)Did you mean "path".*collectors\.door\.every: expected a duration'
    ) as error:
        run_collector(Door, config={"every": 3, "pth": "x"})
    assert len(error.value.problems) == 2
    told = run_collector(Door, **FILES, config=lambda host: {"path": Path("etc", "door")})
    assert samples(told)["door_open"] == 1
    assert samples(run_collector(Door, **FILES, config=Options(every=Duration(3))))["door_every_seconds"] == 3


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("way", ["plain", "async", "awaitable", "generator"])
def test_each_way_to_collect_is_called_where_the_agent_calls_it(way, blocking):
    """What may block runs in a worker, all else on the loop; what is to be awaited is awaited."""
    loops, called = [], []

    class Where(Collector):
        """Says where it was called."""

        name = "where"

        async def start(self):
            loops.append(threading.get_ident())

        def tell(self):
            called.append(threading.get_ident())
            return [Family.gauge("where", "Where.", 1.0)]

        async def later(self):
            return self.tell()

    Where.blocking = blocking
    Where.collect = {
        "plain": lambda self: self.tell(),
        "async": Where.later,
        "awaitable": lambda self: self.later(),
        "generator": lambda self: iter(self.tell()),
    }[way]
    assert samples(run_collector(Where)) == {"where": 1}
    in_worker = blocking and way in ("plain", "generator")
    assert (called == loops) != in_worker


def test_what_the_agent_would_leave_out_is_told():
    """Bad names, doubles and what is beyond the budget fail the test, all at once."""

    class Bad(Collector):
        """Tells what nobody can show."""

        name = "bad"
        max_series = 3

        def collect(self):
            return [
                Family.gauge("no-name", "Bad.", 1.0),
                Family.gauge("text", "Bad.", {(): "1"}),
                Family.gauge("many", "Many.", {str(number): 1.0 for number in range(9)}, ("number",)),
            ]

    with pytest.raises(LeftOut, match=r"(?s)no-name.*\(family\).*text.*\(value\).*many.*\(max_series\)"):
        run_collector(Bad)


@collector(gauge("gate_open", "Whether the gate is open."))
def gate():
    """The gate."""
    return 1.0


@pytest.mark.parametrize("run", [run_collector, fuzz_collector, check_plugin])
def test_a_function_has_a_class_that_is_run(run):
    """A decorated function is no class, which is said with what to write in its place; that is run as any other."""
    with pytest.raises(TypeError, match=r"expected a class of Collector.* that of this function is gate\.plugin$"):
        run(gate)
    assert samples(run_collector(gate.plugin)) == {"gate_open": 1.0}


def test_what_is_raised_is_raised():
    """NoData, and any failure, come to the test as they are; the collector is stopped all the same."""

    class Fails(Door):
        """Fails."""

        def collect(self):
            raise NoData("no door here")

    before = Fails.ended
    with pytest.raises(NoData, match="no door here"):
        run_collector(Fails)
    assert Fails.ended == before + 1


@pytest.mark.parametrize("way", ["plain", "async", "worker"])
def test_one_that_hangs_is_told_with_the_place(way):
    """Whether it waits in a thread, on the loop or for something that never comes: the line is named."""
    end = threading.Event()

    class Hangs(Collector):
        """Hangs."""

        name = "hangs"
        blocking = way == "worker"

        if way == "async":

            async def collect(self):
                await self.stuck_here()

            async def stuck_here(self):
                import asyncio

                await asyncio.Event().wait()
        else:

            def collect(self):
                self.stuck_here()

            def stuck_here(self):
                end.wait(60)
                return []

    with pytest.raises(Hang, match=r"Hangs\.collect\(\) is not done after 2 s") as hang:
        run_collector(Hangs, deadline=2)
    end.set()
    for thread in threading.enumerate():
        if thread.name == "agentd-testing":
            thread.join(60)
    assert "stuck_here" in str(hang.value)


async def test_a_plugin_may_run_for_a_whole_test(clock, recorder):
    """In an asynchronous test a plugin is collected from again and again, and says what happens meanwhile."""

    class Counts(Collector):
        """Counts."""

        name = "counts"

        async def collect(self):
            self.emit("counts.asked", {"before": self.state.get("asked", 0)})
            await self.commit([self.event("counts.kept")], {"asked": self.state.get("asked", 0) + 1})
            return [Family.counter("counts_asked_total", "How often.", self.state["asked"])]

    async with running(Counts, clock=clock, recorder=recorder) as collector:
        assert samples(await collect(collector)) == {"counts_asked_total": 1}
        clock.advance(5)
        assert samples(await collect(collector)) == {"counts_asked_total": 2}
    assert recorder.types == ["counts.asked", "counts.kept"] * 2
    assert [event.timestamp for event in recorder.of("counts.kept")] == [clock.time() - 5, clock.time()]
    assert recorder.events[2].payload == {"before": 1}
    assert recorder.events[0].source == "collectors.counts"
    assert run_collector(Counts, recorder=Recorder({"asked": 41}))[0].samples == {(): 42}
