"""The sink log: a line an event, in journald's own protocol or on standard error, and none that somebody forged."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentd.plugin import Context, Event, Record, Retry
from agentd_plugins.sinks.log import Log, LogConfig, datagram, readable

STAMP = 1_700_000_000.0625


def record(seq, type="mission.finished", **fields):
    """Return an event with this number."""
    event = {"id": f"id{seq}", "type": type, "source": "collectors.fleet", "target": "robot-7", "timestamp": STAMP}
    event |= {"payload": {"n": seq}} | fields
    return Record(seq, type, event["source"], json.dumps(event).encode())


def fields(data):
    """Read a datagram as journald does: NAME=VALUE lines, or NAME, a length in eight bytes, and that many bytes."""
    found = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert end == b"\n"
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


class Journal:
    """The end of the socket that is journald's."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)

    def read(self):
        """Return the fields of the next datagram."""
        return fields(self.socket.recv(1 << 20))

    def close(self):
        """Go away, with the socket."""
        self.socket.close()
        Path(self.path).unlink(missing_ok=True)


@pytest.fixture
def journal(tmp_path):
    """A journald that only listens."""
    made = Journal(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def make(tmp_path, ending):
    """Returns a started sink with these options."""

    async def start(to="journald", **options):
        config = LogConfig(to=to, socket=str(tmp_path / "socket"), **options)
        sink = ending(Log(config, Context(name="sinks.log")))
        await sink.start()
        return sink

    return start


async def test_journald_gets_fields(make, journal):
    """Each event is an entry of the journal with a readable line, and with fields to filter by."""
    sink = await make()
    await sink.send([record(1), record(2, target=None, payload={})])
    assert journal.read() == {
        "MESSAGE": 'mission.finished source=collectors.fleet target=robot-7 id=id1 {"n":1}',
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "agentd",
        "AGENTD_EVENT_ID": "id1",
        "AGENTD_EVENT_TYPE": "mission.finished",
        "AGENTD_EVENT_SOURCE": "collectors.fleet",
        "AGENTD_EVENT_TARGET": "robot-7",
        "AGENTD_EVENT_TIMESTAMP": "1700000000.062500",
    }
    second = journal.read()
    assert second["MESSAGE"] == "mission.finished source=collectors.fleet id=id2"
    assert "AGENTD_EVENT_TARGET" not in second


async def test_stderr_gets_lines(make, capfd):
    """On standard error, each event is a line with its time and its level."""
    sink = await make("stderr", level="warning")
    await sink.send([record(1), record(2)])
    assert capfd.readouterr().err.splitlines() == [
        f'2023-11-14T22:13:20.062Z warning mission.finished source=collectors.fleet target=robot-7 id=id{n} {{"n":{n}}}'
        for n in (1, 2)
    ]


async def test_levels_by_type(make, journal):
    """The first pattern that an event's type matches says how important it is; others have the level of all."""
    sink = await make(level="debug", levels={"*.failed": "error", "mission.*": "notice"})
    await sink.send([record(1, "mission.failed"), record(2, "mission.finished"), record(3, "other")])
    assert [journal.read()["PRIORITY"] for _ in range(3)] == ["3", "5", "7"]


HOSTILE = "\n<0>agentd: forged\r\x1b[31m\x00\x7f\x85\x9b31m\u2028\u2029\u202e\u200b\ufeff\U000e0041 ok"


@pytest.mark.parametrize("field", ["type", "source", "target", "id", "payload"])
async def test_nobody_forges_lines(make, journal, capfd, field):
    """Whatever stands in an event, it is one line, of characters that can be seen, and no field that is not its own."""
    hostile = HOSTILE + "\nPRIORITY=0\nAGENTD_EVENT_TYPE=forged"
    given = {field: {"key\n" + hostile: [hostile]} if field == "payload" else hostile}
    event = record(1, **given)
    await (await make()).send([event])
    entry = journal.read()
    assert entry["MESSAGE"].isprintable()
    assert entry["PRIORITY"] == "6"
    assert entry["AGENTD_EVENT_TYPE"] == event.event.type
    assert set(entry) - {"AGENTD_EVENT_TARGET"} == {
        *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"),
        *(f"AGENTD_EVENT_{name}" for name in ("ID", "TYPE", "SOURCE", "TIMESTAMP")),
    }
    await (await make("stderr")).send([event])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.isprintable()


def test_words_in_quotes():
    """A source or target with spaces stands in quotes, so that it can pretend no other field; payloads are JSON."""
    event = Event(type="a.b", id="1", source='x target=y "', target="ümlaut/1", payload={"deep": {"é": [1, None]}})
    assert readable(event, 500) == 'a.b source="x target=y \\"" target=ümlaut/1 id=1 {"deep":{"é":[1,null]}}'


async def test_long_events_are_cut(make, journal):
    """A line has at most as many characters as it may, and says how much is missing; the largest still go through."""
    await (await make(max_length=100)).send([record(1, payload={"x": "y" * 1000})])
    message = journal.read()["MESSAGE"]
    assert message.startswith("mission.finished source=")
    assert message.endswith("y… and 971 more characters")
    await (await make(max_length=32768)).send([record(1, payload={"x": "😀" * 100_000})])
    assert len(journal.read()["MESSAGE"]) > 32768


def test_values_with_lines_are_framed():
    """A value that has several lines is sent with its length, as journald's protocol wants it."""
    given = {"A": "1", "B": "x\nPRIORITY=0\n", "C": ""}
    assert fields(datagram(given)) == {"A": "1", "B": "x\nPRIORITY=0\n"}


async def test_slow_journald_is_waited_for(make, journal):
    """Where journald does not keep up, the sink waits, the loop goes on, and nothing is lost or doubled."""
    sink = await make()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    sending = asyncio.create_task(sink.send([record(seq) for seq in range(2000)]))
    async with asyncio.timeout(60):
        while ticks <= 5:  # noqa: ASYNC110  # that the loop goes on is what is shown
            await asyncio.sleep(0.05)
    assert not sending.done()
    got = await asyncio.to_thread(lambda: [journal.read()["AGENTD_EVENT_ID"] for _ in range(2000)])
    await sending
    ticking.cancel()
    assert got == [f"id{seq}" for seq in range(2000)]


async def test_cancelled_batch_goes_on(make, journal):
    """A batch that took too long goes on behind what is written when it comes again."""
    sink = await make()
    batch = [record(seq) for seq in range(2000)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sink.send(batch), 0.1)
    reading = asyncio.to_thread(lambda: [journal.read()["AGENTD_EVENT_ID"] for _ in range(2000)])
    got, _ = await asyncio.gather(reading, sink.send(batch))
    assert got == [f"id{seq}" for seq in range(2000)]


async def test_journald_is_started_again(make, journal, tmp_path):
    """While journald is away the events are kept, and how many had arrived is said; then they go to its new socket."""
    sink = await make()
    await sink.send([record(1)])
    journal.close()
    with pytest.raises(Retry, match=r"cannot write to .*/socket: (Connection refused|No such file)") as caught:
        await sink.send([record(2), record(3)])
    assert caught.value.accepted == 0
    with pytest.raises(Retry, match="No such file"):
        await sink.send([record(2), record(3)])
    again = Journal(tmp_path / "socket")
    await sink.send([record(2), record(3)])
    assert [again.read()["AGENTD_EVENT_ID"] for _ in range(2)] == ["id2", "id3"]
    again.close()


async def test_no_journald(make):
    """Without journald's socket the start fails with the reason."""
    with pytest.raises(OSError, match="No such file"):
        await make()


JOURNALD = """
mount -t tmpfs journal-test /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald & journald=$!
trap 'kill $journald; wait' EXIT
while [ ! -S /run/systemd/journal/socket ]; do sleep 0.05; done
"$1" -c "$2"
journalctl --directory /run/log/journal --sync 2>/dev/null || sleep 1
journalctl --directory /run/log/journal AGENTD_EVENT_TYPE=mission.failed --priority err --output json
"""

TO_JOURNALD = """
import asyncio
from agentd.plugin import Record
from agentd_plugins.sinks.log import Log, LogConfig

async def main():
    sink = Log(LogConfig(to="journald", levels={"*.failed": "error"}))
    await sink.start()
    event = b'{"id":"id%d","type":"mission.failed","source":"s","payload":{"x":"a\\\\n<0>b"}}'
    await sink.send([Record(seq, "mission.failed", "s", event % seq) for seq in range(1000)])

asyncio.run(main())
"""


def test_the_real_journald():
    """Journald itself has every event, under the fields and the priority that they were given."""
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd-journald").exists():
        pytest.skip("this takes root, to give a journald a /run of its own, and journald")
    command = ["unshare", "--mount", "/bin/sh", "-ec", JOURNALD, "sh", sys.executable, TO_JOURNALD]
    result = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if b"mount" in result.stderr or b"unshare" in result.stderr:
        pytest.skip(f"no mounts here: {result.stderr.decode()}")
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    assert [entry["AGENTD_EVENT_ID"] for entry in entries] == [f"id{seq}" for seq in range(1000)]
    assert entries[0]["MESSAGE"] == 'mission.failed source=s id=id0 {"x":"a\\n<0>b"}'
    assert entries[0]["SYSLOG_IDENTIFIER"] == "agentd"


@pytest.mark.parametrize(("journal_stream", "journald"), [("right", True), ("1:2", False), (None, False)])
def test_where_it_leads(tmp_path, journal_stream, journald):
    """It is journald's protocol exactly where systemd says that this very standard error leads there."""
    program = "from agentd_plugins.sinks.log import leads_to_journald; print(leads_to_journald())"
    with open(tmp_path / "stderr", "wb") as stderr:
        status = os.fstat(stderr.fileno())
        environment = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
        if journal_stream:
            right = f"{status.st_dev}:{status.st_ino}"
            environment["JOURNAL_STREAM"] = right if journal_stream == "right" else journal_stream
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, check=True)
    assert result.stdout.decode().strip() == str(journald)


