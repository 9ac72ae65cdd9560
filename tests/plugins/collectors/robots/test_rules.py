"""The rules of the telemetry protocol, one after the other, against a real server."""

import asyncio
import contextlib
import json
import socket
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from agentd.config.tokens import Token
from agentd.options import Secret
from agentd.plugin import Pressure
from agentd_plugins.collectors.robots import service, wire

MSGPACK = "agentd.telemetry.v1+msgpack"
TOKEN, OTHER = "t0ken-" * 6, "an0ther-" * 5
REMOTE = {"X-Forwarded-For": "192.0.2.1"}
"""What makes a request one of another machine."""


def tokens(**expires):
    return {
        "mine": Token(token=Secret(TOKEN), robots=["r1", "fleet-*"], **expires),
        "others": Token(token=Secret(OTHER), robots=["r2"]),
    }


# 1. Order by sequence, not by clock.


async def test_rule_1_values_follow_the_numbers_and_not_the_clock(place):
    """Of two numbered frames the later one counts, though its timestamp is earlier."""
    async with place() as there, there.robot() as robot:
        now = there.clock.time()
        await robot.say("data", seq=1, timestamp=now, metrics={"cpu_usage": 10})
        await robot.say("data", seq=2, timestamp=now - 5, metrics={"cpu_usage": 20})
        assert (await robot.hear("ack"))["seq"] == 2
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == pytest.approx(0.2)


async def test_rule_1_a_timestamp_of_the_future_does_not_freeze_a_robot(place):
    """A timestamp of the year 2100 is taken for now and counted, and the next frame still counts."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, timestamp=4102444800.0, metrics={"cpu_usage": 10})
        await robot.say("data", seq=2, timestamp=there.clock.time(), metrics={"cpu_usage": 20})
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == pytest.approx(0.2)
        assert there.value("robot_telemetry_suspect_total", robot="r1", rule="future_timestamp") == 1


async def test_rule_1_an_event_of_the_future_is_of_now_and_keeps_what_it_claimed(place):
    """An event with a timestamp of the future gets the time of its receipt, and keeps its own in ``meta``."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, events=[{"type": "a.b", "timestamp": 4102444800.0}])
        await robot.hear("ack")
        (event,) = there.journal.of("a.b")
        assert abs(event.timestamp - time.time()) < 60
        assert event.meta["claimed_timestamp"] == 4102444800.0
        assert there.value("robot_telemetry_suspect_total", robot="r1", rule="future_timestamp") == 1


# 2. The stream's numbers are written down with the events that they acknowledge.


async def test_rule_2_welcome_says_from_where_to_resume_after_a_restart(place):
    """The number of a stream survives the agent, whose epoch stays the same; another stream begins at 1."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=7, events=[{"type": "a.b"}])
        await robot.hear("ack")
        state, epoch = dict(there.journal.state), robot.welcome["agent_epoch"]
    async with place(state=state) as there, there.robot() as robot, there.robot("r2") as other:
        assert (robot.welcome["resume_from"], robot.welcome["agent_epoch"]) == (8, epoch)
        assert other.welcome["resume_from"] == 1
    async with place() as there, there.robot() as robot:
        assert (robot.welcome["resume_from"], robot.welcome["agent_epoch"] != epoch) == (1, True), "a lost journal"


async def test_rule_2_the_largest_number_is_2_53_minus_1(place):
    """A number of 2^53-1 is taken; one more ends the connection with 4400."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=2**53 - 1)
        assert (await robot.hear("ack"))["seq"] == 2**53 - 1
        await robot.say("data", seq=2**53)
        assert (await robot.ended())[0] == 4400


async def test_a_frame_is_acknowledged_when_its_effect_is_safe(place):
    """While a commit hangs no acknowledgement comes, and it comes as soon as the commit is done."""
    async with place() as there, there.robot() as robot:
        there.journal.writes.clear()
        await robot.say("data", seq=1, events=[{"type": "a.b"}])
        assert await robot.quiet() == []
        there.journal.writes.set()
        assert (await robot.hear("ack"))["seq"] == 1
        assert there.journal.state["robot:r1"]["streams"] == {"s1": 1}


async def test_what_is_not_safe_is_resumed_from_and_acknowledged_to_whoever_is_there_then(place):
    """A robot that comes again while a commit hangs is asked for its frames again; they count once, and the new
    connection gets the acknowledgement.
    """
    async with place() as there:
        there.journal.writes.clear()
        async with there.robot() as robot:
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            await there.until(lambda: there.journal.asked > 1)  # the first is that of the epoch
        async with there.robot() as robot:
            assert robot.welcome["resume_from"] == 1
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            assert await robot.quiet() == []
            there.journal.writes.set()
            assert (await robot.hear("ack"))["seq"] == 1
        assert len(there.journal.of("a.b")) == 1


async def test_what_could_not_be_written_is_rolled_back(place):
    """Where a commit fails the robot is sent away with 1013, and is asked for the very frames again."""
    async with place() as there:
        async with there.robot() as robot:
            await robot.say("data", seq=1)
            await robot.hear("ack")
            there.journal.fail()
            await robot.say("data", seq=2, events=[{"type": "a.b"}])
            code, said = await robot.ended()
            assert code == 1013
            assert [each["type"] for each in said] == ["error"]
            assert said[0]["retry_after_ms"] > 0
        there.journal.error = None
        async with there.robot() as robot:
            assert robot.welcome["resume_from"] == 2
            await robot.say("data", seq=2, events=[{"type": "a.b"}])
            assert (await robot.hear("ack"))["seq"] == 2
        assert len(there.journal.of("a.b")) == 1
        assert there.value("robot_messages_lost_total", robot="r1", stream="data") is None


