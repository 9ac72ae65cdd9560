"""What plugins cost is counted, each its own."""

import asyncio
import gc
import time
import weakref

import pytest

from agentd.metrics.held import suspects
from agentd.metrics.spending import Measured, Spending, on_behalf_of


def spent(spending, name="agentd_plugin_cpu_seconds_total"):
    """Return what was counted, by plugin."""
    found = {family.name: family.samples for family in spending.families()}
    return {key: value for (key,), value in found.get(name, {}).items()}


def burn(seconds):
    """Use this much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_task_and_all_that_it_begins_is_its_plugin_s():
    """Tasks of a plugin count as its own however deep they are, others not at all."""
    spending = Spending()

    async def inner():
        burn(0.02)

    async def outer():
        burn(0.01)
        await asyncio.create_task(inner())

    async def main():
        asyncio.get_running_loop().set_task_factory(spending.make_task)
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            loop.create_task(outer(), context=on_behalf_of("collectors.a")),
            loop.create_task(inner(), context=on_behalf_of("collectors.b")),
            loop.create_task(inner()),
        )

    asyncio.run(main())
    counted = spent(spending)
    assert counted.keys() == {"collectors.a", "collectors.b"}
    assert counted["collectors.a"] >= 0.03
    assert counted["collectors.b"] >= 0.02


async def test_the_results_and_errors_of_tasks_are_what_they_were():
    """Counting changes neither what comes of a task, nor how it is cancelled."""
    spending = Spending()
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(spending.make_task)

    async def result(sleep, error=None):
        try:
            await asyncio.sleep(sleep)
        except asyncio.CancelledError:
            return "cancelled"
        if error:
            raise error
        return "done"

    try:
        here = on_behalf_of("sinks.x")
        assert await loop.create_task(result(0.01), context=here, name="named") == "done"
        with pytest.raises(KeyError):
            await loop.create_task(result(0, KeyError("x")), context=here)
        task = loop.create_task(result(60), context=here)
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "cancelled"
        async with asyncio.timeout(20):
            assert await Measured(result(0), "sinks.x", spending) == "done"
    finally:
        loop.set_task_factory(before)


async def test_a_task_that_was_cancelled_is_gone_at_once():
    """The error that ended it and the frames that it went through do not refer to each other: that would stay until
    the garbage collector looks, and it looks seldom.
    """
    made = asyncio.Event().wait()
    coroutine = weakref.ref(made)
    task = asyncio.create_task(Measured(made, "sinks.x", Spending()))
    del made
    gc.disable()
    try:
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        del task
        await asyncio.sleep(0)
        assert coroutine() is None
    finally:
        gc.enable()


async def test_what_others_do_within_a_step_is_theirs():
    """An exporter that asks collectors is not charged for what they take."""
    spending = Spending()

    async def gather():
        begun = time.perf_counter()
        burn(0.05)
        spending.ran("collectors.a", time.perf_counter() - begun)

    await Measured(gather(), "exporters.x", spending)
    counted = spent(spending)
    assert counted["collectors.a"] > 0.04
    assert counted["exporters.x"] < 0.02


async def test_whoever_holds_up_the_loop_is_named_once(caplog):
    """Long stretches are counted and named in the log, the first time; short ones are neither."""
    spending = Spending()

    async def block(seconds):
        time.sleep(seconds)  # noqa: ASYNC251  # what a plugin must not do

    for seconds in (0.15, 0.55, 0.55, 0.0):
        await Measured(block(seconds), "collectors.a", spending)
    blocked = spent(spending, "agentd_plugin_blocked_loop_seconds_total")
    assert blocked["collectors.a"] >= 1.25
    assert [record.message.split(" for ")[0] for record in caplog.records] == ["collectors.a held up everything else"]


def test_threads_count_what_they_work_and_not_what_they_wait_for():
    """In a thread CPU time counts."""
    spending = Spending()
    spending.working("collectors.a", burn)(0.02)
    spending.working("collectors.b", time.sleep)(0.1)
    counted = spent(spending)
    assert counted["collectors.a"] >= 0.02
    assert counted["collectors.b"] < 0.05


async def test_a_request_is_the_plugin_s_that_answers_it():
    """What a handler of requests takes, and the tasks that it begins, are counted as its plugin's."""
    spending = Spending()
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(spending.make_task)

    async def later():
        burn(0.02)

    async def handler(request, principal):
        burn(0.01)
        await asyncio.create_task(later())
        return request + principal

    try:
        assert await spending.answering("collectors.a", handler)(1, 2) == 3
        assert await asyncio.create_task(asyncio.sleep(0, "free")) == "free"
    finally:
        loop.set_task_factory(before)
    assert spent(spending)["collectors.a"] >= 0.03


def test_what_is_told_has_one_layout():
    """Renderings and unions are remembered by it: a new one at each scrape would cost half as much again."""
    spending = Spending()
    spending.ran("collectors.a", 0.2)
    first = spending.families().layout
    spending.ran("collectors.a", 0.1)
    assert spending.families().layout is first


async def test_who_has_the_loop_is_noted_and_given_back(tmp_path):
    """Within a step, and what it does for another, the plugin is noted; behind it nobody is, whatever came of it."""
    spending, file, seen = Spending(), tmp_path / "held", []
    spending.held.open(file, "boot", 30.0)

    def look():
        data = bytearray(file.read_bytes())
        memoryview(data)[:8].cast("d")[0] = time.monotonic() + 1000  # as if it had gone on for long
        seen.append(suspects(bytes(data), "boot", time.monotonic() + 1000, 30.0))

    def inner():
        look()
        raise ValueError("it fails")

    def outer():
        look()
        with pytest.raises(ValueError, match="fails"):
            spending.step("collectors.b", inner)
        look()

    spending.step("collectors.a", outer)
    look()
    await asyncio.to_thread(spending.working("collectors.c", look))
    spending.held.close()
    assert seen == [["collectors.a"], ["collectors.b"], ["collectors.a"], [], []]
