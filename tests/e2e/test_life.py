"""How an agent begins and ends."""

import itertools
import json
import re
import signal
import socket
import threading
import time

import pytest

HANGING = '''
import asyncio, sys, threading, time
from agentd.plugin import Collector, Config, Family, hookimpl

class Hanging(Collector[Config]):
    """Hangs, the way that a test chooses."""

    name = "hanging"
{body}
@hookimpl
def agentd_collectors():
    return [Hanging]
'''

WAYS_TO_HANG = {
    "a thread": """
    def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(3600)
""",
    "a task": """
    async def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
""",
    "a task that clings": """
    async def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
""",
    "a thread of asyncio": """
    async def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        await asyncio.to_thread(time.sleep, 3600)
""",
    "a thread of its own": """
    async def start(self):
        threading.Thread(target=time.sleep, args=(3600,)).start()

    def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        return []
""",
    "the event loop": """
    async def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(3600)
""",
    "the start": """
    async def start(self):
        print("hangs", file=sys.stderr, flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
""",
    "the start, on the event loop": """
    async def start(self):
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(3600)
""",
    "the stop": """
    def collect(self):
        print("hangs", file=sys.stderr, flush=True)
        return []

    async def stop(self):
        time.sleep(3600)
""",
}

SLOW = HANGING.format(
    body="""
    def collect(self):
        print("begins", file=sys.stderr, flush=True)
        time.sleep(0.7)
        return [Family.gauge("slow", "Slow.", 1.0)]
"""
)


def ended(agent, number):
    """Send a signal to an agent, and return its exit status; the goal is 2 s, of which a busy machine makes more."""
    begun = time.monotonic()
    status = agent.stop(number)
    took = time.monotonic() - begun
    print(f"ended {took:.2f} s after {signal.Signals(number).name}")
    assert took < 20
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(start_agent, number):
    """SIGTERM and SIGINT end the agent with exit status 0; it says that it stops, and takes its socket away."""
    agent = start_agent()
    assert agent.get("/metrics").status == 200
    assert ended(agent, number) == 0
    assert agent.log().splitlines()[-1].endswith("daemon: stopping")
    assert not socket_of(agent).exists()


def socket_of(agent):
    """Return where an agent's socket for the local command line lies."""
    return agent.folder / "run" / "agentd.sock"


def test_signals_end_it_though_something_hangs(start_agent):
    """Whatever hangs, and wherever, a signal ends the agent with exit status 0."""
    agents = {}
    for way, body in WAYS_TO_HANG.items():
        plugins = {"hanging": HANGING.format(body=body)}
        agents[way] = start_agent("[collectors.hanging]\ntimeout = '1h'", plugins=plugins, ready=False)
    for way, agent in agents.items():
        agent.until(lambda agent=agent: "hangs" in agent.log())
        assert agent.process.poll() is None, way
    begun = time.monotonic()
    for agent, number in zip(agents.values(), itertools.cycle((signal.SIGTERM, signal.SIGINT)), strict=False):
        agent.process.send_signal(number)
    statuses = {way: agent.process.wait(60) for way, agent in agents.items()}
    took = time.monotonic() - begun
    print(f"all of them ended within {took:.2f} s")
    assert took < 20
    assert statuses == dict.fromkeys(agents, 0)
    assert [way for way, agent in agents.items() if "Traceback" in agent.log()] == []


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_signal_at_the_start(start_agent, delay):
    """A signal that comes while the agent begins ends it: once it handles signals well, before as any program."""
    agent = start_agent(ready=False)
    time.sleep(delay)
    assert ended(agent, signal.SIGTERM) in (0, -signal.SIGTERM)
    assert "Traceback" not in agent.log()


def test_signal_while_a_scrape_is_under_way(start_agent):
    """A scrape that has begun is answered before the agent ends."""
    agent = start_agent(plugins={"hanging": SLOW})
    answers = []
    scrape = threading.Thread(target=lambda: answers.append(agent.get("/metrics")))
    scrape.start()
    agent.until(lambda: agent.log().count("begins") == 2)
    assert ended(agent, signal.SIGTERM) == 0
    scrape.join()
    assert [answer.status for answer in answers] == [200]
    assert answers[0].value("slow") == 1