async def test_what_comes_behind_a_failed_write_leaves_no_hole(place):
    """Frames that are on their way when a commit fails are not taken: they would be counted as the next ones."""
    async with place() as there:
        async with there.robot() as robot:
            there.journal.writes.clear()
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            await there.until(lambda: there.journal.asked > 1)
            there.journal.fail()
            for seq in range(2, 40):
                await robot.say("data", seq=seq, events=[{"type": "a.b"}])
            there.journal.writes.set()
            assert (await robot.ended())[0] == 1013
        there.journal.error = None
        async with there.robot() as robot:
            assert robot.welcome["resume_from"] == 1
        assert there.value("robot_messages_lost_total", robot="r1", stream="data") is None


async def test_repeats_are_dropped_by_robot_stream_and_number(place):
    """A frame that comes again is acknowledged and does nothing; the same number of another stream or robot counts."""
    async with place() as there:
        async with there.robot() as robot:
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            await robot.hear("ack")
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            assert (await robot.hear("ack"))["seq"] == 1
        async with there.robot("r2") as robot:
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            await robot.hear("ack")
        async with there.robot("r1", "s2") as robot:
            await robot.say("data", seq=1, events=[{"type": "a.b"}])
            await robot.hear("ack")
        assert [event.source for event in there.journal.of("a.b")] == ["r1", "r2", "r1"]
        assert there.value("robot_messages_repeated_total", robot="r1", stream="data") == 1


async def test_gaps_are_counted_under_a_constant_label(place):
    """Numbers that never came are lost messages of the stream ``data``, whatever the stream's own id is."""
    async with place() as there, there.robot(stream="any-id-of-its-own") as robot:
        await robot.say("data", seq=1)
        await robot.say("data", seq=5)
        assert (await robot.hear("ack"))["seq"] == 5
        assert there.value("robot_messages_lost_total", robot="r1", stream="data") == 3


@pytest.mark.parametrize(
    ("hello", "lost"),
    [
        ({"last_seq": 9, "first_seq": 6}, 3),
        ({"last_seq": 9, "first_seq": 0}, 7),
        ({"last_seq": 9, "first_seq": 3}, 0),
        ({"last_seq": 2, "first_seq": 1}, 0),
        ({"last_seq": 9}, 0),
    ],
)
async def test_what_a_robot_has_lost_is_counted_when_it_says_so_and_once(place, caplog, hello, lost):
    """Frames that the agent never got, and that by ``hello`` the robot does not have any more, are lost before another
    comes; they are counted once, however often it connects. Of a stream that is new nobody knows.
    """

    def count():
        return there.value("robot_messages_lost_total", robot="r1", stream="data") or 0

    async with place() as there:
        async with there.robot() as robot:
            await robot.say("data", seq=2)
            await robot.hear("ack")
        for _ in range(2):
            async with there.robot(**hello):
                assert count() == lost
        assert ("does not have" in caplog.text) == (lost > 0)
        async with there.robot(**hello) as robot:
            await robot.say("data", seq=12)
            await robot.hear("ack")
            assert count() == 9, "the numbers 3 to 11"
        async with there.robot("r2", **hello):
            assert there.value("robot_messages_lost_total", robot="r2", stream="data") is None


# 3. A poison frame is consumed.

POISON = {
    "metrics that are no object": b'{"type":"data","seq":2,"metrics":5}',
    "NaN": b'{"type":"data","seq":2,"metrics":{"a":NaN}}',
    "infinity": b'{"type":"data","seq":2,"metrics":{"a":1e999}}',
    "deep nesting": b'{"type":"data","seq":2,"metrics":' + b'{"a":' * 20000 + b"1" + b"}" * 20001,
    "an event without a type": b'{"type":"data","seq":2,"events":[{}]}',
    "an event of no type": b'{"type":"data","seq":2,"events":[{"type":"a b"}]}',
    "a field that no event has": b'{"type":"data","seq":2,"events":[{"type":"a.b","kind":1}]}',
    "an event too deep for others": b'{"type":"data","seq":2,"events":[{"type":"a.b","payload":'
    + b'{"a":' * 900 + b"1" + b"}" * 902 + b"]}",
    "one that the journal refuses": b'{"type":"data","seq":2,"events":[{"type":"no.event"}]}',
}  # fmt: skip


@pytest.mark.parametrize("frame", POISON.values(), ids=POISON)
async def test_rule_3_a_poison_frame_is_consumed(place, frame):
    """A frame that cannot be used is answered with its number, and the next one and other robots go on."""
    async with place() as there, there.robot("r2") as other:
        async with there.robot() as robot:
            await robot.say("data", seq=1)
            await robot.hear("ack")
            await robot.socket.send_str(frame.decode())
            error = await robot.hear("error")
            assert (error["seq"], error.get("fatal", False)) == (2, False)
            assert error["message"]
            await robot.say("data", seq=3, events=[{"type": "a.b"}])
            while (await robot.hear("ack"))["seq"] != 3:
                pass
        async with there.robot() as robot:
            assert robot.welcome["resume_from"] == 4
        await other.say("data", seq=1)
        assert (await other.hear("ack"))["seq"] == 1
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="frame") == 1


