"""Faults one by one, each a real one: what goes on, what is said, what comes back by itself.

The table of docs/operations.md has a row for each. What a test elsewhere shows is not shown again here.
"""

import contextlib
import http.client
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

TO_FILE = '[sinks.lines]\nplugin = "file"\nstart = "beginning"\npath = "{folder}/events.jsonl"\n'

NAME_SERVER = "127.0.53.53"
"""An address of this machine's own that no other program is likely to have a name server on."""

STUCK = '''
import itertools, os, time
from agentd.plugin import Collector, Config, hookimpl

class Stuck(Collector[Config]):
    """Hangs for ever once a file is there, and says before that it begins."""

    name = "stuck"
    blocking = {blocking}

    def collect(self):
        folder = os.environ["STUCK"]
        if not os.path.exists(folder + "/stuck"):
            return []
        open(folder + "/begun", "a").write("begun ")
        return {hang}

@hookimpl
def agentd_collectors():
    return [Stuck]
'''

NEVER_LETS_GO = {"hang": "sum(itertools.repeat(0))", "blocking": True}
"""In C, in a thread of its own, with the interpreter: no other thread runs any more."""

BLOCKS = {"hang": "time.sleep(10**6)", "blocking": False}
"""On the event loop: other threads do run."""


def post(agent, number):
    """Post an event with a number, and return the answer."""
    event = {"type": "test.number", "payload": {"n": number}}
    return agent.get("/api/v1/events", method="POST", body=json.dumps(event).encode())


def kept(agent):
    """Return the numbers in the journal, from the first to the last, as somebody who asks gets them."""
    found = json.loads(agent.get("/api/v1/events?type=test.number&limit=1000").text)["events"]
    return [event["payload"]["n"] for event in reversed(found)]


def delivered(folder):
    """Return the numbers in the whole lines of the sink's file: it is read while the sink writes."""
    file = folder / "events.jsonl"
    *whole, _ = (file.read_bytes() if file.exists() else b"").split(b"\n")
    return [event["payload"]["n"] for event in map(json.loads, whole) if event["type"] == "test.number"]


def total(answer, name):
    """Return the sum of the series of a metric, and how many there are."""
    values = [value for (known, _), value in answer.samples.items() if known == name]
    return sum(values), len(values)


@pytest.fixture
def fleet(processes, tmp_path):
    """Starts simulated robots that send to an agent."""

    def start(agent, robots=3):
        (tmp_path / "fleet").mkdir()
        command = [sys.executable, "-m", "agentd", "simulate", "--robots", str(robots), "--rate", "5", "--seed", "1"]
        processes.server([*command, "--url", agent.url], agent.port, tmp_path / "fleet", agent.environment, ready=None)
        agent.until(lambda: total(agent.get("/metrics"), "robot_up") == (robots, robots))

    return start


