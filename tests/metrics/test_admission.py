"""Admission: whatever a plugin returns, what is shown is valid, and what is not shown is named."""

import itertools
import re
from collections import OrderedDict
from decimal import Decimal
from enum import Enum
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from agentd.errors import described
from agentd.metrics.admission import Admission, is_sound
from agentd.metrics.assembly import assemble, short
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Histogram, Summary
from agentd.metrics.frame import Layout

LABELS = r'\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*")*\}'
LINE = re.compile(
    rf"[a-zA-Z_:][a-zA-Z0-9_:]*(?:{LABELS})? (?:NaN|[+-]Inf|-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
    r"|# HELP [a-zA-Z_:][a-zA-Z0-9_:]* .*"
    r"|# TYPE [a-zA-Z_:][a-zA-Z0-9_:]* (?:counter|gauge|untyped|unknown|histogram|summary)"
    r"|# EOF"
)
"""A line of either format."""


class Colour(str, Enum):  # noqa: UP042  # its str() is not its value, which is what is tried here
    RED = "red"


class Text(str):
    __slots__ = ()

    def __str__(self):
        return 'no "label'


class Number:
    """A number of some library, or something that only looks like one."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Mute:
    def __repr__(self):
        raise RuntimeError("no words")


def mostly(good, bad):
    """Draw from the good, and now and then from the bad: what is all rubbish is left out before it can do harm."""
    return st.integers(0, 11).flatmap(lambda number: bad if number == 7 else good)


JUNK = st.sampled_from([None, 5, "text", b"bytes", (1, 2), [], {}, object, 1.5, {"a": 1.0}])
TEXTS = st.sampled_from(["", "x", "é", 'a"b\\c\nd', "\ud800", "\udcff", "\x00", Colour.RED, Text("t")])
LABEL_VALUES = mostly(TEXTS | st.none() | st.sampled_from([b"x", b"\xff\xfe"]), st.sampled_from([7, 1.5, True, ()]))
NAMES = mostly(
    st.sampled_from(["a", "a_total", "a_count", "a_bucket", "b:c", Colour.RED]),
    st.sampled_from(["é", "1a", "a b", "a\n", ""]) | JUNK,
)
LABEL_NAMES = st.permutations(["x", "y", Colour.RED]).flatmap(
    lambda names: mostly(
        st.integers(0, 2).map(lambda number: tuple(names[:number])),
        st.sampled_from([("le",), ("quantile",), ("__x",), ("x", "a-b"), ("x", "é"), ("",), (5,), ("x", "x"), ["x"]])
        | JUNK,
    )
)
NUMBERS = mostly(
    st.floats() | st.integers() | st.sampled_from([True, Decimal("1.5"), Decimal("NaN"), Number(1.5), Number(nan)]),
    st.sampled_from(
        [
            *(10**400, Decimal("sNaN"), 1j, "1", b"1", bytearray(b"1"), None, []),
            *map(Number, ["1", ValueError("no"), RuntimeError("no")]),
        ]
    ),
)
PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, inf]) | NUMBERS, NUMBERS), max_size=3).map(
    lambda pairs: tuple(sorted(pairs, key=lambda pair: str(pair[0])))
)
DISTRIBUTIONS = {
    "histogram": st.builds(Histogram, mostly(PAIRS, JUNK), NUMBERS, NUMBERS),
    "summary": st.builds(Summary, mostly(PAIRS, JUNK), NUMBERS, NUMBERS),
}


@st.composite
def families(draw):
    """Draw a family in which something may be wrong, or nothing, or all."""
    kind = draw(
        mostly(
            st.sampled_from(["gauge", "counter", "unknown", "histogram", "summary"]),
            st.sampled_from(["info", "", None, ["gauge"]]),
        )
    )
    labels = draw(LABEL_NAMES)
    keys = mostly(
        st.tuples(*(LABEL_VALUES for _ in labels)) if isinstance(labels, tuple) else st.just(()),
        st.sampled_from(["xy", None, 5, frozenset({"x"}), ("x", "y", "z", "z")]),
    )
    values = DISTRIBUTIONS.get(kind if isinstance(kind, str) else "", NUMBERS)
    samples = draw(st.dictionaries(keys, mostly(values, JUNK), min_size=1, max_size=4))
    wrapped = mostly(st.sampled_from([samples, OrderedDict(samples)]), JUNK)
    return Family(draw(NAMES), kind, draw(mostly(TEXTS, JUNK)), labels, draw(wrapped))


ANSWERS = st.lists(mostly(families(), JUNK), max_size=4)


def rendered(families, format="text"):
    """Return what all of this comes to, after a check that each line is valid and no series is there twice."""
    united, _ = assemble([("", families)])
    body = Renderer(format).render(united).decode()
    for line in body.split("\n")[:-1]:
        assert LINE.fullmatch(line), line
    if format == "openmetrics":
        return body
    series = [
        (sample.name, frozenset((name, value) for name, value in sample.labels.items() if value))
        # As counters, the parser would give all series the ending _total, whether they have it or not.
        for family in text_string_to_metric_families(body.replace(" counter\n", " untyped\n"))
        for sample in family.samples
    ]
    assert len(series) == len(set(series)), body
    return body


@settings(max_examples=500, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=3))
def test_rubbish_is_left_out_and_the_rest_is_valid(answers):
    """Whatever is returned, one answer after the other, what remains of it can be parsed and has no series twice."""
    admission = Admission(20)
    for answer in answers:
        families, rejections = admission.admit(answer)
        rendered(families)
        rendered(families, "openmetrics")
        assert sum(len(family.samples) for family in families) <= 20
        assert all(len(rejection.what) < 400 for rejection in rejections)


@settings(max_examples=300, deadline=None)
@given(st.lists(families(), min_size=1, max_size=4), st.data())
def test_what_was_returned_before_changes_nothing(pool, data):
    """An answer is admitted just as it would be had there been none before."""
    admission = Admission(20)
    for _ in range(data.draw(st.integers(2, 6))):
        answer = data.draw(st.lists(st.sampled_from(pool), max_size=4))
        fresh = Admission(20).admit(answer)
        admitted = admission.admit(iter(answer) if data.draw(st.booleans()) else answer)
        assert rendered(admitted[0]) == rendered(fresh[0])
        assert admitted[1] == fresh[1]


@settings(max_examples=200, deadline=None)
@given(st.lists(families(), min_size=1, max_size=4), st.data())
def test_a_layout_that_is_filled_again_is_admitted_like_families(pool, data):
    """A collector that keeps a layout gets what it would get had it returned families, and never to be seen before."""
    answer = data.draw(st.lists(st.sampled_from(pool), max_size=4))
    try:
        layout = Layout(answer)
    except (TypeError, AttributeError):  # what is no family has no layout either
        return
    admission = Admission(20)
    for _ in range(3):
        values = data.draw(st.lists(mostly(st.floats(), NUMBERS), min_size=layout.series, max_size=layout.series))
        frame = layout.fill(values)
        admitted, fresh = admission.admit(frame), Admission(20).admit(list(frame))
        assert rendered(admitted[0]) == rendered(fresh[0])
        assert admitted[1] == fresh[1]


@settings(max_examples=300, deadline=None)
@given(st.lists(families(), min_size=1, max_size=4))
def test_what_is_sound_has_nothing_to_be_rejected(answer):
    """A layout that the quick look lets through is one to which the close look has no objection."""
    try:
        layout = Layout(answer)
    except (TypeError, AttributeError):
        return
    if is_sound(layout, 20):
        frame = layout.fill([1.0] * layout.series)
        admitted, rejections = Admission(20).admit(list(frame))
        assert rejections == []
        assert list(admitted) == list(frame)


def test_a_frame_that_is_changed_afterwards_changes_nothing():
    """The values of a frame are copied, and one that lost some of them is no answer."""
    values, admission = [1.0, 2.0], Admission(20)
    frame = Layout([Family.gauge("a", "", {("v",): 0.0, ("w",): 0.0}, ("x",))]).fill(values)
    for _ in range(2):
        admitted, _ = admission.admit(frame)
        values[0] = 5.0
        assert admitted[0].samples == {("v",): 1.0, ("w",): 2.0}
        values[0] = 1.0
    values.pop()
    with pytest.raises(ValueError, match="expected 2 values"):
        admission.admit(frame)


def test_families_that_are_united_keep_their_own_values():
    """A layout in which one name comes twice is put in order each time."""
    parts = [
        Family.gauge("a", "", {("v",): 0.0}, ("x",)),
        Family.gauge("b", "", 0.0),
        Family.gauge("a", "", {("w",): 0.0}, ("x",)),
    ]
    layout, admission = Layout(parts), Admission(20)
    for offset in (0.0, 10.0):
        admitted, _ = admission.admit(layout.fill([1.0 + offset, 2.0 + offset, 3.0 + offset]))
        assert admitted == [
            Family.gauge("a", "", {("v",): 1.0 + offset, ("w",): 3.0 + offset}, ("x",)),
            Family.gauge("b", "", 2.0 + offset),
        ]


GOOD = Family.gauge("good", "", 1.0)


@pytest.mark.parametrize(
    ("item", "reason", "named"),
    [
        (5, "type", "5"),
        (Family.gauge("1a", "", 1.0), "family", "1a"),
        (Family.gauge("a", None, 1.0), "family", "help"),
        (Family("a", "info", "", (), {(): 1.0}), "family", "info"),
        (Family.gauge("a", "", {"v": 1.0}, ("__x",)), "family", "__x"),
        (Family.gauge("a", "", {"v": 1.0}, ("a-b",)), "family", "a-b"),
        (Family.gauge("a", "", {("v", "w"): 1.0}, ("x", "x")), "family", "'x', 'x'"),
        (Family.histogram("a", "", {"v": Histogram((), 0.0, 0.0)}, ("le",)), "family", "le"),
        (Family.summary("a", "", {"v": Summary((), 0.0, 0.0)}, ("quantile",)), "family", "quantile"),
        (Family.gauge("a", "", {("v", "w"): 1.0}, ("x",)), "labels", "'v', 'w'"),
        (Family("a", "gauge", "", ("x", "y"), {"vw": 1.0}), "labels", "vw"),
        (Family.gauge("a", "", {(5,): 1.0}, ("x",)), "labels", "5"),
        (Family("a", "gauge", "", (), "1"), "family", "a"),
        (Family("a", "gauge", "", (), None), "family", "a"),
        (Family.gauge("a", "", {("v",): "1"}, ("x",)), "value", "'1'"),
        (Family.gauge("a", "", {(): None}), "value", "None"),
        (Family.gauge("a", "", 10**400), "value", "too large"),
        (Family.gauge("a", "", {(): Number(RuntimeError("broken"))}), "value", "broken"),
        (Family.gauge("a", "", {(): Mute()}), "value", "Mute"),
        (Family.gauge("a", "", {(): Summary((), 0.0, 0.0)}), "value", "Summary"),
        (Family.histogram("a", "", {(): 1.0}), "value", "Histogram"),
        (Family.histogram("a", "", Histogram(((2.0, 1.0), (1.0, 1.0)), 1.0, 1.0)), "value", "ascend"),
        (Family.histogram("a", "", Histogram(((nan, 1.0), (nan, 1.0)), 1.0, 1.0)), "value", "ascend"),
        (Family.histogram("a", "", Histogram(((nan, 1.0),), 1.0, 1.0)), "value", "ascend"),
        (Family.histogram("a", "", Histogram(((1.0,),), 1.0, 1.0)), "value", "1.0"),
    ],
)
def test_what_is_left_out_is_named(item, reason, named):
    """The rejection says what was wrong, and all else that was returned is shown."""
    families, rejections = Admission(20).admit([item, GOOD])
    assert families == [GOOD]
    assert [rejection.reason for rejection in rejections] == [reason]
    assert named in rejections[0].what


@pytest.mark.parametrize("value", [1, True, Decimal(1), Number(1.0)], ids=lambda value: type(value).__name__)
def test_numbers_of_other_types_become_floats(value):
    """Integers, decimals and the numbers of numeric libraries are taken for what they are worth."""
    families, rejections = Admission(20).admit([Family.gauge("a", "", {(): value})])
    assert rejections == []
    assert type(families[0].samples[()]) is float
    assert families[0].samples[()] == 1.0


@pytest.mark.parametrize(
    ("value", "shown"), [(b"caf\xc3\xa9", "café"), (b"\xff", "�"), ("\udcff", "�"), ("a\ud800é", "a�é"), (None, None)]
)
def test_label_values_become_utf_8(value, shown):
    """Bytes are read as UTF-8, and what cannot be written as UTF-8 is replaced."""
    families, rejections = Admission(20).admit([Family.gauge("a", "", {(value,): 1.0}, ("x",))])
    assert rejections == []
    assert list(families[0].samples) == [(shown,)]


def test_texts_of_other_types_are_shown_by_their_value():
    """A member of an enumeration of texts is its value, however it prints itself, each time it is returned."""
    family = Family(Colour.RED, "gauge", Colour.RED, (Colour.RED,), {(Colour.RED,): 1.0})
    admission = Admission(20)
    for _ in range(3):
        assert rendered(admission.admit([family])[0]) == '# HELP red red\n# TYPE red gauge\nred{red="red"} 1.0\n'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Family.gauge("a", "", {("",): 1.0}, ("x",)), Family.gauge("a", "", {(None,): 2.0}, ("x",))),
        (Family.gauge("a", "", 1.0), Family.gauge("a", "", {("",): 2.0}, ("x",))),
        (Family.gauge("a", "", {("", "v"): 1.0}, ("x", "y")), Family.gauge("a", "", {("v", ""): 2.0}, ("y", "z"))),
        (Family.gauge("a", "", {("v", None): 1.0}, ("x", "y")), Family.gauge("a", "", {("v",): 2.0}, ("x",))),
    ],
)
def test_an_empty_label_is_no_label(first, second):
    """To Prometheus both are the same series, so the first is shown, and the second named."""
    families, rejections = Admission(20).admit([first, second])
    assert [list(family.samples.values()) for family in families] == [[1.0]]
    assert [rejection.reason for rejection in rejections] == ["duplicate"]


@pytest.mark.parametrize("warm", [False, True], ids=["at first", "again"])
def test_what_a_plugin_changes_afterwards_changes_nothing(warm):
    """What was admitted is a copy, however often the same was returned before."""
    family = Family.gauge("a", "Before.", {("v",): 1.0}, ("x",))
    answer = [family]
    admission = Admission(20)
    if warm:
        admission.admit(answer)
    admitted, _ = admission.admit(answer)
    family.samples[("w",)] = family.samples[("v",)] = 2.0
    family.name, family.help, family.label_names = "b", "After.", ("y",)
    answer.clear()
    assert admitted == [Family.gauge("a", "Before.", {("v",): 1.0}, ("x",))]


def test_a_million_series_are_cut_off_at_the_budget():
    """The first ones are shown, and the family is named."""
    samples = {(f"{index}",): 1.0 for index in range(1_000_000)}
    families, rejections = Admission(20_000).admit([GOOD, Family.gauge("big", "", samples, ("x",)), GOOD])
    assert [len(family.samples) for family in families] == [1, 19_999]
    assert ("19999",) not in families[1].samples
    assert [(rejection.reason, rejection.subject) for rejection in rejections] == [("max_series", "big")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("hello", "'hello', of type str: expected a list or an iterator of Family"),
        (b"hello", "b'hello', of type bytes: expected a list or an iterator of Family"),
        ({"a": 1.0}, "{'a': 1.0}, of type dict: expected a list or an iterator of Family"),
        (5, "5, of type int: expected a list or an iterator of Family"),
        (None, "None, of type NoneType: expected a list or an iterator of Family"),
        (GOOD, f"{short(GOOD)}, of type Family: put it into a list"),
        (GaugeMetricFamily("a", "A."), "Metric(a, A., gauge, , []), of type GaugeMetricFamily: put it into a list"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_answer_that_is_no_list_is_a_failure(answer, said):
    """A text or a mapping can be iterated, too, but is no answer: it is a failure, not a success without series. What
    was returned is shown, and what is to be returned, without a place in agentd's own code.
    """
    with pytest.raises(TypeError) as caught:
        Admission(20).admit(answer)
    assert described(caught.value) == f"returned {said}"


def test_buckets_count_as_the_series_that_they_are():
    """A histogram of many buckets is over the budget as so many samples are, and is left out whole."""
    many = Histogram(tuple((float(bound), 1.0) for bound in range(50)), 1.0, 1.0)
    few = Histogram(((1.0, 1.0),), 1.0, 1.0)
    families, rejections = Admission(20).admit([Family.histogram("a", "", {"x": many, "y": few}, ("l",)), GOOD])
    assert families == [Family.histogram("a", "", {"y": few}, ("l",)), GOOD]
    assert [(rejection.reason, rejection.subject) for rejection in rejections] == [("max_series", "a")]


def test_a_budget_that_is_just_enough_is_enough():
    """As many series as there may be are no reason to complain."""
    families, rejections = Admission(2).admit([GOOD, Family.gauge("a", "", 1.0)])
    assert (len(families), rejections) == (2, [])


@pytest.mark.parametrize("budget", [1, 50, 20_000])
@pytest.mark.parametrize(
    "item",
    [
        GOOD,
        5,
        Family.gauge("1a", "", 1.0),
        Family.gauge("empty", "", {}),
        Family.gauge("a", "", {(f"{index}",): "bad" for index in range(30)}, ("x",)),
        Family.gauge("a", "", {f"{index}": 1.0 for index in range(30)}, ("x",)),
    ],
    ids=["the same", "no family", "bad name", "empty", "bad values", "some"],
)
def test_a_collector_that_never_ends_is_ended(item, budget):
    """However little comes of what it yields, reading stops, and the reason is given."""
    read = 0

    def endless():
        nonlocal read
        for read in itertools.count(1):
            assert read < 100_000, "read too far"
            yield item

    families, rejections = Admission(budget).admit(endless())
    assert sum(len(family.samples) for family in families) <= budget
    assert {"max_series", "empty"} & {rejection.reason for rejection in rejections}
    assert read <= budget + 1001


def test_what_iterating_raises_is_passed_on():
    """A generator that fails half-way is a failed collector, not half an answer."""

    def broken():
        yield GOOD
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        Admission(20).admit(broken())


@settings(max_examples=30, deadline=None)
@given(st.permutations([("x", "1"), ("y", "2"), ("z", None)]), st.permutations([("x", "3"), ("y", "4"), ("z", "5")]))
def test_families_of_one_name_are_united(one, two):
    """Parts of a family may come with their labels in any order, and with more or fewer of them."""
    parts = [
        Family.gauge("a", "", {tuple(value for _, value in part): 1.0}, tuple(name for name, _ in part))
        for part in (one, two)
    ]
    families, rejections = Admission(20).admit([*parts, Family.gauge("a", "", 1.0)])
    assert rejections == []
    names = families[0].label_names
    shown = [{name: value for name, value in zip(names, key, strict=True) if value} for key in families[0].samples]
    assert shown == [{"x": "1", "y": "2"}, {"x": "3", "y": "4", "z": "5"}, {}]
