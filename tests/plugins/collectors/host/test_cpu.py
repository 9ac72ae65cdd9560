"""The collector cpu, and the readers of CPUs that it shares."""

import asyncio
import inspect
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Clock, Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host import _cpuinfo, _topology
from agentd_plugins.collectors.host.cpu import MODES, Cpu, CpuConfig, forward, hertz, parse

FIXTURES = Path(__file__).parents[3] / "fixtures" / "host"
CPUS = "sys/devices/system/cpu"
EASY = settings(max_examples=100, deadline=None)


class SlowClock(Clock):
    """A clock that goes on only when told."""

    now = 0.0

    def monotonic(self):
        return self.now


class CountingHost(Host):
    """A host that counts how often each file was read."""

    def __init__(self, paths):
        super().__init__(paths)
        self.reads = []

    def sys(self, name):
        self.reads.append(name)
        return super().sys(name)


def collector(root=FIXTURES, **options):
    """Return the collector of the machine whose files are below a folder."""
    host = CountingHost(HostPaths(procfs=f"{root}/proc", sysfs=f"{root}/sys"))
    return Cpu(CpuConfig(**options), Context(host=host, clock=SlowClock()))


def answer(cpu):
    """Return what a collector returns, in a worker where it reads what may wait."""
    families = cpu.collect()
    return asyncio.run(families) if inspect.isawaitable(families) else families


def told(cpu):
    """Return the samples of each family that a collector returns, by the family's name."""
    return {family.name: family.samples for family in answer(cpu)}


@pytest.fixture
def machine(tmp_path):
    """Return a copy of the fixtures that a test may change."""
    for name in ("proc/stat", "proc/cpuinfo"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURES / name, tmp_path / name)
    shutil.copytree(FIXTURES / CPUS, tmp_path / CPUS)
    return tmp_path


def write_stat(machine, *lines):
    (machine / "proc/stat").write_text("cpu  1 1 1 1 1 1 1 1 1 1\n" + "\n".join(lines) + "\nctxt 5\n")


def test_seconds_are_told_for_each_cpu_and_mode():
    """The eight modes of each running CPU are told in seconds, and the two of guests apart from them."""
    samples = told(collector())
    assert samples["node_cpu_seconds_total"][("0", "user")] == 40.0
    assert samples["node_cpu_seconds_total"][("1", "steal")] == 0.1
    assert samples["node_cpu_seconds_total"][("3", "idle")] == 402.5
    assert len(samples["node_cpu_seconds_total"]) == 3 * len(MODES)
    users = {cpu: seconds for (cpu, mode), seconds in samples["node_cpu_guest_seconds_total"].items() if mode == "user"}
    niced = {cpu: seconds for (cpu, mode), seconds in samples["node_cpu_guest_seconds_total"].items() if mode == "nice"}
    assert (users, niced) == ({"0": 2.0, "1": 3.0, "3": 0.0}, {"0": 0.1, "1": 0.1, "3": 0.0})


def test_what_sysfs_says_is_told():
    """Isolated CPUs, CPUs that are switched off, and throttling once for each core and package are told."""
    samples = told(collector())
    assert samples["node_cpu_isolated"] == {("1",): 1.0, ("3",): 1.0}
    assert samples["node_cpu_online"] == {("0",): 1.0, ("1",): 1.0, ("2",): 0.0, ("3",): 1.0}
    assert samples["node_cpu_core_throttles_total"] == {("0", "0"): 4.0, ("0", "1"): 7.0}
    assert samples["node_cpu_package_throttles_total"] == {("0",): 12.0}


def test_a_machine_without_sysfs_still_tells_times(machine):
    """Where /sys has nothing about CPUs, there are no families about it, and those about times are there."""
    shutil.rmtree(machine / "sys")
    assert told(collector(machine)).keys() == {"node_cpu_seconds_total", "node_cpu_guest_seconds_total"}


def test_online_is_absent_where_the_first_cpu_cannot_be_switched_off(machine):
    """Without a file ``online`` for the first CPU nothing is told about any of them, as node_exporter does."""
    (machine / CPUS / "cpu0/online").unlink()
    assert "node_cpu_online" not in told(collector(machine))


def test_guest_can_be_switched_off():
    """With ``guest = false`` there is no family for guests."""
    assert "node_cpu_guest_seconds_total" not in told(collector(guest=False))


