"""What was put together is kept as long as somebody asks for it."""

from hypothesis import given
from hypothesis import strategies as st

from agentd.metrics.recent import Recent


def test_what_is_asked_for_stays_and_the_rest_goes():
    """One that was not asked for among the last lookups is not in memory any more."""
    recent = Recent(10, 4)
    recent.put("gone", 1)
    recent.put("here", 2)
    for _ in range(8):
        assert recent.get("here") == 2
    assert list(recent) == [2]
    assert recent.get("gone") is None


def test_the_one_that_was_not_asked_for_longest_makes_room():
    """There are never more than so many, and those asked for last stay."""
    recent = Recent(2, 100)
    recent.put("a", 1)
    recent.get("x")
    recent.put("b", 2)
    recent.get("a")
    recent.put("c", 3)
    assert sorted(recent) == [1, 3]
    recent.clear()
    assert list(recent) == []
    assert recent.get("a") is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_it_never_answers_with_another_value(steps):
    """Whatever comes in which order, what is answered is what was put last under that key; there are never too many."""
    recent, all_of_them = Recent(3, 4), {}
    for number, (puts, key) in enumerate(steps):
        if puts:
            assert recent.put(key, number + 1) == number + 1
            all_of_them[key] = number + 1
        else:
            assert recent.get(key) in (None, all_of_them.get(key))
        assert len(list(recent)) <= 3
