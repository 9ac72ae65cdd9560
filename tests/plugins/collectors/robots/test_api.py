"""Plain clients, what is posted and asked over HTTP, liveness, and the events of the service."""

import asyncio
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.tokens import Token
from agentd.options import Secret
from agentd.plugin import Family, Snapshot, UnknownCollectorError
from agentd_plugins.collectors.robots import api, connection
from agentd_plugins.collectors.robots.clock import Offset
from agentd_plugins.collectors.robots.energy import energy
from agentd_plugins.collectors.robots.fleet import Fleet
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.posted import frames_of
from agentd_plugins.collectors.robots.protocol import ProtocolError
from agentd_plugins.collectors.robots.settings import RobotsConfig

FRAME = {"cpu_usage": 45.2, "memory_usage": 62.8, "battery_level": 80, "network": {"latency_ms": 12}}


@pytest.mark.parametrize(("reply", "wanted"), [("ack", {"status": "ok"}), ("echo", FRAME), ("none", None)])
async def test_what_a_plain_client_gets(place, reply, wanted):
    """A client without the subprotocol gets for each frame what the configuration says, and an error for a wrong
    one.
    """
    async with place(plain_reply=reply) as there, there.plain() as robot:
        await robot.socket.send_str(json.dumps(FRAME))
        told = [] if wanted is None else [await robot.hear()]
        assert told + await robot.quiet() == ([] if wanted is None else [wanted])
        await robot.socket.send_str("[1]")
        assert "expected an object" in (await robot.hear_plain())["error"]
        assert there.value("robot_reported_network_latency_seconds", robot="r1") == 0.012
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="frame") == 1


@pytest.fixture
async def turns(monkeypatch):
    """At each frame that is taken, how often others have had their turn."""
    had, at = [0], []

    async def others():
        while True:  # it is the turns that are counted
            await asyncio.sleep(0)
            had[0] += 1

    for name in ("live", "data"):
        taken = getattr(Intake, name)

        def take(*arguments, taken=taken, **keywords):
            at.append(had[0])
            return taken(*arguments, **keywords)

        monkeypatch.setattr(Intake, name, take)
    task = asyncio.create_task(others())
    yield at
    task.cancel()


async def test_a_batch_gives_way(place, turns):
    """While a batch is taken others have their turn now and then, so that nobody waits for all of it."""
    async with place() as there:
        frames = [{"cpu_usage": number} for number in range(1000)]
        assert await there.ask("/robots/r1/metrics", "POST", json=frames) == (200, {"accepted": 1000})
    assert len(turns) == 1000
    assert len(set(turns)) >= 1000 // api.IN_TURN


async def test_many_frames_give_way(place, turns, monkeypatch):
    """Frames that come together on a WebSocket are not all taken before others have their turn."""
    monkeypatch.setattr(connection, "IN_TURN", -1)
    async with place() as there, there.plain() as robot:
        await asyncio.gather(*(robot.socket.send_str('{"cpu_usage": 1}') for _ in range(80)))
        await there.until(lambda: len(turns) == 80)
    assert len(set(turns)) == 80


async def test_posting(place):
    """Metrics, frames and batches may be posted; events are safe before the answer comes."""
    async with place() as there:
        post = "/robots/r1/metrics"
        assert await there.ask(post, "POST", json=FRAME) == (200, {"accepted": 1})
        assert there.value("robot_battery_charge_ratio", robot="r1") == 0.8
        assert there.value("robot_up", robot="r1") == 1
        now = there.clock.time()
        batch = [
            {"metrics": {"cpu_usage": 20}, "timestamp": now - 1, "events": [{"type": "a.b"}]},
            {"metrics": {"cpu_usage": 10}, "timestamp": now - 20},
        ]
        there.clock.ahead += 5
        assert await there.ask(post, "POST", json=batch) == (200, {"accepted": 2})
        (event,) = there.journal.of("a.b")
        assert (event.source, event.meta["robot"]) == ("r1", "r1")
        assert len(there.journal.of("telemetry.history")) == 2, "both were measured before what was posted first"
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.452
        there.journal.fail()
        assert (await there.ask(post, "POST", json=batch[:1]))[0] == 503
        assert there.value("robot_connected", robot="r1", transport="websocket") is None