def test_info_is_off_by_default_and_told_when_asked_for():
    """With ``info = true`` there is one sample for each CPU, with the labels that node_exporter gives it."""
    assert "node_cpu_info" not in told(collector())
    (info,) = (family for family in answer(collector(info=True)) if family.name == "node_cpu_info")
    first = dict(zip(info.label_names, next(iter(info.samples)), strict=True))
    assert first == {
        "cpu": "0",
        "package": "0",
        "core": "0",
        "vendor": "GenuineIntel",
        "family": "6",
        "model": "94",
        "model_name": "      Example(R) CPU @ 3.00GHz",
        "microcode": "0xf0",
        "stepping": "3",
        "cachesize": "8192 KB",
    }
    assert len(info.samples) == 2


@pytest.mark.parametrize("options", [{"info_flags_include": Regex("^avx.?$")}, {"info_bugs_include": Regex("^avx.?$")}])
def test_either_expression_turns_info_on(options):
    """Giving an expression for flags or for bugs tells info as well, and an empty one does not."""
    assert {"node_cpu_info", "node_cpu_frequency_hertz"} <= told(collector(**options)).keys()
    assert "node_cpu_info" not in told(collector(**dict.fromkeys(options, Regex(""))))


def test_flags_and_bugs_are_those_of_the_first_cpu_that_match():
    """Flags and bugs are filtered, each by its own expression, and taken from the first CPU."""
    samples = told(collector(info_flags_include=Regex("^avx.?$"), info_bugs_include=Regex("spectre")))
    assert samples["node_cpu_flag_info"] == {("avx",): 1.0, ("avx2",): 1.0}
    assert samples["node_cpu_bug_info"] == {("spectre_v1",): 1.0}


def test_counters_never_go_back(machine):
    """A counter that goes back by a little is held where it was, and goes on once it is beyond that."""
    cpu = collector(machine)
    write_stat(machine, "cpu0 100 0 50 1000 20 0 0 0 0 0")
    cpu.collect()
    write_stat(machine, "cpu0 110 0 40 999 15 0 0 0 0 0")
    held = told(cpu)["node_cpu_seconds_total"]
    assert (held["0", "user"], held["0", "system"], held["0", "idle"], held["0", "iowait"]) == (1.1, 0.5, 10.0, 0.2)
    write_stat(machine, "cpu0 120 0 60 1010 25 0 0 0 0 0")
    assert told(cpu)["node_cpu_seconds_total"]["0", "system"] == 0.6


def test_a_cpu_that_was_switched_off_starts_afresh(machine):
    """A CPU whose idle time falls by three seconds or more is told as it is now, lower counters included."""
    cpu = collector(machine)
    write_stat(machine, "cpu0 100 0 50 1000 20 0 0 0 0 0")
    cpu.collect()
    write_stat(machine, "cpu0 10 0 5 700 2 0 0 0 0 0")
    assert told(cpu)["node_cpu_seconds_total"]["0", "user"] == 0.1


def test_a_cpu_that_is_gone_is_forgotten(machine):
    """A CPU that is no longer in /proc/stat is told no more, and starts afresh when it comes back."""
    cpu = collector(machine)
    write_stat(machine, "cpu0 1 0 0 1000 0", "cpu1 500 0 0 1000 0")
    cpu.collect()
    write_stat(machine, "cpu0 1 0 0 1000 0")
    assert {labels[0] for labels in told(cpu)["node_cpu_seconds_total"]} == {"0"}
    write_stat(machine, "cpu0 1 0 0 1000 0", "cpu1 2 0 0 900 0")
    assert told(cpu)["node_cpu_seconds_total"]["1", "user"] == 0.02


def test_throttle_counts_are_fresh_and_nothing_else_is_read_again(machine):
    """At each scrape the throttle files that exist are read, and no other file of sysfs, absent ones included."""
    cpu = collector(machine)
    cpu.collect()
    cpu.host.reads.clear()
    (machine / CPUS / "cpu0/thermal_throttle/core_throttle_count").write_text("99\n")
    assert told(cpu)["node_cpu_core_throttles_total"]["0", "0"] == 99.0
    assert sorted(name.rpartition("cpu/")[2] for name in cpu.host.reads) == [
        "cpu0/thermal_throttle/core_throttle_count",
        "cpu0/thermal_throttle/package_throttle_count",
        "cpu1/thermal_throttle/core_throttle_count",
    ]


