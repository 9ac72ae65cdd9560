"""Errors of plugins in one line, for those who write them."""

import json

import pytest

from agentd.errors import AnswerError, ToldError, described
from agentd.plugin import Duration, gauge


def caught(function):
    """Return what a function raises."""
    with pytest.raises((ValueError, TypeError, ToldError)) as info:
        function()
    return info.value


@pytest.mark.parametrize(
    "function",
    [
        lambda: int("x"),
        lambda: json.loads("{"),  # raised in Python's own library
        lambda: Duration("10"),  # raised in agentd
        lambda: gauge("a", "A.")(object()),  # raised in agentd
    ],
)
def test_the_place_is_in_the_code_of_whoever_wrote_the_plugin(function):
    """Where agentd or Python's library refuses what it was given, the line that gave it is shown."""
    line = function.__code__.co_firstlineno
    assert described(caught(function)).endswith(f" (at {__file__}:{line})")


def test_a_fault_of_agentd_shows_its_place():
    """An error that came through no code but agentd's names the file of agentd, for whoever reports it."""
    error = caught(lambda: Duration("10"))
    while "agentd/options.py" not in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next
    assert "agentd/options.py:" in described(error)


@pytest.mark.parametrize("error", [AnswerError("returned 5"), ToldError("OSError: no port (at x.py:3)")])
def test_what_has_said_all_has_no_place(error):
    """What a plugin returned was not raised in its code, and what another process tells has its place already."""

    def work():
        raise error

    assert described(caught(work)) == str(error)
