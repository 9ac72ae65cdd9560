"""Events, from whoever posts them to files and servers, with an agent that is killed and a way that is disturbed."""

import asyncio
import contextlib
import json
import signal
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agentd.testing.accounting import Account, Trial, account, numbers
from agentd.testing.agent import AgentProcess, free_port
from agentd.testing.proxy import MODES, Proxy

NO_COLLECTORS = "[collectors]\ndisable = ['hwmon']\n"


def to_file(folder: Path) -> str:
    """Return a configuration whose events go into a file."""
    return f'{NO_COLLECTORS}[sinks.lines]\nplugin = "file"\nstart = "beginning"\npath = "{folder}/events.jsonl"\n'


@contextlib.asynccontextmanager
async def running(folder, configuration):
    """Run an agent, and yield it with a session."""
    agent = AgentProcess(folder, configuration)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        await agent.start(session)
        try:
            yield agent, session
        finally:
            await agent.stop()


async def until(condition):
    """Wait until something holds."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.02)


async def post(session, agent, body, **keywords):
    """Post to the events, and return status and answer."""
    async with session.post(f"{agent.api}/events", data=body, **keywords) as response:
        return response.status, await response.json(), response.headers


async def get(session, agent, path):
    """Return status and answer of a path."""
    async with session.get(f"{agent.api}{path}") as response:
        return response.status, await response.json()


async def test_what_is_posted_arrives_and_can_be_asked_for(tmp_path):
    """An event is on disk when it is answered, is found by its type and source, and goes to the sink."""
    async with running(tmp_path, to_file(tmp_path)) as (agent, session):
        status, answer, _ = await post(session, agent, b'{"type": "mission.finished", "payload": {"n": 1}}')
        assert status == 201
        status, several, _ = await post(session, agent, b'[{"type":"a.b","source":"me","target":"r1"},{"type":"a.c"}]')
        assert (status, len(several["ids"])) == (201, 2)
        _, found = await get(session, agent, "/events?type=mission.*,a.*")
        assert [event["type"] for event in found["events"]] == ["a.c", "a.b", "mission.finished"]
        assert found["events"][2]["id"] == answer["ids"][0]
        assert found["events"][2]["source"] == "api"
        assert {"host", "agent_id", "boot_id", "seq", "labels"} <= found["events"][0]["meta"].keys()
        _, found = await get(session, agent, "/events?source=me&since=1m")
        assert [event["target"] for event in found["events"]] == ["r1"]
        _, found = await get(session, agent, "/events?until=1000")
        assert found["events"] == []

        async def written():
            file = tmp_path / "events.jsonl"
            lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
            return [json.loads(line)["type"] for line in lines if b"mission" in line or b'"a.' in line] == [
                "mission.finished",
                "a.b",
                "a.c",
            ]

        await until(written)


async def test_pages_lead_to_the_first_event(tmp_path):
    """Each page says where the next one begins, and the last that there is none."""
    async with running(tmp_path, NO_COLLECTORS) as (agent, session):
        await post(session, agent, json.dumps([{"type": "n.n", "payload": {"n": n}} for n in range(25)]).encode())
        seen, before = [], ""
        while True:
            _, page = await get(session, agent, f"/events?type=n.n&limit=10{before}")
            seen += [event["payload"]["n"] for event in page["events"]]
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        assert seen == list(range(24, -1, -1))


async def test_what_tells_of_long_ago_hides_nothing(tmp_path):
    """Events that happened long before they were written down do not end a search for recent ones."""
    async with running(tmp_path, NO_COLLECTORS) as (agent, session):
        await post(session, agent, b'{"type": "door.opened"}')
        await post(session, agent, json.dumps([{"type": "door.closed", "timestamp": 1}] * 3).encode())
        for limit in (1, 2, 100):
            _, answer = await get(session, agent, f"/events?type=door.*&since=1h&limit={limit}")
            assert [event["type"] for event in answer["events"]] == ["door.opened"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected an event as JSON"),
        (b"{}", "type"),
        (b'{"type": "two words"}', "type: expected words"),
        (b'{"type": "a", "timestamp": -1}', "timestamp"),
        (b'{"type": "a", "timestamp": 1e400}', "timestamp"),
        (b'{"type": "a", "payload": 5}', "payload"),
        (b'{"type": "a", "target": "\\u0000"}', "target"),
        (b'[{"type": "a"}, {"type": 5}]', "event 1: type"),
        (b'[{"type": "a"}', "expected a list of events"),
        (b"\xff\xfe", "expected an event as JSON"),
        (b"[" * 100_000, "expected a list of events"),
        (json.dumps([{"type": "a"}] * 1001).encode(), "at most 1000"),
    ],
)
async def test_what_is_no_event_is_refused(agent_of_module, body, message):
    """The answer names the field, and which event of a list; nothing of the request is taken."""
    agent, session = agent_of_module
    _, before = await get(session, agent, "/events?source=api")
    status, answer, _ = await post(session, agent, body)
    assert (status, message in answer["error"]) == (400, True), answer
    _, after = await get(session, agent, "/events?source=api")
    assert after["events"] == before["events"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_packed_body_is_refused(agent_of_module, coding):
    """A body is taken as it is: one that says that it is packed is the sender's mistake, and is told so."""
    agent, session = agent_of_module
    async with session.post(f"{agent.api}/events", data=b"x", headers={"Content-Encoding": coding}) as answer:
        assert (answer.status, "without Content-Encoding" in await answer.text()) == (415, True)


