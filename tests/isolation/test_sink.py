"""A sink in a process of its own."""

import pytest

from agentd.plugin import Record, Reject, Retry
from tests.isolation.conftest import until

SINK = """
class Plugin(Sink[Options]):
    name = "mine"
    async def send(self, events):
        {}
    async def reopen(self):
        print("opened anew")
    async def probe(self):
        return f"number {{self.config.number}} answers"

@hookimpl
def agentd_sinks():
    return [Plugin]
"""


def records(count):
    """Return events as the journal has them."""
    return [
        Record(seq, "a.b", "test", b'{"id":"%d","type":"a.b","source":"test","payload":{"n":%d}}' % (seq, seq))
        for seq in range(count)
    ]


async def test_events_arrive_whole(standing, tmp_path):
    """A sink in a process gets the same records, the envelope's bytes and the event."""
    body = f"""
        with open({str(tmp_path / "got")!r}, "a") as file:
            for each in events:
                print(each.seq, each.type, each.id, each.event.payload, each.json.decode(), file=file)"""
    sink = standing(SINK.format(body), "sinks")
    await sink.start()
    await sink.send(records(2))
    assert (tmp_path / "got").read_text() == (
        "0 a.b 0 {'n': 0} {\"id\":\"0\",\"type\":\"a.b\",\"source\":\"test\",\"payload\":{\"n\":0}}\n"
        "1 a.b 1 {'n': 1} {\"id\":\"1\",\"type\":\"a.b\",\"source\":\"test\",\"payload\":{\"n\":1}}\n"
    )  # fmt: skip


async def test_a_plain_send_is_called_in_a_thread(standing):
    """One that is not ``async`` may wait in a process, too, and what it raises arrives."""
    source = SINK.replace("async def send", "def send")
    where = "import threading; raise Reject([events[0].id], threading.current_thread() is threading.main_thread())"
    sink = standing(source.format(where), "sinks")
    await sink.start()
    with pytest.raises(Reject, match="False") as caught:
        await sink.send(records(1))
    assert caught.value.ids == {"0"}


async def test_what_a_plain_send_returns_is_awaited(standing):
    """One that is decorated, say, returns a coroutine: the events have arrived when that has ended."""
    later = "return self.later()\n    async def later(self):\n        raise OSError('the receiver is away')"
    sink = standing(SINK.replace("async def send", "def send").format(later), "sinks")
    await sink.start()
    with pytest.raises(Exception, match="the receiver is away"):
        await sink.send(records(1))


async def test_retry_arrives_with_what_it_says(standing):
    """How many were accepted, and how long to wait, is told."""
    sink = standing(SINK.format("raise Retry('full', after=2.5, accepted=1)"), "sinks")
    await sink.start()
    with pytest.raises(Retry, match="full") as caught:
        await sink.send(records(2))
    assert (caught.value.after, caught.value.accepted) == (2.5, 1)


async def test_reject_arrives_with_what_it_says(standing):
    """Which events can never be delivered is told."""
    sink = standing(SINK.format("raise Reject([events[1].id], 'too old')"), "sinks")
    await sink.start()
    with pytest.raises(Reject, match="too old") as caught:
        await sink.send(records(2))
    assert caught.value.ids == {"1"}


async def test_what_else_a_sink_does(standing, caplog):
    """It is told to open files anew, and can be tried without being started."""
    caplog.set_level("INFO")
    sink = standing(SINK.format("pass"), "sinks", options={"number": 7})
    assert await sink.probe() == "number 7 answers"
    await sink.start()
    await sink.reopen()
    await until(lambda: "opened anew" in caplog.text)
