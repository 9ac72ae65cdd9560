"""A running agent goes over to another configuration: what changed is begun anew, and nothing is lost or missing."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import aiohttp
import pytest

COUNTING = '''
from agentd.plugin import Collector, Config, Family, hookimpl

class Options(Config):
    """Options."""

    start: int = 0
    """Where it begins to count."""
    fail: bool = False
    """Whether it cannot start."""
    port: int = 0
    """A port to have."""

class Counting(Collector[Options]):
    """Counts how often it was asked."""

    name = "counting"
    blocking = False
    exclusive = EXCLUSIVE

    def __init__(self, config=None, context=None):
        super().__init__(config, context)
        self.count = self.config.start
        self.socket = None

    async def start(self):
        if self.config.fail:
            raise OSError("no such luck")
        if self.config.port:
            import socket
            self.socket = socket.create_server(("127.0.0.1", self.config.port))

    async def stop(self):
        if self.socket is not None:
            self.socket.close()

    def collect(self):
        self.count += 1
        yield Family.counter("counting_total", "Times.", {(self.context.name,): float(self.count)}, ("who",))

@hookimpl
def agentd_collectors():
    return [Counting]
'''
SIDE_BY_SIDE, ALONE = COUNTING.replace("EXCLUSIVE", "False"), COUNTING.replace("EXCLUSIVE", "True")


PROTOCOL = ("agentd.telemetry.v1",)


class Steered:
    """An agent whose configuration changes."""

    def __init__(self, start_agent, config, plugins, tmp_path, **more):
        self.server = start_agent(config, plugins=plugins, **more)
        self.folder = tmp_path / "agent0"
        self._file = self.folder / "agentd.toml"

    def edit(self, old, new):
        text = self._file.read_text()
        assert old in text
        self._file.write_text(text.replace(old, new))

    def reload(self, method="POST"):
        answer = self.server.get("/api/v1/reload", method=method)
        return answer.status, {name: value for name, value in json.loads(answer.body).items() if value}

    def count(self, who):
        return self.server.get("/metrics").value("counting_total", who=f"collectors.{who}")

    def metric(self, name):
        return self.server.get("/metrics").value(name)

    def status(self):
        return json.loads(self.server.get("/api/v1/status").body)

    def until_told(self, type, number):
        """Return the payloads of so many events, which are written down soon after they happened."""

        def found():
            return json.loads(self.server.get(f"/api/v1/events?type={type}").body)["events"][::-1]

        self.server.until(lambda: len(found()) >= number)
        return [event["payload"] for event in found()]


@pytest.fixture
def steered(start_agent, tmp_path):
    """Starts an agent of a configuration that begins inside of ``[agent]``."""
    return lambda config, plugins, **more: Steered(start_agent, config, plugins, tmp_path, **more)


TWO = """
[collectors.kept]
plugin = "counting"
[collectors.changing]
plugin = "counting"
start = 1000
"""


def test_only_what_changed_is_begun_anew(steered):
    """Counters of plugins that did not change go on; others begin, begin anew and end, and an event tells which."""
    agent = steered(TWO, {"counting": SIDE_BY_SIDE})
    kept, changing = agent.count("kept"), agent.count("changing")
    assert changing > 1000
    agent.edit("start = 1000", 'start = 2000\n[collectors.new]\nplugin = "counting"')
    agent.edit("[collectors.kept]", '[collectors]\ndisable = ["loadavg"]\n[collectors.kept]')
    expected = {"added": ["collectors.new"], "changed": ["collectors.changing"], "removed": ["collectors.loadavg"]}
    assert agent.reload("GET") == (200, expected)
    assert agent.count("kept") > kept
    assert agent.count("changing") < 1100, "to ask what would change has changed it"
    assert agent.reload() == (200, expected)
    assert agent.count("changing") > 2000
    assert agent.count("kept") > kept + 1
    assert agent.count("new") is not None
    assert agent.metric("node_load1") is None
    assert agent.until_told("agent.config_reloaded", 1) == [expected]
    assert agent.reload() == (200, {}), "nothing has changed since"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("start = 'much'", "collectors.changing.start: expected"),
        ("start = 1000\nfail = true", "collectors.changing cannot start: OSError: no such luck"),
        ("start = 1000\n[collectors.nothing]", "nothing"),
        ("start = 1000\n[", "agentd.toml:"),
        ("start = 1000\n[web]\nlisteners = 5", "web.listeners"),
    ],
)
def test_a_mistake_leaves_all_as_it_is(steered, mistake, message):
    """Whatever is wrong is named, the old configuration goes on whole, and it shows until a reload works."""
    agent = steered(TWO, {"counting": SIDE_BY_SIDE})
    assert agent.metric("agentd_config_last_reload_successful") == 1.0
    began = agent.metric("agentd_config_last_reload_success_timestamp_seconds")
    before = agent.count("changing"), agent.count("kept")
    agent.edit("start = 1000", mistake)
    status, answer = agent.reload()
    assert status == 409
    assert message in answer["error"]
    assert agent.metric("agentd_config_last_reload_successful") == 0.0
    assert agent.metric("agentd_config_last_reload_success_timestamp_seconds") == began
    assert (agent.count("changing"), agent.count("kept")) > before
    assert message in agent.status()["config_error"]
    assert message in str(agent.until_told("agent.config_refused", 1))
    agent.edit(mistake, "start = 3000")
    assert agent.reload() == (200, {"changed": ["collectors.changing"]})
    assert agent.metric("agentd_config_last_reload_successful") == 1.0
    assert agent.status()["config_error"] == ""


def test_what_has_a_port_of_its_own(steered, unused_ports):
    """A plugin that is exclusive begins when the old one has ended; where it cannot begin, the old one comes back."""
    (port,) = unused_ports(1)
    agent = steered(f'\n[collectors.changing]\nplugin = "counting"\nstart = 1000\nport = {port}', {"counting": ALONE})
    agent.edit("start = 1000", "start = 2000")
    assert agent.reload() == (200, {"changed": ["collectors.changing"]})
    assert agent.count("changing") > 2000
    agent.edit("start = 2000", "start = 3000\nfail = true")
    assert agent.reload()[0] == 409
    assert 2000 < agent.count("changing") < 3000
    with socket.create_connection(("127.0.0.1", port)):
        pass


def test_one_that_is_not_exclusive_cannot_take_its_own_port(steered, unused_ports):
    """Beside the old one a port is taken: the reload is refused, and says so."""
    (port,) = unused_ports(1)
    config = f'\n[collectors.changing]\nplugin = "counting"\nstart = 1000\nport = {port}'
    agent = steered(config, {"counting": SIDE_BY_SIDE})
    agent.edit("start = 1000", "start = 2000")
    status, answer = agent.reload()
    assert (status, "address" in answer["error"].lower()) == (409, True)
    assert agent.count("changing") < 2000


def test_code_and_hooks_of_a_plugin_folder(steered):
    """A file that has changed is loaded anew, one that has not goes on; a broken one is refused, and hooks come in."""
    agent = steered(TWO, {"counting": SIDE_BY_SIDE, "other": SIDE_BY_SIDE.replace("counting", "other")})
    folder = agent.folder / "plugins"
    file = folder / "counting.py"
    good = file.read_text()
    file.write_text(good.replace("self.count += 1", "self.count += 100000"))
    assert agent.reload() == (200, {"changed": ["collectors.counting", "collectors.kept", "collectors.changing"]})
    assert agent.count("kept") >= 100000
    file.write_text("nonsense(")
    status, answer = agent.reload()
    assert (status, "counting" in answer["error"]) == (409, True)
    assert agent.count("kept") >= 200000
    file.write_text(good)
    (folder / "hooks.py").write_text(
        "from agentd.plugin import hookimpl\n\n@hookimpl\ndef agentd_event(event):\n    event.payload['hooked'] = 1\n"
        "\n@hookimpl\ndef agentd_families(plugin, families):\n    return [] if plugin == 'collectors.uname' else None\n"
    )
    assert agent.reload()[0] == 200
    assert agent.until_told("agent.config_reloaded", 2)[-1]["hooked"] == 1
    assert "node_uname_info" not in agent.server.get("/metrics").text
    assert agent.metric("node_load1") is not None


FUNCTION = """
from agentd.plugin import collector, gauge