WRITER = """
import asyncio, os, sys
from agentd.plugin import Record
from agentd_plugins.sinks.log import Log, LogConfig

async def main():
    sink = Log(LogConfig(to="stderr"))
    await sink.start()
    batch = [Record(n, "t", "s", b'{"id":"%d","type":"t","payload":{"x":"%s"}}' % (n, b"x" * 900)) for n in range(200)]
    ticks = 0
    for _ in range(3):
        try:
            await asyncio.wait_for(sink.send(batch), 0.3)
        except TimeoutError:
            print("timeout", flush=True)
    await sink.send(batch)
    print("done", flush=True)

asyncio.run(main())
"""


def test_nobody_reads_standard_error():
    """A pipe that nobody reads holds up the sink alone; when it is read, each line is there once."""
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert [child.stdout.readline() for _ in range(3)] == [b"timeout\n"] * 3
        lines = child.stderr.read().decode().splitlines()
        assert child.stdout.read() == b"done\n"
    assert [line.split("id=")[1].split()[0] for line in lines] == [str(n) for n in range(200)]


def test_standard_error_is_closed_or_full():
    """Where standard error is closed, or leads to a full disk, the events are kept."""
    program = WRITER.replace("sink.send(batch)\n    print", "sink.send(batch[:1])\n    print").replace("range(3)", "()")
    program = (
        f"{program.split('asyncio.run')[0]}\ntry:\n    asyncio.run(main())\nexcept Exception as e:\n    print(e)\n"
    )
    for redirection, words in (("2>&-", "standard error is closed"), ("2>/dev/full", "No space left on device")):
        command = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", program]
        result = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert words in result.stdout.decode()
