"""Robots that spell a field in ever other ways, and texts that change: what is kept is bounded, and right."""

from itertools import product

import pytest

from agentd_plugins.collectors.robots import lexicon
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.meaning import meaning
from agentd_plugins.collectors.robots.readings import Readings

BUDGET = 10


def readings():
    """Return the readings of a robot, and what it was told about."""
    told = []
    return Readings("amr-7", BUDGET, Lexicon(meaning), lambda rule, _field: told.append(rule), lambda: None), told


def spellings(word, number):
    """Return so many ways to write a word in capitals and small letters."""
    ways = map("".join, product(*zip(word.lower(), word.upper(), strict=True)))
    return [way for way, _ in zip(dict.fromkeys(ways), range(number), strict=False)]


def test_numbers_in_many_spellings(monkeypatch):
    """Fields that mean one series take no room of the robot's, and what all robots share of them is bounded."""
    monkeypatch.setattr(lexicon, "MOST", 2 * BUDGET)
    kept, told = readings()
    for number, field in enumerate(spellings("battery_level", 100)):
        kept.apply({field: number}, 1.0 + number, live=True)
        assert len(kept.lexicon._senses) <= 2 * BUDGET
        assert len(kept.lexicon._shapes) <= 2 * BUDGET
    assert len(kept.series) == 1
    assert next(iter(kept.series.values())).value == pytest.approx(0.99)
    assert told == []


def test_what_a_frame_means_is_not_taken_from_one_of_another_form():
    """A field with an object in it, and the same field with a number, are two fields."""
    kept, _ = readings()
    kept.apply({"a": {"b": 1}}, 1.0, live=True)
    kept.apply({"a": 2}, 2.0, live=True)
    assert {key[1]: series.value for key, series in kept.series.items()} == {("a.b",): 1.0, ("a",): 2.0}


def test_texts_in_many_spellings():
    """A text is one of its field's, however the field is written: one series is 1, and nothing else grows."""
    kept, _ = readings()
    for number, field in enumerate(spellings("state", 32)):
        kept.apply({field: "idle" if number % 2 else "driving"}, 1.0 + number, live=True)
    assert len(kept._texts) == 1
    assert {key[1]: series.value for key, series in kept.series.items()} == {("idle",): 1.0, ("driving",): 0.0}
