"""The limit of memory: what is given up when, in which order, and that all comes back."""

import logging
import os
import platform
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd import memory
from agentd.memory import AGAIN, CALM, LONGEST, LOWER, SETTLE, STEPS, Memory, Peak, Pressure, decide, in_use, limit_of
from agentd.metrics.frame import EMPTY

MIB = 1 << 20
CACHES, STREAMS, INTAKE = STEPS


def steps(used, *, every=5.0, limit=100):
    """Return the steps that are taken while memory is used like this, looked at every so often, and when."""
    history, taken = CALM, []
    for number, now in enumerate(used):
        step, history = decide(now, limit, number * every, history)
        if step is not None:
            taken.append((number * every, step))
    return taken


def test_steps_are_taken_one_after_the_other():
    """Each is taken once before any is again, and then at growing intervals; below the mark all is well again."""
    assert steps([101] * 30) == [
        (0, CACHES),
        (10, STREAMS),
        (20, INTAKE),
        (30, CACHES),
        (40, STREAMS),
        (50, INTAKE),
        (90, CACHES),
        (100, STREAMS),
        (110, INTAKE),
    ]
    assert steps([101, 95, 95, 101, 89, 89, 101]) == [
        (0, CACHES),
        (15, STREAMS),
        (20, Pressure.NONE),
        (30, CACHES),
    ]
    assert steps([100] * 100) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=150), st.floats(0.5, 60))
def test_what_is_given_up_follows_from_what_is_used(used, every):
    """Whatever memory does: no step without need, none too soon after another, no further one before a milder one, no
    step again sooner than the last time, and an end only well below the limit, and only of what had begun.
    """
    taken = steps(used, every=every)
    at = {number * every: value for number, value in enumerate(used)}
    episode = []
    for (before, _), (now, step) in pairwise([(-1e9, None), *taken]):
        if step is Pressure.NONE:
            assert at[now] < LOWER * 100
            assert episode
            episode = []
            continue
        assert at[now] > 100
        assert not episode or now - before >= SETTLE
        episode.append((now, step))
        first = list(dict.fromkeys(each for _, each in episode))
        assert first == list(STEPS[: len(first)])
        moments = [moment for moment, each in episode if each is step]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert all(gap >= min(LONGEST, AGAIN * 2**number) for number, gap in enumerate(gaps))


@settings(max_examples=100, deadline=None)
@given(st.integers(101, 10_000), st.floats(0.1, 10))
def test_all_steps_are_taken_within_half_a_minute(used, every):
    """However often one looks, what helps at last does not wait for what has not helped."""
    taken = steps([used] * int(80 / every), every=every)
    assert {step for moment, step in taken if moment <= 2 * (SETTLE + every)} == set(STEPS)


def test_room_inside_counts_as_free():
    """A process that gave nothing back, but has room for what comes next, uses less than it has."""
    used, peak = in_use(200 * MIB, 2_000_000, Peak())
    assert (used, peak) == (200 * MIB, Peak(200 * MIB, 2_000_000))
    assert in_use(200 * MIB, 1_000_000, peak) == (200 * MIB - 64_000_000, peak)
    assert in_use(180 * MIB, 1_000_000, peak) == (200 * MIB - 64_000_000, peak), "what was given back is not free twice"
    assert in_use(100 * MIB, 1_000_000, peak) == (100 * MIB, peak)
    assert in_use(300 * MIB, 1_000_000, peak) == (300 * MIB, Peak(300 * MIB, 1_000_000)), "another library's memory"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 30)), max_size=50))
def test_no_more_is_in_use_than_there_is(looks):
    """What is in use lies between nothing and all that is resident, and a new peak is all in use."""
    peak = Peak()
    for resident, blocks in looks:
        before = peak
        used, peak = in_use(resident, blocks, peak)
        assert 0 <= used <= resident
        assert used == resident or blocks < before.blocks
        assert peak in (before, (resident, blocks))


class Shed:
    """A memory of so much use, what it said, and what its shedders were asked."""

    def __init__(self, limit=100 * MIB):
        self.now, self.resident, self.blocks, self.said, self.asked = 0.0, 0, 0, [], []
        self.memory = Memory(
            self.say,
            lambda: self.resident,
            lambda: self.blocks,
            lambda: self.now,
        )
        self.memory.limit = limit
        self.memory.shedders = [self.fail, self.asked.append]

    def say(self, type, **payload):
        self.said.append((type, payload))

    def fail(self, pressure):
        raise RuntimeError("cannot")

    def look(self, megabytes, times=1):
        for _ in range(times):
            self.resident = megabytes * MIB
            self.memory.look()
            self.now += SETTLE

    def counted(self):
        """Return the metrics."""
        return {family.name: dict(family.samples) for family in self.memory.families()}