@pytest.mark.parametrize(
    "body",
    ["", "5", "[5]", "{", '{"metrics":{},"spin":1}', '{"metrics":{},"timestamp":"x"}', '{"events":[{"type":"a b"}]}',
     '{"events":[{}]}', '{"events":5}', "[" * 100_000, '{"a":NaN}', json.dumps([{}] * 1001)],
)  # fmt: skip
async def test_what_may_not_be_posted(place, body):
    """A wrong body is answered 400 and changes nothing."""
    async with place() as there:
        assert (await there.ask("/robots/r1/metrics", "POST", data=body))[0] == 400
        assert there.journal.events == []


async def test_a_frame_that_is_posted_has_the_size_of_one_on_a_websocket(place):
    """A frame of ``max_frame`` is taken, one byte more is answered 413 with the limit, alone and in a batch, which as
    a whole may be larger; what is refused is counted, and makes no robot known.
    """
    full = json.dumps({"a" * 91: 10})
    assert len(full) == 99
    async with place(max_frame="100B") as there:
        post = "/robots/r1/metrics"
        status, text = await there.ask(post, "POST", data=f"{full}  ")
        assert (status, "100" in text) == (413, True)
        assert (await there.ask(post))[0] == 404
        assert await there.ask(post, "POST", data=f"{full} ") == (200, {"accepted": 1})
        assert await there.ask(post, "POST", data=f"[{full},{full}]") == (200, {"accepted": 2})
        status, text = await there.ask(post, "POST", data=f"[{full},{json.dumps({'a' * 93: 10})}]")
        assert (status, text) == (413, "frame 2 has 101 bytes: max_frame is 100B\n")
        status, text = await there.ask(post, "POST", data=io.BytesIO(f"[{','.join([full] * 12_000)}]".encode()))
        assert (status, text) == (413, "at most 1MiB may be posted at once, and 100B in a frame\n")
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="too_big") == 2
    async with place(max_frame="2MiB") as there:
        assert (await there.ask(post, "POST", data=io.BytesIO(b" " * 1_500_000 + full.encode())))[0] == 200, (
            "a larger one may be allowed"
        )


async def test_posting_has_a_rate(place):
    """Who posts more frames than its rate is answered 429."""
    async with place(rate_limit=3) as there:
        statuses = [(await there.ask("/robots/r1/metrics", "POST", json=[{}, {}]))[0] for _ in range(4)]
        assert 429 in statuses[2:]
        assert statuses[:2] == [200, 200]


async def test_a_token_writes_as_its_robot_alone(place):
    """Posting as another robot is answered 403, and forgetting a robot takes more than its own token."""
    token = "t0ken-" * 6
    async with place(tokens={"mine": Token(token=Secret(token), robots=["r1"])}) as there:
        headers = {"Authorization": f"Bearer {token}"}
        statuses = [
            (await there.ask(f"/robots/{name}/metrics", "POST", json=FRAME, headers=headers))[0]
            for name in ("r1", "r2")
        ]
        assert statuses == [200, 403]
        assert (await there.ask("/robots/r1", "DELETE", headers=headers))[0] == 403
        assert (await there.ask("/robots/r1/metrics", "POST", json=FRAME, headers={"Origin": "x"}))[0] == 403


async def test_names_of_endpoints_and_what_they_tell(place):
    """The paths that earlier fleet software used answer in its form."""
    async with place() as there, there.robot() as robot:
        await robot.say("live", metrics={**FRAME, "state": "idle"})
        await robot.say("live", metrics={"state": "driving"})
        await there.until(lambda: there.value("robot_state", robot="r1", state="driving"))
        await there.ask("/robots/r2/metrics", "POST", json=FRAME)
        status, info = await there.ask("/info")
        assert (status, info["active_connections"], info["robots"]) == (200, 1, 2)
        assert {"name", "version", "features"} <= set(info)
        told = (await there.ask("/robots/r1/metrics"))[1]
        assert (told["robot_id"], told["cpu_usage"], told["network"]) == ("r1", 45.2, {"latency_ms": 12})
        assert told["state"] == "driving"
        (charge,) = [each for each in told["metrics"] if each["name"] == "robot_battery_charge_ratio"]
        assert (charge["value"], charge["unit"], charge["stale"]) == (0.8, "ratio", False)
        assert charge["age_seconds"] >= 0
        assert (await there.ask("/robots/r3/metrics"))[0] == 404
        there.clock.ahead = 31
        await there.ask("/robots/r2/metrics", "POST", json=FRAME)
        for query, names in (
            ("", ["r1", "r2"]), ("?state=up", ["r2"]), ("?state=stale", ["r1"]), ("?state=connected", ["r1"]),
            ("?limit=1", ["r1"]), ("?after=r1", ["r2"]),
        ):  # fmt: skip
            found = (await there.ask(f"/robots{query}"))[1]
            assert [each["robot_id"] for each in found["robots"]] == names, query
        assert (await there.ask("/robots?limit=1"))[1]["next"] == "r1"
        for wrong in ("?state=x", "?limit=0", "?limit=1001", "?limit=x", "?limit=%C2%B2"):
            assert (await there.ask(f"/robots{wrong}"))[0] == 400


