"""Sinks handed events by the kit, and the server that answers as it is told."""

import asyncio

import aiohttp
import pytest

from agentd.plugin import Config, Reject, Retry, Sink, Url
from agentd.testing import Hang, Reply, ScriptedServer, run_sink


class Options(Config):
    """Options."""

    url: Url
    """Where."""


class Post(Sink[Options]):
    """Posts events, one at a time."""

    name = "post"

    async def start(self):
        self._session = aiohttp.ClientSession()

    async def stop(self):
        await self._session.close()

    async def send(self, events):
        for done, event in enumerate(events):
            async with self._session.post(f"{self.config.url}/in?x=1", data=event.json) as response:
                if response.status == 503:
                    raise Retry(await response.text(), after=7.0, accepted=done)
                if response.status == 400:
                    raise Reject([event.id], "bad")
                response.raise_for_status()


def by(server):
    """Return the options by which the server is found."""
    return {"url": server.url}


def test_all_is_delivered():
    """Each event arrives once, in order, in batches as they were asked for."""
    delivery = run_sink(Post, ["a.b", {"type": "a.c", "payload": {"x": 1}}], config=by)
    assert [event.type for event in delivery.delivered] == ["a.b", "a.c"]
    assert [request.json["type"] for request in delivery.requests] == ["a.b", "a.c"]
    assert {(request.method, request.path) for request in delivery.requests} == {("POST", "/in?x=1")}
    assert not (delivery.rejected)
    assert not (delivery.retried)
    assert not (delivery.left)
    assert str(delivery) == "2 delivered, 0 rejected, 0 left, 0 attempts failed, 2 requests"


def test_what_is_retried_is_sent_again_and_what_arrived_is_not():
    """The first part of a batch that has arrived is not sent again; why and how long to wait is kept."""
    delivery = run_sink(Post, ["a.b", "a.c", "a.d"], config=by, replies=[200, Reply(status=503, body="busy"), 500])
    assert [event.type for event in delivery.delivered] == ["a.b", "a.c", "a.d"]
    assert [request.json["type"] for request in delivery.requests] == ["a.b", "a.c", "a.c", "a.c", "a.d"]
    asked, failed = delivery.retried
    assert asked == ("busy", 7.0, 1)
    assert failed.why.startswith("ClientResponseError: 500")
    assert (failed.after, failed.accepted) == (None, 0)


def test_what_is_rejected_is_told_by_its_id():
    """One that can never be delivered is not sent again; all others of its batch count as arrived."""
    delivery = run_sink(Post, ["a.b", "a.c"], config=by, replies=[200, 400])
    assert [event.type for event in delivery.delivered] == ["a.b"]
    assert delivery.rejected == {"00000000-0000-7000-8000-000000000002": "bad"}
    assert len(delivery.requests) == 2


def test_a_server_may_close_delay_and_hang():
    """Connections that end without an answer, and answers that never come, are attempts that failed."""
    replies = [Reply(close=True), Reply(hang=True), Reply(delay=0.01)]
    delivery = run_sink(Post, ["a.b"], config=by, replies=replies, timeout=0.05)
    assert [failed.why.partition(":")[0] for failed in delivery.retried] == ["ServerDisconnectedError", "TimeoutError"]
    assert [event.type for event in delivery.delivered] == ["a.b"]
    assert [request.reply for request in delivery.requests] == replies


def test_one_that_never_works_is_given_up():
    """After so many attempts in vain the events are left, those of later batches too."""
    delivery = run_sink(Post, ["a.b", "a.c"], config=by, then=500, attempts=3, batch=1)
    assert ([event.type for event in delivery.left], len(delivery.retried)) == (["a.b", "a.c"], 3)


def test_one_that_starts_late_is_started_again():
    """A start that fails is an attempt that failed, and is made again."""

    class Late(Post):
        """Starts at the third time."""

        tries = 0

        async def start(self):
            await super().start()
            type(self).tries += 1
            if self.tries < 3:
                await self._session.close()
                raise ConnectionError("not yet")

    delivery = run_sink(Late, ["a.b"], config=by)
    assert [failed.why for failed in delivery.retried] == ["ConnectionError: not yet"] * 2
    assert len(delivery.delivered) == 1


def test_one_that_hangs_is_told_with_the_place():
    """A sink that waits for anything but the server is not waited for."""

    class Hangs(Post):
        """Hangs."""

        async def send(self, events):
            await asyncio.Event().wait()

    with pytest.raises(Hang, match=r"(?s)Hangs\.send\(\) is not done after 2 s.*in send"):
        run_sink(Hangs, ["a.b"], config=by, deadline=2)


async def test_the_server_serves_asynchronous_tests():
    """It answers on a port of its own while it is open, with the headers and the body that it was given."""
    async with (
        ScriptedServer([Reply(status=201, body=b"\x00", headers={"X-A": "1"})], then=404) as server,
        aiohttp.ClientSession() as session,
    ):
        async with session.put(server.url, data=b"x") as answer:
            assert (answer.status, await answer.read(), answer.headers["X-A"]) == (201, b"\x00", "1")
        async with session.get(server.url) as answer:
            assert answer.status == 404
        assert [(request.method, request.body) for request in server.requests] == [("PUT", b"x"), ("GET", b"")]
        url = server.url
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
