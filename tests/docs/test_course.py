"""docs/plugins.md does what it says: each block of its code is a file that is run, each command has a test."""

import asyncio
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from agentd.plugin import Family, Histogram, NoData, NotDurable, Reject, Retry
from agentd.testing import (
    FakeClock,
    Recorder,
    assert_metrics,
    check_plugin,
    collect,
    fuzz_collector,
    records,
    run_collector,
    run_exporter,
    running,
    samples,
)
from agentd.testing.server import Reply, ScriptedServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = dict(re.findall(r"^```python\n# ([\w/]+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TOML = [text for language, text in BLOCKS if language == "toml" and "[project." not in text]

RUN_HERE = {
    "readings.py",
    "fast.py",
    "fan.py",
    "lift.py",
    "parcels.py",
    "heater.py",
    "speaker.py",
    "sheet.py",
    "bell.py",
    "trial.py",
}
RUN_HERE |= {"door.py", "test_door.py"}
RUN_ELSEWHERE = {"gate.py": "docs/test_plugins.py", "hall/metrics.py": "docs/test_plugins.py"}
COMMANDS = {
    "agentd plugins new door": "docs/test_plugins.py",
    'echo "3 0" > /run/door': "docs/test_course.py",
    "agentd collect door": "docs/test_course.py",
    "agentd collect ./door.py --watch": "cli/test_watch.py",
    "python -m pytest": "docs/test_course.py",
    'AGENTD_CHAOS_KILLS=5 make chaos ARGS="-k redis"': "docs/test_docs.py",
    "python -m pip install examples/agentd-door": "e2e/test_example_package.py",
    "agentd plugins door": "e2e/test_example_package.py",
    "python -m hatchling build": "e2e/test_example_package.py",
    "python -m twine upload dist/*": "",  # takes an account
}
"""The commands of the page, and where each is tried."""
JSON = {"Content-Type": "application/json"}


def test_each_block_is_tried():
    """No block of code and no command stands in the page that no test runs; each block says in which language it is."""
    assert {language for language, _ in BLOCKS} == {"python", "toml", "console", "text", "sh", "json"}
    assert [text for language, text in BLOCKS if language == "python"] != []
    assert sum(language == "python" for language, _ in BLOCKS) == len(FILES)
    assert set(FILES) == RUN_HERE | RUN_ELSEWHERE.keys()
    commands = [
        line[2:] for kind, text in BLOCKS if kind == "console" for line in text.splitlines() if line.startswith("$ ")
    ]
    assert set(commands) == COMMANDS.keys()
    for place in filter(None, (*COMMANDS.values(), *RUN_ELSEWHERE.values())):
        assert (ROOT / "tests" / place).exists()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all the files of the page, from which they can be imported."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py").replace("/", "."), None)


@pytest.fixture
def plugin(folder):
    """Returns a class of one of the files."""

    def load(file, name):
        spec = importlib.util.spec_from_file_location(f"course_{file}", folder / f"{file}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)

    return load


def run(folder, *command):
    """Run Python in a folder, in which agentd finds all of its own as well."""
    places = {"HOME": str(folder), "STATE_DIRECTORY": str(folder / "state")}
    places["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **places, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, *command]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def configured(folder, text):
    """Write a configuration of the page, with the page's plugins in a folder of the test."""
    plugins = folder / "plugins"
    plugins.mkdir()
    for name in ("door.py", "fan.py", "lift.py", "parcels.py", "heater.py", "speaker.py", "sheet.py", "bell.py"):
        (plugins / name).write_text(FILES[name])
    if "plugin_dirs" not in text:
        text = f'[agent]\nplugin_dirs = ["/etc/agentd/plugins"]\n{text}'
    (folder / "agentd.toml").write_text(text.replace("/etc/agentd/plugins", str(plugins)))


@pytest.mark.parametrize(("name", "content"), [("door", "3 0\n"), ("lift", "2\n")])
def test_no_file_breaks_it(plugin, name, content):
    """Whatever a controller writes, the collector of the page tells valid families, or an error that names the file."""
    assert fuzz_collector(plugin(name, name.title()), files={f"run/{name}": content}).refused > 5


@pytest.mark.parametrize("text", TOML, ids=lambda text: re.sub(r"\W+", "-", text.splitlines()[0]))
def test_each_configuration_is_sound(folder, text):
    """``agentd check`` finds nothing wrong with it, and all plugins of the page can be in one folder of plugins."""
    configured(folder, text)
    done = run(folder, "-m", "agentd", "check", "--config", "agentd.toml")
    assert done.returncode == 0, done.stderr


def test_the_first_collector_says_what_is_shown(folder):
    """``agentd collect door`` says what the page shows; without a door it has no data, which is no failure."""
    configured(folder, f'[collectors.door]\npath = "{folder}/door"\n')
    for present in (True, False):
        (folder / "door").write_text("3 0\n") if present else (folder / "door").unlink()
        done = run(folder, "-m", "agentd", "collect", "door", "--config", "agentd.toml")
        assert done.returncode == 0, done.stderr
        if present:
            shown = re.search(r"^\$ agentd collect door\n(.*?)^…", PAGE, re.DOTALL | re.MULTILINE)
            assert done.stdout.startswith(shown[1])
    assert "door_open" not in done.stdout
    assert 'node_scrape_collector_success{collector="door"} 0.0' in done.stdout


def test_what_is_measured_is_told_as_said(folder):
    """The declarations and the layout of the page give the series that the text says they give."""
    names = runpy.run_path(str(folder / "fast.py"))
    assert names["level"]({("hall-3", None): 0.5}).samples == {("hall-3", None): 0.5}
    frame = names["layout"].fill([0.4, 0.7, 19.5])
    assert [family.samples for family in frame] == [
        {("hall-3", "water"): 0.4, ("hall-4", "water"): 0.7},
        {("gate",): 19.5},
    ]


def test_options(plugin, folder):
    """The fans are told as their options want it; what is wrong with options is said in the words of the page."""
    fan, files = plugin("fan", "Fan"), {"run/fans/front": "1200\n", "run/fans/rear-1": "60", "run/fans/rear-2": "30000"}
    expected = {'fan_speed_hertz{fan="rear-1"}': 0.0}
    assert_metrics(
        run_collector(fan, files=files, config={"folder": "/run/fans", "only": "^rear"}), expected, exact=True
    )
    front = run_collector(fan, files=files, config={"folder": "/run/fans"})
    assert_metrics(front, {'fan_speed_hertz{fan="front"}': 20.0})
    check_plugin(fan, files=files, config={"folder": "/run/fans"})
    configured(folder, '[collectors.fan]\nfolder = 7\nonyl = "^rear"\n')
    done = run(folder, "-m", "agentd", "check", "--config", "agentd.toml")
    (shown,) = [text for language, text in BLOCKS if language == "text"]
    assert done.stderr == shown
    (folder / "agentd.toml").write_text(
        f'[agent]\nplugin_dirs = ["{folder}/plugins"]\n[collectors.fan]\nfolder = "x"\nslowest = 30000\n'
    )
    done = run(folder, "-m", "agentd", "check", "--config", "agentd.toml")
    assert "collectors.fan: slowest must be below fastest" in done.stderr


def test_the_gate(plugin):
    """The function of the page is tested on a machine that is made for it, and has no data on one without a gate."""
    gate, files = plugin("gate", "gate").plugin, {"srv/gate": "3 0\n"}
    config = {"path": "/srv/gate"}
    told = run_collector(gate, files=files, config=config)
    assert_metrics(told, {"gate_opened_total": 3.0, "gate_open": 0.0}, exact=True)
    check_plugin(gate, files=files, config=config)
    with pytest.raises(NoData, match="no gate"):
        run_collector(gate)


async def test_events(plugin):
    """An arrival of the lift is an event, and standing there is none."""
    recorder = Recorder()
    async with running(plugin("lift", "Lift"), files={"run/lift": "0\n"}, recorder=recorder) as lift:
        for floor in ("0\n", "2\n", "2\n"):
            lift.host.path("/run/lift").write_text(floor)
            told = samples(await collect(lift))
    assert told == {"lift_floor": 2.0}
    (event,) = recorder.events
    assert (event.type, event.payload, event.target) == ("lift.arrived", {"floor": 2, "from": 0}, "lift-1")


def test_the_lift_keeps_the_contract(plugin):
    """It is all that agentd asks of a plugin."""
    check_plugin(plugin("lift", "Lift"), files={"run/lift": "0\n"})


async def test_state(plugin):
    """Each line counts once, in a later life, too; half a line waits; what cannot be written down comes again."""
    parcels, before = plugin("parcels", "Parcels"), Recorder()
    config = {"path": "/srv/scale"}
    async with running(parcels, files={"srv/scale": "200\nfoul\n35"}, config=config, recorder=before) as scale:
        for _ in range(2):
            assert samples(await collect(scale)) == {"parcels_weighed_total": 1.0}
    after = Recorder(before.state)
    async with running(parcels, files={"srv/scale": "200\nfoul\n350\n"}, config=config, recorder=after) as scale:
        after.durable = False
        with pytest.raises(NotDurable):
            await collect(scale)
        after.durable = True
        assert samples(await collect(scale)) == {"parcels_weighed_total": 2.0}
    assert [event.payload for event in (*before.events, *after.events)] == [{"grams": 200}, {"grams": 350}]


def test_the_parcels_keep_the_contract(plugin):
    """It is all that agentd asks of a plugin."""
    check_plugin(plugin("parcels", "Parcels"), files={"srv/scale": "200\n"}, config={"path": "/srv/scale"})


async def test_async(plugin):
    """The heater is asked over HTTP, with its token; what it does not know is absent."""
    async with ScriptedServer([Reply(body=body, headers=JSON) for body in (b'{"celsius": 21.5}', b"{}")]) as server:
        config = {"url": server.url, "token": "t0k"}
        async with running(plugin("heater", "Heater"), config=config) as heater:
            assert samples(await collect(heater)) == {"heater_temperature_celsius": 21.5}
            assert samples(await collect(heater)) == {}
        assert server.requests[0].headers["x-token"] == "t0k"


def test_the_bell_rings(start_agent):
    """A request to its route counts and is an event; the API document has the route."""
    agent = start_agent(plugins={"bell": FILES["bell.py"]})
    assert agent.get("/api/bell/gate?times=2", method="POST").status == 204
    assert agent.get("/api/bell/gate?times=often", method="POST").status == 400
    assert agent.get("/metrics").value("bell_rung_total", door="gate") == 2.0
    assert "/api/bell/{door}" in agent.get("/api/openapi.json").text
    agent.until(lambda: "bell.rang" in agent.get("/api/v1/events").text)


def test_the_bell_keeps_the_contract(plugin):
    """It is all that agentd asks of a plugin."""
    check_plugin(plugin("bell", "Bell"))


class Loudspeaker:
    """A loudspeaker that keeps what it was told to say, and answers what it is to answer, at last that it was said."""

    def __init__(self, *answers: bytes) -> None:
        self.heard: list[bytes] = []
        self._answers = list(answers)

    async def __aenter__(self) -> "Loudspeaker":
        self._server = await asyncio.start_server(self._listen, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break
                answer = self._answers.pop(0) if self._answers else b"said"
                if answer == b"said":
                    self.heard.append(line)
                writer.write(answer + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("answers", "expected", "heard"),
    [
        ((), None, 3),
        ((b"said", b"busy"), (Retry, 1), 1),
        ((b"unspeakable", b"busy"), (Retry, 0), 0),
        ((b"said", b"unspeakable"), (Reject, 1), 2),
    ],
)
async def test_a_sink(plugin, answers, expected, heard):
    """The loudspeaker's answers are understood: what was said, what is to come again, and what never can be said."""
    found = None
    async with Loudspeaker(*answers) as speaker:
        sink = plugin("speaker", "Speaker")
        sink = sink(sink.config_type(url=f"tcp://127.0.0.1:{speaker.port}"))
        try:
            await sink.send(records("a", "b", "c"))
        except Retry as retry:
            found = (Retry, retry.accepted)
        except Reject as reject:
            found = (Reject, len(reject.ids))
    assert (found, len(speaker.heard)) == (expected, heard)


def test_an_exporter(plugin, tmp_path):
    """The sheet has a row for each plain number, with its labels; what cannot be written is an error."""
    sheet = plugin("sheet", "Sheet")
    families = [
        Family.gauge("hall_open", "Open.", {("gate", None): 1.0, ("gate", "north"): 0.0}, ("door", "side")),
        Family("hall_stay_seconds", "histogram", "Stay.", (), {(): Histogram(((1.0, 1),), count=1, sum=0.5)}),
    ]
    path = tmp_path / "office" / "metrics.csv"
    with pytest.raises(FileNotFoundError):
        run_exporter(sheet, families, config={"path": path})
    path.parent.mkdir()
    clock = FakeClock(7.5)
    run_exporter(sheet, families, config={"path": path}, clock=clock)
    assert path.read_text().splitlines() == [
        "7.5,hall_open,door=gate,1.0",
        "7.5,hall_open,door=gate side=north,0.0",
        "7.5,hall_stay_seconds_bucket,le=1.0,1",
        "7.5,hall_stay_seconds_bucket,le=+Inf,1",
        "7.5,hall_stay_seconds_sum,,0.5",
        "7.5,hall_stay_seconds_count,,1",
    ]
    check_plugin(sheet, config={"path": str(path)})


async def test_the_trial(folder, tmp_path):
    """The oracle finds that the speaker loses nothing: the page's test, with fewer kills and a real agent."""
    configured(folder, "")
    text = FILES["trial.py"].replace("/etc/agentd/plugins", str(folder / "plugins")).replace("kills=20", "kills=2")
    async with Loudspeaker() as speaker:
        names = {"PORT_OF_THE_SERVER": speaker.port, "what_the_server_has": lambda: speaker.heard}
        exec(text, names)  # the page's own code
        (tmp_path / "trial").mkdir()
        await names["test_nothing_is_lost"](tmp_path / "trial")
    assert len(speaker.heard) > 10


def test_the_tests_of_the_page_pass(folder):
    """As ``python -m pytest`` runs them beside the first collector."""
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "agentd.testing.fixtures")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{FILES['test_door.py'].count('def test_')} passed" in done.stdout
