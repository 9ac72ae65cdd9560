"""An exporter's place: its export is called again and again, and whatever it raises is its own."""

import asyncio
import threading

import pytest

from agentd.metrics import pushing as module
from agentd.metrics.family import Family
from agentd.metrics.pushing import Pushed, Pushing
from agentd.metrics.workers import Workers
from agentd.plugin import Context, Exporter, Snapshot

PATIENCE = 60.0
"""Seconds that nothing here takes."""

FAMILIES = [Family.gauge("told", "Told.", 1.0)]
QUICK = 0.001


class Carried(Exporter):
    """Carries snapshots out as it is told to: in a thread."""

    name = "carried"

    def __init__(self, work, gather, workers):
        super().__init__(context=Context(name="exporters.carried", gather=gather, in_worker=workers.run))
        self.work = work

    def export(self, snapshot):
        return self.work(snapshot)


class Awaited(Carried):
    """The same on the event loop."""

    async def export(self, snapshot):
        returned = self.work(snapshot)
        return await returned if asyncio.iscoroutine(returned) else returned


@pytest.fixture
async def workers():
    """Workers that end with the test."""
    made = Workers()
    yield made
    made.close()


@pytest.fixture(params=[Carried, Awaited])
def pushing(request, workers):
    """Makes what pushes, in both ways in which an exporter may be written."""

    def make(work, *, interval=QUICK, gathered=lambda: FAMILIES):
        async def gather(**_):
            return Snapshot(gathered(), 1700000000.5)

        return Pushing(request.param(work, gather, workers), interval)

    return make


async def gathering(**_):
    """Return what there is."""
    return Snapshot(FAMILIES, 0.0)


def told(push):
    """Return what is told about an exporter."""
    return {
        family.name.removeprefix("agentd_exporter_"): family.samples[("exporters.carried",)]
        for family in Pushed([push]).families()
    }