async def test_rule_3_poison_of_one_robot_does_not_hold_up_the_others(place):
    """Where one event of a transaction is none, all others are written, with few transactions more."""
    async with place() as there, there.robot("bad") as bad:
        async with Several(there.robot(f"r{n}") for n in range(20)) as robots:
            await bad.say("data", seq=1, events=[{"type": "no.event"}])
            for robot in robots:
                await robot.say("data", seq=1, events=[{"type": "a.b"}])
            for robot in robots:
                assert (await robot.hear("ack"))["seq"] == 1
            assert (await bad.hear("error"))["seq"] == 1
            assert (await bad.hear("ack"))["seq"] == 1
        assert len(there.journal.of("a.b")) == 20
        assert there.journal.asked < 21


# 4. Live before backlog, and credit.


async def test_rule_4_late_metrics_never_overwrite_newer_ones(place):
    """What was measured before a live frame is history: an event of its own type, counted apart, and not shown."""
    async with place() as there, there.robot() as robot:
        await robot.say("live", metrics={"cpu_usage": 50, "state": "driving"})
        await robot.say(
            "data", seq=1, timestamp=there.clock.time() - 10, metrics={"cpu_usage": 10, "state": "idle", "rust": 1}
        )
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.5
        assert there.value("robot_state", robot="r1", state="driving") == 1
        assert there.value("robot_state", robot="r1", state="idle") is None
        assert there.value("robot_custom_value", robot="r1", field="rust") == 1, "of that nothing newer is known"
        assert there.value("robot_messages_late_total", robot="r1") == 1
        (event,) = there.journal.of("telemetry.history")
        assert event.payload["metrics"] == {"cpu_usage": 10, "state": "idle", "rust": 1}
        assert event.payload["measured_at"] == pytest.approx(there.clock.time() - 10, abs=5)


async def test_rule_4_a_backlog_of_yesterday_becomes_history_alone(place):
    """Metrics that are older than ``stale_after`` are not shown at all, and the robot is not up because of them."""
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, timestamp=there.clock.time() - 86400, metrics={"cpu_usage": 10})
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") is None
        assert there.value("robot_up", robot="r1") == 0
        assert len(there.journal.of("telemetry.history")) == 1


async def test_rule_4_what_is_not_known_any_more_does_not_come_late_either(place):
    """A late null or sentinel does not take away what a live frame has said."""
    async with place() as there, there.robot() as robot:
        await robot.say("live", metrics={"cpu_usage": 50, "battery_remaining": 40})
        await robot.say(
            "data", seq=1, timestamp=there.clock.time() - 5, metrics={"cpu_usage": None, "battery_remaining": -1}
        )
        await robot.hear("ack")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.5
        assert there.value("robot_battery_charge_ratio", robot="r1") == pytest.approx(0.4)


async def test_rule_4_credit_is_given_in_welcome_and_with_each_acknowledgement(place):
    """The window, in frames and bytes, comes with ``welcome`` and ``ack``."""
    async with place(credit_frames=5, credit_bytes="10KiB") as there, there.robot() as robot:
        assert robot.welcome["credit"] == {"frames": 5, "bytes": 10240}
        await robot.say("data", seq=1)
        assert (await robot.hear("ack"))["credit"] == {"frames": 5, "bytes": 10240}


async def test_rule_4_who_is_over_its_rate_gets_no_new_credit_and_its_live_frames_are_left_out(place):
    """Beyond the rate numbered frames are still taken, under a window of one; live ones are counted and left out."""
    async with place(rate_limit=3, credit_frames=20) as there, there.robot() as robot:
        for seq in range(1, 7):
            await robot.say("data", seq=seq)
        assert (await robot.hear("ack"))["credit"]["frames"] == 1
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="rate") is None
        await robot.say("live", metrics={"cpu_usage": 1})
        await robot.say("ping", id=1)
        await robot.hear("pong")
        assert there.value("robot_cpu_utilization_ratio", robot="r1") is None
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="rate") == 1


async def test_rule_4_who_ignores_its_credit_is_sent_away(place):
    """Who sends twice its credit without an acknowledgement is closed with 1013, and nothing of it is lost."""
    async with place(credit_frames=2) as there:
        there.journal.writes.clear()
        async with there.robot() as robot:
            for seq in range(1, 6):
                await robot.say("data", seq=seq, events=[{"type": "a.b"}])
            code, said = await robot.ended()
            assert (code, said[-1]["reason"]) == (1013, "credit")
        there.journal.writes.set()
        await there.until(lambda: len(there.journal.of("a.b")) == 4)


async def test_rule_4_a_jump_in_the_numbers_is_no_use_of_credit(place):
    """A robot whose queue has lost thousands of frames goes on with a much higher number, as does a new stream."""
    async with place(credit_frames=2) as there, there.robot() as robot:
        for seq in (5000, 5001, 5002, 90000, 90001):
            await robot.say("data", seq=seq)
            assert (await robot.hear("ack"))["seq"] == seq


# 5. Half-open connections.


async def test_rule_5_who_does_not_answer_a_ping_is_dropped(place):
    """Without a pong within half of ``ping_every`` the connection ends, with that as its reason."""
    async with place(ping_every="1s") as there:
        reader, writer = await handshake(there)
        writer.write(frame({"type": "hello", "stream_id": "s1"}))
        await there.until(lambda: there.journal.of("telemetry.connection_closed"))
        (event,) = there.journal.of("telemetry.connection_closed")
        assert event.payload["reason"] == "no_pong"
        assert there.value("robot_connected", robot="r1", transport="websocket") == 0
        writer.close()
        await reader.read()