@collector(gauge("NAME_value", "A value."))
def NAME():
    return 1
"""


def test_only_the_changed_file_of_a_folder_is_begun_anew(steered):
    """A function that was changed, within the same second and to the same size, is another; its neighbour goes on."""
    agent = steered("", {name: FUNCTION.replace("NAME", name) for name in ("one", "two")})
    assert (agent.metric("one_value"), agent.metric("two_value")) == (1.0, 1.0)
    file = agent.folder / "plugins" / "one.py"
    for number in range(2, 5):
        file.write_text(FUNCTION.replace("NAME", "one").replace("return 1", f"return {number}"))
        assert agent.reload() == (200, {"changed": ["collectors.one"]})
        assert (agent.metric("one_value"), agent.metric("two_value")) == (float(number), 1.0)
    assert agent.reload() == (200, {})
    (agent.folder / "plugins" / "three.py").write_text(FUNCTION.replace("NAME", "three"))
    file.unlink()
    assert agent.reload() == (200, {"added": ["collectors.three"], "removed": ["collectors.one"]})
    assert (agent.metric("one_value"), agent.metric("three_value")) == (None, 1.0)


def test_what_was_installed_meanwhile_is_found(steered, tmp_path):
    """A package that is installed while the agent runs is part of it after a reload that enables it."""
    site = tmp_path / "site"
    site.mkdir()
    agent = steered("[collectors]\nenable = []", {}, environment={"PYTHONPATH": ":".join([str(site), *sys.path])})
    (site / "fake_three.py").write_text(FUNCTION.replace("NAME", "three"))
    info = site / "fake-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[agentd.collectors]\nthree = fake_three\n")
    agent.edit("enable = []", 'enable = ["three"]')
    assert agent.reload() == (200, {"added": ["collectors.three"]})
    assert agent.metric("three_value") == 1.0


def test_other_labels_are_in_every_event(steered):
    """Labels are told from the reload on."""
    agent = steered("labels = { site = 'a' }" + TWO, {"counting": SIDE_BY_SIDE})
    agent.edit("'a'", "'b'")
    status, changes = agent.reload()
    assert (status, changes["sections"]) == (200, ["agent"])
    agent.until_told("agent.*", 2)
    events = json.loads(agent.server.get("/api/v1/events?type=agent.*").body)["events"]
    assert [event["meta"]["labels"]["site"] for event in events] == ["b", "a"]


def test_what_takes_a_restart_is_said(steered):
    """Other settings of the journal are for the next start: answer, log and comparison say so each time until then,
    unless they are taken back.
    """
    agent = steered(TWO, {"counting": SIDE_BY_SIDE})
    agent.edit("[collectors.kept]", "[journal]\nmax_age = '1d'\n[collectors.kept]")
    said = "what changed in [journal] is NOT in effect before the agent is started again"
    for times in (1, 2):
        assert agent.reload() == (200, {"later": ["journal"]})
        assert agent.server.log().count(said) == times
    assert agent.reload("GET") == (200, {"later": ["journal"]})
    shown = subprocess.run(
        [sys.executable, "-m", "agentd", "reload"],
        env={**os.environ, **agent.server.environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert "~ [journal] is NOT in effect before the agent is started again" in shown.stdout
    agent.edit("[journal]\nmax_age = '1d'\n", "")
    assert agent.reload() == (200, {})


SLOWLY = """
import asyncio
from agentd.plugin import Config, Sink, hookimpl

