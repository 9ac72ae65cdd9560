"""The collector processes."""

import logging
import os
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.processes import Processes, parse

REST = b" 1 1 1 0 -1 4194304 5 6 7 8 9 10 11 12 20 0 %d 0 100 200 300\n"


def stat(state, threads, name=b"sh"):
    """Return the stat file of a process or thread."""
    return b"77 (%s) %s" % (name, state) + REST % threads


@pytest.fixture
def proc(tmp_path):
    """Return a fake procfs with three processes, of which one has three threads."""
    (tmp_path / "self" / "task").mkdir(parents=True)
    (tmp_path / "sys" / "kernel").mkdir(parents=True)
    (tmp_path / "sys" / "kernel" / "threads-max").write_bytes(b"9000\n")
    (tmp_path / "sys" / "kernel" / "pid_max").write_bytes(b"32768\n")
    (tmp_path / "irq").mkdir()
    process(tmp_path, "1", {"1": b"S"})
    process(tmp_path, "20", {"20": b"R", "21": b"S", "22": b"D"})
    process(tmp_path, "30", {"30": b"Z"})
    return tmp_path


def process(proc, pid, threads):
    """Make a process with threads in these states."""
    for number, state in threads.items():
        folder = proc / pid / "task" / number
        folder.mkdir(parents=True)
        (folder / "stat").write_bytes(stat(state, len(threads)))
    (proc / pid / "stat").write_bytes(stat(threads[pid], len(threads)))


def collector(proc):
    """Return a collector that reads a fake procfs."""
    return Processes(context=Context(host=Host(HostPaths(procfs=str(proc)))))


def samples(collector):
    """Return the samples of each family that a collector tells."""
    return {family.name: family.samples for family in collector.collect()}


def test_collect_counts_processes_and_threads(proc):
    """A process has the state of its first thread; folders that are no processes are not counted."""
    assert samples(collector(proc)) == {
        "node_processes_state": {("S",): 1.0, ("R",): 1.0, ("Z",): 1.0},
        "node_processes_threads": {(): 5.0},
        "node_processes_threads_state": {("S",): 2.0, ("R",): 1.0, ("D",): 1.0, ("Z",): 1.0},
        "node_processes_pids": {(): 3.0},
        "node_processes_max_threads": {(): 9000.0},
        "node_processes_max_processes": {(): 32768.0},
    }
    assert {family.kind for family in collector(proc).collect()} == {"gauge"}
    assert (Processes.states.labels, Processes.thread_states.labels) == (("state",), ("thread_state",))


def test_states_of_threads_are_not_guessed(proc):
    """A copy of procfs without the folders of threads tells nothing about their states."""
    (proc / "self" / "task").rmdir()
    assert "node_processes_threads_state" not in samples(collector(proc))


def test_collect_leaves_out_limits_that_are_hidden(proc):
    """A container may not see the kernel's parameters: the rest is told."""
    (proc / "sys" / "kernel" / "threads-max").unlink()
    told = samples(collector(proc))
    assert "node_processes_max_threads" not in told
    assert told["node_processes_pids"] == {(): 3.0}


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
def test_what_ends_meanwhile_is_left_out(proc, error):
    """A process or thread that ends between listing and reading takes nothing else with it."""

    class VanishingHost(Host):
        def proc(self, name):
            if name in ("1/stat", "20/task/22/stat"):
                raise error(name)
            return super().proc(name)

    told = samples(Processes(context=Context(host=VanishingHost(HostPaths(procfs=str(proc))))))
    assert told["node_processes_state"] == {("R",): 1.0, ("Z",): 1.0}
    assert told["node_processes_threads_state"] == {("R",): 1.0, ("S",): 1.0, ("Z",): 1.0}


def test_a_process_whose_threads_are_gone_is_counted(proc):
    """Where the folder of its threads has vanished, the process that was read before still counts."""
    for thread in ("20", "21", "22"):
        (proc / "20" / "task" / thread / "stat").unlink()
        (proc / "20" / "task" / thread).rmdir()
    (proc / "20" / "task").rmdir()
    told = samples(collector(proc))
    assert told["node_processes_pids"] == {(): 3.0}
    assert told["node_processes_threads_state"] == {("S",): 1.0, ("Z",): 1.0}


def test_hidden_processes_are_left_out_and_said_once(proc, caplog):
    """Where /proc hides the processes of others, the log says once what right is lacking."""

    class HidingHost(Host):
        def proc(self, name):
            if name.endswith("/stat") and not name.startswith("1/"):
                raise PermissionError(1, "Operation not permitted", name)
            return super().proc(name)

    watching = Processes(context=Context(host=HidingHost(HostPaths(procfs=str(proc)))))
    with caplog.at_level(logging.WARNING):
        assert samples(watching)["node_processes_pids"] == samples(watching)["node_processes_pids"] == {(): 1.0}
    (record,) = caplog.records
    assert "hidepid" in record.getMessage()
    assert "processes.conf" in record.getMessage()


def test_processes_that_are_not_even_listed_are_said(proc, caplog):
    """Where /proc lists the agent's own processes alone, the first one is not among them, and the log says why."""
    (proc / "1").rename(proc.parent / "hidden")
    samples(collector(proc))
    assert "processes.conf" in caplog.text


def test_collect_sees_its_own_threads():
    """On this machine, a thread that waits here is among those that are counted."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    try:
        told = samples(Processes())
    finally:
        done.set()
        waiting.join()
    assert told["node_processes_threads"][()] > told["node_processes_pids"][()] >= 1.0
    assert sum(told["node_processes_state"].values()) == told["node_processes_pids"][()]
    assert os.getpid() <= told["node_processes_max_processes"][()]


@pytest.mark.parametrize("name", [b"a b", b"((x) R 9", b")", b"", b"\xff\n"])
def test_parse_takes_any_name(name):
    """Brackets, blanks and junk in a name are not mistaken for what stands behind it."""
    assert parse(stat(b"S", 4, name)) == ("S", 4.0)


@pytest.mark.parametrize("text", [b"", b"77 sh S 1", b"77 (sh)", b"77 (sh) S 1 2", stat(b"S", 1)[:53]])
def test_parse_refuses_what_is_cut_off(text):
    """A file without a name, or with too few fields, is an error that is a ValueError."""
    with pytest.raises(ValueError, match="expected a name in brackets"):
        parse(text)


@given(st.sampled_from("RSDTtXZPI"), st.integers(0, 10**400))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(state, threads):
    """Any state and number is read; a number beyond any float becomes infinite."""
    assert parse(stat(state.encode(), threads)) == (state, float(str(threads)))


@given(st.integers(0, 90), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        parse(stat(b"S", 1)[:length] + junk)
