"""An exporter's place: its export is called again and again, and whatever it raises is its own."""

import asyncio
import threading

import pytest

from agentd.metrics.family import Family
from agentd.metrics.pushing import Pushing
from agentd.metrics.workers import Workers
from agentd.plugin import Context, Exporter, Snapshot

PATIENCE = 60.0
"""Seconds that nothing here takes."""

FAMILIES = [Family.gauge("told", "Told.", 1.0)]
QUICK = 0.001


class Carried(Exporter):
    """Carries snapshots out as it is told to: in a thread."""

    name = "carried"

    def __init__(self, work, gather):
        super().__init__(context=Context(name="exporters.carried", gather=gather, in_worker=Workers().run))
        self.work = work

    def export(self, snapshot):
        return self.work(snapshot)


class Awaited(Carried):
    """The same on the event loop."""

    async def export(self, snapshot):
        returned = self.work(snapshot)
        return await returned if asyncio.iscoroutine(returned) else returned


@pytest.fixture(params=[Carried, Awaited])
def pushing(request):
    """Makes what pushes, in both ways in which an exporter may be written."""

    def make(work, *, interval=QUICK, gathered=lambda: FAMILIES):
        async def gather(**_):
            return Snapshot(gathered(), 1700000000.5)

        return Pushing(request.param(work, gather), interval)

    return make


def told(push):
    """Return what is told about an exporter."""
    return {family.name.removeprefix("agentd_exporter_"): value for family in push.about()
            for value in family.samples.values()}  # fmt: skip


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


async def test_one_that_hangs_in_a_thread_holds_up_nobody():
    """Stopping comes back though the export does not, and says that it still runs: what it uses is not taken away."""
    let, begun = threading.Event(), threading.Event()

    async def gather(**_):
        return Snapshot(FAMILIES, 0.0)

    def work(_snapshot):
        begun.set()
        let.wait(PATIENCE)

    push = Pushing(Carried(work, gather), QUICK)
    push.begin()
    await until(begun.is_set)
    await push.stop()
    assert push.running
    let.set()
    await until(lambda: not push.running)


async def test_one_that_hangs_on_the_loop_is_cancelled(pushing):
    """An export that waits for ever is cancelled in the end."""
    begun = asyncio.Event()

    async def wait():
        begun.set()
        await asyncio.Event().wait()

    push = pushing(lambda _snapshot: wait())
    push.begin()
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await push.stop()
    assert not push.running
    assert push.last is None


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
