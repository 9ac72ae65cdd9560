"""Worker threads: few of them, and none that makes others wait for what hangs."""

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from pathlib import Path

import pytest

from agentd.metrics import workers as workers_module
from agentd.metrics.workers import Workers

PATIENCE = 60.0
"""Seconds after which a test fails that waits for something that does not come."""


@pytest.fixture
def hang():
    """An event for which jobs wait; it is set at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def workers(hang):
    """Workers that end with the test."""
    made = Workers()
    yield made
    hang.set()
    made.close()


async def until(so):
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end, "not so in time"
        await asyncio.sleep(0.005)


def threads():
    """Return the worker threads of this process."""
    return {thread for thread in threading.enumerate() if thread.name == "agentd-worker"}


async def test_quick_jobs_share_one_thread(workers, monkeypatch):
    """Jobs that are begun at once are done one after the other in one thread, which is not that of the loop."""
    monkeypatch.setattr(workers_module, "PATIENCE", PATIENCE)
    done = await asyncio.gather(*(workers.run(threading.get_ident) for _ in range(100)))
    done += [await workers.run(threading.get_ident) for _ in range(10)]
    assert len(set(done)) == 1
    assert threading.get_ident() not in done
    assert workers.threads == 1


async def test_arguments_and_results_pass_through(workers):
    """A function gets its arguments, and its caller what it returned."""
    assert await workers.run(divmod, 7, 2) == (3, 1)


async def test_a_job_that_hangs_holds_up_no_other(workers, hang):
    """Behind it a further thread joins in, and the hanging one counts as a thread still."""
    stuck = asyncio.create_task(workers.run(hang.wait))
    done = await asyncio.wait_for(asyncio.gather(*(workers.run(int, "7") for _ in range(20))), PATIENCE)
    assert done == [7] * 20
    assert not stuck.done()
    assert workers.threads >= 2
    hang.set()
    assert await stuck is True


async def test_several_that_hang_hold_up_no_other(workers, hang):
    """Threads are added as long as all hang and somebody waits."""
    stuck = [asyncio.create_task(workers.run(hang.wait)) for _ in range(5)]
    await until(lambda: workers.threads == 5)
    assert await asyncio.wait_for(workers.run(int, "7"), PATIENCE) == 7
    assert workers.threads == 6
    assert not any(task.done() for task in stuck)


async def test_there_are_no_more_threads_than_the_limit(hang):
    """When as many hang as there may be, further jobs wait, and are done when a thread is free again."""
    workers = Workers(limit=2)
    stuck = [asyncio.create_task(workers.run(hang.wait)) for _ in range(2)]
    await until(lambda: workers.threads == 2)
    waiting = asyncio.create_task(workers.run(int, "7"))
    await asyncio.wait({waiting}, timeout=0.1)
    assert workers.threads == 2
    assert not waiting.done()
    hang.set()
    assert await asyncio.wait_for(waiting, PATIENCE) == 7
    await asyncio.gather(*stuck)
    workers.close()


@pytest.mark.parametrize("error", [ValueError("no"), OSError(5, "no"), TimeoutError("no")])
async def test_what_a_function_raises_comes_back(workers, error):
    """The very exception reaches the caller, with its traceback, and the thread goes on."""

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        await workers.run(fail)
    assert caught.value is error
    assert caught.traceback[-1].name == "fail"
    assert await workers.run(int, "7") == 7
    assert workers.threads == 1


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(3), KeyboardInterrupt(3), asyncio.CancelledError(3)])
async def test_what_would_end_more_than_the_call_comes_back_as_an_error(workers, error):
    """Neither the thread nor the event loop ends because a plugin raises what is meant for others."""

    def fail():
        raise error

    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: 3"):
        await workers.run(fail)
    assert await workers.run(int, "7") == 7


async def test_what_was_cancelled_before_it_began_does_not_begin(hang):
    """A job that waits behind another is not done when nobody waits for it any more."""
    workers, ran = Workers(limit=1), []
    first, second = asyncio.create_task(workers.run(hang.wait)), asyncio.create_task(workers.run(ran.append, 1))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    hang.set()
    await first
    assert await workers.run(int, "7") == 7
    assert ran == []
    workers.close()


async def test_a_thread_that_cannot_be_had_is_asked_for_again(monkeypatch):
    """Where the system gives no thread the job fails, and the next one gets its own."""
    workers = Workers()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await workers.run(int, "7")
    assert workers.threads == 0
    assert await asyncio.wait_for(workers.run(int, "7"), PATIENCE) == 7
    workers.close()


def refuse(_thread):
    raise RuntimeError("can't start new thread")


async def test_cancelling_ends_the_waiting_alone(workers, hang):
    """The function goes on, what it returns then is dropped, and the thread is good for others."""
    begun, ended = threading.Event(), threading.Event()

    def job():
        begun.set()
        hang.wait()
        ended.set()

    task = asyncio.create_task(workers.run(job))
    await until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hang.set()
    await until(ended.is_set)
    assert await workers.run(int, "7") == 7


async def test_threads_that_are_not_needed_end(hang, monkeypatch):
    """When those that hung are free again, all but one go after a while without work, and that one still works."""
    monkeypatch.setattr(workers_module, "IDLE", 0.02)
    workers = Workers()
    stuck = [asyncio.create_task(workers.run(hang.wait)) for _ in range(4)]
    await until(lambda: workers.threads == 4)
    hang.set()
    await asyncio.gather(*stuck)
    await until(lambda: workers.threads == 1)
    await asyncio.sleep(0.1)
    assert workers.threads == 1
    assert await asyncio.wait_for(workers.run(int, "7"), PATIENCE) == 7
    workers.close()


async def test_close_ends_the_threads_that_are_free(hang):
    """One that hangs is left to itself, and ends when it comes back."""
    before = threads()
    workers = Workers()
    stuck = asyncio.create_task(workers.run(hang.wait))
    await until(lambda: workers.threads == 1)
    await workers.run(int, "7")
    assert workers.threads == 2
    stuck.cancel()
    workers.close()
    await until(lambda: workers.threads == len(threads() - before) == 1)
    hang.set()
    await until(lambda: workers.threads == len(threads() - before) == 0)


async def test_after_close_nothing_is_begun():
    """A job that comes too late is refused, not left to wait for ever."""
    workers = Workers()
    await workers.run(int, "7")
    workers.close()
    with pytest.raises(RuntimeError, match="stopping"):
        await asyncio.wait_for(workers.run(int, "7"), PATIENCE)


def test_a_thread_that_outlives_the_loop_ends_quietly(hang):
    """What hangs when the agent ends disturbs nobody when it comes back. (A thread's exception would fail the test.)"""
    before, begun = threads(), threading.Event()

    def job():
        begun.set()
        hang.wait()

    async def begin():
        workers = Workers()
        task = asyncio.create_task(workers.run(job))
        await until(begun.is_set)  # what has not begun would not begin any more
        task.cancel()
        return workers

    workers = asyncio.run(begin())
    hang.set()
    end = time.monotonic() + PATIENCE
    while threads() - before:
        assert time.monotonic() < end, "the thread is still there"
        time.sleep(0.005)
    workers.close()


async def test_results_are_not_kept(workers):
    """A thread that waits for its next job holds nothing of its last one."""

    class Large:
        pass

    reference = weakref.ref(await workers.run(Large))
    gc.collect()
    await until(lambda: reference() is None)


async def test_what_is_done_comes_back_while_the_next_job_hangs(hang):
    """Results are delivered together where jobs are quick, and without waiting for one that is not."""
    workers = Workers()
    quick, slow = asyncio.create_task(workers.run(int, "7")), asyncio.create_task(workers.run(hang.wait))
    assert await asyncio.wait_for(quick, PATIENCE) == 7
    assert not slow.done()
    hang.set()
    await slow
    workers.close()


async def test_descriptors_are_closed_when_nobody_can_ring_any_more(hang):
    """A thread that hangs keeps what it will wake the loop by; when it has come back nothing is left."""
    workers = Workers()
    begun = asyncio.create_task(workers.run(hang.wait))
    known = weakref.ref(workers)
    pipe = what(workers._bell._write)
    assert pipe.startswith("pipe:")
    await until(lambda: known()._busy == 1)
    begun.cancel()
    workers.close()
    del workers, begun
    assert pipes().count(pipe) == 2
    hang.set()
    await until(lambda: known() is None)
    await until(lambda: pipe not in pipes())


def what(descriptor):
    """Return what a descriptor is."""
    return str(Path("/proc/self/fd", str(descriptor)).readlink())


def pipes():
    """Return what the descriptors of this process are."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(what(descriptor.name))
    return found
