"""Who becomes a robot that is known, and what is told of those that are: a whole agent."""

import asyncio

import pytest

CONFIGURATION = (
    "[collectors]\ndisable = ['hwmon']\n[collectors.robots]\n"
    "stale_after = '1500ms'\nforget_after = '1500ms'\nhello_within = '60s'\n"
)

PROTOCOL = ("agentd.telemetry.v1",)


async def robots(robot_agent, session):
    """Return the ids of the robots that are known."""
    async with session.get(f"http://127.0.0.1:{robot_agent.port}/api/telemetry/robots") as answer:
        return [robot["robot_id"] for robot in (await answer.json())["robots"]]


async def test_a_hello_that_takes_long(robot_agent, session):
    """A robot whose hello comes after others like it would have been forgotten is acknowledged, and shown."""
    async with session.ws_connect(
        f"http://127.0.0.1:{robot_agent.port}/api/telemetry/ws/amr-7", protocols=PROTOCOL
    ) as socket:
        await asyncio.sleep(3.5)  # the agent looks every second for whom to forget
        await socket.send_json({"type": "hello", "stream_id": "one"})
        assert (await socket.receive_json(timeout=60))["type"] == "welcome"
        await socket.send_json({"type": "data", "seq": 1, "metrics": {"battery_level": 50}})
        assert (await socket.receive_json(timeout=60))["seq"] == 1
        async with session.get(f"http://127.0.0.1:{robot_agent.port}/api/telemetry/robots/amr-7/metrics") as answer:
            assert (await answer.json())["battery_level"] == 50


async def test_nobody_in_particular(robot_agent, session):
    """Whoever has no credential makes no robot known, neither before its hello nor after it was refused."""
    address, elsewhere = f"http://127.0.0.1:{robot_agent.port}/api/telemetry/ws/stranger", {"Host": "agent.example"}
    async with session.ws_connect(address, protocols=PROTOCOL, headers=elsewhere) as socket:
        assert await robots(robot_agent, session) == []
        await socket.send_json({"type": "hello", "stream_id": "one"})
        assert (await socket.receive_json(timeout=60))["reason"] == "credential"
        assert (await socket.receive(timeout=60)).data == 4401
        assert await robots(robot_agent, session) == []


async def test_numbered_frames_beyond_the_rate(robot_agent, session):
    """Numbered frames beyond the rate are taken, and not counted as left out; live ones are left out, and counted."""
    async with session.ws_connect(
        f"http://127.0.0.1:{robot_agent.port}/api/telemetry/ws/amr-7", protocols=PROTOCOL
    ) as socket:
        await socket.send_json({"type": "hello", "stream_id": "one"})
        await socket.receive_json(timeout=60)
        for seq in range(1, 121):
            await socket.send_json({"type": "data", "seq": seq, "metrics": {"odometer": seq}})
        while (await socket.receive_json(timeout=60)).get("seq") != 120:
            pass
        async with session.get(f"http://127.0.0.1:{robot_agent.port}/metrics") as answer:
            assert 'reason="rate"' not in await answer.text()
        for _ in range(300):
            await socket.send_json({"type": "live", "metrics": {"odometer": 1}})
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json(timeout=60))["type"] == "pong"
        async with session.get(f"http://127.0.0.1:{robot_agent.port}/metrics") as answer:
            assert 'reason="rate"' in await answer.text()


async def test_a_text_that_comes_back(robot_agent, session):
    """What a robot has told last is the text that it said last, also one that it had said before another."""
    address = f"http://127.0.0.1:{robot_agent.port}/api/telemetry/robots/amr-7/metrics"
    for state in ("idle", "driving", "idle"):
        async with session.post(address, json={"state": state}) as answer:
            assert answer.status == 200
    async with session.get(address) as answer:
        assert (await answer.json())["state"] == "idle"


async def test_energy_that_is_stale(robot_agent, session):
    """The energy of a robot that has fallen silent is not told as if it were known."""
    address = f"http://127.0.0.1:{robot_agent.port}/api/telemetry"
    async with session.post(f"{address}/robots/amr-7/metrics", json={"power": 20}):
        pass
    async with session.get(f"{address}/energy") as answer:
        assert [robot["power_watts"] for robot in (await answer.json())["robots"]] == [{"": 20.0}]

    async def told():
        async with session.get(f"{address}/energy") as answer:
            return (await answer.json())["robots"]

    async with asyncio.timeout(60):
        while await told():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.1)


async def welcomed(socket, **fields):
    """Say hello, and hear the welcome."""
    await socket.send_json({"type": "hello", "stream_id": "one", **fields})
    assert (await socket.receive_json(timeout=60))["type"] == "welcome"


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "live", "metrics": {"seq": 900, "x": NaN}}',
        '{"type": "data", "metrics": {"seq": 900, "x": NaN}}',
    ],
)
async def test_a_broken_frame_with_a_metric_called_seq(robot_agent, session, frame):
    """A broken frame whose number cannot be told consumes none: the frames that follow are not taken for repeats."""
    address = f"http://127.0.0.1:{robot_agent.port}/api/telemetry/ws/amr-7"
    async with session.ws_connect(address, protocols=PROTOCOL) as socket:
        await welcomed(socket)
        await socket.send_str(frame)
        assert (await socket.receive_json(timeout=60))["fatal"]
        assert (await socket.receive(timeout=60)).data == 4400
    async with session.ws_connect(address, protocols=PROTOCOL) as socket:
        await welcomed(socket)
        await socket.send_json({"type": "data", "seq": 1, "metrics": {}})
        answer = await socket.receive_json(timeout=60)
        assert (answer["type"], answer["seq"]) == ("ack", 1)


@pytest.mark.parametrize("first", [1, 5])
async def test_a_broken_frame_that_is_the_next(robot_agent, session, first):
    """A broken frame with the number that has to come is consumed, also where a metric has the name ``seq``."""
    address = f"http://127.0.0.1:{robot_agent.port}/api/telemetry/ws/amr-7"
    async with session.ws_connect(address, protocols=PROTOCOL) as socket:
        await welcomed(socket, first_seq=first, last_seq=first)
        await socket.send_str(f'{{"type": "data", "metrics": {{"seq": 900, "x": NaN}}, "seq": {first}}}')
        refused = await socket.receive_json(timeout=60)
        assert (refused["type"], refused["seq"], refused.get("fatal", False)) == ("error", first, False)
        answer = await socket.receive_json(timeout=60)
        assert (answer["type"], answer["seq"]) == ("ack", first)


async def test_a_connection_of_a_robot_that_is_forgotten(robot_agent, session):
    """Whoever has a robot forgotten ends its connection, which is told that, and not that another has come."""
    address = f"http://127.0.0.1:{robot_agent.port}/api/telemetry"
    async with session.ws_connect(f"{address}/ws/amr-7", protocols=PROTOCOL) as socket:
        await welcomed(socket)
        async with session.delete(f"{address}/robots/amr-7") as answer:
            assert answer.status == 204
        assert (await socket.receive_json(timeout=60))["reason"] == "forgotten"
        assert (await socket.receive(timeout=60)).data == 1000