async def test_rule_5_pings_come_whatever_else_is_said_and_measure_the_way(place):
    """A robot that talks all the time is pinged as well, and its round trip is known."""
    async with place(ping_every="2s") as there, there.robot() as robot:
        async with asyncio.timeout(60):
            while there.value("robot_link_rtt_seconds", robot="r1", transport="websocket") is None:
                await robot.say("live", metrics={"cpu_usage": 1})
                await robot.quiet(0.05)
        histogram = there.value("robot_fleet_link_rtt_seconds", transport="websocket")
        assert histogram.count >= 1


async def test_what_pings_and_clocks_told_grows_old_as_all_values_do(place):
    """The offset of a clock leaves the exposition after ``stale_after``, the time that a ping took when the next answer
    is overdue where that takes longer; also of a robot that is not forgotten.
    """

    def values():
        return (
            there.value("robot_clock_offset_seconds", robot="r1"),
            there.value("robot_link_rtt_seconds", robot="r1", transport="websocket"),
        )

    async with place(ping_every="80s", stale_after="60s") as there:
        async with there.robot(clock=100.0) as robot:
            assert values()[0] is not None
            there.clock.ahead += 81
            async with asyncio.timeout(60):
                while values()[1] is None:
                    await robot.quiet(0.05)  # a client answers pings while it listens
            assert values()[0] is None
            there.clock.ahead += 65
            assert values()[1] is not None, "a ping is answered every 80 seconds"
            await robot.say("live", metrics={}, timestamp=200.0)
            await there.until(lambda: values()[0] is not None)
        await there.until(lambda: there.value("robot_connected", robot="r1", transport="websocket") == 0)
        there.clock.ahead += 121
        assert values() == (None, None)
        assert there.value("robot_connections_total", robot="r1", transport="websocket") == 1


async def test_rule_5_the_kernel_gives_up_after_30_seconds(place):
    """TCP_USER_TIMEOUT is set on the robot's socket."""
    async with place() as there, there.robot():
        (robot,) = there.plugin._service._connections
        tcp = robot._tcp.get_extra_info("socket")
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_rule_5_browsers_ping_as_json(place):
    """A JSON ping is answered with its id and the agent's time."""
    async with place() as there, there.robot() as robot:
        await robot.say("ping", id="one")
        pong = await robot.hear("pong")
        assert pong["id"] == "one"
        assert pong["time"] == pytest.approx(there.clock.time(), abs=60)


async def test_rule_5_a_ping_before_hello_is_answered(place):
    """A client library that pings at once is answered, and says hello then."""
    async with place() as there, there.open(autoping=False) as robot:
        await robot.socket.ping(b"here?")
        message = await robot.socket.receive(60)
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"here?")
        await robot.say("hello", stream_id="s1")
        await robot.hear("welcome")


# 6. Reconnect storms.


async def test_rule_6_at_the_end_robots_are_told_to_come_again_after_a_random_time(place):
    """When the agent stops every connection is closed with 1012, each told another moment within a minute."""
    async with place() as there, Several(there.robot(f"r{n}") for n in range(20)) as robots:
        stopping = asyncio.create_task(there.plugin.stop())
        ends = [await robot.ended() for robot in robots]
        await stopping
        assert {code for code, _ in ends} == {1012}
        waits = {said[-1]["retry_after_ms"] for _, said in ends}
        assert all(0 <= wait <= 60_000 for wait in waits)
        assert len(waits) > 10
        assert {event.payload["reason"] for event in there.journal.of("telemetry.connection_closed")} == {"restart"}


async def test_rule_6_too_many_at_once_are_asked_to_come_later(place):
    """Beyond ``connects_per_second`` an upgrade is answered with 503 and ``Retry-After``."""
    async with place(connects_per_second=2) as there:
        answers = [await there.session.get(f"{there.url}/ws/r{n}", headers=upgrade()) for n in range(20)]
        assert [answer.status for answer in answers].count(503) >= 1
        refused = next(answer for answer in answers if answer.status == 503)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert there.value("agentd_robots_connections_refused_total", reason="connects") >= 1
        for answer in answers:
            answer.close()


@pytest.mark.parametrize("protocol", [{}, {"Sec-WebSocket-Protocol": "agentd.telemetry.v1"}])
async def test_who_comes_without_a_credential_keeps_no_robot_out(place, protocol):
    """Strangers who come in any number are refused, or asked to come later; a robot that shows who it is comes in."""
    async with place(connects_per_second=2) as there:
        stranger = {**upgrade(), **protocol, "Host": "agent.example"}
        answers = [await there.session.get(f"{there.url}/ws/r{n}", headers=stranger) for n in range(20)]
        if not protocol:
            assert {answer.status for answer in answers} == {401}
        robot = await there.session.get(f"{there.url}/ws/r1", headers=upgrade())
        assert robot.status == 101
        for answer in (*answers, robot):
            answer.close()


