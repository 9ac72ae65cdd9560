"""The collector sysctl."""

import logging
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.sysctl import Parameter, Sysctl, SysctlConfig, numbers, parameter


@pytest.fixture
def proc(tmp_path):
    """Return a fake procfs with some parameters."""
    for name, content in {
        "kernel/threads-max": b"192686\n",
        "kernel/sem": b"32000\t100\t500\n",
        "vm/dirty_ratio": b"-1\n",
        "net/ipv4/tcp_available_congestion_control": b"reno cubic\n",
        "kernel/empty": b"\n",
    }.items():
        file = tmp_path / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path


def collector(proc, include=(), include_info=()):
    """Return a collector that reads a fake procfs."""
    config = SysctlConfig(include=list(include), include_info=list(include_info))
    return Sysctl(config, Context(host=Host(HostPaths(procfs=str(proc)))))


def samples(collector):
    """Return the samples of each family that a collector tells. Fails where a name is there twice."""
    families = collector.collect()
    told = {family.name: family.samples for family in families}
    assert len(told) == len(families)
    return told


def test_nothing_is_told_by_default(proc):
    """Without options, there is nothing to tell and nothing to fail."""
    assert collector(proc).collect() == []


def test_collect_tells_numbers(proc):
    """One number stands alone, several by their place or by the names that the option gives them."""
    include = ["kernel.threads-max", "vm.dirty_ratio", "kernel.sem", "kernel.sem:msl,mns,opm", "kernel.sem"]
    assert samples(collector(proc, include)) == {
        "node_sysctl_kernel_threads_max": {(): 192686.0},
        "node_sysctl_vm_dirty_ratio": {(): -1.0},
        "node_sysctl_kernel_sem": {("0",): 32000.0, ("1",): 100.0, ("2",): 500.0},
        "node_sysctl_kernel_sem_msl": {(): 32000.0},
        "node_sysctl_kernel_sem_mns": {(): 100.0},
        "node_sysctl_kernel_sem_opm": {(): 500.0},
    }


def test_numbers_are_of_unknown_kind(proc):
    """Nobody says whether a parameter is a gauge or a counter; those by place have the label ``index``."""
    families = collector(proc, ["kernel.sem", "kernel.threads-max"]).collect()
    assert [(family.kind, family.label_names) for family in families] == [("unknown", ("index",)), ("unknown", ())]


def test_collect_tells_words(proc):
    """Words are labels of a sample that is always 1, one for each word, numbers too where they are asked for so."""
    names = ["net.ipv4.tcp_available_congestion_control", "kernel.threads-max", "kernel.empty"]
    (family,) = collector(proc, include_info=names).collect()
    assert (family.name, family.kind, family.label_names) == ("node_sysctl_info", "gauge", ("name", "value", "index"))
    assert family.samples == {
        (names[0], "reno", "0"): 1.0,
        (names[0], "cubic", "1"): 1.0,
        (names[1], "192686", "0"): 1.0,
    }


@pytest.mark.parametrize(
    "broken",
    [
        "kernel.missing",  # its module is not loaded, say
        "kernel",  # a folder
        "net.ipv4.tcp_available_congestion_control",  # words
        "kernel.empty",
        "kernel.sem:too,few",
        "kernel.threads-max:one,two",
    ],
)
def test_what_cannot_be_told_is_left_out_and_said_once(proc, caplog, broken):
    """A parameter that cannot be told takes no other with it, and the log names it once."""
    watching = collector(proc, [broken, "vm.dirty_ratio"])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert samples(watching) == {"node_sysctl_vm_dirty_ratio": {(): -1.0}}
    (record,) = caplog.records
    assert f"kernel parameter {broken.partition(':')[0]} is left out" in record.getMessage()


def test_a_missing_text_takes_no_other_with_it(proc):
    """The same holds for parameters that are told as words."""
    watching = collector(proc, include_info=["kernel.missing", "kernel.threads-max"])
    assert samples(watching) == {"node_sysctl_info": {("kernel.threads-max", "192686", "0"): 1.0}}


def test_nothing_but_problems_is_a_failure(proc):
    """Where none of the parameters can be told, the collector has failed."""
    with pytest.raises(ValueError, match=r"kernel\.missing is left out"):
        collector(proc, ["kernel.missing"]).collect()


@pytest.mark.parametrize("text", ["", ":a", "kernel.sem:", "kernel.sem:a,", "kernel.sem:a-b", "kernel.\0sem"])
def test_a_wrong_option_is_refused(text):
    """A name that is none, or keys that fit no metric's name, are errors of the configuration."""
    with pytest.raises(ValueError, match="expected a kernel parameter"):
        SysctlConfig(include=[text])


def test_words_have_no_names():
    """Names for values are given to numbers only."""
    with pytest.raises(ValueError, match="include_info names no values"):
        SysctlConfig(include_info=["kernel.sem:a,b,c,d"])


def test_no_name_leads_out_of_the_folder(proc):
    """Dots become slashes, so that nothing outside of /proc/sys can be named."""
    (proc / "secret").write_bytes(b"42\n")
    for name in ("../secret", "..secret", "/../secret"):
        with pytest.raises(ValueError, match="left out"):
            collector(proc, [name]).collect()


def test_parameter_takes_names_apart():
    """The keys stand behind the first colon."""
    assert parameter("fs.file-nr:total,max") == Parameter("fs.file-nr", ("total", "max"))
    assert parameter("vm.swappiness") == Parameter("vm.swappiness", ())


def test_numbers_may_be_hexadecimal():
    """Some debugging masks are; none is cut off at 64 bits."""
    assert numbers(b"0x1F -7 18446744073692774399\n") == [31.0, -7.0, 18446744073692774399.0]


@pytest.mark.parametrize("text", [b"", b"one", b"1 two", b"1.5", b"9" * 400, b"nan"])
def test_numbers_refuses_what_is_none(text):
    """A file without numbers, with other words, or with a number beyond any float is an error."""
    with pytest.raises(ValueError, match="expected numbers"):
        numbers(text)


@given(st.lists(st.integers(-(2**63), 2**64), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_numbers_reads_back_what_a_kernel_would_write(values):
    """Any numbers are read, with tabs between them."""
    assert numbers(b"\t".join(b"%d" % value for value in values) + b"\n") == [float(value) for value in values]


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_numbers_returns_or_raises_value_error(junk):
    """Binary junk never raises anything but ValueError."""
    with suppress(ValueError):
        numbers(junk)


@given(st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_parameter_returns_or_raises_value_error(text):
    """Any text as an option is taken or is a ValueError."""
    with suppress(ValueError):
        parameter(text)
