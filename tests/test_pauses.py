"""The pauses of the garbage collector."""

import asyncio
import gc
import weakref

import pytest

from agentd.pauses import Pauses


class Knot:
    """Something that refers to itself."""

    def __init__(self):
        self.self = self


@pytest.fixture
def watched():
    """Return a function that begins to watch collections that take so long."""
    thresholds, watching = gc.get_threshold(), []

    def begin(seconds):
        ticks = iter(range(1000))
        pauses = Pauses(longest=0.5, clock=lambda: next(ticks) * seconds)
        pauses.begin()
        watching.append(pauses)
        return pauses

    yield begin
    for pauses in watching:
        pauses.end()
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_outlives_a_long_collection_is_not_looked_at_again(watched):
    """After a collection that took long nothing is left to look at."""
    watched(1.0)
    kept = [Knot() for _ in range(1000)]
    before = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() - before >= len(kept)


def test_what_outlives_a_short_one_is(watched):
    """After a short collection all is looked at again the next time, and what refers to itself goes."""
    watched(0.1)
    kept = [Knot() for _ in range(1000)]
    before = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() <= before
    kept.clear()
    assert gc.collect() >= 1000


def test_nothing_is_watched_after_the_end(watched):
    """Whoever ends leaves nothing behind in the collector."""
    before = len(gc.callbacks)
    watched(1.0).end()
    assert len(gc.callbacks) == before


async def test_what_is_gone_after_a_reload_is_found(watched, monkeypatch):
    """What was set aside and refers to itself is looked at again a while after a reload."""
    monkeypatch.setattr("agentd.pauses.RENEW_AFTER", 0.05)
    knot = Knot()
    gone = weakref.ref(knot)
    pauses = watched(0.0)
    del knot
    gc.collect()
    assert gone() is not None, "it was set aside"
    for _ in range(3):
        pauses.renew()
    async with asyncio.timeout(30):
        while gone() is not None:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    assert gc.get_freeze_count() > 0