async def until(condition):
    """Wait for what becomes so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)


async def test_it_exports_at_once_and_again(pushing):
    """The first snapshot is carried out at once, more follow at the interval, each is counted."""
    seen = []
    push = pushing(seen.append)
    assert told(push) == {"exports_total": 0.0, "failures_total": 0.0}
    push.begin()
    push.begin()
    await until(lambda: len(seen) >= 3 and told(push)["exports_total"] >= 3)
    await push.stop()
    count = told(push)["exports_total"]
    assert [list(snapshot.families) for snapshot in seen[:3]] == [FAMILIES] * 3
    assert told(push)["last_export_timestamp_seconds"] == push.last == 1700000000.5
    await asyncio.sleep(10 * QUICK)
    assert told(push)["exports_total"] == count
    await push.stop()


async def test_the_interval_passes_between_two(pushing):
    """With a long interval there is one export, and stopping does not wait for the next."""
    seen = []
    push = pushing(seen.append, interval=PATIENCE)
    push.begin()
    await until(lambda: push.last is not None)
    async with asyncio.timeout(PATIENCE / 2):
        await push.stop()
    assert len(seen) == 1


@pytest.mark.parametrize(
    "error",
    [OSError(2, "not there", "/out"), SystemExit("enough"), ValueError("no"), asyncio.CancelledError("by itself")],
)
async def test_a_failure_is_told_once_and_ends_nothing(pushing, caplog, error):
    """What is raised is counted each time and logged once; when it works again that is logged, too."""
    caplog.set_level("INFO")
    broken = [error]

    def work(_snapshot):
        if broken:
            raise broken[0]

    push = pushing(work)
    push.begin()
    await until(lambda: told(push)["failures_total"] >= 3)
    assert str(error) in push.error
    assert [record.getMessage() for record in caplog.records] == [f"cannot export: {push.error}"]
    assert push.last is None
    broken.clear()
    await until(lambda: told(push)["exports_total"] >= 2)
    await push.stop()
    assert push.error == ""
    assert [record.getMessage() for record in caplog.records[1:]] == ["exports again"]


async def test_gathering_that_fails_is_a_failure_like_any_other(pushing):
    """Where there is no snapshot, that is counted, and the next attempt is made."""
    broken = [True]

    def gathered():
        if broken:
            raise RuntimeError("no snapshot today")
        return FAMILIES

    push = pushing(lambda _snapshot: None, gathered=gathered)
    push.begin()
    await until(lambda: told(push)["failures_total"] >= 1)
    broken.clear()
    await until(lambda: told(push)["exports_total"] >= 1)
    await push.stop()


async def test_never_two_at_once(pushing):
    """An export that takes longer than the interval delays the next, and what was missed is not made up for."""
    now, most, done = [], [], []

    def work(_snapshot):
        now.append(1)
        most.append(len(now))
        threading.Event().wait(0.01)
        now.pop()
        done.append(1)

    push = pushing(work)
    push.begin()
    await until(lambda: len(done) >= 5)
    await push.stop()
    assert set(most) == {1}


async def test_stopping_waits_for_a_thread(workers):
    """Stopping comes back when an export in a thread has, and there is no other."""
    let, begun = threading.Event(), []

    def work(_snapshot):
        begun.append(1)
        let.wait(PATIENCE)

    push = Pushing(Carried(work, gathering, workers), PATIENCE)
    push.begin()
    await until(lambda: begun)
    stopping = asyncio.create_task(push.stop())
    done, _ = await asyncio.wait({stopping}, timeout=0.1)
    assert not done
    let.set()
    await asyncio.wait_for(stopping, PATIENCE / 2)  # and not for the interval
    push.begin()
    await asyncio.sleep(10 * QUICK)
    assert begun == [1]


@pytest.mark.parametrize("at_the_end", [SystemExit("enough"), ConnectionError("cut"), None])
async def test_stopping_cancels_what_waits(workers, at_the_end):
    """An export that waits is cancelled; what it raises then, or that it goes on, ends nothing and begins nothing."""
    begun, ended = [], []

    async def wait():
        begun.append(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(1)
            if at_the_end is not None:
                raise at_the_end from None

    push = Pushing(Awaited(lambda _snapshot: wait(), gathering, workers), PATIENCE)
    push.begin()
    await until(lambda: begun)
    await asyncio.wait_for(push.stop(), PATIENCE / 2)  # and not for the interval
    await asyncio.sleep(10 * QUICK)
    assert (begun, ended, push.failed) == ([1], [1], 0)


async def test_one_that_hangs_is_told_of_again_and_again(pushing, monkeypatch, caplog):
    """An export that takes too long has failed, and each one that cannot be begun for that has, too."""
    monkeypatch.setattr(module, "WITHIN", 0.05)
    monkeypatch.setattr(module, "CANCELLED_WITHIN", 0.05)
    let, begun = threading.Event(), []

    def work(_snapshot):
        begun.append(1)
        if threading.current_thread() is threading.main_thread():
            return stubborn()
        return let.wait(PATIENCE)

    async def stubborn():
        while not let.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue

    push = pushing(work)
    push.begin()
    await until(lambda: push.failed >= 3)
    assert push.error == "it has not come back from the last export yet"
    assert caplog.records[0].getMessage() == "cannot export: it was not done within 0.05 s"
    assert begun == [1]
    let.set()
    await until(lambda: push.exported >= 1)
    await push.stop()


async def test_what_is_told_of_several(workers):
    """Each exporter has its own samples, and one layout as long as these are the same."""
    pushes = [Pushing(Carried(lambda _snapshot: None, gathering, workers), QUICK) for _ in range(2)]
    pushes[1].key, pushes[1].exported, pushes[1].last = "exporters.other", 3, 5.0
    pushed = Pushed(pushes)
    first, second = pushed.families(), pushed.families()
    assert first.layout is second.layout
    assert {family.name: family.samples for family in second} == {
        "agentd_exporter_exports_total": {("exporters.carried",): 0.0, ("exporters.other",): 3.0},
        "agentd_exporter_failures_total": {("exporters.carried",): 0.0, ("exporters.other",): 0.0},
        "agentd_exporter_last_export_timestamp_seconds": {("exporters.other",): 5.0},
    }
    assert list(Pushed([]).families()) == []


async def test_secrets_are_not_repeated(pushing, caplog):
    """What an error repeats of a secret option is in neither the log nor the status."""
    from agentd.options import Config, Secret

    class Options(Config):
        password: Secret

    def work(_snapshot):
        raise OSError("no entry with canary-7")

    push = pushing(work)
    push._exporter.config = Options(password=Secret("canary-7"))
    push.begin()
    await until(lambda: push.error)
    await push.stop()
    assert "no entry with" in push.error
    assert "canary-7" not in push.error + caplog.text
