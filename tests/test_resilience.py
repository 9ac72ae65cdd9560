"""Backing off, breaking the circuit and limiting the rate, with the time handed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.resilience import Backoff, CircuitBreaker, RateLimiter


def test_waits_double_up_to_the_longest():
    """Each wait may be twice as long as the one before, up to the longest, and begins anew after a success."""
    backoff = Backoff(0.5, 60.0, spread=lambda low, high: high)
    assert [backoff.next() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    for _ in range(2000):
        assert backoff.next() == 60
    backoff.reset()
    assert backoff.next() == 0.5


def test_waits_are_spread():
    """Many who fail at once come back at different moments, none later than the longest."""
    waits = [Backoff(10.0, 60.0).next() for _ in range(200)]
    assert len(set(waits)) > 190
    assert all(0 <= wait <= 10 for wait in waits)


def test_the_life_of_a_circuit():
    """It opens after failures in a row, is half open after its time, then closes or opens for twice as long."""
    breaker = CircuitBreaker(3, 5.0, 15.0)
    breaker.failed(0.0)
    breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(1.0)
        assert breaker.state(1.0) == "closed"
        assert breaker.wait(1.0) == 0.0
    breaker.failed(1.0)
    assert (breaker.state(1.0), breaker.wait(1.0), breaker.state(5.9)) == ("open", 5.0, "open")
    assert (breaker.state(6.0), breaker.wait(6.0)) == ("half open", 0.0)
    breaker.failed(6.0)
    assert (breaker.state(15.9), breaker.state(16.0)) == ("open", "half open")
    breaker.failed(16.0)
    assert breaker.wait(16.0) == 15.0
    for _ in range(2000):
        breaker.failed(16.0)
    assert breaker.wait(16.0) == 15.0
    breaker.succeeded()
    assert breaker.state(16.0) == "closed"
    breaker.failed(17.0)
    assert breaker.state(17.0) == "closed"


@given(st.floats(0.1, 1000), st.lists(st.tuples(st.integers(1, 50), st.floats(0, 5)), max_size=40))
def test_the_rate_is_kept(rate, steps):
    """Whoever waits as long as he is told takes at most the rate, and that of one second at once before."""
    limiter, now, taken = RateLimiter(rate, 0.0), 0.0, 0
    for number, pause in steps:
        now += pause
        now += limiter.take(number, now)
        taken += number
        assert taken <= max(1.0, rate) + rate * now + 1e-6 * taken


def test_what_is_unused_is_lost():
    """After an hour of silence there are the permissions of a second; what is more is a debt."""
    limiter = RateLimiter(2.0, 0.0)
    assert limiter.take(2, 3600.0) == 0.0
    assert limiter.take(3, 3600.0) == pytest.approx(1.5)
    assert limiter.take(1, 3601.5) == pytest.approx(0.5)
