"""The sink file: what was acknowledged is in the file, each line is whole, and somebody else may rotate it."""

import asyncio
import errno
import gzip
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agentd.plugin import Clock, Context, Duration, Record, Retry, Size
from agentd_plugins.sinks.file import File, FileConfig

WRITER = """
import asyncio, sys
from agentd.plugin import Record
from agentd_plugins.sinks.file import File, FileConfig

async def main(path, first, count, size):
    sink = File(FileConfig(path=path, compress=False, keep=1000))
    await sink.start()
    print("started", flush=True)
    while True:
        numbers = range(first, first + count)
        await sink.send([Record(n, "t", "s", b'{"id":"%d","pad":"%s"}' % (n, b"x" * size)) for n in numbers])
        first += count
        print(first, flush=True)

asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
"""


class Time(Clock):
    """A clock that a test sets."""

    def __init__(self, now=1_700_000_000.0):
        self.now = now
        self.time = lambda: self.now


def records(first, count, size=0):
    """Return events with these numbers, each of at least this many bytes."""
    pad = "x" * size
    return [
        Record(seq, "t", "s", json.dumps({"id": str(seq), "type": "t", "payload": {"pad": pad}}).encode())
        for seq in range(first, first + count)
    ]


def ids(data):
    """Return the ids of the events in a file, each line of which has to be whole."""
    assert data == b"" or data.endswith(b"\n")
    return [int(json.loads(line)["id"]) for line in data.splitlines()]


def everything(path):
    """Return the ids in the rotated files, from the oldest on, and in the file."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    found = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in rotated]
    return ids(b"".join([*found, path.read_bytes()]))


@pytest.fixture
def make(tmp_path, ending):
    """Returns a started sink that writes to ``events.jsonl`` in a folder of the test, with these options."""

    async def start(path=tmp_path / "events.jsonl", *, clock=None, **options):
        context = Context(name="sinks.file", clock=clock or Clock())
        sink = ending(File(FileConfig(path=str(path), **options), context))
        await sink.start()
        return sink

    return start


async def tidied(sink):
    """Wait until rotated files are compressed and removed."""
    while sink._tidying is not None and not sink._tidying.done():
        await asyncio.wait([sink._tidying])


@pytest.fixture
def small_disk(tmp_path, mount):
    """A file system of 256 KiB; skips where it may not be mounted."""
    return mount(tmp_path / "disk", "256k")


async def test_each_event_is_a_line(make, tmp_path):
    """The file has the events' bytes as they are, one a line, in order; its folders are made, its mode is as told."""
    path = tmp_path / "a" / "b" / "events.jsonl"
    old = os.umask(0o077)
    try:
        sink = await make(path, mode="0644")
    finally:
        os.umask(old)
    await sink.send([Record(1, "t", "s", '{"id":"1","é":"ü"}'.encode()), *records(2, 2)])
    await sink.send(records(4, 1))
    assert path.read_bytes().startswith('{"id":"1","é":"ü"}\n{"id"'.encode())
    assert ids(path.read_bytes()) == [1, 2, 3, 4]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_next_life_goes_on_behind_the_last_line(make, tmp_path):
    """A file that is there is appended to, and keeps its mode."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id":"1"}\n')
    path.chmod(0o604)
    await (await make()).send(records(2, 1))
    assert ids(path.read_bytes()) == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.parametrize("rest", [b"{", b'{"id":"2","payload":{"a', b'{"id":"2"}', b"\0\0\0", b'{"i\0\0'])
async def test_line_without_end_is_cut_off(make, tmp_path, caplog, rest):
    """What a kill or a power cut left of a line is removed, which is said; all lines before it stay."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id":"1"}\n' + rest)
    await (await make()).send(records(2, 1))
    assert ids(path.read_bytes()) == [1, 2]
    assert f"{len(rest)} bytes were cut off" in caplog.text


@pytest.mark.parametrize("content", [b"PK\x03\x04 no lines", b"\x7fELF\n\x00\x01", b"{" * (3 << 20)])
async def test_file_of_somebody_else_is_left_alone(make, tmp_path, content):
    """A file that does not hold JSON lines was named by mistake: nothing of it is cut off, and the sink says so."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="something else than JSON lines"):
        await make()
    assert path.read_bytes() == content


async def test_what_is_no_file_is_refused(make, tmp_path):
    """A pipe does not hold up the start, and a device is not written to."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ValueError, match="no regular file"):
            await make(path)


async def test_two_cannot_write_the_same_file(make):
    """A second sink with the same path does not start; it does when the first has ended."""
    first = await make()
    with pytest.raises(ValueError, match="written by another"):
        await make()
    await first.stop()
    await make()