@pytest.mark.parametrize("query", ["typ=x", "limit=x", "since=yesterday", "before=-1", "type=" + 201 * "["])
async def test_what_is_no_query_is_refused(agent_of_module, query):
    """A misspelt filter is an error, and does not let everything pass."""
    agent, session = agent_of_module
    status, answer = await get(session, agent, f"/events?{query}")
    assert (status, query.partition("=")[0] in answer["error"]) == (400, True)


@pytest.mark.parametrize(("method", "action"), [("GET", "dead"), ("POST", "replay"), ("POST", "skip")])
async def test_a_sink_that_there_is_not(tmp_path, method, action):
    """Whoever misspells a sink is told that it is not there, and which are."""
    async with (
        running(tmp_path, to_file(tmp_path)) as (agent, session),
        session.request(method, f"{agent.api}/sinks/line/{action}") as response,
    ):
        assert response.status == 404
        assert await response.json() == {"error": "there is no sink sinks.line; there are: sinks.lines"}


@pytest.mark.parametrize("header", ["Origin", "Forwarded", "X-Forwarded-For"])
@pytest.mark.parametrize("path", ["/events", "/sinks"])
async def test_only_this_machine_is_answered(agent_of_module, header, path):
    """What a browser or a proxy passes on comes from elsewhere: it may neither read events nor write them."""
    agent, session = agent_of_module
    async with session.get(f"{agent.api}{path}", headers={header: "x"}) as response:
        assert response.status == (403 if header == "Origin" else 401)
    async with session.post(f"{agent.api}/events", json={"type": "a"}, headers={header: "x"}) as response:
        assert response.status == (403 if header == "Origin" else 401)


@pytest.fixture
async def agent_of_module(tmp_path):
    """An agent without sinks."""
    async with running(tmp_path, NO_COLLECTORS) as found:
        yield found


async def test_a_stream_goes_on_where_it_was(tmp_path):
    """Events are streamed as they happen; whoever comes again with the last number misses and repeats nothing."""
    async with running(tmp_path, NO_COLLECTORS) as (agent, session):
        seen, begun = [], asyncio.Event()

        async def follow(count, headers):
            async with session.get(f"{agent.api}/events/stream?type=n.*", headers=headers) as response:
                assert response.headers["Content-Type"] == "text/event-stream"
                last = headers.get("Last-Event-ID", "")
                async for line in response.content:
                    begun.set()
                    if line.startswith(b"id: "):
                        last = line[4:].strip().decode()
                    if line.startswith(b"data: "):
                        seen.append(json.loads(line[6:])["payload"]["n"])
                        if len(seen) == count:
                            break
                return last

        following = asyncio.create_task(follow(2, {}))
        await asyncio.wait_for(begun.wait(), 60)
        for n in range(3):
            await post(session, agent, json.dumps({"type": "n.n", "payload": {"n": n}}).encode())
        last = await asyncio.wait_for(following, 60)
        await post(session, agent, b'{"type": "n.n", "payload": {"n": 3}}')
        await asyncio.wait_for(follow(4, {"Last-Event-ID": last}), 60)
        assert seen == [0, 1, 2, 3]


