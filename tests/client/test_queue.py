"""The queue of a robot: what is kept until it is acknowledged, in memory and in a file."""

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.client import FileQueue, MemoryQueue
from agentd.client.file import replay

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"\r"))),
        st.tuples(st.just("acknowledge"), st.integers(0, 25)),
        st.tuples(st.just("discard"), st.integers(1, 25)),
    ),
    max_size=25,
)
"""What may happen to a queue."""


def kept(queue):
    """Return all frames of a queue, in order."""
    found, frame = [], queue.next(0)
    while frame is not None:
        found.append((frame.seq, frame.body))
        frame = queue.next(frame.seq)
    return found


def do(queue, step):
    """Apply a step to a queue."""
    what, value = step
    getattr(queue, what)(value)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_what_is_kept_is_what_was_neither_acknowledged_nor_discarded(steps):
    """The queue agrees with a dictionary of which every step is an obvious one."""
    queue, model, last = MemoryQueue(), {}, 0
    for what, value in steps:
        do(queue, (what, value))
        if what == "append":
            last += 1
            model[last] = value
        else:
            model = {seq: body for seq, body in model.items() if (seq > value if what[0] == "a" else seq != value)}
        assert kept(queue) == list(model.items())
        assert (queue.last_seq, queue.first_seq) == (last, min(model, default=0))
        assert (len(queue), queue.size) == (len(model), sum(map(len, model.values())))


def test_full_and_waiting():
    """A queue that waits says that there is no room, by number and by bytes; a frame that never fits is refused."""
    queue = MemoryQueue(max_frames=2, max_bytes=10)
    queue.append(b"12345678")
    assert (queue.fits(2), queue.fits(3)) == (True, False)
    queue.append(b"")
    assert not queue.fits(0)
    queue.acknowledge(1)
    assert queue.fits(10)
    with pytest.raises(ValueError, match="11 bytes does not fit into a queue of 10"):
        queue.fits(11)


def test_full_and_dropping():
    """A queue that drops makes room with the oldest frames, counts them, and never gives a number again."""
    queue = MemoryQueue(max_frames=3, max_bytes=10, when_full="drop_oldest")
    for body in (b"a", b"b", b"c", b"d", b"eeeeeeeee"):
        assert queue.fits(len(body))
        queue.append(body)
    assert kept(queue) == [(4, b"d"), (5, b"eeeeeeeee")]
    assert queue.dropped == 3