def test_a_throttle_file_that_goes_away_is_replaced_by_that_of_a_sibling(machine):
    """When the CPU that was asked for its core's throttling loses the file, another thread of the core is asked."""
    cpu = collector(machine)
    cpu.collect()
    (machine / CPUS / "cpu1/thermal_throttle/core_throttle_count").unlink()
    assert told(cpu)["node_cpu_core_throttles_total"]["0", "1"] == 7.0


@pytest.mark.parametrize("change", ["another CPU", "ten minutes"])
def test_files_that_were_absent_are_looked_for_again(machine, change):
    """Throttle files that appear are found when the list of CPUs changes, and otherwise after a while."""
    shutil.rmtree(machine / CPUS / "cpu0/thermal_throttle")
    cpu = collector(machine)
    assert ("0", "0") not in told(cpu)["node_cpu_core_throttles_total"]
    shutil.copytree(FIXTURES / CPUS / "cpu0/thermal_throttle", machine / CPUS / "cpu0/thermal_throttle")
    assert ("0", "0") not in told(cpu)["node_cpu_core_throttles_total"]
    if change == "another CPU":
        write_stat(machine, "cpu0 1 1 1 1 1 1 1 1 1 1", "cpu9 1 1 1 1 1 1 1 1 1 1")
    else:
        cpu.clock.now = 601.0
    assert told(cpu)["node_cpu_core_throttles_total"]["0", "0"] == 4.0


def test_isolated_cpus_that_cannot_be_understood_cost_only_themselves(machine):
    """A list of isolated CPUs that makes no sense is as none; everything else is told."""
    cpu = collector(machine)
    expected = told(cpu).keys() - {"node_cpu_isolated"}
    (machine / CPUS / "isolated").write_text("rubbish\n")
    assert told(collector(machine)).keys() == expected


def test_a_stat_with_fewer_columns_is_told_at_once(machine):
    """Modes that are gone from one scrape to the next are gone, and back with the file."""
    cpu = collector(machine)
    write_stat(machine, "cpu0 1 1 1 1 1 1 1 1 1 1")
    assert len(told(cpu)["node_cpu_seconds_total"]) == 8
    write_stat(machine, "cpu0 1 1 1 1 1")
    assert len(told(cpu)["node_cpu_seconds_total"]) == 5
    write_stat(machine, "cpu0 1 1 1 1 1 1 1 1 1 1")
    assert len(told(cpu)["node_cpu_seconds_total"]) == 8


def test_columns_that_a_kernel_lacks_are_absent_and_further_ones_ignored():
    """An old kernel's short line gives the modes that it has, and a future kernel's long one those that are known."""
    assert parse(b"cpu0 1 2 3 4\n") == {"0": [1.0, 2.0, 3.0, 4.0]}
    assert parse(b"cpu0 1 2 3 4 5 6 7 8 9 10 11 12\n") == {"0": [float(n) for n in range(1, 11)]}


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"cpu  1 2 3 4\n", b"cpu0\n", b"cpu0 1 2 3\n", b"cpu0 1 2 x 4\n", b"cpux 1 2 3 4"]
)
def test_a_stat_that_makes_no_sense_is_an_error(text):
    """A text without CPUs, a line that is cut off and one without numbers raise ValueError."""
    with pytest.raises(ValueError, match="in stat, found"):
        parse(text)


@EASY
@given(st.dictionaries(st.integers(0, 999), st.lists(st.integers(0, 2**64 - 1), min_size=10, max_size=14), min_size=1))
def test_what_a_kernel_may_write_is_read(cpus):
    """Whatever the numbers, columns and CPUs, each known column is read."""
    text = "".join(f"cpu{cpu} {' '.join(map(str, ticks))}\n" for cpu, ticks in cpus.items())
    assert parse(text.encode()) == {str(cpu): [float(tick) for tick in ticks[:10]] for cpu, ticks in cpus.items()}


@EASY
@given(
    st.one_of(st.binary(max_size=200), st.integers(0, 300).map(lambda end: (FIXTURES / "proc/stat").read_bytes()[:end]))
)
def test_any_text_is_read_or_refused(text):
    """Binary, truncated and empty texts give an answer or ValueError, and nothing else."""
    for parser in (parse, _cpuinfo.parse, _topology.parse_list):
        with suppress(ValueError):
            parser(text)
        with suppress(ValueError):
            parser(b"cpu0 1 2 3 4 " + text)