def test_killed_in_mid_write(tmp_path):
    """A process is killed while it writes, again and again: all that it had acknowledged is there, each line is whole,
    and nothing is there twice but what was written and not yet acknowledged.
    """
    path = tmp_path / "events.jsonl"
    acknowledged, cut, before = 1, 0, []
    for kill in range(8):
        first = acknowledged
        command = [sys.executable, "-c", WRITER, str(path), str(acknowledged), "500", "8000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            child.stdout.readline()
            for _ in range(kill % 3):
                acknowledged = int(child.stdout.readline())
            time.sleep(random.uniform(0.005, 0.05))
            child.kill()
            acknowledged = int((child.stdout.read().split() or [acknowledged])[-1])
        cut += not path.read_bytes().endswith(b"\n")
        asyncio.run(opened(path))
        after = everything(path)
        assert after[: len(before)] == before
        assert after[len(before) :] == list(range(first, first + len(after) - len(before)))
        assert first + len(after) - len(before) >= acknowledged
        before = after
    print(f"{cut} of 8 kills cut a line")
    assert acknowledged > 1


async def opened(path):
    """Open a file and close it again."""
    sink = File(FileConfig(path=str(path), compress=False, keep=1000))
    await sink.start()
    await sink.stop()


async def test_full_disk(make, small_disk):
    """On a full disk nothing of a batch stays in the file, and it is asked for again; with room, it is there once."""
    path = small_disk / "events.jsonl"
    sink = await make(path)
    await sink.send(records(1, 10, 1000))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 180_000)
    for _ in range(3):
        with pytest.raises(Retry, match=r"cannot write .*events\.jsonl: No space left on device"):
            await sink.send(records(11, 100, 1000))
        assert ids(path.read_bytes()) == list(range(1, 11))
    await sink.send(records(11, 10, 1000))
    ballast.unlink()
    await sink.send(records(21, 90, 1000))
    assert ids(path.read_bytes()) == list(range(1, 111))