class Options(Config):
    path: str
    note: str = ""

class Slowly(Sink[Options]):
    name = "slowly"

    async def send(self, events):
        with open(self.config.path, "a") as file:
            file.writelines(f"{event.event.payload['n']}\\n" for event in events)
        await asyncio.sleep(1.5)  # it has them, but has not said so

@hookimpl
def agentd_sinks():
    return [Slowly]
"""


def test_a_batch_under_way_is_not_sent_twice(steered, tmp_path):
    """A sink that is begun anew, paused or resumed in the middle of a batch repeats none of it, and leaves none out."""
    out = tmp_path / "out"
    config = f"[sinks.slowly]\npath = '{out}'\nnote = 'a'\nevents = ['test.*']\nstart = 'beginning'\n"
    agent = steered(f"\n{config}", {"slowly": SLOWLY})

    def post(number):
        event = json.dumps({"type": "test.number", "payload": {"n": number}}).encode()
        assert agent.server.get("/api/v1/events", method="POST", body=event).status == 201

    def got():
        *whole, _ = (out.read_text() if out.exists() else "").split("\n")
        return [int(line) for line in whole]

    post(0)
    agent.server.until(lambda: got() == [0])
    post(1)
    agent.edit("'a'", "'b'")
    assert agent.reload() == (200, {"changed": ["sinks.slowly"]})
    agent.server.until(lambda: got() == [0, 1])
    assert agent.server.get("/api/v1/plugins/sinks.slowly/pause", method="POST").status == 200
    post(2)
    assert agent.server.get("/api/v1/plugins/sinks.slowly/resume", method="POST").status == 200
    agent.server.until(lambda: got() == [0, 1, 2])
    post(3)
    agent.server.until(lambda: got() == [0, 1, 2, 3])


def test_a_hang_up_reloads_and_opens_files_anew(steered, tmp_path):
    """SIGHUP is both for who has changed the configuration and for logrotate."""
    out = tmp_path / "out.jsonl"
    agent = steered(f"\n[sinks.file]\npath = '{out}'{TWO}", {"counting": SIDE_BY_SIDE})
    agent.server.until(out.exists)
    out.rename(tmp_path / "old.jsonl")
    agent.edit("start = 1000", "start = 2000")
    agent.server.send(signal.SIGHUP)
    agent.server.until(lambda: agent.count("changing") > 2000)
    agent.server.until(out.exists)


def test_events_go_on_in_order_whatever_changes_of_their_sink(steered, tmp_path):
    """A sink that is changed again and again, while events come, gets each at least once, in order."""
    agent = steered(
        f"\n[sinks.numbers]\nplugin = 'file'\npath = '{tmp_path}/out0.jsonl'\nevents = ['number']",
        {"counting": SIDE_BY_SIDE},
    )
    ended = threading.Event()
    emitted = 0

    def emit():
        nonlocal emitted
        while not ended.is_set():
            body = json.dumps([{"type": "number", "payload": {"n": emitted + n}} for n in range(10)]).encode()
            assert agent.server.get("/api/v1/events", method="POST", body=body).status == 201
            emitted += 10

    thread = threading.Thread(target=emit)
    thread.start()
    for number in range(5):
        agent.edit(f"out{number}.jsonl", f"out{number + 1}.jsonl")
        assert agent.reload() == (200, {"changed": ["sinks.numbers"]})
        time.sleep(0.2)
    ended.set()
    thread.join()

    def written():
        lines = [line for n in range(6) for line in (tmp_path / f"out{n}.jsonl").read_bytes().split(b"\n")[:-1]]
        return list(dict.fromkeys(json.loads(line)["payload"]["n"] for line in lines))  # what is cut off is repeated

    agent.server.until(lambda: len(written()) >= emitted)
    assert written() == list(range(emitted))


def test_a_mistake_leaves_a_changed_sink_as_it_is(steered, tmp_path):
    """Where a reload is refused, a sink that it would have changed goes on, with its place and its options."""
    agent = steered(f"\n[sinks.file]\npath = '{tmp_path}/out0.jsonl'{TWO}", {"counting": SIDE_BY_SIDE})
    agent.edit("out0", "out1")
    agent.edit("start = 1000", "fail = true")
    assert agent.reload()[0] == 409
    body = json.dumps({"type": "after", "id": "behind-the-refusal"}).encode()
    assert agent.server.get("/api/v1/events", method="POST", body=body).status == 201
    agent.server.until(lambda: "behind-the-refusal" in (tmp_path / "out0.jsonl").read_text())
    assert not (tmp_path / "out1.jsonl").exists()


def test_no_scrape_misses_anything_while_it_reloads(steered):
    """Every scrape has every series: of those that stay, of those that change, and of those with a schedule."""
    agent = steered(TWO + "interval = '1h'", {"counting": SIDE_BY_SIDE})
    agent.server.until(lambda: agent.count("changing"))
    ended = threading.Event()
    problems, scrapes = [], 0

    def scrape():
        nonlocal scrapes
        last = 0.0
        while not ended.is_set():
            answer = agent.server.get("/metrics")
            kept = answer.value("counting_total", who="collectors.kept")
            changing = answer.value("counting_total", who="collectors.changing")
            load = answer.value("node_load1")
            if None in (kept, changing, load) or kept <= last:
                problems.append((kept, changing, load))
            last = kept or 0.0
            scrapes += 1

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(1000, 1010):
        agent.edit(f"start = {number}", f"start = {number + 1}")
        assert agent.reload() == (200, {"changed": ["collectors.changing"]})
    ended.set()
    thread.join()
    assert not problems
    assert scrapes > 5


async def test_connected_robots_stay_connected(steered):
    """A robot's connection goes on through a reload of others; one that changes the plugin itself says good-bye."""
    agent = steered(TWO + "\n[collectors.robots]\nstale_after = '60s'", {"counting": SIDE_BY_SIDE})
    url = f"http://127.0.0.1:{agent.server.port}/api/telemetry/ws/r1"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=PROTOCOL) as robot,
    ):
        await robot.send_json({"type": "hello", "stream_id": "one"})
        assert (await robot.receive_json(timeout=20))["type"] == "welcome"
        agent.edit("start = 1000", "start = 2000")
        assert await asyncio.to_thread(agent.reload) == (200, {"changed": ["collectors.changing"]})
        await robot.send_json({"type": "data", "seq": 1, "metrics": {"battery_level": 50}})
        assert (await robot.receive_json(timeout=20))["seq"] == 1
        agent.edit("60s", "70s")
        assert await asyncio.to_thread(agent.reload) == (200, {"changed": ["collectors.robots"]})
        assert (await robot.receive(timeout=20)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.CLOSE)
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=PROTOCOL) as robot:
        await robot.send_json({"type": "hello", "stream_id": "one"})
        assert (await robot.receive_json(timeout=20))["resume_from"] == 2, "the new one knows what the old one had"


