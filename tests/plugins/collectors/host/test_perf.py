"""The collector perf."""

import asyncio
import errno
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host import _perf
from agentd_plugins.collectors.host._perfevents import CACHES, HARDWARE, SOFTWARE
from agentd_plugins.collectors.host.perf import Perf, PerfConfig, parse_cpus

EASY = settings(max_examples=100, deadline=None)


class Counted(Perf):
    """A collector whose counters are files that hold 1000 times the type + event number."""

    error = None
    asked: list[tuple[int, int, int]] = []

    def opener(self):
        self.asked = []

        def open_(type_, event, cpu):
            self.asked.append((type_, event, cpu))
            if self.error:
                raise self.error
            if type_ == _perf.CACHE:
                raise OSError(errno.ENOENT, "No such file or directory")
            readable, writable = os.pipe()
            os.write(writable, _perf.VALUE.pack(1000 * type_ + event, 1, 1))
            os.close(writable)
            return readable

        return open_


def collector(tmp_path, **options):
    """Return the collector on a machine with the CPUs 0 and 2."""
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    (tmp_path / "devices/system/cpu/online").write_text("0,2\n")
    return Counted(PerfConfig(**options), Context(host=Host(HostPaths(sysfs=str(tmp_path)))))


async def test_each_event_is_counted_on_each_cpu(tmp_path):
    """What a CPU cannot count is left out, and so is what its descriptor no longer says."""
    perf = collector(tmp_path, hardware_profilers=["CpuInstr"], software_profilers=["MajorFault"])
    told = {family.name: family.samples for family in perf.collect()}
    assert told == {
        "node_perf_instructions_total": {("0",): 1.0, ("2",): 1.0},
        "node_perf_major_faults_total": {("0",): 1006.0, ("2",): 1006.0},
    }
    with pytest.raises(NoData):  # the pipes are empty, as counters of CPUs that were switched off
        perf.collect()
    descriptors = [each.descriptor for each in perf._counters]
    await perf.stop()
    await perf.stop()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_lacking_right_is_said_once(tmp_path, caplog):
    """Without the right there is no data, and the log names it."""
    perf = collector(tmp_path)
    perf.error = PermissionError(errno.EACCES, "Permission denied")
    for _ in range(2):
        with pytest.raises(NoData):
            perf.collect()
    assert len(caplog.records) == 1
    assert "perf.conf" in caplog.text


def test_all_events_are_asked_for_by_default(tmp_path):
    """Each of the three kinds can be left out."""
    perf = collector(tmp_path, cpus="1")
    perf.collect()
    assert len(perf.asked) == len(HARDWARE) + len(SOFTWARE) + len(CACHES)
    assert {cpu for _, _, cpu in perf.asked} == {1}
    off = Counted(
        PerfConfig(disable_hardware_profilers=True, disable_software_profilers=True, disable_cache_profilers=True),
        perf.context,
    )
    with pytest.raises(NoData):
        off.collect()
    assert off.asked == []


def test_tracepoints_are_found_by_their_number(tmp_path, caplog):
    """One that does not exist is left out, and the log says so."""
    folder = tmp_path / "kernel/debug/tracing/events/sched/sched_switch"
    folder.mkdir(parents=True)
    (folder / "id").write_text("314\n")
    perf = collector(
        tmp_path,
        tracepoint=["sched:sched_switch", "no:such"],
        disable_hardware_profilers=True,
        disable_software_profilers=True,
        disable_cache_profilers=True,
    )
    (family,) = perf.collect()
    assert family.name == "node_perf_sched_sched_switch"
    assert family.samples == {("0",): 2314.0, ("2",): 2314.0}
    assert "no:such" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"hardware_profilers": ["Cycles"]},
        {"software_profilers": ["CpuCycles"]},
        {"cache_profilers": [""]},
        {"cpus": "a"},
        {"tracepoint": ["sched"]},
        {"tracepoint": ["../x:y"]},
    ],
)
def test_options_that_mean_nothing_are_errors(options):
    """A name that nobody knows is said at once."""
    with pytest.raises(ValueError, match="expected"):
        PerfConfig(**options)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", [0]), ("0-3", [0, 1, 2, 3]), ("1-10:5", [1, 6]), ("4,0-1,4", [4, 0, 1]), ("3-1", [])],
)
def test_lists_of_cpus(text, cpus):
    """Spans may have a step; a CPU that is named twice counts once."""
    assert parse_cpus(text) == cpus


@EASY
@given(st.text("0123456789-,: x", max_size=20))
def test_any_list_of_cpus_is_one_or_an_error(text):
    """Nothing else than ValueError comes of a list that is none."""
    with suppress(ValueError):
        assert all(0 <= cpu <= 99_999 for cpu in parse_cpus(text))


@EASY
@given(st.binary(max_size=40))
def test_what_a_descriptor_says_is_a_number_or_nothing(content):
    """Too few bytes say nothing."""
    assert (_perf.parse(content) is None) == (len(content) < _perf.VALUE.size)


def test_events_have_the_kernel_s_numbers():
    """Of caches, which one, what it was asked for and how that went are three bytes (perf_event_open(2))."""
    assert CACHES["L1DataReadHit"].number == 0x000000
    assert CACHES["LLWriteMiss"].number == 0x010102
    assert CACHES["InstrTLBReadMiss"].number == 0x010004
    assert HARDWARE["RefCpuCycles"].number == 9
    metrics = [event.metric.name for events in (HARDWARE, SOFTWARE, CACHES) for event in events.values()]
    assert len(set(metrics)) == len(metrics) == 30


async def test_the_kernel_counts_switches():
    """Where the kernel lets us count, its own events are there for every CPU, and grow."""
    perf = Perf(PerfConfig(software_profilers=["ContextSwitch"], disable_hardware_profilers=True))
    try:
        (first,) = perf.collect()
    except NoData as error:
        pytest.skip(str(error))
    for _ in range(20):
        os.sched_yield()
        await perf.in_worker(os.getpid)
    (second,) = perf.collect()
    assert first.samples.keys() == second.samples.keys()
    assert sum(second.samples.values()) > sum(first.samples.values())
    await perf.stop()


def test_stopping_amid_opening_leaves_no_descriptor_open():
    """What a collection opens after the agent has stopped waiting for it is closed at its end."""
    began, opened = threading.Event(), []

    def slow(*_event):
        began.set()
        time.sleep(0.01)
        opened.append(os.open("/dev/null", os.O_RDONLY))
        return opened[-1]

    perf = Perf()
    perf.opener = lambda: slow
    thread = threading.Thread(target=_quiet, args=(perf,))
    thread.start()
    began.wait(60)
    asyncio.run(perf.stop())
    thread.join(60)
    assert opened
    assert not any(Path(f"/proc/self/fd/{number}").exists() for number in opened)


def _quiet(perf):
    with suppress(NoData):
        perf.collect()