def test_a_full_disk(start_agent, fleet, tmp_path):
    """Scrapes and robots go on, whoever wants an event safe is told to come again; with room all is written again."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small disk can be mounted here: that takes root")
    try:
        agent = start_agent(
            f"[collectors.robots]\n{TO_FILE}".format(folder=tmp_path), environment={"STATE_DIRECTORY": str(small)}
        )
        fleet(agent)
        assert post(agent, 0).status == 201
        with (small / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096) == 4096:
                pass
        agent.until(lambda: post(agent, 1).status == 503)
        refused = post(agent, 2)
        assert "make room on the disk of the state directory" in agent.log()
        assert refused.headers["retry-after"] == "5"
        before = agent.get("/metrics")
        assert_rest_is_served(before)
        assert before.value("agentd_journal_writable") == 0
        assert total(before, "robot_up") == (3, 3)
        (small / "filling").unlink()
        agent.until(lambda: post(agent, 3).status == 201)
        assert agent.get("/metrics").value("agentd_journal_writable") == 1
        assert kept(agent)[-1] == 3
        assert kept(agent)[0] == 0
        assert 2 not in kept(agent)
        agent.until(lambda: delivered(tmp_path) == kept(agent))
        assert agent.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def assert_rest_is_served(answer, but=()):
    """Fail where collectors of the host are missing in an answer, but for some."""
    assert answer.status == 200
    for name in {"cpu", "loadavg", "meminfo", "netdev", "stat", "uname"}.difference(but):
        assert answer.value("node_scrape_collector_success", collector=name) == 1, name


def test_a_state_directory_that_is_gone(start_agent, tmp_path):
    """The next event brings it back with all that was in it, under the same identity, and the log says why."""
    agent = start_agent(TO_FILE.format(folder=tmp_path))
    state = Path(agent.environment["STATE_DIRECTORY"])
    assert post(agent, 0).status == 201
    agent.until(lambda: delivered(tmp_path) == [0])
    shutil.rmtree(state)
    agent.until(lambda: post(agent, 1).status == 201)
    assert_rest_is_served(agent.get("/metrics"))
    assert (state / "journal.db").exists()
    assert "it was removed while it was in use" in agent.log()
    agent.until(lambda: delivered(tmp_path) == [0, 1])
    found = json.loads(agent.get("/api/v1/events?type=test.number").text)["events"]
    assert [event["payload"]["n"] for event in found] == [1, 0]
    assert len({event["meta"]["agent_id"] for event in found}) == 1
    agent.until(lambda: "journal.restored" in agent.get("/api/v1/events?type=journal.*").text)


def test_a_clock_that_goes_back_by_a_day(start_agent, fleet, tmp_path):
    """Events stay in order and arrive, and robots stay live, when the clock goes back, and when it is right again."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed (a Debian package has it)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # or threads that wait for the interpreter's lock spin
    }
    config = f"[collectors.robots]\nstale_after = '3s'\n{TO_FILE}".format(folder=tmp_path)
    agent = start_agent(config, environment=faked)
    fleet(agent)
    for number, (setting, ahead) in enumerate((("+0", 0), ("-1d", -86400), ("+0", 0))):
        (tmp_path / "next").write_text(setting)
        (tmp_path / "next").replace(clock)
        agent.until(
            lambda ahead=ahead: abs(agent.get("/metrics").value("node_time_seconds") - time.time() - ahead) < 60
        )
        assert post(agent, number).status == 201
        agent.until(lambda number=number: delivered(tmp_path) == list(range(number + 1)))
        time.sleep(4)  # longer than a robot may be silent
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
        assert total(answer, "robot_up") == (3, 3)
        assert answer.value("agentd_journal_writable") == 1
        assert total(answer, "agentd_sink_lag_seconds")[0] < 60
        assert 0 < json.loads(agent.get("/api/v1/status").text)["uptime_seconds"] < 1000
    assert kept(agent) == [0, 1, 2]
    found = json.loads(agent.get("/api/v1/events?type=test.number").text)["events"]
    times = [event["timestamp"] for event in reversed(found)]
    assert times[1] < times[0] - 80000
    assert agent.stop() == 0


def test_descriptors_that_are_used_up(start_agent, tmp_path):
    """Over a connection that is there, events are taken and scrapes answered, of which collectors say that they fail;
    with descriptors again all is as before.
    """
    agent = start_agent(TO_FILE.format(folder=tmp_path))
    assert post(agent, 0).status == 201
    agent.until(lambda: delivered(tmp_path) == [0])
    kept_open = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=60)
    scraped(kept_open)
    limits = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        failing = scraped(kept_open)
        assert any(re.fullmatch(r"agentd_collector_success\{.*\} 0.0", line) for line in failing)
        assert any(re.fullmatch(r"agentd_collector_success\{.*\} 1.0", line) for line in failing)
        event = json.dumps({"type": "test.number", "payload": {"n": 1}}).encode()
        kept_open.request("POST", "/api/v1/events", event)
        status = kept_open.getresponse()
        assert (status.status, bool(status.read())) == (201, True)
        agent.until(lambda: "Too many open files" in agent.log())
    finally:
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, limits)
        kept_open.close()
    agent.until(lambda: agent.answers("/metrics"))
    assert_rest_is_served(agent.get("/metrics"))
    assert kept(agent) == [0, 1]
    agent.until(lambda: delivered(tmp_path) == [0, 1])
    assert "Traceback" not in agent.log()
    assert len(agent.log().splitlines()) < 120
    assert agent.stop() == 0


def scraped(connection):
    """Return the lines of a scrape over a connection that stays open."""
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode().splitlines()