async def test_the_software_that_a_robot_says_it_runs(place):
    """The list of robots has what ``hello`` says of the client, and null where nothing is said."""
    async with place() as there, there.robot(client="amr-firmware/2.1"), there.robot("r2"), there.plain("r3"):
        await there.until(lambda: len(there.plugin._fleet) == 3)
        found = (await there.ask("/robots"))[1]["robots"]
        assert [each["client"] for each in found] == ["amr-firmware/2.1", None, None]


async def test_forgetting_a_robot(place):
    """A robot that is deleted is unknown, its connection ends, and its numbers are gone."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, metrics=FRAME)
        await robot.hear("ack")
        assert (await there.ask("/robots/r1", "DELETE"))[0] == 204
        assert (await robot.ended())[0] == 1000
        assert (await there.ask("/robots/r1", "DELETE"))[0] == 404
        assert there.value("robot_up", robot="r1") is None
        assert "robot:r1" not in there.journal.state
        async with there.robot() as again:
            assert again.welcome["resume_from"] == 1


async def test_liveness_follows_the_data_and_not_the_socket(place):
    """A robot with an open connection that says nothing is down and told as stale, and recovers when it speaks."""
    async with place(expected_robots=["must"]) as there, there.robot() as robot:
        await robot.say("live", metrics={"cpu_usage": 1})
        await there.until(lambda: there.value("robot_up", robot="r1") == 1)
        there.clock.ahead = 31
        await there.until(lambda: len(there.journal.of("robot.stale")) == 2)
        told = {event.target: event.payload for event in there.journal.of("robot.stale")}
        assert told["r1"]["connected"] is True
        assert told["r1"]["age_seconds"] == pytest.approx(31, abs=5)
        assert told["must"]["age_seconds"] is None, "it was expected, and never came"
        assert there.value("robot_up", robot="r1") == 0
        assert there.value("robot_connected", robot="r1", transport="websocket") == 1
        assert there.value("robot_cpu_utilization_ratio", robot="r1") is None
        await robot.say("live", metrics={"cpu_usage": 2})
        (event,) = await there.until(lambda: there.journal.of("robot.recovered"))
        assert (event.target, event.source) == ("r1", "telemetry_service")
        seen = there.value("robot_last_seen_timestamp_seconds", robot="r1", transport="websocket")
        assert seen == pytest.approx(there.clock.time(), abs=5)


async def test_an_expected_robot_that_never_tells_anything_is_stale(place):
    """A robot that has to be there and only connects is told as stale, once, also when it comes again and again; it
    recovers when it speaks. One that is not expected has not fallen silent, as it never spoke.
    """
    async with place(expected_robots=["must"]) as there, there.robot("other"):
        for _ in range(4):
            async with there.robot("must"):
                there.clock.ahead += 9
                await asyncio.sleep(0.1)
        async with there.robot("must") as robot:
            (event,) = await there.until(lambda: there.journal.of("robot.stale"))
            assert (event.target, event.payload["age_seconds"], event.payload["connected"]) == ("must", None, True)
            assert there.value("robot_up", robot="must") == 0
            await robot.say("live", metrics={"cpu_usage": 1})
            assert (await there.until(lambda: there.journal.of("robot.recovered")))[0].target == "must"
            assert len(there.journal.of("robot.stale")) == 1


async def test_events_have_exactly_their_fields(place):
    """The events of connections and metrics carry the fields that earlier software sends, and no others."""
    async with place(metrics_published="frame", data_received_every="1s") as there:
        async with there.robot() as robot:
            await robot.say("live", metrics=FRAME)
            await robot.say("live", metrics=FRAME)
            await there.until(lambda: there.journal.of("telemetry.data_received"))
            id_ = robot.welcome["connection_id"]
        await there.until(lambda: there.journal.of("telemetry.connection_closed"))
        (opened,) = there.journal.of("telemetry.connection_established")
        (closed,) = there.journal.of("telemetry.connection_closed")
        (published,) = there.journal.of("telemetry.metrics_published")
        received = there.journal.of("telemetry.data_received")[0]
        assert set(opened.payload) == {"robot_id", "connection_id", "connected_at"}
        assert set(closed.payload) == {"robot_id", "connection_id", "duration_seconds", "reason", "disconnected_at"}
        assert set(published.payload) == {"robot_id", "metrics", "published_at"}
        assert {opened.payload["connection_id"], closed.payload["connection_id"]} == {id_}
        assert closed.payload["reason"] == "closed"
        assert 0 <= closed.payload["duration_seconds"] < 60
        assert published.payload["metrics"] == {
            "cpu_usage": 45.2, "memory_usage": 62.8, "battery_level": 80, "network_latency_ms": 12
        }  # fmt: skip
        assert (received.payload["frames"], received.payload["lost"]) == (2, 0)
        assert {"bytes", "round_trip_seconds", "window_seconds"} <= set(received.payload)
        every = (opened, closed, published, received)
        assert {event.source for event in every} == {"telemetry_service"}
        assert {event.payload["robot_id"] for event in every} == {"r1"}


@pytest.mark.parametrize(("when", "events"), [("off", 0), ("query", 1)])
async def test_when_metrics_are_published(place, when, events):
    """By default never; on a query once, however often somebody asks within ten seconds."""
    async with place(metrics_published=when) as there:
        await there.ask("/robots/r1/metrics", "POST", json=FRAME)
        for _ in range(3):
            await there.ask("/robots/r1/metrics")
        assert len(there.journal.of("telemetry.metrics_published")) == events


async def test_a_robots_own_events_keep_their_robot(place):
    """Who the event comes from is the robot, whatever it says; what it said is kept beside."""
    async with place() as there, there.robot() as robot:
        events = [{"type": "door.opened", "source": "agentd", "payload": {"x": 1}, "id": "mine"}]
        await robot.say("data", seq=1, events=events)
        await robot.hear("ack")
        (event,) = there.journal.of("door.opened")
        assert (event.source, event.meta, event.id) == ("r1", {"source": "agentd", "robot": "r1"}, "mine")


async def test_clocks_that_start_in_1970(place):
    """A robot whose clock is wrong says so in hello: its timestamps count by the difference."""
    async with place() as there, there.robot(clock=100.0) as robot:
        await robot.say("data", seq=1, timestamp=100.0, metrics={"cpu_usage": 10})
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.1
        offset = there.value("robot_clock_offset_seconds", robot="r1")
        assert offset == pytest.approx(100.0 - there.clock.time(), abs=5)
        assert there.value("robot_telemetry_suspect_total", robot="r1", rule="past_timestamp") is None
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, timestamp=100.0, metrics={"cpu_usage": 10})
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.1
        assert there.value("robot_telemetry_suspect_total", robot="r1", rule="past_timestamp") == 1


@pytest.mark.parametrize("way", ["live", "data", "post"])
async def test_a_clock_that_is_set_later_shows(place, way):
    """The offset follows the clock that a robot tells with its frames: set forward or back after a few, whatever a
    single wrong stamp says; without hello's clock it is absent until three were told.
    """
    async with place() as there, there.robot() as robot:
        seqs = iter(range(1, 100))

        async def tell(ahead):
            there.clock.ahead += 2
            says = there.clock.time() + ahead
            if way == "live":
                await robot.say("live", metrics={"cpu_usage": 1}, timestamp=says)
            elif way == "data":
                await robot.say("data", seq=next(seqs), metrics={"cpu_usage": 1}, timestamp=1.5, clock=says)
            else:
                posted = [{"metrics": {"cpu_usage": 1}, "clock": says - n} for n in range(3)]
                await there.ask("/robots/r1/metrics", "POST", json=posted)
            await robot.say("ping", id=1)
            await robot.hear("pong")
            return there.value("robot_clock_offset_seconds", robot="r1")

        for ahead, offset in (
            (10, None), (10, None), (10, 10), (4102444800, 10), *[(10, 10)] * 4,
            (130, 10), (130, 130),
            (-50, 130), (-50, 130), (-50, 130), (-50, -50),
            (-80, -50), (-50, -50),
        ):  # fmt: skip
            found = await tell(ahead)
            assert found == (None if offset is None else pytest.approx(offset, abs=1)), (ahead, offset)


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.floats(0, 100), min_size=5, max_size=5),
    st.none() | st.tuples(st.integers(0, 4), st.floats(-1e9, 1e9)),
)
@settings(max_examples=100, deadline=None)
def test_an_offset_is_that_of_the_quickest_messages(true, delays, wrong):
    """Whatever one of five messages says and however late all of them are, the estimate is off by no more than the
    second quickest of the others took.
    """
    offset = Offset()
    for number, delay in enumerate(delays):
        offset.hear(wrong[1] if wrong and wrong[0] == number else true - delay, number)
    honest = sorted(delay for number, delay in enumerate(delays) if not wrong or wrong[0] != number)
    assert true - honest[1] - 1e-6 <= offset.seconds <= true - honest[0] + 1e-6


@pytest.mark.parametrize("clock", [float("nan"), float("inf"), -float("inf")])
async def test_a_clock_that_is_no_number_is_none(place, clock):
    """A clock of NaN or infinity is left out, and the robot's metrics count as ever."""
    async with place() as there, there.robot(protocol="agentd.telemetry.v1+msgpack", clock=clock) as robot:
        for seq, timestamp in enumerate((clock, None, -clock), 1):
            await robot.say("data", seq=seq, timestamp=timestamp, metrics={"cpu_usage": seq})
        while (await robot.hear("ack"))["seq"] < 3:
            pass
        assert there.value("robot_clock_offset_seconds", robot="r1") is None
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.03