async def test_who_never_reads_is_dropped(place):
    """A robot that takes none of its answers is dropped with that as its reason, and others notice nothing."""
    async with place(rate_limit=10**6) as there, there.robot("r2") as other:
        _, writer = await handshake(there)
        writer.transport.pause_reading()
        writer.write(frame({"type": "hello", "stream_id": "s1"}))
        ping = frame({"type": "ping", "id": "x" * 64}) * 1000
        stuck = asyncio.create_task(insist(writer, ping))
        closed = await there.until(lambda: there.journal.of("telemetry.connection_closed"), within=60)
        assert (closed[0].target, closed[0].payload["reason"]) == ("r1", "does_not_read")
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        writer.transport.abort()
        await other.say("data", seq=1)
        assert (await other.hear("ack"))["seq"] == 1


async def test_rule_6_a_robot_that_does_not_read_does_not_hold_up_the_end(place, monkeypatch):
    """The agent stops although a client takes nothing of what is sent to it."""
    monkeypatch.setattr(wire, "CLOSING", 0.2)
    async with place(plain_reply="echo") as there:
        _, writer = await handshake(there, protocol=None)
        writer.transport.pause_reading()
        text = json.dumps({f"field_{n}": "x" * 1000 for n in range(200)}).encode()
        stuck = asyncio.create_task(insist(writer, frame(text)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stuck, 2)
        async with asyncio.timeout(60):
            await there.plugin.stop()
        writer.transport.abort()


# 7. Two robots with one name.


async def test_rule_7_more_than_three_replacements_a_minute_by_other_streams_are_a_conflict(place):
    """The fourth that comes under another stream is refused with 4409, told as an event; after a minute it may."""
    async with place() as there, Several() as stack:
        for n in range(4):
            await stack.enter(there.robot(stream=f"clone{n}"))
        async with there.open() as late:
            await late.say("hello", stream_id="clone4")
            code, said = await late.ended()
        assert (code, said[-1]["reason"], said[-1]["fatal"]) == (4409, "conflict", True)
        (event,) = there.journal.of("telemetry.identity_conflict")
        assert (event.payload["robot_id"], event.source) == ("r1", "telemetry_service")
        assert there.value("agentd_robots_connections_refused_total", reason="conflict") == 1
        assert there.value("robot_connected", robot="r1", transport="websocket") == 1
        there.clock.ahead = 61
        await stack.enter(there.robot(stream="clone5"))


async def test_rule_7_one_robot_may_come_again_as_often_as_it_has_to(place):
    """A robot that comes with the same stream replaces itself as often as it likes."""
    async with place() as there, Several() as stack:
        for _ in range(8):
            await stack.enter(there.robot(stream="mine"))
        assert there.journal.of("telemetry.identity_conflict") == []


async def test_rule_7_plain_clients_of_one_address_that_replace_each_other_are_a_conflict(place):
    """Two plain clients of one address and one id, each of which comes again when it is replaced, are a conflict: one
    of them is refused with 4409, and the other one stays.
    """
    codes = []

    async def insist(there):
        while 4409 not in codes:
            async with there.plain() as robot:
                codes.append((await robot.ended())[0])

    async with place() as there:
        clones = [asyncio.create_task(insist(there)) for _ in range(2)]
        async with asyncio.timeout(10):
            await asyncio.wait(clones, return_when=asyncio.FIRST_COMPLETED)
        assert codes == [1000, 1000, 1000, 4409]
        assert there.journal.of("telemetry.identity_conflict")[0].payload["robot_id"] == "r1"
        assert there.value("robot_connected", robot="r1", transport="websocket") == 1
        for clone in clones:
            clone.cancel()
        await asyncio.wait(clones)


async def test_rule_7_a_plain_client_may_come_again_as_often_as_it_has_to(place):
    """A plain client whose connections break without a word replaces what is left of them as often as it likes."""
    async with place() as there, Several() as stack:
        for number in range(6):
            await stack.enter(there.plain())  # and never read again: nobody answers for it
            await there.until(lambda: len(there.journal.of("telemetry.connection_established")) == number + 1)  # noqa: B023  # awaited here
        await there.until(lambda: there.value("agentd_robots_connections") == 1)
        await asyncio.sleep(1.5)  # until the agent has given up those that do not answer
        await stack.enter(there.plain())
        await there.until(lambda: len(there.journal.of("telemetry.connection_established")) == 7)
        assert there.journal.of("telemetry.identity_conflict") == []


async def test_a_newer_connection_replaces_the_older_one_whose_end_erases_nothing(place):
    """The old connection is closed with a reason; the new one's state, which came before, is there afterwards."""
    async with place() as there, there.robot() as old:
        async with there.robot() as new:
            code, said = await old.ended()
            assert (code, said[-1]["reason"]) == (1000, "replaced")
            await there.until(lambda: there.journal.of("telemetry.connection_closed"))
            assert there.value("robot_connected", robot="r1", transport="websocket") == 1
            assert (await there.ask("/info"))[1]["active_connections"] == 1
            assert new.welcome["connection_id"] != old.welcome["connection_id"]
            await new.say("data", seq=1)
            assert (await new.hear("ack"))["seq"] == 1
        assert there.value("robot_connections_total", robot="r1", transport="websocket") == 2
        assert there.value("robot_disconnections_total", robot="r1", transport="websocket", reason="replaced") == 1
        await there.until(lambda: there.value("robot_connected", robot="r1", transport="websocket") == 0)


# 8. Tokens.


async def test_rule_8_a_token_in_hello(place):
    """A robot of elsewhere shows its token in hello: the right one is welcome, all others get their code."""
    async with place(tokens=tokens()) as there:
        for token, code in ((None, 4401), ("wr0ng-" * 6, 4401), (OTHER, 4403)):
            async with there.open(headers=REMOTE) as robot:
                await robot.say("hello", stream_id="s1", token=token)
                assert (await robot.ended())[0] == code
        async with there.open(headers=REMOTE) as robot:
            await robot.say("hello", stream_id="s1", token=TOKEN)
            await robot.hear("welcome")
        assert there.value("agentd_robots_connections_refused_total", reason="credential") == 2
        assert there.value("agentd_robots_connections_refused_total", reason="forbidden") == 1


async def test_rule_8_who_may_not_write_as_a_robot_does_not_make_it_known(place):
    """Connections without a right token leave no robot behind, so nobody can fill the agent with them."""
    async with place(tokens=tokens()) as there:
        async with there.open("unheard-of", headers=REMOTE) as silent, there.open("of", headers=REMOTE) as robot:
            assert (await there.ask("/robots"))[1]["total"] == 0
            await robot.say("hello", stream_id="s1")
            await robot.ended()
            await silent.socket.close()
        assert (await there.ask("/robots"))[1]["total"] == 0
        assert there.value("robot_up", robot="unheard-of") is None


async def test_rule_8_a_token_in_the_header(place):
    """In the header the token decides before the upgrade: 401 for nobody's, 403 for another robot's."""
    async with place(tokens=tokens()) as there:
        for token, status in (("wr0ng-" * 6, 401), (OTHER, 403)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with there.open(headers={**REMOTE, "Authorization": f"Bearer {token}"}):
                    pass
            assert refused.value.status == status
        headers = {**REMOTE, "Authorization": f"Bearer {TOKEN}"}
        async with there.open("fleet-7", headers=headers) as robot:
            await robot.say("hello", stream_id="s1")
            await robot.hear("welcome")
        async with there.plain("fleet-7", headers=headers) as robot:
            await robot.socket.send_str('{"cpu_usage": 1}')
            await there.until(lambda: there.value("robot_cpu_utilization_ratio", robot="fleet-7"))


async def test_rule_8_no_token_in_the_url_and_none_is_for_this_machine_alone(place):
    """A token in the query counts for nothing; without any, this machine may write and others may not."""
    async with place(tokens=tokens()) as there:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with there.plain(f"r1?token={TOKEN}", headers=REMOTE):
                pass
        assert refused.value.status == 401
        async with there.plain() as robot:
            await robot.socket.send_str('{"cpu_usage": 1}')
            await there.until(lambda: there.value("robot_cpu_utilization_ratio", robot="r1"))


async def test_rule_8_hello_has_five_seconds(place):
    """Without a hello in time the connection ends with 4408."""
    async with place(hello_within="1s") as there, there.open() as robot:
        assert (await robot.ended())[0] == 4408
        await robot.socket.close()
        await there.until(lambda: there.value("agentd_robots_connections_refused_total", reason="no_hello") == 1)
    async with place() as there:
        assert there.plugin.config.hello_within == 5


async def test_rule_8_strangers_give_way(place, monkeypatch):
    """Of those who have shown no credential yet few may be there: the oldest end at once, others may say hello."""
    monkeypatch.setattr(service, "HELLOS", 3)
    async with place(tokens=tokens()) as there, contextlib.AsyncExitStack() as opened:
        known = await opened.enter_async_context(there.open(headers={"Authorization": f"Bearer {TOKEN}"}))
        robots = await asyncio.gather(
            *(opened.enter_async_context(there.open(f"fleet-{n}", headers=REMOTE)) for n in range(8))
        )
        refused = "agentd_robots_connections_refused_total"
        await there.until(lambda: there.value(refused, reason="hellos") == 5)
        went_on = 0
        for robot in robots:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TypeError, AssertionError):
                await robot.say("hello", stream_id="s1", token=TOKEN)
                await robot.hear("welcome")
                went_on += 1
        assert went_on == 3
        await known.say("hello", stream_id="s1")
        await known.hear("welcome")


async def test_rule_8_pings_are_no_hello(place):
    """A few pings may come before the hello; a stranger that sends nothing else is not answered on and on."""
    async with place() as there, there.open("r1") as robot:
        for _ in range(5):
            await robot.socket.ping()
        await robot.say("hello", stream_id="s1")
        await robot.hear("welcome")
    async with place() as there, there.open("r1") as robot:
        for _ in range(20):
            await robot.socket.ping()
        assert (await robot.ended())[0] == 1003


async def test_rule_8_expiry_closes_with_4401(place):
    """A connection ends when its token does."""
    soon = datetime.now(UTC) + timedelta(seconds=100)
    async with place(tokens=tokens(expires=soon)) as there, there.open(headers=REMOTE) as robot:
        await robot.say("hello", stream_id="s1", token=TOKEN)
        await robot.hear("welcome")
        there.clock.ahead = 101
        code, said = await robot.ended()
        assert (code, said[-1]["reason"]) == (4401, "expired")


@pytest.mark.parametrize("by", ["hello", "header"])
async def test_rule_8_a_token_that_is_withdrawn_closes_with_4401(place, by):
    """A connection ends within half a minute after its token has been taken away, and one that still holds goes on."""
    header = {**REMOTE, "Authorization": f"Bearer {TOKEN}"} if by == "header" else REMOTE
    async with place(tokens=tokens()) as there, there.open(headers=header) as robot:
        await robot.say("hello", stream_id="s1", **({"token": TOKEN} if by == "hello" else {}))
        await robot.hear("welcome")
        there.clock.ahead = 31
        await robot.say("data", seq=1, metrics={"cpu_usage": 1})
        assert (await robot.hear("ack"))["seq"] == 1
        there.plugin.context.authenticate = lambda _token: None
        there.plugin._service._authenticate = lambda _token: None
        there.clock.ahead = 62
        code, said = await robot.ended()
        assert (code, said[-1]["reason"]) == (4401, "withdrawn")


# 9. The subprotocol fixes the codec.


async def test_rule_9_messagepack(place):
    """With the other subprotocol all is MessagePack in binary frames: metrics, events and acknowledgements."""
    async with place() as there, there.robot(protocol=MSGPACK) as robot:
        assert robot.socket.protocol == MSGPACK
        await robot.say("data", seq=1, metrics={"cpu_usage": 50}, events=[{"type": "a.b", "payload": {"x": 1}}])
        assert (await robot.hear("ack"))["seq"] == 1
        assert there.value("robot_cpu_utilization_ratio", robot="r1") == 0.5
        assert there.journal.of("a.b")[0].payload == {"x": 1}


@pytest.mark.parametrize("before", [False, True], ids=["as hello", "after hello"])
@pytest.mark.parametrize("protocol", ["agentd.telemetry.v1", MSGPACK, None])
async def test_rule_9_the_other_kind_of_frame_closes_1003(place, protocol, before):
    """A binary frame where text is spoken, or the other way round, ends the connection with 1003."""
    async with place() as there:
        opening = there.plain() if protocol is None else there.robot(protocol=protocol)
        if protocol is not None and not before:
            opening = there.open(protocol=protocol)
        async with opening as robot:
            await (robot.socket.send_str("{}") if protocol == MSGPACK else robot.socket.send_bytes(b"{}"))
            assert (await robot.ended())[0] == 1003


async def test_rule_9_no_compression(place):
    """Compression is not agreed on, though the client offers it."""
    async with place() as there, there.open(compress=15) as robot:
        assert robot.socket.compress == 0


async def test_rule_9_eight_levels_are_enough(place):
    """What lies deeper than eight levels is counted and left out, the rest is taken."""
    nested = {"ok": 1, "a": 1}
    for _ in range(7):
        nested = {"n": nested}
    async with place() as there, there.robot() as robot:
        await robot.say("data", seq=1, metrics=nested)
        await robot.say("data", seq=2, metrics={"n": nested})
        while (await robot.hear("ack"))["seq"] != 2:
            pass
        assert there.value("robot_custom_value", robot="r1", field="n.n.n.n.n.n.n.ok") == 1
        assert there.value("robot_telemetry_refused_total", robot="r1", reason="type") == 1


# 10. Close codes. (4401, 4403: rule 8; 4408: rule 8; 4409: rule 7; 1012: rule 6; 1003: rule 9; 1013: rules 2 and 4.)


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"live","metrics":{}}',
        '{"type":"ping"}',
        "no JSON",
        "[]",
        '{"type":"hello"}',
        '{"type":"hello","stream_id":""}',
        '{"type":"hello","stream_id":"s","last_seq":-1}',
    ],
)
async def test_rule_10_bad_protocol_is_4400(place, first):
    """Whatever comes in the place of hello ends the connection with 4400 and a message."""
    async with place() as there, there.open() as robot:
        await robot.socket.send_str(first)
        code, said = await robot.ended()
        assert (code, said[-1]["fatal"], bool(said[-1]["message"])) == (4400, True, True)


