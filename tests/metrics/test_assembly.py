"""Assembly: what several plugins say becomes one answer, in which the first wins."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agentd.metrics.assembly import assemble, merge, short
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Histogram, Summary

HISTOGRAM = Histogram(((1.0, 1.0),), 2.0, 3.0)
SUMMARY = Summary(((0.5, 1.0),), 2.0, 3.0)
MAKE = {
    "gauge": (Family.gauge, 1.0),
    "counter": (Family.counter, 1.0),
    "histogram": (Family.histogram, HISTOGRAM),
    "summary": (Family.summary, SUMMARY),
}


def family(kind, name, *labels, **values):
    """Return a family of one sample."""
    make, value = MAKE[kind]
    return make(name, "", {tuple(values.values()): value}, (*values, *labels))


def reasons(rejections):
    """Return which plugin's answer was shortened, and why."""
    return [(plugin, rejection.reason) for plugin, rejection in rejections]


def test_what_does_not_meet_stays_as_it_is():
    """Families of distinct names come out in their order, the very ones that came in."""
    one, two, three = family("gauge", "a"), family("histogram", "h"), family("gauge", "b")
    united, rejections = assemble([("x", [one, two]), ("y", [three])])
    assert [id(each) for each in united] == [id(one), id(two), id(three)]
    assert rejections == []


def test_a_family_of_another_kind_is_left_out_of_the_later_answer():
    """The first wins, and the plugin that came later is named."""
    united, rejections = assemble([("x", [family("gauge", "a")]), ("y", [family("counter", "a")])])
    assert united == [family("gauge", "a")]
    assert reasons(rejections) == [("y", "conflict")]
    assert "a: is a counter here, and was a gauge before" in rejections[0][1].what


def test_a_series_that_is_there_already_is_left_out_of_the_later_answer():
    """Other series of that family are united with the first."""
    one = Family.gauge("a", "First.", {"v": 1.0}, ("x",))
    two = Family.gauge("a", "Second.", {"v": 2.0, "w": 3.0}, ("x",))
    before = deepcopy((one, two))
    united, rejections = assemble([("x", [one]), ("y", [two])])
    assert united == [Family.gauge("a", "First.", {"v": 1.0, "w": 3.0}, ("x",))]
    assert reasons(rejections) == [("y", "duplicate")]
    assert "'v'" in rejections[0][1].what
    assert (one, two) == before, "what was passed in belongs to the collectors"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (family("gauge", "a"), family("gauge", "a", x="")),
        (family("gauge", "a", x=""), family("gauge", "a", x=None)),
        (family("gauge", "a", x="v", y=""), family("gauge", "a", x="v")),
        (family("gauge", "a", x="v", y="w"), family("gauge", "a", y="w", x="v")),
    ],
)
def test_an_empty_label_is_no_label(first, second):
    """Series that are one to Prometheus are one here, whatever their labels are called and ordered."""
    for one, two in ((first, second), (second, first)):
        united, rejections = assemble([("x", [one]), ("y", [two])])
        assert sum(len(each.samples) for each in united) == 1
        assert reasons(rejections) == [("y", "duplicate")]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("histogram", "_bucket"), *((kind, suffix) for kind in ("histogram", "summary") for suffix in ("_sum", "_count"))],
)
def test_the_series_of_a_histogram_have_names_that_nobody_else_may_have(kind, suffix):
    """Whoever comes later with such a name is left out, the histogram itself included."""
    one, two = family(kind, "a"), family("gauge", f"a{suffix}")
    assert assemble([("x", [one]), ("y", [two])])[0] == [one]
    united, rejections = assemble([("x", [two]), ("y", [one])])
    assert united == [two]
    assert reasons(rejections) == [("y", "conflict")]