class NameServer:
    """A name server that says nothing, until it is told that every name is this machine."""

    def __init__(self):
        self.answers = False
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self):
        """Take its port; skip where that is not allowed."""
        try:
            self.socket.bind((NAME_SERVER, 53))
        except OSError as error:
            self.socket.close()
            pytest.skip(f"no name server can run here ({error}): that takes root")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, client = self.socket.recvfrom(4096)
                self.asked += 1
                if not self.answers:
                    continue
                end = query.index(b"\0", 12) + 5
                address = query[end - 4 : end - 2] == b"\0\1"  # the question is for an IPv4 address
                record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if address else b""
                head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if address else b"\0\0") + b"\0\0\0\0"
                self.socket.sendto(head + query[12:end] + record, client)


def test_a_name_server_that_is_away(start_agent, tmp_path, free_port):
    """A sink whose receiver has no address says so; scrapes and other sinks go on, and it delivers with names again."""
    inside = 'mount --bind "$RESOLV" /etc/resolv.conf && exec "$@"'
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    tried = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh", "true"]
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("the agent cannot be given a name server of its own: that takes root")
    if subprocess.run(tried, env={**os.environ, "RESOLV": str(resolv)}, capture_output=True, check=False).returncode:
        pytest.skip("the agent cannot be given a name server of its own: nothing can be mounted here")
    server = NameServer()
    server.open()
    received = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.extend(event["data"]["n"] for event in body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = http.server.ThreadingHTTPServer(("127.0.0.1", free_port), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    config = f"""{TO_FILE.format(folder=tmp_path)}
[sinks.hook]
plugin = "webhook"
url = "http://hook.example:{free_port}/"
events = ["test.*"]
unhealthy_after = "1s"
"""
    shell = f"exec unshare --mount --propagation private sh -c '{inside}' sh \"$@\""
    try:
        agent = start_agent(config, environment={"RESOLV": str(resolv)}, shell=shell)
        for number in range(20):
            assert post(agent, number).status == 201
        agent.until(lambda: agent.get("/metrics").value("agentd_sink_healthy", plugin="sinks.hook") == 0)
        assert server.asked
        assert_rest_is_served(agent.get("/metrics"))
        agent.until(lambda: delivered(tmp_path) == list(range(20)))
        assert "hook.example" in agent.log()
        assert kept(agent) == list(range(20))
        assert received == []
        server.answers = True
        agent.until(lambda: received == list(range(20)))
        agent.until(lambda: agent.get("/metrics").value("agentd_sink_healthy", plugin="sinks.hook") == 1)
        assert agent.stop() == 0
    finally:
        hook.shutdown()
        hook.server_close()
        server.socket.close()


@pytest.fixture
def watchdog(tmp_path):
    """Listens as systemd does, with a watchdog of six seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(6)
        yield listening


def silent(watchdog):
    """Return when there has been no sign of life for six seconds."""
    with contextlib.suppress(TimeoutError):
        while True:
            watchdog.recv(4096)


@pytest.mark.parametrize("how", [BLOCKS, NEVER_LETS_GO], ids=["on the loop", "with the interpreter"])
def test_a_collector_that_blocks_for_ever_again_and_again(start_agent, watchdog, tmp_path, how):
    """Nothing answers any more, and the log of who is aborted, as by a watchdog, names the plugin. The next start does
    without that plugin, loudly, and has what was acknowledged; an operator brings it back. One that does it again is
    left out for longer.
    """
    folders = {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "6000000", "STUCK": str(tmp_path)}

    def start():
        return start_agent(
            TO_FILE.format(folder=tmp_path),
            plugins={"stuck": STUCK.format(**how)},
            environment={**folders, **systemd},
            ready=False,
        )

    def hang(agent):
        (tmp_path / "begun").unlink(missing_ok=True)
        (tmp_path / "stuck").write_text("")
        with socket.create_connection(("127.0.0.1", agent.port), timeout=60) as scrape:
            scrape.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            agent.until((tmp_path / "begun").exists)
            with socket.create_connection(("127.0.0.1", agent.port), timeout=3) as other:
                other.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                with pytest.raises(TimeoutError):
                    other.recv(100)
            silent(watchdog)
        assert agent.stop(signal.SIGABRT) == -signal.SIGABRT
        assert "stuck.py" in agent.log()

    def left_out(agent):
        agent.until(lambda: agent.answers("/livez") and json.loads(agent.get("/api/v1/status").text)["ready"])
        answer = agent.get("/metrics")
        up = {dict(key)["plugin"]: value for (name, key), value in answer.samples.items() if name == "agentd_plugin_up"}
        out = {plugin for plugin, value in up.items() if not value}
        assert "collectors.stuck" in out
        assert len(out) <= (2 if how is NEVER_LETS_GO else 1), "or one innocently, who had the loop"
        assert_rest_is_served(answer, {plugin.removeprefix("collectors.") for plugin in out})
        degraded = agent.get("/readyz")
        assert degraded.status == 503
        assert "collectors.stuck is left out for a while: it held up the whole agent" in degraded.text
        assert "agentd plugins resume collectors.stuck" in agent.log()
        plugins = json.loads(agent.get("/api/v1/status").text)["plugins"]
        (stuck,) = [plugin for plugin in plugins if plugin["plugin"] == "collectors.stuck"]
        assert "held up the whole agent" in stuck["error"]
        rests = json.loads(agent.get("/api/v1/events?type=plugin.rests").text)["events"]
        assert {"plugin": "collectors.stuck", "until": stuck["paused_until"]} in [each["payload"] for each in rests]
        for innocent in out - {"collectors.stuck"}:
            assert agent.get(f"/api/v1/plugins/{innocent}/resume", method="POST").status == 200
        return stuck["paused_until"] - time.time()

    agent = start()
    agent.until(lambda: agent.answers("/readyz"))
    for number in range(10):
        assert post(agent, number).status == 201
    hang(agent)
    agent = start()
    assert 0 < left_out(agent) <= 600
    assert kept(agent) == list(range(10))
    agent.until(lambda: set(delivered(tmp_path)) == set(range(10)))
    assert agent.stop() == 0
    agent = start()
    assert 0 < left_out(agent) <= 600
    if how is NEVER_LETS_GO:
        return
    (tmp_path / "stuck").unlink()
    (tmp_path / "state" / "resting.json").write_text(
        json.dumps({"collectors.stuck": {"times": 1, "until": time.time() + 1}})
    )
    assert agent.stop() == 0
    agent = start()  # whose rest ends by itself
    agent.until(lambda: agent.answers("/readyz"))
    hang(agent)
    agent = start()
    assert 600 < left_out(agent) <= 1200
    (tmp_path / "stuck").unlink()
    assert agent.get("/api/v1/plugins/collectors.stuck/resume", method="POST").status == 200
    assert agent.get("/readyz").status == 200
    assert agent.get("/metrics").value("agentd_plugin_up", plugin="collectors.stuck") == 1
    assert agent.stop() == 0
    agent = start()
    agent.until(lambda: agent.answers("/readyz"))
    assert "is left out" not in agent.log()


def test_an_agent_that_is_stopped_for_a_while(start_agent, fleet, tmp_path):
    """Whoever asks meanwhile is answered afterwards, robots keep their connections, and the loop says that it was late.

    Robots are pinged so often that they would be overdue many times; a minute is to the defaults what this is to these.
    """
    agent = start_agent(f"[collectors.robots]\nping_every = '1s'\n{TO_FILE}".format(folder=tmp_path))
    fleet(agent)
    assert post(agent, 0).status == 201
    answers = []
    agent.send(signal.SIGSTOP)
    asking = threading.Thread(target=lambda: answers.append(post(agent, 1).status))
    asking.start()
    time.sleep(6)
    assert answers == []
    agent.send(signal.SIGCONT)
    asking.join(60)
    assert answers == [201]
    assert post(agent, 2).status == 201
    agent.until(lambda: delivered(tmp_path) == [0, 1, 2])
    time.sleep(3)
    answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert total(answer, "robot_up") == (3, 3)
    reasons = {dict(labels)["reason"] for name, labels in answer.samples if name == "robot_disconnections_total"}
    assert reasons <= {"closed"}
    counted = answer.value("agentd_loop_lag_seconds_count")
    assert counted - answer.value("agentd_loop_lag_seconds_bucket", le="0.5") >= 1
    assert "Traceback" not in agent.log()
    assert agent.stop() == 0