async def test_a_sink_that_is_away_shows_and_is_made_good(tmp_path):
    """While its server is away the sink says so everywhere; when it is back everything arrives, and is told."""
    port, received = free_port(), []

    async def take(request):
        received.extend(event["data"]["n"] for event in await request.json() if event["type"] == "n.n")
        return web.Response()

    configuration = (
        f'{NO_COLLECTORS}[sinks.hook]\nplugin = "webhook"\nurl = "http://127.0.0.1:{port}/"\n'
        'unhealthy_after = "300ms"\nevents = ["n.*"]\n'
    )
    async with running(tmp_path, configuration) as (agent, session):
        await post(session, agent, b'{"type": "n.n", "payload": {"n": 1}}')

        async def unhealthy():
            async with session.get(f"http://127.0.0.1:{agent.port}/readyz") as response:
                return response.status == 503 and "sinks.hook" in await response.text()

        await until(unhealthy)
        _, (sink,) = await get(session, agent, "/sinks")
        assert (sink["healthy"], sink["lag_events"] > 0, str(port) in sink["error"]) == (False, True, True)
        async with session.get(f"http://127.0.0.1:{agent.port}/metrics") as response:
            metrics = await response.text()
        assert 'agentd_sink_healthy{plugin="sinks.hook"} 0.0' in metrics
        assert 'agentd_sink_events_sent_total{plugin="sinks.hook"} 0.0' in metrics
        runner = await serve(port, take)
        try:
            await until(lambda: asyncio.sleep(0, received == [1]))

            async def healthy():
                return not await unhealthy()

            await until(healthy)
        finally:
            await runner.cleanup()

        async def told():
            _, found = await get(session, agent, "/events?type=sink.*")
            return [event["type"] for event in found["events"]][:2] == ["sink.connected", "sink.disconnected"]

        await until(told)


async def test_a_journal_that_is_gone_from_a_full_disk(tmp_path, mount):
    """Whoever posts is told to come again, and the log what to do; with room again, all is there and is taken."""
    state = mount(tmp_path / "state", "3m")
    async with running(tmp_path, NO_COLLECTORS) as (agent, session):
        many = json.dumps([{"type": "door.opened", "payload": {"text": "x" * 1000}}] * 500).encode()
        assert (await post(session, agent, many))[0] == 201

        async def settled():  # or what the write-ahead log gives back later is room for the whole journal
            return (state / "journal.db-wal").stat().st_size == 0

        await until(settled)
        with (state / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096) == 4096:
                pass
        for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
            (state / name).unlink()
        for _ in range(3):
            status, answer, headers = await post(session, agent, b'{"type": "door.closed"}')
            assert (status, headers["Retry-After"]) == (503, "5")
            assert answer["error"].startswith("nothing can be written down now: ")
            assert str(state) not in answer["error"]
        told = "make room on the disk of the state directory, for the whole journal: it was removed or replaced"
        assert told in agent.log.read_text()
        assert told in (await get(session, agent, "/status"))[1]["journal"]["error"]
        (state / "filling").unlink()

        async def taken():
            return (await post(session, agent, b'{"type": "door.closed"}'))[0] == 201

        await until(taken)
        assert (state / "journal.db").exists()
        _, found = await get(session, agent, "/events?type=door.*&limit=1000")
        assert [event["type"] for event in found["events"]] == ["door.closed", *["door.opened"] * 500]