async def test_rule_10_hello_twice_and_unknown_messages_are_4400(place):
    """A second hello ends the connection, and so does a message of a type that there is not."""
    async with place() as there:
        for message in ({"type": "hello", "stream_id": "s2"}, {"type": "dance"}):
            async with there.robot() as robot:
                await robot.say(**message)
                assert (await robot.ended())[0] == 4400


async def test_rule_10_too_big_is_1009(place):
    """A frame above ``max_frame``, one of ten megabytes too, ends the connection with 1009."""
    async with place(max_frame="10KiB") as there:
        for size in (11_000, 10_000_000):
            async with there.plain() as robot:
                with contextlib.suppress(ConnectionError):  # the agent does not wait for the rest of ten megabytes
                    await robot.socket.send_str(json.dumps({"text": "x" * size}))
                    assert (await robot.ended())[0] in (1009, 1006 if size > 100_000 else 1009)
        closed = await there.until(lambda: len(found := there.journal.of("telemetry.connection_closed")) == 2 and found)
        assert [event.payload["reason"] for event in closed] == ["too_big", "too_big"]


async def test_rule_10_a_million_keys_need_a_larger_frame_and_then_stay_within_the_budget(place):
    """A frame of very many keys gives 200 series, and the rest is counted as beyond the budget."""
    async with place(max_frame="20MiB") as there, there.plain() as robot:
        await robot.socket.send_str(json.dumps({f"k{n}": n for n in range(200_000)}))
        await there.until(
            lambda: (there.value("robot_telemetry_refused_total", robot="r1", reason="budget") or 0) == 199_800
        )
        assert sum(f.name == "robot_custom_value" and len(f.samples) for f in there.families()) == 200


