"""Metrics of prometheus_client, which a collector may return as they are."""

import prometheus_client as client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import (
    GaugeHistogramMetricFamily,
    HistogramMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agentd.metrics.admission import Admission
from agentd.metrics.client import from_client
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Histogram, Summary

BUCKETS = [("1", 2.0), ("+Inf", 3.0)]


def instrumented():
    """Return a registry with a metric of every type, each of which has seen something."""
    registry = client.CollectorRegistry()
    client.Counter("jobs", "Jobs.", ["queue"], registry=registry).labels('a"b').inc(3)
    client.Gauge("temperature_celsius", "Warmth.", registry=registry).set(-3.5)
    client.Histogram("wait_seconds", "Waits.", ["queue"], buckets=[0.1, 1], registry=registry).labels("a").observe(0.5)
    client.Summary("size_bytes", "Sizes.", registry=registry).observe(12)
    client.Info("build", "What it is.", registry=registry).info({"version": "1.2"})
    client.Enum("state", "How it is.", states=["idle", "busy"], registry=registry).state("busy")
    return registry


def series(families):
    """Return all samples by name and labels."""
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


@pytest.mark.parametrize(("format", "parse"), [("text", parse_text), ("openmetrics", parse_openmetrics)])
def test_every_type_is_shown_with_the_series_that_prometheus_client_shows(format, parse):
    """Names, labels and values are the same; only the times of creation are left out."""
    registry = instrumented()
    families, rejections = Admission(100).admit(registry.collect())
    assert rejections == []
    expected = series(parse_text(client.generate_latest(registry).decode()))
    assert series(parse(Renderer(format).render(families).decode())) == {
        key: value for key, value in expected.items() if not key[0].endswith("_created")
    }


@pytest.mark.parametrize(
    ("metric", "suffixes"),
    [
        (GaugeHistogramMetricFamily("queue", "Queue.", BUCKETS, 4.0), ["_bucket", "_gcount", "_gsum"]),
        (StateSetMetricFamily("state", "State.", {"a": True, "b": False}), [""]),
        (HistogramMetricFamily("wait", "Waits.", BUCKETS, None), ["_bucket"]),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_types_without_a_counterpart_keep_their_series(metric, suffixes):
    """What has no kind here keeps its names, labels and values. A sum that nobody told is not made up."""
    families = list(from_client(metric))
    assert sorted(family.name for family in families) == [metric.name + suffix for suffix in suffixes]
    shown = series(parse_text(Renderer().render(families).decode()))
    assert shown == {(s.name, frozenset(s.labels.items())): float(s.value) for s in metric.samples}


def test_a_histogram_is_one_family():
    """Its buckets, count and sum come together, by the labels that they share."""
    metric = HistogramMetricFamily("wait", "Waits.", labels=["queue"])
    metric.add_metric(["a"], [("1.0", 2.0), ("+Inf", 3.0)], 4.5)
    metric.add_metric(["b"], [("+Inf", 0.0)], 0.0)
    assert list(from_client(metric)) == [
        Family.histogram(
            "wait",
            "Waits.",
            {
                "a": Histogram(((1.0, 2.0), (float("inf"), 3.0)), 3.0, 4.5),
                "b": Histogram(((float("inf"), 0.0),), 0.0, 0.0),
            },
            ("queue",),
        )
    ]


def test_a_summary_is_one_family():
    """Its quantiles, count and sum come together."""
    metric = Metric("size", "Sizes.", "summary")
    for name, labels, value in (("size", {"quantile": "0.5"}, 7.0), ("size_count", {}, 2.0), ("size_sum", {}, 14.0)):
        metric.add_sample(name, labels, value)
    assert list(from_client(metric)) == [Family.summary("size", "Sizes.", Summary(((0.5, 7.0),), 2.0, 14.0))]


def test_samples_may_differ_in_their_labels():
    """A label that some samples lack is absent there, not empty."""
    metric = Metric("a", "", "gauge")
    metric.add_sample("a", {"x": "1"}, 1.0)
    metric.add_sample("a", {"y": "2"}, 2.0)
    assert list(from_client(metric)) == [Family.gauge("a", "", {("1", None): 1.0, (None, "2"): 2.0}, ("x", "y"))]


def test_a_series_that_is_there_twice_is_named():
    """The first is shown, and the second is left out with a word about it."""
    metric = Metric("a", "", "gauge")
    metric.add_sample("a", {"x": "1"}, 1.0)
    metric.add_sample("a", {"x": "1"}, 2.0)
    families, rejections = Admission(20).admit([metric])
    assert families == [Family.gauge("a", "", {"1": 1.0}, ("x",))]
    assert [rejection.reason for rejection in rejections] == ["duplicate"]


@pytest.mark.parametrize("samples", [None, 5, [None], [("a",)], [("a", None, 1.0)], [("a", {}, None)]])
def test_a_metric_of_nonsense_is_left_out_alone(samples):
    """What somebody put into its samples by hand does no harm to the metrics beside it."""
    metric = Metric("a", "", "gauge")
    metric.samples = samples
    good = Family.gauge("good", "", 1.0)
    families, rejections = Admission(20).admit([metric, good])
    assert families == [good]
    assert [rejection.reason in ("family", "value") for rejection in rejections] == [True]


SAMPLES = st.tuples(
    st.sampled_from(["a", "a_total", "a_bucket", "a_sum", "a_count", "a_created", "a_info", "b", "1b"]),
    st.dictionaries(
        st.sampled_from(["x", "le", "quantile", "__y", "é"]), st.sampled_from(["1", "0.5", "+Inf", "", "NaN", "é"])
    ),
    st.floats() | st.none() | st.integers(),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["counter", "gauge", "histogram", "summary", "gaugehistogram", "info", "stateset", "unknown"]),
       st.lists(SAMPLES, max_size=8))  # fmt: skip
def test_whatever_a_metric_holds_the_output_is_valid(kind, samples):
    """Samples that do not go together are shown as far as they make sense, and nothing is shown twice."""
    metric = Metric("a", "Help.", kind)
    for sample in samples:
        metric.add_sample(*sample)
    families, _ = Admission(50).admit([metric])
    found = [
        (s.name, frozenset((name, value) for name, value in s.labels.items() if value))
        # As counters, the parser would give all series the ending _total, whether they have it or not.
        for family in parse_text(Renderer().render(families).decode().replace(" counter\n", " untyped\n"))
        for s in family.samples
    ]
    assert len(found) == len(set(found))