def test_signal_while_connections_are_open(start_agent):
    """Connections that are idle, half-open or in the middle of a request do not keep the agent from ending."""
    agent = start_agent()
    opened = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(30)]
    for connection, data in zip(
        opened, [b"", b"GET /met", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"] * 10, strict=True
    ):
        connection.sendall(data)
    assert ended(agent, signal.SIGTERM) == 0
    for connection in opened:
        connection.close()


def test_two_signals_are_no_more_than_one(start_agent):
    """An impatient user who presses Ctrl-C again gets no traceback, and exit status 0."""
    agent = start_agent(plugins={"hanging": SLOW})
    for _ in range(5):
        agent.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert ended(agent, signal.SIGINT) == 0
    assert "Traceback" not in agent.log()


def test_port_that_is_taken(start_agent, free_port):
    """A port that another program has is one clear line, and exit status 1."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        agent = start_agent(port=free_port, ready=False)
        assert agent.process.wait(60) == 1
    [line] = agent.log().splitlines()
    assert f"127.0.0.1:{free_port}" in line
    assert "--listen" in line
    assert not socket_of(agent).exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1:9", "192.0.2.1:9"),
        ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ("no-such-host.invalid:9", "no-such-host"),
    ],
)
def test_address_that_is_not_this_machine_s(command, address, said):
    """An address that the machine does not have is one clear line, and exit status 1."""
    result = command("run", "--listen", address)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert said in line
    assert "errno" not in line.lower()


def test_several_addresses(start_agent, free_port):
    """It answers on each address that it is told."""
    agent = start_agent(arguments=("--listen", f"127.0.0.2:{free_port}"))
    assert agent.answers("/livez")
    with socket.create_connection(("127.0.0.2", free_port)):
        pass


def test_listen_from_the_environment(command, start_agent, free_port):
    """AGENTD_LISTEN names the address where no option does, and a wrong one is an error that names it."""
    result = command("run", environment={"AGENTD_LISTEN": "nonsense"})
    assert result.returncode == 78
    assert "AGENTD_LISTEN" in result.stderr
    assert free_port


def test_second_agent_on_one_runtime_directory(start_agent):
    """A second agent that would take the first one's socket refuses, and says what to do; the first runs on."""
    first = start_agent()
    environment = {"RUNTIME_DIRECTORY": first.environment["RUNTIME_DIRECTORY"]}
    second = start_agent(environment=environment, ready=False)
    assert second.process.wait(60) == 1
    [line] = second.log().splitlines()
    assert "another agentd is running" in line
    assert "RUNTIME_DIRECTORY" in line
    assert socket_of(first).exists()
    assert first.answers("/metrics")


def test_socket_that_was_left_behind(start_agent):
    """After kill -9 the socket's file lies about, and the next agent takes its place."""
    first = start_agent()
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    left = socket_of(first)
    assert left.exists()
    second = start_agent(environment={"RUNTIME_DIRECTORY": str(left.parent)})
    assert second.answers("/metrics")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(left))


def test_file_in_the_socket_s_place(start_agent, tmp_path):
    """What lies in the socket's place and is none is not deleted: one clear line, and exit status 1."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "agentd.sock").write_text("precious")
    agent = start_agent(environment={"RUNTIME_DIRECTORY": str(folder)}, ready=False)
    assert agent.process.wait(60) == 1
    [line] = agent.log().splitlines()
    assert str(folder / "agentd.sock") in line
    assert (folder / "agentd.sock").read_text() == "precious"


def test_runtime_directory_with_a_long_name(start_agent, tmp_path):
    """A path that is too long for a socket is one clear line, and exit status 1."""
    agent = start_agent(environment={"RUNTIME_DIRECTORY": str(tmp_path / ("long" * 40))}, ready=False)
    assert agent.process.wait(60) == 1
    [line] = agent.log().splitlines()
    assert "longlong" in line
    assert "too long" in line


def test_socket_is_not_for_everybody(start_agent):
    """The socket, which gives all scopes, may be opened by its owner and group only."""
    agent = start_agent()
    assert oct(socket_of(agent).stat().st_mode & 0o777) == "0o660"


def test_configuration_errors_are_told_at_once(start_agent):
    """A configuration with errors starts nothing: each error is a line, and the exit status is 78."""
    agent = start_agent(
        "log_level = 'loud'\n[web]\nlisten = ['nonsense']\n[collectors.loadavg]\ncolour = 'red'\n[collectors.laodavg]",
        ready=False,
        arguments=("--log-format", "text"),
    )
    assert agent.process.wait(60) == 78
    log = agent.log()
    for part in ("agent.log_level", "collectors.loadavg", "colour", "laodavg", "loadavg"):
        assert part in log
    assert len(log.splitlines()) >= 4
    assert re.search(r"agentd\.toml:\d+: ", log)
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "text", ["[agent", "\x00", "a = 1\na = 2", "agent = 1", "[[web]]", "[web]\nlisten = 1", "é = 1"]
)
def test_any_configuration_that_is_none(command, tmp_path, text):
    """What cannot be understood ends with exit status 78 and the file's name."""
    file = tmp_path / "odd.toml"
    file.write_text(text)
    result = command("run", "--config", str(file))
    assert result.returncode == 78
    assert "odd.toml" in result.stderr
    assert "Traceback" not in result.stderr


def test_configuration_that_is_not_there(command, tmp_path):
    """A file that was asked for and is not there is an error of the configuration."""
    result = command("run", "--config", str(tmp_path / "missing.toml"))
    assert result.returncode == 78
    assert "missing.toml" in result.stderr