@pytest.mark.parametrize("wrong", [{"max_frames": 0}, {"max_bytes": 0}, {"when_full": "drop"}])
def test_limits_that_are_none(wrong):
    """Limits that make no sense are refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MemoryQueue(**wrong)


def test_a_new_numbering():
    """After a renewal the same frames are kept in the same order, from 1 on, in a stream of another name."""
    queue = MemoryQueue()
    for body in (b"a", b"b", b"c"):
        queue.append(body)
    queue.acknowledge(1)
    before = queue.stream_id
    queue.renew()
    assert kept(queue) == [(1, b"b"), (2, b"c")]
    assert queue.last_seq == 2
    assert queue.stream_id != before


@settings(max_examples=100, deadline=None)
@given(STEPS, st.data())
def test_a_crash_at_any_byte(tmp_path_factory, steps, data):
    """Wherever the file is cut off behind its beginning, it opens as it was after some step, the number included, and
    goes on: only the steps whose lines are not whole are undone.
    """
    path = tmp_path_factory.mktemp("queue") / "q"
    queue = FileQueue(path, sync=False)
    states = {path.stat().st_size: (queue.stream_id, queue.last_seq, kept(queue))}
    beginning = path.stat().st_size
    for step in steps:
        do(queue, step)
        states[path.stat().st_size] = (queue.stream_id, queue.last_seq, kept(queue))
    queue.close()
    cut = data.draw(st.integers(beginning, path.stat().st_size))
    os.truncate(path, cut)
    again = FileQueue(path, sync=False)
    expected = states[max(size for size in states if size <= cut)]
    assert (again.stream_id, again.last_seq, kept(again)) == expected
    number = again.append(b"next")
    again.close()
    third = FileQueue(path, sync=False)
    assert kept(third) == [*expected[2], (number, b"next")]
    assert third.stream_id == expected[0]
    third.close()
    assert not path.with_name("q.damaged").exists()


@settings(max_examples=100, deadline=None)
@given(STEPS, st.data())
def test_damage_at_any_byte(tmp_path_factory, steps, data):
    """A byte that is another than was written costs at most its own line (the end of a line also the next).

    No frame is made up, all others are there (some that were gone may be back), under new numbers, and the damaged file
    is kept aside.
    """
    path = tmp_path_factory.mktemp("queue") / "q"
    queue = FileQueue(path, sync=False)
    for step in steps:
        do(queue, step)
    queue.close()
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    spoilt = whole[:place] + bytes([other]) + whole[place + 1 :]
    path.write_bytes(spoilt)
    again = FileQueue(path, sync=False)
    bodies = [body for _, body in kept(again)]
    again.close()
    before = [body for _, body in kept(queue)]
    written = [body for what, body in steps if what == "append"]
    assert len([body for body in before if body not in bodies]) <= (2 if whole[place] == ord("\n") else 1)
    assert all(body in written for body in bodies)
    if spoilt.endswith(b"\n"):
        assert again.stream_id != queue.stream_id
        assert path.with_name("q.damaged").read_bytes() == spoilt


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_file_can_be_read(data):
    """Bytes at random are read as damage, never as frames."""
    found = replay(data)
    assert not found.frames
    assert found.damaged == data.count(b"\n")


def test_the_file_of_somebody_else_is_not_destroyed(tmp_path, caplog):
    """A file that is no queue is kept beside the new one, and the log says so."""
    path = tmp_path / "q"
    path.write_text("precious\n")
    queue = FileQueue(path)
    assert len(queue) == 0
    queue.close()
    assert (tmp_path / "q.damaged").read_text() == "precious\n"
    assert "1 damaged lines" in caplog.text


def test_the_file_is_written_anew(tmp_path):
    """What is acknowledged does not stay in the file for ever, and what is kept does."""
    path = tmp_path / "q"
    queue = FileQueue(path, sync=False)
    written = 0
    for number in range(2000):
        queue.append(b"%04d" % number * 250)
        written += 1000
        queue.acknowledge(number - 2)
        assert path.stat().st_size < 300_000
    assert written == 2_000_000
    expected = kept(queue)
    assert len(expected) == 3
    stream = queue.stream_id
    queue.close()
    again = FileQueue(path)
    assert (kept(again), again.last_seq, again.stream_id) == (expected, 2000, stream)
    again.close()


def test_one_program_at_a_time(tmp_path):
    """A file that is in use cannot be opened, and can when it was closed."""
    queue = FileQueue(tmp_path / "q")
    with pytest.raises(OSError, match="in use by another program"):
        FileQueue(tmp_path / "q")
    queue.close()
    FileQueue(tmp_path / "q").close()


def test_a_full_disk():
    """Where a frame cannot be written the caller is told and nothing is kept; the file stays whole."""
    script = """
        import resource, signal, sys
        from agentd.client import FileQueue
        queue = FileQueue(sys.argv[1])
        queue.append(b"first")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
        try:
            queue.append(b"x" * 200)
        except OSError as error:
            print(error)
        print(len(queue), queue.last_seq)
        queue.acknowledge(1)
        queue.append(b"second")
    """
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q"
        command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert result.returncode == 0, result.stderr
        error, state = result.stdout.splitlines()
        assert "a frame cannot be kept" in error
        assert str(path) in error
        assert state == "1 1"
        queue = FileQueue(path)
        assert kept(queue) == [(2, b"second")]
        queue.close()


def test_killed_at_any_moment(tmp_path):
    """A program that is killed with -9 while it appends and acknowledges leaves every frame that it had appended."""
    script = """
        import sys
        from agentd.client import FileQueue
        queue = FileQueue(sys.argv[1], sync=False)
        print("last", queue.last_seq, flush=True)
        while True:
            number = queue.append(b"%d" % (queue.last_seq + 1) * 50)
            print("kept", number, flush=True)
            if number % 7 == 0:
                queue.acknowledge(number - 5)
    """
    last = 0
    for _ in range(5):
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "q")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.readline().split()[1]) >= last
            for _ in range(500):
                last = int(process.stdout.readline().split()[1])
            process.kill()
            told = process.stdout.read()  # what it said until it died
            ended = told[: told.rfind("\n") + 1].split()
            last = int(ended[-1]) if ended else last
    queue = FileQueue(tmp_path / "q", sync=False)
    assert queue.last_seq in (last, last + 1)
    found = kept(queue)
    assert found[0][0] <= last - 5 or len(found) >= 5
    assert [seq for seq, _ in found] == list(range(found[0][0], queue.last_seq + 1))
    assert all(body == b"%d" % seq * 50 for seq, body in found)
    queue.close()


async def test_on_disk_before_it_is_sent(tmp_path, monkeypatch):
    """Settling syncs what was appended, once; without ``sync`` it does not."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    queue = FileQueue(tmp_path / "q")
    synced.clear()
    queue.append(b"a")
    await queue.settle()
    await queue.settle()
    assert synced == [(tmp_path / "q").stat().st_size]
    queue.close()
    queue = FileQueue(tmp_path / "other", sync=False)
    queue.append(b"a")
    await queue.settle()
    assert len(synced) == 1
    queue.close()
