"""The exposition: equal to prometheus_client's, and the same whatever was rendered before or is rendered meanwhile."""

import asyncio
import gc
import gzip
import struct
import subprocess
import tracemalloc
from itertools import accumulate
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as ClientMetric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

from agentd.metrics import exposition
from agentd.metrics.exposition import Renderer, compress
from agentd.metrics.family import Family, Histogram, Snapshot, Summary, spelled
from agentd.metrics.frame import Frame, Layout

PARSERS = {"text": parse_text, "openmetrics": parse_openmetrics}
ODD_VALUES = (nan, inf, -inf, -0.0, 5e-324, 1.7976931348623157e308, 1e16, 1e22, 123456789.123, 0.1 + 0.2)
LABEL_VALUES = st.none() | st.sampled_from(["", 'a"b', "a\\n", "a\nb", "\\", "}", ",", "#", " ", "é\u2028"]) | st.text()
AMOUNTS = st.sampled_from([value for value in ODD_VALUES if value >= 0]) | st.floats(0, allow_nan=False)
NUMBERS = st.sampled_from(ODD_VALUES) | st.floats()


@st.composite
def histograms(draw):
    """Draw a histogram as OpenMetrics wants them: whole and cumulative counts, bounds that ascend from 0."""
    bounds = sorted(set(draw(st.lists(st.floats(0, allow_nan=False), max_size=4))))
    counts = [float(count) for count in accumulate(draw(st.integers(0, 9)) for _ in bounds)]
    count = counts[-1] if bounds and bounds[-1] == inf else float(sum(counts[-1:]) + draw(st.integers(0, 9)))
    return Histogram(tuple(zip(bounds, counts, strict=True)), count, draw(AMOUNTS))


@st.composite
def summaries(draw):
    """Draw a summary as OpenMetrics wants them: quantiles from 0 to 1, nothing negative."""
    quantiles = sorted(set(draw(st.lists(st.floats(0, 1), max_size=4))))
    values = st.just(nan) | AMOUNTS
    return Summary(tuple((each, draw(values)) for each in quantiles), float(draw(st.integers(0, 99))), draw(AMOUNTS))


VALUES = {"gauge": NUMBERS, "unknown": NUMBERS, "counter": AMOUNTS, "histogram": histograms(), "summary": summaries()}


