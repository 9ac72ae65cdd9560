"""What ``probe`` finds, of every bundled plugin that talks to somebody, with real servers."""

import asyncio
import getpass
import socket
import ssl
import subprocess

import pytest
import redis
from aiohttp import web

from agentd.plugin import Collector, Context, Secret, Sink, Url
from agentd.plugin.base import CANNOT_BE_TRIED
from agentd.registry import Registry

PASSWORD = "correct-horse-battery"


@pytest.fixture
async def probed():
    """Makes a plugin, tries, and returns what it found; it ends with the test."""
    made, registry = [], Registry()

    async def probe(kind, name, **options):
        cls = registry.plugin_class(kind, name)
        plugin = cls(cls.config_type(**options), Context(name=f"{kind}.{name}"))
        made.append(plugin)
        return await plugin.probe()

    yield probe
    for plugin in made:
        await plugin.stop()


@pytest.fixture
def start_redis(serve, free_port):
    """Starts a Redis and returns its URL."""

    def start(*arguments):
        serve("redis-server", "--port", free_port, "--bind", "127.0.0.1", "--save", "", *arguments, port=free_port)
        return f"redis://127.0.0.1:{free_port}/0"

    return start


@pytest.fixture
def start_broker(serve, free_port, tmp_path, server_binary):
    """Starts a Mosquitto that wants a password and returns its server and URL."""
    (tmp_path / "users").touch(mode=0o600)
    command = [server_binary("mosquitto_passwd"), "-b", tmp_path / "users", "fleet", PASSWORD]
    subprocess.run(command, check=True, capture_output=True)
    owner = f"user {getpass.getuser()}\n"  # or, started by root, it could not read its own files
    (tmp_path / "mosquitto.conf").write_text(
        f"{owner}listener {free_port} 127.0.0.1\nlog_type all\nallow_anonymous false\npassword_file {tmp_path}/users\n"
    )
    return serve("mosquitto", "-c", tmp_path / "mosquitto.conf", port=free_port), f"mqtt://127.0.0.1:{free_port}"


@pytest.fixture
def start_nats(serve, free_port, tmp_path):
    """Starts a NATS server that wants a token and returns its URL."""
    (tmp_path / "nats.conf").write_text(f"listen: 127.0.0.1:{free_port}\nauthorization {{ token: '{PASSWORD}' }}\n")
    serve("nats-server", "-c", tmp_path / "nats.conf", port=free_port)
    return f"nats://127.0.0.1:{free_port}"


@pytest.mark.parametrize(("kind", "name"), [("sinks", "redis"), ("collectors", "missions")])
async def test_redis(start_redis, probed, kind, name):
    """With the right password Redis lets in; with a wrong one it says what to check; nothing was written."""
    url = start_redis("--requirepass", PASSWORD)
    assert "lets the agent in" in await probed(kind, name, url=Url(url), password=Secret(PASSWORD))
    with pytest.raises(Exception, match="check user and password"):
        await probed(kind, name, url=Url(url), password=Secret("wrong"))
    with redis.Redis.from_url(url, password=PASSWORD) as client:
        assert client.keys("*") == []


@pytest.mark.parametrize(("kind", "name"), [("sinks", "redis"), ("collectors", "missions")])
async def test_redis_whose_user_may_not_ping(start_redis, probed, kind, name):
    """A user who may append but not PING is let in, and that is what counts."""
    url = start_redis()
    with redis.Redis.from_url(url) as client:
        client.execute_command(
            "ACL", "SETUSER", "fleet", "on", f">{PASSWORD}", "~*", "-@all", "+xadd", "+xread", "+select"
        )
    assert "lets the agent in" in await probed(kind, name, url=Url(url), user="fleet", password=Secret(PASSWORD))


@pytest.mark.parametrize(
    ("kind", "name"), [("sinks", "redis"), ("sinks", "mqtt"), ("sinks", "nats"), ("sinks", "webhook")]
)
async def test_nobody_there(probed, kind, name, free_port):
    """Where nobody listens, that is said with the address."""
    scheme = "http" if name == "webhook" else name
    with pytest.raises(Exception, match=f"127.0.0.1:{free_port}"):
        await probed(kind, name, url=Url(f"{scheme}://127.0.0.1:{free_port}"))


async def test_mqtt_lets_a_client_of_the_configured_name_be(start_broker, probed):
    """The probe logs in under another name than the agent, which stays connected; a wrong password is told."""
    pytest.importorskip("aiomqtt")
    from agentd_plugins.sinks.mqtt import Mqtt, MqttConfig

    server, url = start_broker
    options = {"url": Url(url), "user": "fleet", "password": Secret(PASSWORD), "client_id": "the-agent"}
    running = Mqtt(MqttConfig(**options), Context(name="sinks.mqtt"))
    await running.start()
    try:
        assert "lets the agent in" in await probed("sinks", "mqtt", **options)
        await asyncio.sleep(0.1)
        assert not running._client.lost
    finally:
        await running.stop()
    assert "agentd-probe-" in server.log()
    with pytest.raises(Exception, match=r"user or password|not authorized"):
        await probed("sinks", "mqtt", **{**options, "password": Secret("wrong")})


