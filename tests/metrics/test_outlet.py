"""An exporter's way to the collectors: its own rules, and renderings that it can have in several forms."""

import asyncio
import gzip
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from agentd.metrics import outlet as outlet_module
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Snapshot
from agentd.metrics.frame import Frame
from agentd.metrics.gather import Gatherer
from agentd.metrics.outlet import Outlet
from agentd.metrics.rules import Rule, Rules

SNAPSHOT = Snapshot((Family.counter("a_total", "A.", {("x",): 1.0}, ("l",)),), 0.0)


@pytest.fixture
def gatherer():
    """A gatherer that has nothing but one source."""
    made = Gatherer()
    made.sources = [lambda: Frame.of([Family.gauge("a", "", 1.0), Family.gauge("b", "", 2.0)])]
    return made


@pytest.fixture
def outlet(gatherer):
    """An outlet without rules."""
    return Outlet(gatherer, Rules())


async def test_a_snapshot_is_rendered_as_asked(outlet):
    """In the text format unless another is asked for, with labels where they are given, again and again."""
    for _ in range(2):
        assert await outlet.render(SNAPSHOT) == b'# HELP a_total A.\n# TYPE a_total counter\na_total{l="x"} 1.0\n'
        (family,) = parse_openmetrics((await outlet.render(SNAPSHOT, format="openmetrics")).decode())
        assert (family.name, family.type) == ("a", "counter")
        labelled = await outlet.render(SNAPSHOT, labels={"site": "x", "l": "mine"})
        assert labelled == Renderer("text", {"site": "x"}).render(SNAPSHOT.families)


async def test_large_bodies_are_compressed_elsewhere(outlet, monkeypatch):
    """What takes long leaves the event loop alone; small ones are not worth the way to a thread."""
    where = []
    compress = outlet_module.compress
    monkeypatch.setattr(outlet_module, "compress", lambda body: where.append(threading.get_ident()) or compress(body))
    large = Snapshot((Family.gauge("a", "", {(f"{n}" * 9,): 1 / 3 for n in range(9999)}, ("l",)),), 0.0)
    for snapshot in (SNAPSHOT, large):
        compressed = await outlet.render(snapshot, gzip=True)
        assert gzip.decompress(compressed) == await outlet.render(snapshot)
    assert [each == threading.get_ident() for each in where] == [True, False]


async def test_names_that_nobody_answers_for_hold_up_no_scrape(outlet):
    """A large exposition is compressed though all threads in which the loop looks names up are taken."""
    ended = threading.Event()
    hanging = [asyncio.create_task(asyncio.to_thread(ended.wait)) for _ in range(64)]
    large = Snapshot((Family.gauge("a", "", {(f"{n}" * 9,): 1 / 3 for n in range(9999)}, ("l",)),), 0.0)
    try:
        compressed = await asyncio.wait_for(outlet.render(large, gzip=True), 60)
    finally:
        ended.set()
        await asyncio.gather(*hanging)
    assert gzip.decompress(compressed) == await outlet.render(large)


async def test_renderings_at_once_do_not_disturb_each_other(outlet):
    """Two scrapes that meet get what each of them asked for."""
    snapshots = [
        Snapshot((Family.gauge("a", "", {(f"{n}",): float(n) for n in range(start, start + 20_000)}, ("l",)),), 0.0)
        for start in (0, 10_000)
    ]
    bodies = await asyncio.gather(*map(outlet.render, snapshots))
    assert bodies == [Renderer().render(snapshot.families) for snapshot in snapshots]


async def test_gathering_goes_by_the_rules_of_the_exporter(gatherer, outlet):
    """Each outlet has its own, and they touch nobody else's."""
    ruled = Outlet(gatherer, Rules([Rule(action="drop", name="a")]))
    assert (await ruled.gather()).families.layout is (await ruled.gather()).families.layout, "rendered anew each time"
    assert [family.name for family in (await ruled.gather()).families] == ["b"]
    assert [family.name for family in (await outlet.gather(deadline=1.0)).families] == ["a", "b"]
    with pytest.raises(LookupError):
        await ruled.gather(only={"nobody"})


async def test_names_that_rules_bring_together_are_said(gatherer, caplog):
    """Of two metrics that are renamed to one, the series that would be there twice is named in the log, once."""
    ruled = Outlet(gatherer, Rules([Rule(action="rename", name="[ab]", to="one")]))
    for _ in range(2):
        [family] = (await ruled.gather()).families
        assert (family.name, family.samples) == ("one", {(): 1.0})
    assert [record.message for record in caplog.records] == [
        "left out (duplicate): one: label values () were there already"
    ]