async def test_rule_10_no_room_is_503(place):
    """Where as many robots are known or connected as may be, further ones are answered 503 with ``Retry-After``."""
    async with place(max_robots=1) as there, there.robot():
        answer = await there.session.get(f"{there.url}/ws/r2", headers=upgrade())
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert there.value("agentd_robots_connections_refused_total", reason="robots") == 1
        async with there.robot():
            pass
    async with place(max_connections=1) as there, there.robot():
        assert (await there.session.get(f"{there.url}/ws/r2", headers=upgrade())).status == 503
        assert there.value("agentd_robots_connections_refused_total", reason="connections") == 1


async def test_where_memory_is_short_nobody_new_is_let_in(place):
    """Robots that are connected stay, and those that were there come back; others are answered 503, until it is well
    again. What those that are not connected told is dropped, and told again when they come back.
    """
    async with place(stale_after="1h") as there, there.robot("r1") as stays, there.robot("r2") as goes:
        for peer in (stays, goes):
            await peer.say("live", metrics={"speed": 1.5, "odd": 2})
        await there.until(
            lambda: all(there.value("robot_custom_value", robot=name, field="odd") == 2 for name in ("r1", "r2"))
        )
        for pressure in (Pressure.CACHES, Pressure.STREAMS):
            there.plugin.shed(pressure)
        assert there.value("robot_custom_value", robot="r2", field="odd") == 2
        there.plugin.shed(Pressure.INTAKE)
        await goes.socket.close()
        await there.until(lambda: there.value("robot_connected", robot="r2", transport="websocket") == 0)
        there.plugin.shed(Pressure.INTAKE)
        assert there.value("robot_custom_value", robot="r1", field="odd") == 2
        assert there.value("robot_custom_value", robot="r2", field="odd") is None
        assert there.value("robot_connections_total", robot="r2", transport="websocket") == 1
        answer = await there.session.get(f"{there.url}/ws/r3", headers=upgrade())
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert await answer.text() == "as many robots are known as memory allows\n"
        async with there.robot("r2", stream="s2") as back:
            await back.say("live", metrics={"speed": 1.5, "odd": 3})
            await there.until(lambda: there.value("robot_custom_value", robot="r2", field="odd") == 3)
            answer = await there.session.get(f"{there.url}/ws/r1", headers=upgrade())
            assert await answer.text() == "as many robots are connected as memory allows\n"
        there.plugin.shed(Pressure.NONE)
        async with there.robot("r3"):
            pass
        assert there.value("agentd_robots_connections_refused_total", reason="robots") == 1


