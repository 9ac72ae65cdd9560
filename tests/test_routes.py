"""Who may do what."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.routes import Principal, Scope


def robot(*patterns, scopes=(Scope.ROBOTS_WRITE,)):
    """Return a principal that may write as these robots."""
    return Principal("somebody", frozenset(scopes), patterns)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("r1", ["r1"], ["R1", "r11", "r", "", "xr1", "r1\n"]),
        ("hall-*", ["hall-", "hall-3", "hall-3/r\n1"], ["hall", "Hall-3", "xhall-3"]),
        ("r?", ["r1", "rr", "r?", "r\n"], ["r", "r11"]),
        ("*", ["", "anything"], []),
        ("r[12]", ["r[12]"], ["r1", "r2"]),
        ("r[!1]", ["r[!1]"], ["r2"]),
        ("[", ["["], ["[[]"]),
        (r"r\d", [r"r\d"], ["r1"]),
        ("r.1", ["r.1"], ["rx1"]),
        ("{a,b}", ["{a,b}"], ["a", "b"]),
    ],
)
def test_writes_as_robots_of_its_patterns(pattern, matching, others):
    """A star is any text, a question mark any character, and everything else is itself, capitals included."""
    principal = robot("no-robot", pattern)
    assert [text for text in matching if not principal.writes_as(text)] == []
    assert [text for text in others if principal.writes_as(text)] == []


@given(pattern=st.text("ab*?[]!-\\.", max_size=8), text=st.text("ab*?[]!-\\.\n", max_size=8))
@settings(max_examples=100, deadline=None)
def test_patterns_are_what_they_are_said_to_be(pattern, text):
    """Patterns match what a regular expression does in which all but star and question mark is quoted."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    assert robot(pattern).writes_as(text) == bool(re.fullmatch(expression, text, re.DOTALL))


def test_writing_takes_the_scope():
    """Patterns alone do not allow writing; ``admin`` may write as any robot; without patterns it is none."""
    assert not robot("*", scopes=[Scope.EVENTS_WRITE]).writes_as("r1")
    assert robot(scopes=[Scope.ADMIN]).writes_as("r1")
    assert not robot().writes_as("r1")