def test_frames_of_a_body():
    """An object is metrics or, where it has metrics or events, a frame; a list holds either."""
    one, two, three = frames_of(b'[{"a":1},{"metrics":{"b":2},"timestamp":3},{"events":[{"type":"x"}]}]', 99)
    assert (one.metrics, two.metrics, two.timestamp, len(three.events)) == ({"a": 1}, {"b": 2}, 3.0, 1)
    assert frames_of(b'{"metrics":5}', 99)[0].metrics == {"metrics": 5}, "a field of that name"
    with pytest.raises(ProtocolError, match="expected an object"):
        frames_of(b"[[]]", 99)


async def test_energy_keeps_joules_and_abstract_terms_apart():
    """One document: the machine's own values, what robots push, and terms that are no joules; absent where unknown."""
    fleet = Fleet(RobotsConfig(), {}, lambda *_: None)
    fleet.robot("r1").readings.apply(
        {"power": {"arm": 20}, "energy_joules": 500, "battery_level": 50, "energy": {"total": 3.5}}, 1.0, live=True
    )
    fleet.robot("r2").readings.apply({"cpu_usage": 1}, 1.0, live=True)

    async def gather(only):
        if only == {"powersupplyclass"}:
            raise UnknownCollectorError("powersupplyclass")
        samples = {("0", None): 7.0}
        families = (
            Family("node_rapl_package_joules_total", "counter", "", ("index", "path"), samples),
            Family("agentd_x", "gauge", "", (), 1.0),
        )
        return Snapshot(families, 99.0)

    told = await energy(fleet, gather, 2.0, 99.0)
    assert [(value.name, value.labels, value.value) for value in told.machine] == [
        ("node_rapl_package_joules_total", {"index": "0"}, 7.0)
    ]
    (robot,) = told.robots
    assert (robot.robot_id, robot.power_watts, robot.energy_joules) == ("r1", {"arm": 20.0}, {"": 500.0})
    assert (robot.battery_charge_ratio, robot.terms) == ({"": 0.5}, {"total": 3.5})