def test_systemd_is_told(start_agent, tmp_path):
    """On NOTIFY_SOCKET it says READY=1 once it can be scraped, and STOPPING=1 when it is told to stop."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(60)
        agent = start_agent(environment={"NOTIFY_SOCKET": str(path)}, ready=False)
        ready = systemd.recv(4096).decode().split("\n")
        assert "READY=1" in ready
        assert any(line.startswith("STATUS=") and "collectors" in line for line in ready)
        assert agent.get("/readyz").status == 200
        assert agent.stop() == 0
        while "STOPPING=1" not in systemd.recv(4096).decode().split("\n"):
            pass  # it says how it is, too


def test_systemd_that_is_not_there(start_agent, tmp_path):
    """A NOTIFY_SOCKET on which nobody listens does no harm."""
    agent = start_agent(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert agent.stop() == 0


def test_state_directory_that_is_a_file(start_agent, tmp_path):
    """A state directory that cannot be one is one clear line, and exit status 1."""
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        agent = start_agent(environment={"STATE_DIRECTORY": str(path)}, ready=False)
        assert agent.process.wait(60) == 1
        [line] = agent.log().splitlines()
        assert str(path) in line
        assert "STATE_DIRECTORY" in line


def test_runtime_directory_that_is_a_file(start_agent, tmp_path):
    """A runtime directory that cannot be one is one clear line, and exit status 1."""
    (tmp_path / "file").write_text("in the way")
    agent = start_agent(environment={"RUNTIME_DIRECTORY": str(tmp_path / "file" / "below")}, ready=False)
    assert agent.process.wait(60) == 1
    [line] = agent.log().splitlines()
    assert str(tmp_path / "file") in line


def test_it_says_where_things_are(agent):
    """In a few lines it says which collectors run, where the metrics are, and where its state lies."""
    log = agent.log()
    assert "loadavg" in log
    assert f"http://127.0.0.1:{agent.port}/metrics" in log
    assert str(agent.folder / "state") in log
    assert len(log.splitlines()) <= 5


def test_log_lines_as_json(start_agent):
    """With --log-format json each line is an object with time, level, logger and message."""
    agent = start_agent(arguments=("--log-format", "json"), plugins={"broken": "import no_such_module"})
    assert agent.stop() == 0
    lines = [json.loads(line) for line in agent.log().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert {line["level"] for line in lines} == {"info", "error"}
    assert any("no_such_module" in line["message"] for line in lines)


def test_log_level(start_agent):
    """With --log-level error an agent with which all is well says nothing."""
    agent = start_agent(arguments=("--log-level", "error"))
    agent.get("/metrics")
    assert agent.stop() == 0
    assert agent.log() == ""


def test_log_for_the_journal(start_agent):
    """Where standard error leads to the journal, each line has a priority and no time."""
    agent = start_agent(shell='JOURNAL_STREAM="$(stat -c %d:%i log)" exec "$@"')
    lines = agent.log().splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if not re.match("<6>[a-z]+: ", line)] == []


def test_standard_error_that_is_closed(start_agent):
    """An agent that has no standard output and error runs all the same, and ends well."""
    agent = start_agent(shell='exec "$@" <&- >&- 2>&-')
    assert agent.get("/metrics").status == 200
    assert agent.stop() == 0


def test_log_that_cannot_be_written(start_agent):
    """An agent whose log's disk is full runs all the same, and ends well."""
    agent = start_agent(shell='exec "$@" >/dev/full 2>&1')
    assert agent.get("/metrics").status == 200
    assert agent.stop() in (0, 120), "120 is how Python itself says that it could not write all"


def test_two_instances_of_one_exporter_answer_on_paths_of_their_own(start_agent):
    """A second Prometheus exporter has its own path, rules and counters, and shares what can be there only once."""
    second = (
        '[exporters.small]\nplugin = "prometheus"\npath = "/small"\nrules = [{ action = "keep", name = "node_load1" }]'
    )
    agent = start_agent(f"[exporters.prometheus]\n{second}")
    assert [name for name, _ in agent.get("/small").samples] == ["node_load1"]
    answer = agent.get("/metrics")
    assert answer.value("agentd_plugin_up", plugin="exporters.small") == 1
    assert answer.value("promhttp_metric_handler_requests_total", code="200", plugin="exporters.small") == 1
    assert answer.value("promhttp_metric_handler_requests_total", code="200") is not None
    assert agent.get("/").status == 200


def test_a_collector_that_waits_may_be_put_into_a_thread(start_agent):
    """Isolation = "thread" works for those, too, that ask a worker themselves."""
    agent = start_agent('[collectors.filesystem]\nisolation = "thread"')
    assert agent.get("/metrics").value("agentd_collector_success", plugin="collectors.filesystem") == 1


def test_a_name_that_is_none_cannot_be_listened_on(start_agent):
    """A host that could not be a name of one is one clear line and exit status 1."""
    agent = start_agent(arguments=("--listen", "a..b:1"), ready=False)
    assert agent.process.wait(60) == 1
    assert "is no name of a host" in agent.log()
    assert len(agent.log().splitlines()) == 1