TICKS = st.lists(st.floats(0, 1e9), min_size=10, max_size=10)


@EASY
@given(st.lists(TICKS, min_size=2, max_size=6))
def test_counters_only_fall_when_a_cpu_starts_afresh(steps):
    """From one scrape to the next either no counter falls, or all are as the kernel tells them."""
    before = {}
    for ticks in steps:
        now = forward(before, {"0": ticks})
        assert now["0"] == ticks or all(a <= b for a, b in zip(before["0"], now["0"], strict=True))
        before = now


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        (b"", []),
        (b"\n", []),
        (b"0", ["0"]),
        (b"1,3-5,9\n", ["1", "3", "4", "5", "9"]),
        (b"0-1,65535", ["0", "1", "65535"]),
    ],
)
def test_lists_of_cpus(text, cpus):
    """Single numbers and ranges of the kernel's notation are read, and an empty text lists none."""
    assert _topology.parse_list(text) == cpus


@pytest.mark.parametrize("text", [b"1-", b"-1", b"a", b"1--3", b"0-99999999999", b"65536", b"1,,2", b"\xff"])
def test_lists_of_cpus_that_make_no_sense(text):
    """Rubbish, and a range beyond any machine, raise ValueError rather than filling the memory."""
    with pytest.raises(ValueError, match="list of CPUs"):
        _topology.parse_list(text)


ARM64 = b"""processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd crc32
CPU implementer\t: 0x41

Hardware\t: BCM2835
Model\t\t: Example Board
"""
ARM = b"""Processor\t: ARMv7 rev 5
processor\t: 0
BogoMIPS\t: 38.40

Features\t: swp half
"""
POWER = b"""processor\t: 8
cpu\t\t: POWER9
clock\t\t: 2200MHz

timebase\t: 5
model\t\t: 9009-22A
"""
S390 = b"""vendor_id       : IBM/S390
features\t: esan3 zarch
processor 0: version = FF,  machine = 2964

cpu number      : 0
physical id     : 3
core id         : 5
"""
RISCV = b"processor\t: 1\nhart\t\t: 4\nisa\t\t: rv64imafdc\n"
MIPS = b"system type\t\t: Example SoC\nprocessor\t\t: 0\ncpu model\t\t: MIPS 24Kc\n"


@pytest.mark.parametrize(
    ("text", "number", "fields"),
    [
        (ARM64, "0", {"flags": "fp asimd crc32", "model": "", "model_name": ""}),
        (ARM, "0", {"model_name": "ARMv7 rev 5", "flags": "swp half"}),
        (POWER, "8", {"vendor": "POWER9", "model": ""}),
        (S390, "0", {"vendor": "IBM/S390", "package": "3", "core": "5", "flags": "esan3 zarch"}),
        (RISCV, "1", {"core": "4", "model_name": "rv64imafdc"}),
        (MIPS, "0", {"vendor": "Example SoC", "model_name": "MIPS 24Kc"}),
    ],
    ids=["arm64", "arm", "power", "s390", "riscv", "mips"],
)
def test_cpuinfo_of_other_architectures(text, number, fields):
    """Each architecture's own names lead to the same fields; what is about the board is not taken for a CPU's."""
    cpus = _cpuinfo.parse(text)
    assert list(cpus) == [number]
    assert {name: _cpuinfo.field(cpus[number], name) for name in fields} == fields


def test_frequencies_are_told_with_the_info():
    """With the info comes how fast each CPU is clocked, in hertz, at each collection anew; without it, nothing does."""
    assert hertz(b"processor : 3\ncpu MHz : 800.5\nphysical id : 1\ncore id : 2\n\nprocessor : 4\n") == {
        ("3", "2", "1"): 800.5e6
    }
    assert "node_cpu_frequency_hertz" not in told(collector())
    with pytest.raises(ValueError, match="could not convert"):
        hertz(b"processor : 3\ncpu MHz : fast\n")


def test_frequencies_are_fresh(machine):
    """What /proc/cpuinfo says now is told, not what a survey has found."""
    cpu = collector(machine, info=True)
    for number in (800, 900):
        (machine / "proc/cpuinfo").write_text(f"processor : 0\ncpu MHz : {number}\n")
        assert told(cpu)["node_cpu_frequency_hertz"] == {("0", "", ""): number * 1e6}
