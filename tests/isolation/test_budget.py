"""The budget of CPU time: pure, so its promise can be tried on any usage."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.isolation.keeper import BURST, CpuBudget


@given(st.floats(0.01, 4.0), st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.0, 1.0)), max_size=50))
@settings(max_examples=100, deadline=None)
def test_no_more_is_used_than_the_share_and_what_was_saved(share, steps):
    """Whoever is halted for as long as it says uses on the average no more than its share, after the first burst, and
    but for what was used since the last look.
    """
    budget, now, used, last = CpuBudget(share, 0.0), 0.0, 0.0, 0.0
    for seconds, part in steps:
        now += seconds
        last = seconds * part * 4  # on several CPUs
        used += last
        now += budget.pause(used, now)
        assert used <= share * (now + BURST) * (1 + 1e-9) + 1e-6


def test_one_that_uses_less_is_never_halted():
    """Using half of its share, nobody is halted."""
    budget = CpuBudget(0.1, 0.0)
    assert [budget.pause(0.05 * now, float(now)) for now in range(1, 100)] == [0.0] * 99
