"""What one robot has told last: from the fields of its frames to series, in the order of the vocabulary.

A robot sends the same fields again and again. So a frame that has the fields of the one before (its *shape*) is only a
row of numbers, each for the series that it had before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from agentd_plugins.collectors.robots import bits, derived, lists
from agentd_plugins.collectors.robots.lexicon import EMPTY, Lexicon, Sense
from agentd_plugins.collectors.robots.series import Key, Series
from agentd_plugins.collectors.robots.signals import SIGNALS, Signal
from agentd_plugins.collectors.robots.vocabulary import NO_STOP, STOPS, TEXTS

DEEPEST = 8
"""Levels that a frame's metrics may be nested."""

LONGEST = 128
"""Characters of a field's name, and of a text that becomes a label."""

STATES = 16
"""Texts of one field that become series, for a robot."""

_PLAIN = frozenset({int, float, bool})

Note = Callable[[str, str], None]
"""Told of a field that is left out or suspect: the reason in a word, and the field."""


def _nothing(_rule: str, _field: str) -> None:
    """Note nothing."""


class Readings:
    """The last values of a robot."""

    __slots__ = (
        "_derived",
        "_grew",
        "_lists",
        "_longest",
        "_note",
        "_robot",
        "_row",
        "_shape",
        "_texts",
        "_wants",
        "budget",
        "lexicon",
        "series",
    )

    def __init__(
        self,
        robot: str,
        budget: int,
        lexicon: Lexicon,
        note: Note,
        grew: Callable[[], None],
        *,
        wants: lists.Wants = bool,
        longest: float = 30.0,
    ) -> None:
        """``wants`` says of which names diagnostics are shown; values more than ``longest`` seconds apart do not belong
        together.
        """
        self.series: dict[Key, Series] = {}
        """By metric and labels."""
        self.budget = budget
        self.lexicon = lexicon
        self._grew = grew
        self._robot = robot
        self._note = note
        self._wants = wants
        self._texts: dict[str, list[Series]] = {}
        self._lists: lists.Lists | None = None
        self._shape = EMPTY
        self._row: list[Series] = []
        """The series of its numbers."""
        self._longest = longest
        self._derived: tuple[derived.Recipe, ...] = ()
        """What follows from other values."""

    def end(self) -> None:
        """Note nothing any more. A robot that is forgotten goes at once by this: it would refer to itself otherwise,
        and wait for the garbage collector, which does not look at what is old.
        """
        self._note, self._derived = _nothing, ()

    def apply(self, metrics: Mapping[str, Any], stamp: float, *, live: bool, numbered: bool = True) -> bool:
        """Take over what a frame says, measured at a moment; return whether any of it was too late.

        What a live frame says is newer than all before. Anything else does not take the place of what a live frame
        said at a later moment, nor what has no number (a frame that was posted) of anything measured later.
        """
        values: Sequence[Any]
        late, grew = False, False
        senses: Sequence[Sense]
        if list(metrics) == self._shape.fields and _PLAIN.issuperset(map(type, metrics.values())):
            values, senses, row = list(metrics.values()), self._shape.senses, self._row
        else:
            before = len(self.series)
            values, senses, row, late = self._understood(metrics, stamp, live=live)
            grew = len(self.series) > before
        note, unnumbered = self._note, not numbered
        for sense, series, raw in zip(senses, row, values, strict=True):
            if live:
                series.live = stamp
            elif series.live > stamp or (unnumbered and series.stamp > stamp):
                late = True
                continue
            if sense.special and raw in sense.special:
                meant = sense.special[raw]
                if meant is None:
                    series.stamp = 0.0
                    continue
                value = meant
            else:
                try:
                    value = raw * sense.scale
                except OverflowError:  # a whole number that is too large for a double
                    value = inf
            if not sense.low <= value <= sense.high:
                # Said, and not repaired: nobody knows what was meant. Without a limit of its own it is not finite.
                note("range", sense.field)
                if not isfinite(value):
                    series.stamp = 0.0
                    continue
            series.raw = raw
            series.value = value
            series.stamp = stamp
        if grew or self._derived:
            self._derive(anew=grew)
        return late

    def drop(self) -> None:
        """Drop all values but the agent's counters, and how the fields were understood: the robot tells both again."""
        self.series = {key: series for key, series in self.series.items() if _is_counted(series)}
        self._texts, self._shape, self._row, self._derived = {}, EMPTY, [], ()
        self._grew()

    def _derive(self, *, anew: bool) -> None:
        """Find what follows from the values now, where there are new ones also what that may be."""
        if anew:
            own = derived.recipes(self.series, self._labelled, self._derived)
            self._derived = (*own, *bits.recipes(self.series, self._labelled))
        for recipe in self._derived:
            recipe.take(self._longest)

    def _understood(
        self, metrics: Mapping[str, Any], stamp: float, *, live: bool
    ) -> tuple[list[Any], list[Sense], list[Series], bool]:
        """Return the numbers of a frame, what they mean and their series, and learn its shape where it is a plain one.

        What is no number is taken at once; the last of what is returned says whether any of it was too late.
        """
        values: list[Any] = []
        senses: list[Sense] = []
        row: list[Series] = []
        plain, late = True, False
        for field, raw in flattened(metrics):
            if type(raw) not in _PLAIN:
                plain = False
                late |= self._take_other(field, raw, stamp, live=live)
                continue
            if len(field) > LONGEST:
                self._note("name", field[:LONGEST])
                plain = False
                continue
            sense = self.lexicon.sense(field)
            series = self._series(sense)
            if series is None:
                plain = False
                continue
            values.append(raw)
            senses.append(sense)
            row.append(series)
        if plain and [sense.field for sense in senses] == list(metrics):
            self._shape, self._row = self.lexicon.shape(senses), row
        return values, senses, row, late

    def _series(self, sense: Sense) -> Series | None:
        """Return the series of what a field means, or None where there is no room for one more."""
        return self.series.get(sense.key) or self._new(sense.signal, sense.key, sense.field)

    def _new(self, signal: Signal, key: Key, field: str) -> Series | None:
        if len(self.series) >= self.budget:
            self._note("budget", field)
            return None
        series = self.series[key] = Series(signal, (self._robot, *key[1]), field)
        self._grew()
        return series

    def _labelled(self, name: str, labels: tuple[str | None, ...], field: str) -> Series | None:
        """Return the series of a metric of the vocabulary, or None where there is no room for one more."""
        signal = SIGNALS[name]
        key = (signal.name, labels)
        return self.series.get(key) or self._new(signal, key, field)

    def _take_other(self, field: str, raw: Any, stamp: float, *, live: bool) -> bool:
        """Take a text that is one out of a few; all else that is no number is counted, and not guessed.

        Return whether it was too late.
        """
        name = TEXTS.get(field.lower())
        if raw is None:  # a robot that does not know a value may say so
            series = self.series.get(self.lexicon.sense(field).key) if len(field) <= LONGEST else None
            known = [series] if series is not None else self._texts.get(name or "", [])
            if not _in_time(known, stamp, live=live):
                return True
            for series in known:
                series.stamp = 0.0
            return False
        if isinstance(raw, list) and field.lower() in lists.FIELDS:
            self._take_list(field, raw, stamp, live=live)
            return False
        if name is None or not isinstance(raw, str) or len(raw) > LONGEST:
            self._note("text" if isinstance(raw, str) else "type", field)
            return False
        return self._take_text(name, field, raw, stamp, live=live)

    def _take_text(self, name: str, field: str, raw: str, stamp: float, *, live: bool) -> bool:
        """Take the one of a few texts that a field has now, all others being over; return whether it was too late."""
        known = self._texts.setdefault(name, [])
        if not _in_time(known, stamp, live=live):
            return True
        active = not (name == "estop_active" and raw.lower() in NO_STOP)
        texts = [raw] if active else []
        if name == "estop_active" and not known:  # those that do not hold the robot are known, too
            texts += [stop for stop in STOPS if stop != raw]
        for text in texts:
            if any(series.raw == text for series in known):
                continue
            series = self._labelled(name, (text,), field) if len(known) < STATES else None
            if series is None:
                self._note("states", field)
                continue
            series.raw = text
            known.append(series)
        for series in known:
            series.value = 1.0 if active and series.raw == raw else 0.0
            series.stamp = stamp
            if live:
                series.live = stamp
        return False

    def _take_list(self, field: str, raw: list[Any], stamp: float, *, live: bool) -> None:
        """Take a list that is understood. What ends or appears in it counts, however late it comes."""
        if self._lists is None:
            self._lists = lists.Lists(self._wants)
        for name, labels, value, adds in self._lists.take(field.lower(), raw):
            series = self._labelled(name, labels, field)
            if series is None:
                continue
            if adds:
                series.value += value
                series.stamp = inf  # a counter does not grow old while its robot is known
            elif _in_time([series], stamp, live=live):
                series.value, series.stamp = value, stamp


def _is_counted(series: Series) -> bool:
    """Say whether it is the agent that counts this."""
    return series.raw is None and series.signal.metric.kind == "counter"


def _in_time(known: Sequence[Series], stamp: float, *, live: bool) -> bool:
    """Say whether what was measured at a moment is newer than what live frames have said."""
    if live:
        for series in known:
            series.live = stamp
        return True
    return all(series.live <= stamp for series in known)


def flattened(metrics: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Return the fields of nested objects, under their names with dots between them.

    Lists, and what is nested deeper than eight levels, come as they are: nobody knows what they mean.
    """
    for name, value in metrics.items():
        field = f"{prefix}{name}"
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from flattened(value, f"{field}.", depth + 1)
        else:
            yield field, value