async def test_disk_that_compressing_would_fill(make, small_disk, caplog):
    """Where there is no room to compress a rotated file, it stays as it is, and no part of another is left."""
    path = small_disk / "events.jsonl"
    sink = await make(path, max_size=Size(60_000))
    for first in range(2):  # 50 kB each that cannot be made smaller by much
        noise = random.Random(first).randbytes(25_000).hex()
        await sink.send([Record(first, "t", "s", json.dumps({"id": str(first), "noise": noise}).encode())])
        if first == 0:
            await tidied(sink)
            (small_disk / "ballast").write_bytes(b"x" * 145_000)
    await tidied(sink)
    assert "cannot compress" in caplog.text
    assert sorted(os.listdir(small_disk)) == ["ballast", "events.jsonl", "events.jsonl.000001"]
    assert everything(path) == [0, 1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
async def test_disk_that_fails_when_it_is_to_be_safe(make, tmp_path, monkeypatch, number):
    """Where fsync fails, what was written is taken back and asked for again, so that it is not there twice."""
    sink = await make()
    await sink.send(records(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(number))
        with pytest.raises(Retry, match=os.strerror(number)):
            await sink.send(records(3, 2))
        assert ids((tmp_path / "events.jsonl").read_bytes()) == [1, 2]
    await sink.send(records(3, 2))
    assert ids((tmp_path / "events.jsonl").read_bytes()) == [1, 2, 3, 4]


def failing(number):
    """Return a function that raises the error with this number."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


async def test_somebody_else_rotates(make, tmp_path):
    """The file may be renamed, removed with its folder, replaced or emptied: the next batch goes to the file that has
    the path then.
    """
    folder = tmp_path / "logs"
    path = folder / "events.jsonl"
    sink = await make(path)
    await sink.send(records(1, 1))
    path.rename(folder / "old")
    await sink.send(records(2, 1))
    assert (ids((folder / "old").read_bytes()), ids(path.read_bytes())) == ([1], [2])
    shutil.rmtree(folder)
    await sink.send(records(3, 1))
    assert ids(path.read_bytes()) == [3]
    (folder / "new").write_bytes(b'{"id":"4"}\n')
    (folder / "new").rename(path)
    await sink.send(records(5, 1))
    assert ids(path.read_bytes()) == [4, 5]
    os.truncate(path, 0)  # copytruncate
    await sink.send(records(6, 1))
    assert ids(path.read_bytes()) == [6]


async def test_reopen(make, tmp_path):
    """At SIGHUP the file is made anew where it was moved away, before there is anything to write."""
    path = tmp_path / "events.jsonl"
    sink = await make()
    path.rename(tmp_path / "old")
    await sink.reopen()
    assert path.exists()
    await sink.send(records(1, 1))
    assert ids(path.read_bytes()) == [1]


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
@pytest.mark.parametrize("how", ["create 0640", "nocreate", "copytruncate"])
async def test_logrotate(make, tmp_path, how):
    """The real logrotate rotates a file between batches, and no event is lost or there twice."""
    path = tmp_path / "events.jsonl"
    tmp_path.chmod(0o755)
    (tmp_path / "conf").write_text(f"{path} {{\n rotate 9\n {how}\n size 1\n}}\n")
    (tmp_path / "conf").chmod(0o644)
    sink = await make(max_size=Size(0), compress=False)
    for first in range(1, 31, 10):
        await sink.send(records(first, 10))
        command = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")]
        await asyncio.to_thread(subprocess.run, command, check=True)
    await sink.send(records(31, 10))
    assert sorted(everything(path)) == list(range(1, 41))
    assert ids(path.read_bytes()) == list(range(31, 41))


async def test_rotation_by_size(make, tmp_path):
    """No file gets larger than it may; the names of rotated files grow, the newest of them are kept."""
    path = tmp_path / "events.jsonl"
    sink = await make(max_size=Size(5000), keep=3, compress=False)
    for seq in range(100):
        await sink.send(records(seq, 1, 500))
    await tidied(sink)
    await sink.send(records(100, 1, 500))
    names = [f"events.jsonl.{number:06d}" for number in (9, 10, 11)]
    assert sorted(os.listdir(tmp_path)) == ["events.jsonl", *names]
    assert all((tmp_path / name).stat().st_size <= 5000 for name in os.listdir(tmp_path))
    assert everything(path) == list(range(72, 101))


async def test_rotated_files_are_compressed(make, tmp_path):
    """Rotated files become gzip files of the same mode, that are complete and that gzip itself reads."""
    path = tmp_path / "events.jsonl"
    sink = await make(max_size=Size(5000), keep=100, mode="0604")
    for seq in range(50):
        await sink.send(records(seq, 1, 500))
    await tidied(sink)
    sink._rotated.untidy = True
    sink._tidy_soon()
    await tidied(sink)
    packed = sorted(tmp_path.glob("*.gz"))
    assert len(packed) == len(os.listdir(tmp_path)) - 1 > 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in packed} == {0o604}
    assert everything(path) == list(range(50))
    await asyncio.to_thread(subprocess.run, ["gzip", "--test", *packed], check=True)


def test_killed_while_it_compresses(tmp_path):
    """A process is killed while it compresses: its events are there at any time, and the next life ends the work."""
    path = tmp_path / "events.jsonl"
    rotated = tmp_path / "events.jsonl.000001"
    noise = random.Random(1)
    rotated.write_text("".join(f'{{"id":"{n}","x":"{noise.randbytes(300).hex()}"}}\n' for n in range(40_000)))
    path.write_bytes(b"")
    program = """
import sys
from pathlib import Path
from agentd_plugins.sinks._rotated import Rotated
rotated = Rotated(Path(sys.argv[1]), 5, compress=True)
print("started", flush=True)
rotated.tidy()
"""
    part, parts = Path(f"{rotated}.gz.part"), 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            due = time.monotonic() + 60
            while rotated.exists() and not part.exists() and time.monotonic() < due:
                time.sleep(0.001)
            time.sleep(random.uniform(0.0, 0.05))
            child.kill()
        parts += part.exists()
        assert rotated.exists() or Path(f"{rotated}.gz").exists()
    assert parts

    async def finish():
        sink = File(FileConfig(path=str(path)))
        await sink.start()
        await tidied(sink)
        await sink.stop()

    asyncio.run(finish())
    assert sorted(os.listdir(tmp_path)) == ["events.jsonl", "events.jsonl.000001.gz"]
    assert everything(path) == list(range(40_000))


async def test_end_does_not_wait_for_compression(make, tmp_path):
    """A sink that ends while it compresses leaves the file as it was, and nothing beside it."""
    (tmp_path / "events.jsonl.000001").write_bytes(random.Random(1).randbytes(60_000_000))
    sink = await make()
    async with asyncio.timeout(60):
        while not (tmp_path / "events.jsonl.000001.gz.part").exists():  # noqa: ASYNC110  # a thread makes it
            await asyncio.sleep(0.001)
    await sink.stop()
    assert sorted(os.listdir(tmp_path)) == ["events.jsonl", "events.jsonl.000001"]


async def test_rotation_by_age(make, tmp_path):
    """With max_age = "1d" each file has the events that came on one day, in UTC, over restarts too."""
    path = tmp_path / "events.jsonl"
    clock = Time(1_700_006_399.0)  # one second before midnight
    options = {"clock": clock, "max_age": Duration(86400), "compress": False}
    sink = await make(**options)
    await sink.send(records(1, 1))
    clock.now += 2
    await sink.send(records(2, 1))
    await sink.send(records(3, 1))
    assert (ids((tmp_path / "events.jsonl.000001").read_bytes()), ids(path.read_bytes())) == ([1], [2, 3])
    await sink.stop()
    os.utime(path, (clock.now, clock.now))
    clock.now += 3600
    sink = await make(**options)
    await sink.send(records(4, 1))
    assert ids(path.read_bytes()) == [2, 3, 4]
    await sink.stop()
    os.utime(path, (clock.now, clock.now))
    clock.now += 86400
    sink = await make(**options)
    await sink.send(records(5, 1))
    assert ids(path.read_bytes()) == [5]
    clock.now -= 5 * 86400  # a clock that goes back rotates nothing
    await sink.send(records(6, 1))
    assert ids(path.read_bytes()) == [5, 6]
    assert everything(path) == [1, 2, 3, 4, 5, 6]


async def test_hanging_disk_takes_one_thread(tmp_path, monkeypatch):
    """Where a write hangs, further tries wait for it instead of taking a thread each; when it has ended, what it wrote
    is not written again.
    """
    gate, calls = threading.Event(), []

    async def in_worker(function, *arguments):
        calls.append(function)
        return await asyncio.to_thread(function, *arguments)

    path = tmp_path / "events.jsonl"
    sink = File(FileConfig(path=str(path)), Context(in_worker=in_worker))
    await sink.start()
    await tidied(sink)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: gate.wait(60) and real(descriptor))
    calls.clear()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.send(records(1, 10)), 0.05)
    assert len(calls) == 1
    gate.set()
    await sink.send(records(1, 12))  # the agent may put more into the batch
    await sink.send(records(13, 1))
    assert ids(path.read_bytes()) == list(range(1, 14))
    await sink.stop()


@pytest.mark.parametrize(("fsync", "at_once", "later"), [("batch", 3, 3), ("interval", 0, 1), ("never", 0, 0)])
async def test_when_it_is_safe(make, monkeypatch, fsync, at_once, later):
    """With "batch", three batches are on disk when they are acknowledged; with "interval", soon after, all at once;
    with "never", the system decides.
    """
    sink = await make(fsync=fsync, fsync_interval=Duration(1))
    await tidied(sink)
    real, calls = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append(descriptor), real(descriptor)))
    for first in range(3):
        await sink.send(records(first, 1))
    assert len(calls) == at_once
    await asyncio.sleep(1.2)
    async with asyncio.timeout(60):
        while len(calls) < later:  # noqa: ASYNC110  # a thread calls it
            await asyncio.sleep(0.01)
    assert len(calls) == later


async def test_end_makes_safe_what_was_written(make, monkeypatch):
    """With fsync = "interval", what the interval did not come to is made safe at the end."""
    sink = await make(fsync="interval", fsync_interval=Duration(60))
    await tidied(sink)
    await sink.send(records(1, 1))
    real, calls = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append(descriptor), real(descriptor)))
    await sink.stop()
    assert len(calls) == 1


async def test_link_to_what_is_not_there_yet(make, tmp_path):
    """The file that a link leads to is made; where its folder is not there, that is said, until it is."""
    (tmp_path / "events.jsonl").symlink_to(tmp_path / "disk" / "real.jsonl")
    with pytest.raises(FileNotFoundError, match=r"a link to .*/disk/real\.jsonl, whose folder is not there"):
        await make()
    (tmp_path / "disk").mkdir()
    sink = await make()
    await sink.send(records(1, 2))
    assert ids((tmp_path / "disk" / "real.jsonl").read_bytes()) == [1, 2]
    assert (tmp_path / "disk" / "real.jsonl").stat().st_mode & 0o777 == 0o640


async def test_folder_that_cannot_be_made(make, tmp_path):
    """A path below a file makes the start fail with the reason, and a later try works when that file is gone."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        await make(tmp_path / "file" / "events.jsonl")
    (tmp_path / "file").unlink()
    await make(tmp_path / "file" / "events.jsonl")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "events.jsonl"}, 'path must begin with "/"'),
        ({"path": "/var/log/"}, "name a file"),
        ({"max_age": Duration(1)}, "max_age must be at least 1m"),
        ({"fsync_interval": Duration(0)}, "fsync_interval must be longer"),
    ],
)
def test_options_that_cannot_be_meant(options, words):
    """Options that contradict sense are refused in words."""
    with pytest.raises(ValueError, match=words):
        FileConfig(**{"path": "/events.jsonl", **options})