def test_each_step_is_asked_for_told_and_counted(caplog):
    """Each part of the agent is asked, one that fails keeps no other, and the event, the log and the metric say it."""
    caplog.set_level(logging.INFO, "agentd")
    shed = Shed()
    shed.look(120, 3)
    assert shed.asked == [CACHES, STREAMS, INTAKE]
    assert shed.memory.pressure is INTAKE
    told = {"resident_bytes": 120 * MIB, "limit_bytes": 100 * MIB}
    assert shed.said == [("agent.memory_shed", {"step": step, **told}) for step in ("caches", "streams", "intake")]
    shed.look(80, 3)
    assert shed.asked == [CACHES, STREAMS, INTAKE, Pressure.NONE]
    assert shed.said[3:] == [("agent.memory_recovered", {"resident_bytes": 80 * MIB, "limit_bytes": 100 * MIB})]
    shed.look(120)
    assert shed.counted() == {
        "agentd_memory_limit_bytes": {(): 100.0 * MIB},
        "agentd_memory_shed_total": {("caches",): 2.0, ("streams",): 1.0, ("intake",): 1.0},
    }
    messages = [record.getMessage() for record in caplog.records if record.name == "agentd.memory"]
    assert "120 MiB of memory are resident, and memory_limit is 100 MiB: live streams of events are closed" in messages
    assert "80 MiB of memory are resident, 80 MiB of it in use: all is as it was before" in messages


def test_a_process_that_stays_large_recovers_all_the_same():
    """Where robots have gone and the process is as large as before, it lets robots in again; they find room inside."""
    shed = Shed()
    shed.blocks = 1_000_000
    shed.look(120, 3)
    shed.blocks = 200_000
    shed.look(119, 5)
    assert shed.asked == [CACHES, STREAMS, INTAKE, Pressure.NONE]
    shed.blocks = 1_000_000
    shed.look(121)
    assert shed.asked[4:] == [CACHES]


def test_without_a_limit_nothing_is_given_up():
    """Nothing is told either; and where a reload takes the limit away, what was given up comes back."""
    shed = Shed(limit=0)
    shed.look(1_000_000, 5)
    assert (shed.asked, shed.said) == ([], [])
    assert shed.memory.families() is EMPTY
    shed.memory.limit = 100 * MIB
    shed.look(120)
    shed.memory.limit = 0
    shed.look(120, 3)
    assert shed.asked == [CACHES, Pressure.NONE]


@pytest.mark.parametrize(
    ("high", "limit"),
    [("max\n", 0), ("1000000\n", 900_000), ("", 0), (None, 0)],
    ids=["max", "a limit", "empty", "none"],
)
def test_the_limit_is_that_of_the_unit_where_none_is_configured(tmp_path, high, limit):
    """It is a little below MemoryHigh=, from which on the kernel slows the agent down."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/x\n0::/system.slice/agentd.service\n")
    folder = tmp_path / "cgroup/system.slice/agentd.service"
    folder.mkdir(parents=True)
    if high is not None:
        (folder / "memory.high").write_text(high)
    places = (str(tmp_path / "proc"), str(tmp_path / "cgroup"))
    assert limit_of(None, *places) == limit
    assert limit_of(5 * MIB, *places) == 5 * MIB
    assert limit_of(0, *places) == 0
    assert limit_of(None, str(tmp_path), str(tmp_path)) == 0


def test_memory_of_this_process_is_measured_and_given_back():
    """What the kernel says is what ``process_resident_memory_bytes`` tells, and freed memory goes back to it."""
    before = memory.resident_bytes()
    assert before > 10 * MIB
    many = [bytes(100_000) for _ in range(1000)]
    full = memory.resident_bytes()
    assert full > before + 50 * MIB
    del many
    memory.trim()
    assert memory.resident_bytes() < full - 50 * MIB
    assert memory.resident_bytes() % os.sysconf("SC_PAGESIZE") == 0
    assert sys.getallocatedblocks() > 10_000


@pytest.mark.parametrize(("begin", "heaps"), [("", 5), ("memory.one_heap()", 1)])
def test_threads_share_one_heap(begin, heaps):
    """After ``one_heap`` memory of all threads is of one heap; without it each of four has one beside the first."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc has more than one heap")
    code = f"""
import ctypes, threading
from agentd import memory
{begin}
together = threading.Barrier(4)
def work():
    together.wait()
    kept.append(bytearray(50_000))
    together.wait()
kept = []
threads = [threading.Thread(target=work) for _ in range(4)]
[each.start() for each in threads], [each.join() for each in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
    outside = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=outside, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("<heap nr=") == heaps
