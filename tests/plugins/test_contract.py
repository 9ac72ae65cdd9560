"""The bundled plugins keep the contract that other people's plugins are held to, all of them."""

import subprocess

import pytest

from agentd.config import read, resolve
from agentd.registry import Registry
from agentd.testing import check_plugin

KINDS = ("collectors", "exporters", "sinks")
REGISTRY = Registry()
PLUGINS = [(kind, name) for kind in KINDS for name in REGISTRY.names(kind) if REGISTRY.origin(kind, name) == "bundled"]

DCGM = "the names are those of NVIDIA's DCGM exporter, whose dashboards are to work"
PROCESS_EXPORTER = "the names are those of process-exporter, whose dashboards are to work"
ONE_FILE = (
    "one file of the root file system, read again only after an update of the operating system; where that file system "
    "hangs, the agent's own code cannot be read either"
)
WAIVED = {
    "gpu": {"metric-name": DCGM, "metric-counter": DCGM, "metric-label": DCGM},
    "os": {"loop-call:collect": ONE_FILE},
    "process": {"metric-counter": PROCESS_EXPORTER, "metric-suffix": PROCESS_EXPORTER},
}

NEEDED = {
    "exec": {"command": "/bin/echo", "args": ["doors_open 1"]},
    "prometheus_client": {"object": "prometheus_client:REGISTRY"},
}
"""Options of plugins that cannot do without."""

IN_THE_FIXTURES = {"netdev", "os", "textfile", "loadavg", "cpu", "hwmon"}
"""Collectors that have to tell something there: if these do not, the machine was not made as it should be."""


@pytest.fixture(scope="module")
def fixtures(shared, tmp_path_factory):
    """The machine that node_exporter's own tests have, and the options of each collector in its run."""
    folder = tmp_path_factory.mktemp("contract")
    source = shared / "node_exporter"
    subprocess.run(["tar", "-xzf", str(source / "fixtures.tar.gz"), "-C", str(folder)], check=True)
    configuration = folder / "agentd.toml"
    text = (source / "agentd.toml").read_text().replace("@FIXTURES@", str(folder))
    configuration.write_text(text.replace("enable = [", 'enable = ["nvmesubsystem", "softirqs", "swap", '))
    settings = resolve(read(configuration), REGISTRY)
    return settings.host, {one.name: one.config for one in settings.instances if one.kind == "collectors"}


@pytest.fixture
def server(name, serve, free_port, tmp_path):
    """What a sink that needs a server is given to find it; the server is a real one."""
    if name == "redis":
        serve("redis-server", "--port", free_port, "--bind", "127.0.0.1", "--save", "", port=free_port)
    elif name == "mqtt":
        (tmp_path / "mqtt.conf").write_text(f"listener {free_port} 127.0.0.1\nallow_anonymous true\n")
        serve("mosquitto", "-c", tmp_path / "mqtt.conf", port=free_port)
    elif name == "nats":
        (tmp_path / "nats.conf").write_text(f"listen: 127.0.0.1:{free_port}\njetstream {{ store_dir: '{tmp_path}' }}\n")
        serve("nats-server", "-c", tmp_path / "nats.conf", port=free_port)
    return {"url": f"{name}://127.0.0.1:{free_port}"}


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_bundled_plugin_keeps_the_contract(kind, name, tmp_path, request):
    """On this machine, with the options that it needs, and none beyond those that it has by default."""
    config = None
    if name in ("redis", "mqtt", "nats"):
        pytest.importorskip({"redis": "redis", "mqtt": "aiomqtt", "nats": "nats"}[name])
        config = request.getfixturevalue("server")
    elif name == "webhook":
        config = lambda server: {"url": server.url}  # noqa: E731  # one of several values
    elif name in ("file", "textfile") and kind != "collectors":
        config = {"path": tmp_path / "out.prom"}
    elif name in NEEDED:
        config = NEEDED[name]
    check_plugin(REGISTRY.plugin_class(kind, name), config=config, root="/", waive=WAIVED.get(name))


@pytest.mark.parametrize("name", [name for kind, name in PLUGINS if kind == "collectors"])
def test_a_collector_keeps_the_contract_where_there_is_much_to_tell(name, fixtures):
    """On node_exporter's machine, which has hardware of every kind."""
    paths, options = fixtures
    if name not in options:
        pytest.skip("node_exporter's run has none of that name")
    told = check_plugin(
        REGISTRY.plugin_class("collectors", name), config=options[name], root=paths, waive=WAIVED.get(name)
    )
    assert told or name not in IN_THE_FIXTURES


def test_no_waiver_is_left_over():
    """Each names a bundled plugin."""
    assert set(WAIVED) <= {name for _, name in PLUGINS}