def test_what_is_left_out_claims_no_names():
    """A histogram that lost to a gauge does not stand in the way of further families."""
    gauge, lost, sum_ = family("gauge", "a_count"), family("histogram", "a"), family("gauge", "a_sum")
    assert assemble([("x", [gauge]), ("y", [lost]), ("z", [sum_])])[0] == [gauge, sum_]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("x", [family("gauge", "a")]), ("y", [family("gauge", "a")])], "() were there already (came first from x)"),
        ([("x", [family("gauge", "a")]), ("y", [family("counter", "a")])], "was a gauge before (came first from x)"),
        (
            [("x", [family("summary", "a")]), ("y", [family("gauge", "a_sum")])],
            "like those of a, which came before (came first from x)",
        ),
        (
            [("w", []), ("x", [family("gauge", "a_count")]), ("", []), ("y", [family("histogram", "a")])],
            "like those of a_count, which came before (came first from x)",
        ),
        (
            [("x", [family("summary", "a")]), ("v", [family("gauge", "b")]), ("y", [family("histogram", "a_sum")])],
            "like those of a, which came before (came first from x)",
        ),
        (
            [(each, [family("gauge", "b"), family("gauge", "a", l=value)]) for each, value in ("x1", "v2", "y1")],
            "a: label values ('1',) were there already (came first from x or v)",
        ),
        ([("y", [family("gauge", "a"), family("counter", "a")])], "was a gauge before"),
        ([("", [family("gauge", "a")]), ("y", [family("gauge", "a")])], "() were there already"),
    ],
)
def test_who_came_first_is_named(parts, said):
    """Whoever reads why something was left out need not search for the other plugin. Where several told the family it
    is one of them; where nobody is known, none is named.
    """
    _, rejections = assemble(parts)
    plugin, rejection = rejections[-1]
    assert plugin == "y"
    assert rejection.what.endswith(said)


NAMES = st.sampled_from(["a", "a_sum", "a_count", "a_bucket", "a_count_sum", "b"])
LABELS = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["", None, "1", "2"]))
ANY = st.builds(lambda kind, name, labels: family(kind, name, **labels), st.sampled_from(sorted(MAKE)), NAMES, LABELS)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(ANY, max_size=4), max_size=4))
def test_no_series_is_there_twice(answers):
    """Whatever plugins claim, each series is shown once, nothing is made up, and all that is missing is named."""
    before = deepcopy(answers)
    united, rejections = assemble((str(index), answer) for index, answer in enumerate(answers))
    assert answers == before
    assert len({each.name for each in united}) == len(united)
    # As counters, the parser would give all series the ending _total, whether they have it or not.
    body = Renderer().render(united).decode().replace(" counter\n", " untyped\n")
    shown = [
        (sample.name, frozenset((name, value) for name, value in sample.labels.items() if value))
        for each in text_string_to_metric_families(body)
        for sample in each.samples
    ]
    assert len(shown) == len(set(shown))
    came = sum(len(each.samples) for answer in answers for each in answer)
    assert sum(len(each.samples) for each in united) + len(rejections) == came


def test_many_families_of_one_name_are_united_in_time():
    """Ten thousand parts with labels of their own are gone through once, not once for each other."""
    seen = 0

    class Counted(str):
        """A text that counts how often it is looked at."""

        __slots__ = ()

        def __hash__(self):
            nonlocal seen
            seen += 1
            return str.__hash__(self)

    parts = [Family.gauge("a", "", {(Counted(index), None): 1.0}, ("x", f"y{index % 3}")) for index in range(10_000)]
    first, *others = parts
    assert merge(first, others) == []
    assert len(first.samples) == 10_000
    assert seen < 200_000


class Broken:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (Broken(), "<Broken, whose repr raises RuntimeError>")])
def test_what_a_plugin_handed_out_is_quoted_whatever_it_is(value, text):
    """An error message can speak of anything."""
    assert short(value) == text


@given(st.text() | st.binary() | st.lists(st.integers()))
def test_quotes_are_short(value):
    """No error message is longer than a line because of what it quotes."""
    assert len(short(value)) <= 100