def test_pausing(steered):
    """A plugin that is paused tells nothing and says so, is left alone by reloads, and comes back."""
    agent = steered(TWO, {"counting": SIDE_BY_SIDE})

    def paused(key):
        return next(plugin["paused_until"] for plugin in agent.status()["plugins"] if plugin["plugin"] == key)

    answer = agent.server.get("/api/v1/plugins/collectors.changing/pause?for=1h", method="POST")
    assert answer.status == 200
    assert 3500 < json.loads(answer.body)["paused_until"] - time.time() < 3700
    assert agent.count("changing") is None
    assert agent.count("kept") is not None
    agent.edit("start = 1000", "start = 2000")
    assert agent.reload() == (200, {"changed": ["collectors.changing"]})
    assert agent.count("changing") is None
    assert paused("collectors.changing")
    assert agent.server.get("/api/v1/plugins/collectors.changing/resume", method="POST").status == 200
    assert agent.count("changing") > 2000
    assert paused("collectors.changing") is None
    assert agent.server.get("/api/v1/plugins/collectors.kept/pause?for=500ms", method="POST").status == 200
    agent.server.until(lambda: agent.count("kept"))
    assert agent.server.get("/api/v1/plugins/collectors.none/pause", method="POST").status == 404
    assert agent.server.get("/api/v1/plugins/collectors.kept/pause?for=soon", method="POST").status == 400


