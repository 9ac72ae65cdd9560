"""Patterns of types and sources, and which of them could never match."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.patterns import wrong
from agentd.events.envelope import TYPE


@pytest.mark.parametrize("pattern", ["*", "a", "telemetry.*", "*.failed", "a?c.[a-z]*", "[!a-z].b", "x_y-z.1"])
def test_what_an_event_can_match(pattern):
    """A pattern of words, with what stands for others in them, is right."""
    assert list(wrong([pattern], ["*"])) == []


@pytest.mark.parametrize(
    "pattern",
    ["", " ", "a b", " a", "a\n", "a,b", "{a,b}", "a..b", ".a", "a.", "a/b", "grün.*", "!a.*", "a[", "[]", "^a$"],
)
def test_what_no_event_can_match(pattern):
    """Nothing, blanks, empty words and characters that no type has are told with their place in the list."""
    [(where, message)] = wrong(["a.*", pattern], ["*"])
    assert where == ("events", "1")
    assert message.startswith("expected letters, digits")


@pytest.mark.parametrize("pattern", ["", " ", " a", "a\t", "a\0b"])
def test_what_no_source_can_match(pattern):
    """Of a source, which may have any printable character, it is nothing, blanks around it, and what cannot be seen."""
    [(where, message)] = wrong(["*"], [pattern])
    assert where == ("sources", "0")
    assert message.startswith("expected printable characters")
    assert list(wrong(["*"], ["dock door 7", "größe/*"])) == []


def test_none_at_all():
    """A list without patterns would send nothing."""
    assert [where for where, _ in wrong([], [])] == [("events",), ("sources",)]


@settings(max_examples=100, deadline=None)
@given(st.from_regex(TYPE, fullmatch=True), st.data())
def test_whatever_matches_a_type_is_right(type_, data):
    """A type with any of its characters replaced by what stands for them still is a pattern that it matches."""
    characters = list(type_)
    for place in data.draw(st.sets(st.sampled_from(range(len(characters))))):
        if characters[place] != ".":
            characters[place] = data.draw(st.sampled_from(["?", "*", f"[{characters[place]}]"]))
    pattern = "".join(characters)
    assert fnmatchcase(type_, pattern)
    assert list(wrong([pattern], ["*"])) == []