async def test_nats(start_nats, probed):
    """With the right token NATS lets in; with a wrong one it says what to check."""
    pytest.importorskip("nats")
    assert "lets the agent in" in await probed("sinks", "nats", url=Url(start_nats), token=Secret(PASSWORD))
    with pytest.raises(Exception, match="check user and password, token"):
        await probed("sinks", "nats", url=Url(start_nats), token=Secret("wrong"))


@pytest.fixture
async def receiver(certificates):
    """A web server with TLS that notes each request; returns its port and the requests."""
    requests = []

    async def answer(request):
        requests.append(request.path)
        return web.Response()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening, ssl_context=context).start()
    yield listening.getsockname()[1], requests
    await runner.cleanup()


async def test_webhook(receiver, probed, certificates):
    """The host is connected to, its certificate checked, and nothing asked of it; of a proxy, to that alone."""
    port, requests = receiver
    url = Url(f"https://localhost:{port}/secret-path")
    found = await probed("sinks", "webhook", url=url, ca_file=str(certificates / "ca.pem"))
    assert "accepts connections; nothing was posted" in found
    with pytest.raises(ConnectionError, match="certificate") as wrong:
        await probed("sinks", "webhook", url=url)
    assert "secret-path" not in str(wrong.value)
    proxy = Url(f"http://127.0.0.1:{port}")
    assert "the proxy" in await probed("sinks", "webhook", url=Url("http://nowhere.invalid"), proxy=proxy)
    assert requests == []


@pytest.mark.parametrize(
    ("kind", "name", "file"), [("sinks", "file", "a/b/events"), ("exporters", "textfile", "a.prom")]
)
async def test_files(probed, tmp_path, kind, name, file):
    """That a file could be written is found out without making anything; what is in its place is named."""
    path = tmp_path / file
    assert str(path) in await probed(kind, name, path=str(path))
    assert list(tmp_path.iterdir()) == []
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(OSError, match=r"is no folder|is not there"):
        await probed(kind, name, path=str(blocked / path.name))


async def test_file_that_is_none(probed, tmp_path):
    """A folder in the place of the file is told."""
    with pytest.raises(FileExistsError, match="no regular file"):
        await probed("sinks", "file", path=str(tmp_path))


async def test_log(probed, tmp_path):
    """Journald's socket is connected to; for standard error there is nothing to try."""
    assert "nothing to try" in await probed("sinks", "log", to="stderr")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        assert "listens" in await probed("sinks", "log", to="journald", socket=str(tmp_path / "socket"))
    (tmp_path / "socket").unlink()
    with pytest.raises(FileNotFoundError):
        await probed("sinks", "log", to="journald", socket=str(tmp_path / "socket"))


def test_every_bundled_sink_can_be_tried():
    """No bundled sink is without a probe of its own."""
    registry = Registry()
    assert [name for name in registry.names("sinks") if registry.plugin_class("sinks", name).probe is Sink.probe] == []


async def test_a_plugin_without_one():
    """A plugin that does not know how to be tried says so."""
    assert await Collector().probe() == CANNOT_BE_TRIED


LOCAL = '''
import asyncio
from agentd.plugin import Config, Sink, hookimpl

class Base(Sink[Config]):
    """Is a sink."""
    async def start(self):
        raise AssertionError("a probe starts nothing by itself")

class Old(Base):
    """Knows nothing of probes."""
    name = "old"

class Odd(Base):
    """Fails in an odd way."""
    name = "odd"
    async def probe(self):
        raise KeyError("colour\\x1b[31m")

class Slow(Base):
    """Raises what has no text."""
    name = "slow"
    async def probe(self):
        raise TimeoutError

@hookimpl
def agentd_sinks():
    return [Old, Odd, Slow]
'''


def test_check_probe(command, start_redis, tmp_path, free_port):
    """Each sink gets a line, what is wrong its own on standard error, and the exit status is 1; without, it is 0."""
    url = start_redis("--requirepass", PASSWORD)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "local.py").write_text(LOCAL)
    good = f"[agent]\nplugin_dirs=['{tmp_path}/plugins']\n[sinks.fleet]\nplugin='redis'\nurl='{url}'\n"
    good += f"password='{PASSWORD}'\n[sinks.old]\n[sinks.off]\nplugin='odd'\nenabled=false\n"
    file = tmp_path / "agentd.toml"
    file.write_text(good)
    result = command("check", "--probe", "--config", str(file))
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["sinks.fleet", "sinks.old", "ok"]
    assert f"sinks.old: {CANNOT_BE_TRIED}" in result.stdout
    file.write_text(
        good + "[sinks.bad]\nplugin='redis'\npassword='no-such'\n" + f"url='{url}'\n[sinks.odd]\n[sinks.slow]\n"
    )
    result = command("check", "--probe", "--config", str(file))
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert any(line.startswith("sinks.bad: WRONG: Redis at ") and "check user and password" in line for line in lines)
    assert r"sinks.odd: WRONG: KeyError: 'colour\x1b[31m'" in lines
    assert "sinks.slow: WRONG: no answer within 20 s" in lines
    assert lines[-1] == "agentd: not everything answers as it should"
    assert "sinks.fleet: Redis at" in result.stdout
    assert "no-such" not in result.stdout + result.stderr
    assert command("check", "--config", str(file)).returncode == 0