def test_an_unattended_agent_does_not_go_blind_over_a_typo(start_agent, tmp_path, processes):
    """Where the configuration has errors, the service starts with the last that had none, and is degraded until mended;
    without one it ends with status 78.
    """
    config = "labels = { site = 'a' }\n[collectors]\ndisable = ['uname']"
    environment = {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    first = start_agent(config, arguments=("--fall-back",), environment=environment)
    first.until((tmp_path / "state" / "configuration.json").exists)
    assert first.stop() == 0
    second = start_agent("nonsense = 1", arguments=("--fall-back",), environment=environment, ready=False)
    second.until(lambda: second.answers("/livez"))
    second.until(lambda: "degraded" in second.get("/readyz").text)
    assert second.get("/readyz").status == 503
    answer = second.get("/metrics")
    assert answer.value("node_load1") is not None
    assert "node_uname_info" not in answer.text
    assert answer.value("agentd_config_last_reload_successful") == 0.0
    assert "nonsense" in json.loads(second.get("/api/v1/status").body)["config_error"]
    file = tmp_path / "agent1" / "agentd.toml"
    file.write_text(file.read_text().replace("nonsense = 1", ""))
    answer = second.get("/api/v1/reload", method="POST")
    assert (answer.status, json.loads(answer.body)["added"]) == (200, ["collectors.uname"])
    assert second.get("/readyz").status == 200
    assert "node_uname_info" in second.get("/metrics").text
    assert second.stop() == 0
    other = {"STATE_DIRECTORY": str(tmp_path / "other"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    third = start_agent("nonsense = 1", arguments=("--fall-back",), environment=other, ready=False)
    assert third.process.wait(30) == 78