async def serve(port, handler):
    """Answer POSTs on a port of the loopback interface."""
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def test_the_agent_tells_what_becomes_of_its_plugins(tmp_path):
    """A collector that fails, and works again, is told by one event each, as are the agent's start and end."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "moody.py").write_text(
        "from pathlib import Path\nfrom agentd.plugin import Collector, Config, hookimpl\n"
        "class Moody(Collector[Config]):\n    name = 'moody'\n    blocking = False\n    def collect(self):\n"
        f"        if Path({str(tmp_path / 'bad')!r}).exists():\n            raise RuntimeError('bad mood')\n"
        "        return []\n"
        "@hookimpl\ndef agentd_collectors():\n    return [Moody]\n"
    )
    configuration = f'[agent]\nplugin_dirs = ["{tmp_path}/plugins"]\n'
    async with running(tmp_path, configuration) as (agent, session):
        for mood in ("bad", "bad", "good", "good"):
            (tmp_path / "bad").touch() if mood == "bad" else (tmp_path / "bad").unlink(missing_ok=True)
            async with session.get(f"http://127.0.0.1:{agent.port}/metrics?collect[]=moody") as response:
                await response.read()
    async with running(tmp_path, configuration) as (agent, session):

        async def told():
            _, found = await get(session, agent, "/events")
            return [event["type"] for event in reversed(found["events"])]

        expected = ["agent.started", "plugin.failed", "plugin.recovered", "agent.stopping", "agent.started"]

        async def all_told():
            return await told() == expected

        await until(all_told)


PLUGIN = """
from agentd.plugin import Collector, Config, Event, gauge, hookimpl

class Counter(Collector[Config]):
    name = "counter"
    rounds = gauge("counter_rounds", "How often it was asked, over all lives of the agent.")

    async def collect(self):
        rounds = self.state.get("rounds", 0) + 1
        self.emit("counter.seen", {"rounds": rounds})
        await self.commit([self.event("counter.counted", {"rounds": rounds}, target="r1")], {"rounds": rounds})
        return [self.rounds(rounds)]

@hookimpl
def agentd_collectors():
    return [Counter]

@hookimpl
def agentd_event(event):
    if event.type == "secret.told":
        return False
    if event.type == "counter.seen":
        return Event(type="counter.noticed", source=event.source, payload=event.payload)
    if event.type == "broken.hook":
        raise RuntimeError("this hook cannot count")
    return None
"""


async def test_a_plugin_emits_commits_and_keeps_its_state(tmp_path):
    """Events and state of a plugin outlive a kill; hooks change and drop events, and one that fails is skipped."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "counter.py").write_text(PLUGIN)
    configuration = f'[agent]\nplugin_dirs = ["{tmp_path}/plugins"]\n[collectors]\nenable = ["counter"]\n'
    agent = AgentProcess(tmp_path, configuration)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:

        async def ask():
            async with session.get(f"http://127.0.0.1:{agent.port}/metrics?collect[]=counter") as response:
                text = await response.text()
            return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("counter_rounds "))

        await agent.start(session)
        first = await ask()
        await agent.kill()
        await agent.start(session)
        try:
            assert await ask() > first
            for type_ in ("secret.told", "broken.hook"):
                await post(session, agent, json.dumps({"type": type_}).encode())
            _, found = await get(session, agent, "/events?type=counter.*,secret.*,broken.*")
            types = [event["type"] for event in found["events"]]
            assert {"counter.counted", "counter.noticed", "broken.hook"} == set(types)
            counted = [event for event in found["events"] if event["type"] == "counter.counted"]
            assert [event["payload"]["rounds"] for event in reversed(counted)] == list(range(1, len(counted) + 1))
            assert (counted[0]["source"], counted[0]["target"]) == ("collectors.counter", "r1")
            assert agent.log.read_text().count("this hook cannot count") == 1
        finally:
            await agent.stop()


async def test_a_log_file_that_is_moved_away_is_opened_anew(tmp_path):
    """After SIGHUP, as logrotate sends it, events go into a new file."""
    async with running(tmp_path, to_file(tmp_path)) as (agent, session):
        file = tmp_path / "events.jsonl"

        async def arrived(type_):
            return file.exists() and type_.encode() in file.read_bytes()

        await post(session, agent, b'{"type": "before.it"}')
        await until(lambda: arrived("before.it"))
        file.rename(tmp_path / "events.jsonl.1")
        agent.send(signal.SIGHUP)
        await post(session, agent, b'{"type": "after.it"}')
        await until(lambda: arrived("after.it"))
        assert b"before.it" not in file.read_bytes()


