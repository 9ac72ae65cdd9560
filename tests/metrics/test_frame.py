"""Answers in columns."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics.frame import EMPTY, Frame, Layout
from agentd.plugin import Family

FAMILIES = [
    Family.gauge("temperature_celsius", "Temperature.", {("a", None): 1.0, ("b", ""): 2.0}, ("sensor", "place")),
    Family.counter("turns_total", "Turns.", 3.0),
]


def test_a_filled_layout_is_the_families_with_other_values():
    """To who looks at it, a frame is a sequence of families: the layout's, with the values that it was filled with."""
    frame = Layout(FAMILIES).fill([10.0, 20.0, 30.0])
    assert [family.name for family in frame] == ["temperature_celsius", "turns_total"]
    assert frame[0].samples == {("a", None): 10.0, ("b", ""): 20.0}
    assert frame[1:] == [Family.counter("turns_total", "Turns.", 30.0)]
    assert (len(frame), frame.layout.series) == (2, 3)


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_another_number_of_values_is_refused(values):
    """A value too few or too many would give numbers to the wrong samples."""
    with pytest.raises(ValueError, match=f"expected 3 values, one for each sample, found {len(values)}"):
        Layout(FAMILIES).fill(values)


def test_frames_compare_as_the_families_that_they_are():
    """A frame equals a list of equal families, whatever its layout, and nothing else."""
    frame = Frame.of(FAMILIES)
    assert frame == FAMILIES == list(frame)
    assert frame == Layout(FAMILIES).fill([1.0, 2.0, 3.0])
    assert frame != Layout(FAMILIES).fill([1.0, 2.0, 4.0])
    assert frame != 5
    assert repr(frame) == "<Frame: 3 samples of 2 families>"


def test_the_empty_frame_has_nothing():
    """The answer without families is an empty sequence."""
    assert (list(EMPTY), len(EMPTY), EMPTY.layout.series) == ([], 0, 0)


def test_a_layout_follows_no_change_of_what_it_was_made_from():
    """Who goes on changing the families that a layout was made from does not change the layout."""
    family = Family.gauge("a", "", {("x",): 1.0}, ("l",))
    layout = Layout([family])
    family.samples["y",] = 2.0
    family.name = "b"
    assert layout.fill([5.0]) == [Family.gauge("a", "", {("x",): 5.0}, ("l",))]


KEYS = st.lists(st.tuples(st.sampled_from("abc")), unique=True, max_size=3)
ANSWERS = st.lists(st.tuples(st.sampled_from(["m", "n"]), KEYS), max_size=3)


@settings(max_examples=200, deadline=None)
@given(one=ANSWERS, two=ANSWERS)
def test_values_are_given_for_what_has_the_layout_alone(one, two):
    """Families have a layout exactly where they differ from its own in nothing but numbers, order included."""
    first, second = ([Family.gauge(n, "", dict.fromkeys(keys, 1.0), ("l",)) for n, keys in each] for each in (one, two))
    alike = [(f.name, list(f.samples)) for f in first] == [(f.name, list(f.samples)) for f in second]
    values = Layout(first).values(second)
    assert (values is not None) == alike
    if values is not None:
        assert Layout(first).fill(values) == second
