"""Talking to systemd."""

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time

import pytest

from agentd import systemd
from agentd.systemd import notify

INLINE = """
import time
from agentd.plugin import Collector, Config, Family, hookimpl

class Sleeper(Collector[Config]):
    name = "sleeper"
    blocking = False
    asked = 0

    def collect(self):
        self.asked += 1
        if self.asked == 2:
            time.sleep(3600)
        return [Family.gauge("slept", "Whether it has slept.", 0.0)]

@hookimpl
def agentd_collectors():
    return [Sleeper]
"""
"""A plugin that says that it does not block, and at its second run blocks the event loop for good."""


@pytest.fixture
def listening(tmp_path, monkeypatch):
    """Stands for systemd: the socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)
        yield bound


def fields(datagram):
    """Return what was said to systemd."""
    return dict(line.split("=", 1) for line in datagram.decode().splitlines())


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_sent_as_one_datagram(tmp_path, monkeypatch, abstract):
    """The socket is a path, or a name in the abstract namespace behind an @ (sd_notify(3))."""
    path = f"@agentd-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + path[1:] if abstract else path)
        listening.settimeout(10)
        assert notify(READY="1", STATUS="14 collectors") is True
        assert listening.recv(1000) == b"READY=1\nSTATUS=14 collectors"


def test_a_status_stays_a_status(listening):
    """A line break in it begins no other field."""
    notify(STATUS="a\nWATCHDOG=trigger\nb")
    assert listening.recv(1000) == b"STATUS=a WATCHDOG=trigger b"


@pytest.mark.parametrize("path", [None, "", "relative", "/nowhere/at/all", "/dev/null", "/" + "x" * 200])
def test_without_systemd_nothing_happens(monkeypatch, path):
    """Nobody listens, and the agent runs on without."""
    if path is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify(READY="1") is False
    assert systemd.reloading() is False
    asyncio.run(asyncio.wait_for(systemd.report(lambda: "x"), 10))


def test_a_reload_is_begun_and_ended(listening):
    """Its begin has the time by the monotonic clock, in microseconds, as Type=notify-reload asks for."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.reloading()
    begun = fields(listening.recv(1000))
    assert before <= int(begun.pop("MONOTONIC_USEC")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert begun == {"RELOADING": "1"}
    assert systemd.ready("14 collectors")
    assert fields(listening.recv(1000)) == {"READY": "1", "STATUS": "14 collectors"}
    assert systemd.ready()
    assert fields(listening.recv(1000)) == {"READY": "1"}


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        (None, None, None),
        ("30000000", None, 30.0),
        ("500000", "mine", 0.5),
        ("30000000", "1", None),
        ("30000000", "", None),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_meant_for_this_process(monkeypatch, usec, pid, seconds):
    """WATCHDOG_USEC counts where WATCHDOG_PID is this process, or is not set (sd_watchdog_enabled(3))."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "mine" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog() == seconds


async def report(status, listening, count):
    """Return the first datagrams of a report."""
    task = asyncio.create_task(systemd.report(status))
    try:
        return [fields(await asyncio.to_thread(listening.recv, 1000)) for _ in range(count)]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_status_is_told_when_it_changes(listening, monkeypatch):
    """One that stays as it is is told once."""
    monkeypatch.setattr(systemd, "STATUS_EVERY", 0.01)
    told = iter(["one", "one", "one", "two", "two"])
    said = await report(lambda: next(told, "three"), listening, 3)
    assert said == [{"STATUS": "one"}, {"STATUS": "two"}, {"STATUS": "three"}]


async def test_the_watchdog_is_fed_though_the_status_fails(listening, monkeypatch):
    """A status that raises is told as that, and costs no restart."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    monkeypatch.setattr(systemd, "STATUS_EVERY", 0.01)
    said = await report(lambda: 1 / 0, listening, 5)
    assert said == [{"STATUS": "the status cannot be told: division by zero"}, *[{"WATCHDOG": "1"}] * 4]


def test_a_blocked_loop_starves_the_watchdog(listening, start_agent):
    """The agent feeds it while it runs, and no longer once a plugin blocks its loop; SIGABRT then tells where.

    What systemd makes of that is shown in a booted Debian.
    """
    environment = {"NOTIFY_SOCKET": os.environ["NOTIFY_SOCKET"], "WATCHDOG_USEC": "300000"}
    agent = start_agent(plugins={"sleeper": INLINE}, environment=environment)
    ready = fields(listening.recv(1000))
    assert ready["READY"] == "1"
    assert "collectors" in ready["STATUS"]
    fed = 0
    while fed < 5:
        fed += fields(listening.recv(1000)).get("WATCHDOG") == "1"
    with socket.create_connection(("127.0.0.1", agent.port)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listening.settimeout(3)  # it was fed ten times a second before
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                listening.recv(1000)
            pytest.fail("the watchdog is still fed")
    agent.process.send_signal(6)
    assert agent.process.wait(20) == -6
    assert "Fatal Python error: Aborted" in agent.log()
    assert "sleeper.py" in agent.log()


def handed_over(program, *sockets, pid=None, environment=None):
    """Run a Python program that gets sockets as systemd hands them over, at descriptors 3 and on; return its output."""
    numbers = [fcntl.fcntl(each, fcntl.F_DUPFD, 50) for each in sockets]
    prologue = [f"import os; os.environ['LISTEN_PID'] = {pid or 'str(os.getpid())'}"]
    prologue += [f"os.dup2({number}, {3 + index})" for index, number in enumerate(numbers)]
    try:
        return subprocess.run(
            [sys.executable, "-c", "\n".join((*prologue, program))],
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "a:b", **(environment or {})},
            pass_fds=numbers,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=True,
        ).stdout
    finally:
        for number in numbers:
            os.close(number)


TAKE = """
from agentd import systemd
print([each.getsockname()[1] for each in systemd.sockets()], sorted(n for n in os.environ if n.startswith("LISTEN")))
print([each.get_inheritable() for each in systemd.sockets()])
"""


def test_sockets_are_taken_over_once():
    """They come in systemd's order, and no process that the agent starts takes them for its own."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        assert handed_over(TAKE, one, two).splitlines() == [f"{ports} []", "[]"]


def test_sockets_of_another_process_are_left_alone():
    """LISTEN_PID says whom they are for; the variables go all the same."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert handed_over(TAKE, one, pid="'1'").splitlines() == ["[] []", "[]"]


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_without_sockets_there_are_none(count):
    """LISTEN_FDS that is no number of sockets is none."""
    assert handed_over(TAKE, environment={"LISTEN_FDS": count}).splitlines() == ["[] []", "[]"]
