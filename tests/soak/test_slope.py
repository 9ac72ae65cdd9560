"""The slope by which the soak judges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .slope import theil_sen

small = st.integers(-1000, 1000)


@settings(max_examples=100, deadline=None)
@given(first=small, step=small, count=st.integers(2, 40))
def test_a_line_has_its_slope(first, step, count):
    """What grows by the same each time has just that slope."""
    assert theil_sen([first + step * place for place in range(count)]) == step


@settings(max_examples=100, deadline=None)
@given(step=small, strange=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=3), data=st.data())
def test_a_few_strange_values_do_not_matter(step, strange, data):
    """Three of twenty values may be anything, the last included, and the slope stays between those of the others."""
    values = [float(step * place) for place in range(20)]
    for value in strange:
        values[data.draw(st.integers(0, 19))] = value
    assert theil_sen(values) == pytest.approx(step)


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        ([], 0.0),
        ([5.0], 0.0),
        ([7, 7, 7, 7, 90], 0.0),  # one large measurement at the end
        ([10, 14, 10, 14, 10, 14], 0.0),  # to and fro
        ([10, 20, 30, 30, 30, 30, 30, 30], 0.0),  # grows at first, and is flat then
        ([10, 10, 11, 11, 12, 12, 13, 13], 0.5),
    ],
)
def test_examples(values, slope):
    """A slope is what goes on, neither what was once nor what is at the end."""
    assert theil_sen(values) == slope
