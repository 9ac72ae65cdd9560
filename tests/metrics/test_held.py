"""Who held the event loop is known after a violent end, and only then."""

import array
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics.held import SIZE, THREADS, Held, suspects

BOOT = "b007"


@pytest.fixture
def file(tmp_path):
    """Where it is noted."""
    return tmp_path / "run" / "held"


def left(file):
    """Return what a process leaves that ends now."""
    return file.read_bytes()


def alive_until(data, when):
    """Return the same bytes with another last sign of life."""
    view = bytearray(data)
    memoryview(view)[:8].cast("d")[0] = when
    return bytes(view)


def at(data):
    """Return when the last sign of life was."""
    return memoryview(data)[:8].cast("d")[0]


def test_who_has_the_loop_while_threads_run_on(file):
    """It is who had it for longer than half of the limit, whenever the next start is, with or without a watchdog."""
    held = Held()
    assert held.open(file, BOOT, 30.0) == []
    data = left(file)
    now = at(data)
    outer = held.hold("collectors.a", now)
    inner = held.hold("exporters.b", now + 1)
    data = left(file)
    held.give_back(inner)
    after = left(file)
    held.give_back(outer)
    ended = left(file)
    held.close()
    assert suspects(alive_until(data, now + 17), BOOT, now + 20, 30.0) == ["exporters.b"]
    assert suspects(alive_until(data, now + 17), BOOT, now + 9999, None) == ["exporters.b"]
    assert suspects(alive_until(after, now + 17), BOOT, now + 20, 30.0) == ["collectors.a"]
    assert suspects(alive_until(ended, now + 17), BOOT, now + 20, 30.0) == []
    assert suspects(alive_until(data, now + 15), BOOT, now + 20, 30.0) == []
    assert suspects(alive_until(data, now + 17), "another boot", now + 20, 30.0) == []


def test_nothing_runs_any_more(file):
    """Where no thread could run, it is who had the loop or began the last job, and only under a watchdog; a job that
    had begun long before is none.
    """
    held = Held()
    held.open(file, BOOT, 30.0)
    held.enter("collectors.long_ago")
    place = held.enter("collectors.done")
    held.enter("collectors.last")
    held.leave(place)
    before = held.hold("collectors.loop", at(left(file)))
    both = left(file)
    held.give_back(before)
    job = left(file)
    now = at(both)
    held.close()
    assert suspects(both, BOOT, now + 20, 30.0) == ["collectors.loop", "collectors.last"]
    assert suspects(job, BOOT, now + 20, 30.0) == ["collectors.last"]
    assert suspects(job, BOOT, now + 10, 30.0) == []
    assert suspects(job, BOOT, now + 20, None) == []
    assert suspects(alive_until(job, now + 100), BOOT, now + 120, 30.0) == []


def test_an_end_as_it_should_be_leaves_nothing(file):
    """What was noted is gone after a close, a further one can be opened, and what is noted after it goes nowhere."""
    held = Held()
    held.open(file, BOOT, 30.0)
    held.hold("collectors.a", 1.0)
    held.enter("collectors.b")
    held.close()
    held.hold("collectors.a", 1.0)
    data = left(file)
    assert suspects(alive_until(data, 9e9), BOOT, 9e9 + 20, 30.0) == []
    again = Held()
    again.open(file, BOOT, 30.0)
    again.hold("collectors.c", 1.0)
    assert suspects(alive_until(left(file), 100.0), BOOT, 101.0, 30.0) == ["collectors.c"]
    again.close()


def test_what_an_agent_left_is_found_at_the_next_start(file):
    """The bytes of a process that was ended are read when the file is opened, and gone behind that."""
    dead = Held()
    dead.open(file, BOOT, None)
    dead.hold("sinks.a", at(left(file)))
    data = left(file)
    dead.close()
    file.write_bytes(alive_until(data, at(data) + 15))
    held = Held()
    assert held.open(file, BOOT, None) == ["sinks.a"]
    held.close()
    assert Held().open(file, BOOT, None) == []


def test_the_file_of_another_agent_is_left_alone(file):
    """Who comes second takes nothing for its own, and notes nothing."""
    first, second = Held(), Held()
    first.open(file, BOOT, 30.0)
    first.hold("collectors.a", 1.0)
    assert second.open(file, BOOT, 0.001) == []
    second.hold("collectors.b", 1.0)
    assert suspects(alive_until(left(file), 100.0), BOOT, 101.0, 30.0) == ["collectors.a"]
    second.close()
    first.close()


def test_a_place_where_nothing_can_be_written(tmp_path):
    """Nothing is remembered then, and nothing fails; a link of somebody's is not followed."""
    (tmp_path / "no_folder").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for file in (tmp_path / "no_folder" / "held", tmp_path / "link"):
        held = Held()
        assert held.open(file, BOOT, 30.0) == []
        held.give_back(held.hold("collectors.a", 1.0))
        held.close()
    assert not (tmp_path / "target").exists()


def test_more_than_there_is_room_for(file):
    """Jobs and names beyond what fits are not noted; those before them are."""
    held = Held()
    held.open(file, BOOT, 30.0)
    places = [held.enter(f"collectors.{number}") for number in range(THREADS + 5)]
    assert places[-5:] == [0] * 5
    for place in places:
        held.leave(place)
    for number in range(SIZE // 1000 + 1):
        held.hold(f"collectors.{number}{'x' * 1000}", 1.0)
    assert suspects(alive_until(left(file), 100.0), BOOT, 101.0, 30.0) == []
    held.hold("collectors.0", 1.0)
    assert suspects(alive_until(left(file), 100.0), BOOT, 101.0, 30.0) == ["collectors.0"]
    assert os.stat(file).st_size == SIZE
    held.close()


@given(head=st.lists(st.floats(), max_size=300), tail=st.binary(), now=st.floats(), limit=st.none() | st.floats(0.1))
@settings(max_examples=100, deadline=None)
def test_bytes_of_whatever_kind(head, tail, now, limit):
    """A file that somebody has damaged names nobody who is not in it, and fails nothing."""
    data = array.array("d", head + [0.0] * (2 * THREADS + 3 - len(head))).tobytes() + b"\n" + tail
    names = {name.decode("utf-8", "replace") for name in tail.split(b"\n")}
    assert set(suspects(data, "", now, limit)) <= names