async def test_two_agents_do_not_share_a_state_directory(tmp_path):
    """The second says who has it, and ends."""
    async with running(tmp_path, NO_COLLECTORS) as (agent, session):
        second = AgentProcess(tmp_path, NO_COLLECTORS)
        with pytest.raises(RuntimeError, match="another agentd"):
            await second.start(session)
        assert (await get(session, agent, "/events"))[0] == 200


async def test_nothing_acknowledged_is_lost_however_the_agent_ends(tmp_path):
    """Killed again and again amid writing, the agent delivers every event that it has acknowledged, in order."""
    agent = AgentProcess(tmp_path, to_file(tmp_path))

    async def arrived():
        return numbers((tmp_path / "events.jsonl").read_bytes().splitlines())

    result = await Trial(agent, writers=3, seed=1).run(kills=3, arrived=arrived, pause=0.4)
    assert result.right, result
    assert result.acknowledged > 100


async def test_nothing_is_lost_on_a_bad_way_either(tmp_path):
    """With a proxy that refuses, delays, resets, swallows and cuts, every event arrives at the server, in order."""
    received = []

    async def take(request):
        received.extend(await request.json())
        return web.Response()

    port = free_port()
    runner = await serve(port, take)
    proxy = Proxy(("127.0.0.1", port), seed=2)
    await proxy.start()
    try:
        agent = AgentProcess(
            tmp_path,
            f'{NO_COLLECTORS}[sinks.hook]\nplugin = "webhook"\nstart = "beginning"\nformat = "json"\ntimeout = "1s"\n'
            f'url = "http://127.0.0.1:{proxy.port}/"\n',
        )

        async def arrived():
            return numbers(map(json.dumps, received))

        result = await Trial(agent, proxy, writers=3, seed=2).run(kills=3, arrived=arrived, pause=0.5)
    finally:
        await proxy.stop()
        await runner.cleanup()
    assert result.right, result
    assert result.acknowledged > 100


def test_the_account_finds_what_is_wrong():
    """The oracle itself: what is missing, out of order, unknown or repeated is seen."""
    written = [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert account(written, written, [(0, 0), (1, 0), (0, 1), (0, 1), (0, 2)]).right
    assert account(written, written, [(0, 0), (0, 2), (1, 0)]).missing == [(0, 1)]
    assert account(written, written[:1], [(0, 0)]) == Account(acknowledged=1, arrived=1)
    assert account(written, (), [(0, 1), (0, 0)]).disordered == [(0, 0)]
    assert account(written, (), [(7, 7)]).unknown == [(7, 7)]
    assert account(written, (), [(0, 0), (0, 1), (0, 0), (0, 1)]).repeats == 2


@pytest.mark.parametrize("mode", MODES)
async def test_the_proxy_disturbs_as_it_says(mode):
    """Each way of disturbing has its effect on a request, and passes with it."""
    port = free_port()
    arrived = []

    async def take(request):
        arrived.append(len(await request.read()))
        return web.Response(text="x" * 10_000)

    runner = await serve(port, take)
    proxy = Proxy(("127.0.0.1", port), seed=1)
    await proxy.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def ask(within=60.0):
                timeout = aiohttp.ClientTimeout(total=within)
                address = f"http://127.0.0.1:{proxy.port}/"
                async with session.post(address, data=b"y" * 10_000, timeout=timeout) as response:
                    return len(await response.read()) == 10_000

            await proxy.become(mode)
            try:
                whole = await ask(3.0 if mode == "swallow" else 60.0)
            except (aiohttp.ClientError, TimeoutError):
                whole = False
            assert whole == (mode in ("pass", "delay"))
            assert bool(arrived) == (mode in ("pass", "delay", "swallow"))
            await proxy.become("pass")
            assert await ask()
    finally:
        await proxy.stop()
        await runner.cleanup()
