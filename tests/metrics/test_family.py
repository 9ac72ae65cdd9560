"""Families: how they are made from what a collector has at hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.metrics.family import Family, Histogram, Metric, Snapshot, Summary, counter, gauge, keyed, unknown

HISTOGRAM = Histogram(((1.0, 2.0),), 3.0, 4.5)
SUMMARY = Summary(((0.5, 2.0),), 3.0, 4.5)


@pytest.mark.parametrize("value", [1.5, 7, True, HISTOGRAM, SUMMARY])
def test_one_value_is_a_sample_without_labels(value):
    """A bare value needs no mapping around it."""
    assert keyed(value) == {(): value}


def test_plain_strings_are_the_values_of_a_single_label():
    """With one label, its values need not be wrapped into tuples."""
    assert keyed({"eth0": 1.0, "lo": 2.0}) == {("eth0",): 1.0, ("lo",): 2.0}


def test_pairs_are_taken_like_a_mapping():
    """What a generator yields as pairs of label values and value needs no dict first."""
    assert keyed((key, 1.0) for key in [("a", "b"), ("a", None)]) == {("a", "b"): 1.0, ("a", None): 1.0}


def test_nothing_stays_nothing():
    """An empty mapping and an empty iterable make a family without samples."""
    assert keyed({}) == {}
    assert keyed([]) == {}


@given(st.dictionaries(st.tuples(st.text(), st.none() | st.text()), st.floats(allow_nan=False)))
def test_mappings_by_label_values_stay_as_they_are(samples):
    """Order, keys and values of a mapping are kept."""
    assert list(keyed(samples).items()) == list(samples.items())


@pytest.mark.parametrize(
    ("make", "kind", "value"),
    [
        (Family.gauge, "gauge", 1.0),
        (Family.counter, "counter", 1.0),
        (Family.unknown, "unknown", 1.0),
        (Family.histogram, "histogram", HISTOGRAM),
        (Family.summary, "summary", SUMMARY),
    ],
)
def test_families_are_made_by_their_kind(make, kind, value):
    """Each kind has a constructor of its name."""
    expected = Family("a_b", kind, "What it is.", ("l",), {("x",): value})
    assert make("a_b", "What it is.", {"x": value}, ("l",)) == expected


@pytest.mark.parametrize(("declare", "kind"), [(gauge, "gauge"), (counter, "counter"), (unknown, "unknown")])
def test_declared_metrics_make_families(declare, kind):
    """A declaration, called with samples, gives a family of what was declared."""
    metric = declare("a_b", "What it is.", ("device",))
    assert metric == Metric("a_b", kind, "What it is.", ("device",))
    assert metric({"sda": 1.0}) == Family("a_b", kind, "What it is.", ("device",), {("sda",): 1.0})


def test_a_name_with_an_asterisk_declares_a_group():
    """The part that is learned at run time takes the place of ``*`` in the name and of ``{}`` in the help."""
    group = unknown("node_vmstat_*", "Field {} of vmstat.")
    assert group.bound("pgfault") == unknown("node_vmstat_pgfault", "Field pgfault of vmstat.")
    assert group.named("pgfault", 3.0) == group.bound("pgfault")(3.0)


def test_a_snapshot_counts_its_series():
    """A histogram counts as one series, a family without samples as none."""
    families = (
        Family.gauge("a", "", {"x": 1.0, "y": 2.0}, ("l",)),
        Family.histogram("h", "", HISTOGRAM),
        Family.gauge("b", "", {}),
    )
    assert Snapshot(families, 0.0).series == 3
