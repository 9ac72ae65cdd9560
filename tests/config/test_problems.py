"""How problems read, and how values and types are put into words."""

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.problems import ConfigError, Origin, Problem, dotted, suggest
from agentd.config.spelling import found, key, toml
from agentd.config.wording import arms, example, expected, mentions_secret, words
from agentd.metrics.rules import Rule
from agentd.options import Config, Duration, Regex, Secret, Size, Url


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(Origin("/a.toml", 3), "web.listen", "wrong"), "/a.toml:3: web.listen: wrong"),
        (Problem(Origin("--listen"), "web.listen", "wrong"), "--listen: web.listen: wrong"),
        (Problem(Origin("/a.toml"), "", "no such file"), "/a.toml: no such file"),
        (Problem(None, "exporters.x.url", "required"), "exporters.x.url: required"),
    ],
)
def test_a_problem_names_place_key_and_what_is_wrong(problem, text):
    """What is not known is left out, without a stray colon."""
    assert str(problem) == text


def test_an_error_has_a_line_for_each_problem():
    """The exception's text is all its problems."""
    problems = (Problem(None, "a", "x"), Problem(None, "b", "y"))
    assert str(ConfigError(problems)) == "a: x\nb: y"
    assert ConfigError(iter(problems)).problems == problems


def test_paths_are_written_as_in_toml():
    """Indexes stand in brackets, odd keys in quotes."""
    assert dotted(("exporters", "prometheus", "rules", "0", "action")) == "exporters.prometheus.rules[0].action"
    assert dotted(("collectors", "odd name")) == 'collectors."odd name"'


def test_suggestions():
    """A near name is suggested, a far one is not."""
    assert suggest("colector", ["collectors", "exporters"]) == '. Did you mean "collectors"?'
    assert suggest("zzz", ["collectors", "exporters"]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (15, "15"),
        (1.5, "1.5"),
        (float("inf"), "inf"),
        ("a", '"a"'),
        ('say "a"\\', "'say \"a\"\\'"),
        ("it's\n\x7f\\", '"it\'s\\n\\u007f\\\\"'),
        (Duration(90), '"90s"'),
        (Size(2048), '"2KiB"'),
        (Regex(r"^\d"), r"'^\d'"),
        (Secret("hunter2"), '"***"'),
        (Url("redis://me:hunter2@host:1/0"), '"redis://me:***@host:1/0"'),
        (["a", 1], '["a", 1]'),
        ({"b", "a"}, '["a", "b"]'),
        ({"a b": {"c": 1}}, '{ "a b" = { c = 1 } }'),
        ({}, "{}"),
        (date(2024, 1, 2), "2024-01-02"),
        (Rule(action="drop"), '{ action = "drop", name = ".*", labels = {}, to = "" }'),
    ],
)
def test_values_in_toml(value, text):
    """Each value is spelled as a configuration file has it, secrets and passwords hidden."""
    assert toml(value) == text


def test_what_was_found_is_short_and_tells_nothing_of_tables():
    """Long values are cut at 60 characters; a table may hold anything, so only that it is one is said."""
    assert found("x" * 100) == '"' + "x" * 56 + "..."
    assert found({"password": "hunter2"}) == "a table"
    assert found([{"password": "hunter2"}]) == "[{ ... }]"
    assert found("http://me:hunter2@host/") == '"http://me:***@host/"'


TREES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), TREES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_again(name, value):
    """Any key and value come back from the parser as they were, where no URL has a password."""
    text = f"{key(name)} = {toml(value)}"
    if "***" not in text:
        assert tomli.loads(text) == {name: value}


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Duration, "duration"),
        (Size | None, "size"),
        (Regex, "regular expression"),
        (Url, "URL"),
        (Secret, "secret"),
        (bool, "true or false"),
        (Literal["a", "b"], 'one of "a", "b"'),
        (list[str], "list of strings"),
        (list[list[Duration]], "list of lists of durations"),
        (dict[str, Size], "table of sizes"),
        (list[Literal[1, 2]], "list of values, each one of 1, 2"),
        (list[bool], "list of values, each true or false"),
        (list[Rule], "list of tables"),
        (frozenset[int], "list of whole numbers"),
        (list, "list"),
        (Annotated[int, msgspec.Meta(ge=1, le=9)], "whole number, at least 1, at most 9"),
        (list[Annotated[int, msgspec.Meta(ge=1, le=9)]], "list of whole numbers (each at least 1, at most 9)"),
        (
            Annotated[list[Annotated[str, msgspec.Meta(min_length=2)]], msgspec.Meta(min_length=1)],
            "list of strings (each of length 2 or more), of length 1 or more",
        ),
        (list[list[Annotated[str, msgspec.Meta(min_length=2)]]], "list of lists of strings (each of length 2 or more)"),
        (dict[str, Annotated[int, msgspec.Meta(ge=1)]], "table of whole numbers (each at least 1)"),
        (list[int | str], "list of whole numbers or strings"),
        (Annotated[list[str], msgspec.Meta(min_length=1)], "list of strings, of length 1 or more"),
        (int | list[int], "whole number or list of whole numbers"),
        (Any, "value"),
    ],
)
def test_types_in_words(type_, text):
    """The words for a type are those that an error and the reference use."""
    assert words(type_) == text


def test_expectations_have_their_article():
    """Choices have none, everything else has one."""
    assert expected(Duration) == "expected a duration"
    assert expected(bool) == "expected true or false"
    assert expected(Literal["a"]) == 'expected one of "a"'


class Table(Config):
    size: Annotated[Size | None, msgspec.Meta(examples=["1GiB"])]
    words: set[str]
    level: Literal["low", "high"]
    number: Annotated[int, msgspec.Meta(ge=5)]
    ratio: float
    on: bool
    rules: list[Rule]
    texts: dict[str, Url]
    after: str = ""


def test_examples_are_values_of_their_type():
    """An example of a whole table parses, with the examples that its fields name themselves, and without the rest."""
    assert tomli.loads(f"x = {example(Table)}")["x"] == {
        "size": "1GiB",
        "words": ["text"],
        "level": "low",
        "number": 5,
        "ratio": 1.0,
        "on": True,
        "rules": [{"action": "keep"}],
        "texts": {"name": "http://localhost:8080/"},
    }


def test_alternatives_of_a_type():
    """None is no alternative, as TOML cannot say it; what Annotated adds is kept for each."""
    meta = msgspec.Meta(ge=1)
    assert arms(int | None) == (int,)
    assert arms(Annotated[int | None, meta]) == (Annotated[int, meta],)
    assert arms(str) == (str,)


def test_where_secrets_may_stand():
    """A secret is found inside of lists, tables and alternatives."""
    assert all(map(mentions_secret, (Secret, Secret | None, list[Secret], dict[str, list[Secret]])))
    assert not any(map(mentions_secret, (str, list[str], dict[str, Url], Regex | None)))