# 11. Robot ids.

NO_IDS = ["..", ".", "a%22b", "a%0Ab", "a%2Fb", "%F0%9F%A4%96", "a" * 129, "a%20b", "%2e%2e", "a,b", "%00", "a%5Cb"]


@pytest.mark.parametrize("name", NO_IDS)
@pytest.mark.parametrize("path", ["ws/{}", "robots/{}/metrics", "robots/{}"])
async def test_rule_11_what_is_no_id_is_a_400(place, name, path):
    """Ids that could end a path, a label or a line are refused with 400 on every path, and are never known."""
    method = {"ws/{}": "GET", "robots/{}/metrics": "POST", "robots/{}": "DELETE"}[path]
    async with place() as there:
        lines = [f"{method} /api/telemetry/{path.format(name)} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 2"]
        if method == "GET":
            lines = [lines[0], lines[1], *(f"{key}: {value}" for key, value in upgrade().items())]
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write("\r\n".join([*lines, "", "" if method == "GET" else "{}"]).encode())
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        assert (await there.ask("/robots"))[1]["total"] == 0


@pytest.mark.parametrize("name", ["a", "A-Z_0.9:@x", "a" * 128, "...", "-"])
async def test_rule_11_what_is_one(place, name):
    """Ids of the characters that may be in one are taken."""
    async with place() as there:
        assert (await there.ask(f"/robots/{name}/metrics", "POST", json={"cpu_usage": 1}))[0] == 200
        assert there.value("robot_cpu_utilization_ratio", robot=name) == 0.01


# What the tests above say it with.


def upgrade():
    """Return the headers with which a WebSocket begins."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }


async def handshake(there, robot="r1", protocol="agentd.telemetry.v1"):
    """Connect without a library, so that nothing answers pings; return reader and writer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
    headers = {"Host": "127.0.0.1", **upgrade(), **({"Sec-WebSocket-Protocol": protocol} if protocol else {})}
    lines = [f"GET /api/telemetry/ws/{robot} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert b" 101 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def frame(message):
    """Return a message as a masked text frame."""
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    length = len(text)
    if length < 126:
        head = bytes([0x81, 0x80 | length])
    elif length < 65536:
        head = bytes([0x81, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x81, 0x80 | 127]) + length.to_bytes(8, "big")
    return head + bytes(4) + text


async def insist(writer, data):
    """Write as fast as the other side takes it, for ever."""
    while True:
        writer.write(data)
        await writer.drain()


class Several:
    """Enters context managers one after the other; its own value is a list of what they gave."""

    def __init__(self, managers=()):
        self.stack = contextlib.AsyncExitStack()
        self.managers = managers

    async def __aenter__(self):
        await self.stack.__aenter__()
        entered = [await self.stack.enter_async_context(manager) for manager in self.managers]
        return entered or self

    async def enter(self, manager):
        return await self.stack.enter_async_context(manager)

    async def __aexit__(self, *error):
        return await self.stack.__aexit__(*error)