@st.composite
def families(draw, name=None):
    """Draw a family under the naming of prometheus_client: counters, and they alone, end in ``_total``."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    name = draw(st.sampled_from(["alpha", "Beta_1", "_gamma"])) if name is None else name
    labels = tuple(draw(st.lists(st.sampled_from(["device", "_b", "C3"]), unique=True, max_size=3)))
    keys = draw(st.lists(st.tuples(*(LABEL_VALUES for _ in labels)), unique_by=_present, min_size=1, max_size=5))
    samples = {key: draw(VALUES[kind]) for key in keys}
    return Family(name + "_total" * (kind == "counter"), kind, draw(st.text()), labels, samples)


SNAPSHOTS = st.lists(families(), unique_by=lambda family: family.name.removesuffix("_total"), max_size=3)


def _present(key):
    return tuple(value or None for value in key)  # an empty label is the same as none


def as_client_metric(family):
    """Say the same with the means of prometheus_client."""
    name = family.name.removesuffix("_total")
    metric = ClientMetric(name, family.help, family.kind)
    for key, value in family.samples.items():
        labels = {label: text for label, text in zip(family.label_names, key, strict=True) if text is not None}
        if isinstance(value, Histogram):
            ends_in_infinity = value.buckets and value.buckets[-1][0] == inf
            for bound, count in (*value.buckets, *([] if ends_in_infinity else [(inf, value.count)])):
                metric.add_sample(f"{name}_bucket", {**labels, "le": floatToGoString(bound)}, count)
        elif isinstance(value, Summary):
            for quantile, number in value.quantiles:
                metric.add_sample(name, {**labels, "quantile": floatToGoString(quantile)}, number)
        else:
            metric.add_sample(family.name, labels, value)
            continue
        metric.add_sample(f"{name}_sum", labels, value.sum)
        metric.add_sample(f"{name}_count", labels, value.count)
    return metric


class Telling:
    """A collector of prometheus_client that tells what it was given."""

    def __init__(self, metrics):
        self.metrics = metrics

    def collect(self):
        return self.metrics


def bits(value):
    """Return what tells two doubles apart; all NaN are one."""
    return "NaN" if value != value else struct.pack("<d", value)


def parsed(body, format):
    """Return all that a parser finds in an exposition."""
    return [
        (found.name, found.type, found.documentation, [(s.name, s.labels, bits(s.value)) for s in found.samples])
        for found in PARSERS[format](body.decode())
    ]


def by_prometheus_client(snapshot, format):
    """Return the exposition that prometheus_client makes of this."""
    registry = CollectorRegistry()
    registry.register(Telling([as_client_metric(family) for family in snapshot]))
    return generate_latest(registry) if format == "text" else generate_openmetrics(registry)


@pytest.mark.parametrize("format", ["text", "openmetrics"])
@settings(max_examples=200, deadline=None)
@given(snapshot=SNAPSHOTS)
def test_the_output_says_what_prometheus_clients_says(format, snapshot):
    """Names, kinds, help, labels and values, bit for bit, are those that prometheus_client writes."""
    assert parsed(Renderer(format).render(snapshot), format) == parsed(by_prometheus_client(snapshot, format), format)


@settings(max_examples=200, deadline=None)
@given(snapshot=SNAPSHOTS)
def test_samples_of_a_snapshot_are_those_of_the_output(snapshot):
    """Whoever asks for plain samples gets the names, labels and values, bit for bit, that prometheus_client has."""
    told = [(each.name, each.labels, bits(each.value)) for each in Snapshot(snapshot, 0.0).samples()]
    expected = [
        (each.name, each.labels, bits(each.value)) for family in snapshot for each in as_client_metric(family).samples
    ]
    assert told == expected


@pytest.mark.parametrize("format", ["text", "openmetrics"])
@settings(max_examples=100, deadline=None)
@given(pool=st.lists(families(), min_size=2, max_size=4), data=st.data())
def test_what_was_rendered_before_changes_nothing(format, pool, data):
    """A renderer that has seen families and label sets come and go writes the very bytes that a fresh one writes."""
    extra = {"site": 'hall "3"', "_b": "own"}
    renderer, layout = Renderer(format, extra), Layout()
    chosen = []
    for _ in range(data.draw(st.integers(2, 12))):
        if not data.draw(st.booleans()):  # else only the values differ, and the bounds of histograms
            drawn = data.draw(st.lists(st.sampled_from(pool), max_size=3, unique_by=lambda family: family.name))
            chosen = [(each, data.draw(st.lists(st.sampled_from(list(each.samples)), unique=True))) for each in drawn]
        snapshot = [
            Family(
                each.name, each.kind, each.help, each.label_names, {key: data.draw(VALUES[each.kind]) for key in keys}
            )
            for each, keys in chosen
        ]
        if layout.values(snapshot) is None:
            layout = Layout(snapshot)
        shown = layout.fill(layout.values(snapshot)) if data.draw(st.booleans()) else snapshot
        assert renderer.render(shown) == Renderer(format, extra).render(snapshot)


@pytest.mark.parametrize("format", ["text", "openmetrics"])
@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(SNAPSHOTS, SNAPSHOTS), min_size=1, max_size=3))
def test_renderings_that_take_turns_do_not_disturb_each_other(format, pairs):
    """Two snapshots rendered at once by one renderer, giving way after every other sample, come out right both."""
    renderer = Renderer(format)

    async def both(one, two):
        return await asyncio.gather(renderer.render_in_slices(one), renderer.render_in_slices(two))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposition, "BLOCK", 2)
        patch.setattr(exposition, "SLICE", -1.0)
        for pair in pairs:
            assert asyncio.run(both(*pair)) == [Renderer(format).render(each) for each in pair]


def wide(name="wide", series=50_000, value=1 / 3):
    """Return a family of many series."""
    return Family.gauge(name, "Many.", {(f"device{index}", "a"): value for index in range(series)}, ("device", "mode"))


@pytest.mark.parametrize(
    "snapshot",
    [[wide()], [Family.gauge(f"family_{index}", "One of many.", 1.0) for index in range(20_000)]],
    ids=["many series", "many families"],
)
@pytest.mark.parametrize(("again", "turns_at_least"), [(False, 10), (True, 3)])
async def test_rendering_gives_way(snapshot, again, turns_at_least, monkeypatch):
    """While much is rendered, for the first time or again, other tasks get their turns."""
    renderer, frame = Renderer(), Frame.of(snapshot)
    if again:
        renderer.render(frame)
    monkeypatch.setattr(exposition, "SLICE", 0.0)  # else a quick machine need not give way at all
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    body = await renderer.render_in_slices(frame)
    task.cancel()
    assert turns > turns_at_least
    assert body == Renderer().render(snapshot)


@pytest.mark.parametrize("shown", [list, Frame.of])
def test_what_has_vanished_is_forgotten(shown):
    """Label sets and whole families that do not come again do not stay in memory."""
    renderer = Renderer()
    renderer.render(shown([Family.gauge("churning", "", 1.0), wide(series=1)]))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        renderer.render(shown([wide(series=20_000)]))
        assert tracemalloc.get_traced_memory()[0] - before > 1_000_000, "or this test shows nothing"
        for number in range(20):
            churning = Family.gauge("churning", "", {(f"{number}-{index}",): 1.0 for index in range(100)}, ("id",))
            renderer.render(shown([churning]))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 300_000
    finally:
        tracemalloc.stop()


def test_a_counter_without_total_is_unknown_in_openmetrics():
    """Its series keeps the name that it has in the text format."""
    body = Renderer("openmetrics").render([Family.counter("node_boots", "Boots.", 3.0)])
    assert body == b"# HELP node_boots Boots.\n# TYPE node_boots unknown\nnode_boots 3.0\n# EOF\n"
    assert parsed(body, "openmetrics")[0][1] == "unknown"


@pytest.mark.parametrize(
    "beside",
    [
        Family.gauge("foo", "", 1.0),
        Family.counter("foo", "", 1.0),
        Family.gauge("foo_created", "", 1.0),
        Family.histogram("foo", "", Histogram((), 0.0, 0.0)),
        Family.counter("foo_total_total", "", 1.0),
    ],
    ids=lambda family: f"{family.kind} {family.name}",
)
@pytest.mark.parametrize("first", [True, False])
def test_a_counter_beside_a_family_of_its_bare_name_stays_valid(beside, first):
    """In OpenMetrics ``foo_total`` is of the family ``foo``; where another one has that name, it is one of its own."""
    counter = Family.counter("foo_total", "", 2.0)
    renderer = Renderer("openmetrics")
    renderer.render([counter])  # what it was while it was alone must not matter
    body = renderer.render([counter, beside] if first else [beside, counter])
    samples = [sample[0] for _, _, _, found in parsed(body, "openmetrics") for sample in found]
    assert "foo_total" in samples
    assert len(samples) == len(set(samples)) >= 2
    assert renderer.render([counter]) == Renderer("openmetrics").render([counter])


def test_a_counter_beside_the_count_of_a_histogram_stays_valid():
    """``foo_count`` is a series of the histogram ``foo``, so it is no name for the family of ``foo_count_total``."""
    body = Renderer("openmetrics").render(
        [Family.counter("foo_count_total", "", 1.0), Family.histogram("foo", "", Histogram((), 0.0, 0.0))]
    )
    assert ("foo_count_total", "unknown") in [found[:2] for found in parsed(body, "openmetrics")]


def test_the_labels_of_the_agent_come_to_each_sample_that_lacks_them():
    """What a family says itself goes before what the agent adds, and ``le`` and ``quantile`` belong to the format."""
    snapshot = [
        Family.gauge("a", "", {("x",): 1.0}, ("site",)),
        Family.histogram("h", "", Histogram(((1.0, 1.0),), 1.0, 1.0)),
        Family.summary("s", "", Summary(((0.5, 1.0),), 1.0, 1.0)),
    ]
    body = Renderer("text", {"site": 'hall "3"', "le": "mine", "quantile": "mine"}).render(snapshot)
    labels = {name: found for _, _, _, samples in parsed(body, "text") for name, found, _ in samples}
    assert labels["a"] == {"site": "x", "le": "mine", "quantile": "mine"}
    assert labels["h_bucket"] == {"site": 'hall "3"', "le": "+Inf", "quantile": "mine"}
    assert labels["s"] == {"site": 'hall "3"', "le": "mine", "quantile": "0.5"}
    assert body.count(b"mine") == 2 + 4 + 3


def test_help_texts_are_escaped_as_their_format_wants_it():
    """Line breaks and backslashes in both, quotes in OpenMetrics alone."""
    family = Family.gauge("a", 'a "b"\nc\\d é', 1.0)
    assert Renderer("text").render([family]).decode().startswith('# HELP a a "b"\\nc\\\\d é\n')
    assert Renderer("openmetrics").render([family]).decode().startswith('# HELP a a \\"b\\"\\nc\\\\d é\n')


def test_nothing_to_tell_is_an_empty_exposition():
    """No family, or none with samples, is no line at all, and in OpenMetrics the end alone."""
    for snapshot in ([], [Family.gauge("a", "", {})]):
        assert Renderer("text").render(snapshot) == b""
        assert Renderer("openmetrics").render(snapshot) == b"# EOF\n"


@settings(max_examples=20, deadline=None)
@given(snapshot=SNAPSHOTS)
def test_promtool_understands_the_text_format(server_binary, snapshot):
    """Prometheus's own parser reads whatever is rendered; what it says of style (status 3) is no matter here."""
    body = Renderer("text").render(snapshot)
    done = subprocess.run([server_binary("promtool"), "check", "metrics"], input=body, capture_output=True, check=False)
    assert done.returncode in (0, 3), done.stderr.decode()


def test_compressed_bodies_are_gzip():
    """What is compressed comes back as it was."""
    body = Renderer().render([wide(series=1000)])
    assert gzip.decompress(compress(body)) == body
    assert len(compress(body)) < len(body) / 4


@settings(max_examples=500, deadline=None)
@given(st.floats(allow_nan=False) | st.floats(1, 1e18) | st.integers(0, 10**18).map(float))
def test_bounds_are_written_as_prometheus_client_writes_them(bound):
    """The text of a bound is a label, so it has to be the very text that other clients show."""
    assert spelled(bound) == floatToGoString(bound)
