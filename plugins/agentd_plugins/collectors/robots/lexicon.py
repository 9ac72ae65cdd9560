"""What fields mean, looked up once for all the robots that say them.

A fleet sends the same fields, in the same order, again and again: what a field means, and which fields make a frame
(its *shape*), is the same for thousands of robots. So it is kept here, and a robot refers to it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from agentd_plugins.collectors.robots.meaning import Term
from agentd_plugins.collectors.robots.signals import CUSTOM

MOST = 10_000
"""Fields, and shapes, that are kept. When there are more all are forgotten, and learned again as they come."""


class Sense:
    """What a field means."""

    __slots__ = ("field", "high", "key", "low", "scale", "signal", "special")

    def __init__(self, field: str, term: Term) -> None:
        self.field = field
        self.signal = term.signal
        self.key = (term.signal.name, term.labels)
        """The metric, and the values of its labels beside ``robot``."""
        self.scale = term.scale
        self.special = term.special
        self.low, self.high = term.signal.low, term.signal.high


class Shape:
    """Fields that come together in a frame, each of them a plain number."""

    __slots__ = ("fields", "senses")

    def __init__(self, senses: Sequence[Sense] = ()) -> None:
        self.senses = list(senses)
        self.fields = [sense.field for sense in senses]


EMPTY = Shape()


class Lexicon:
    """The senses of fields, and the shapes of frames."""

    def __init__(self, means: Callable[[str], Term | None]) -> None:
        """``means`` says what a field means; what has no meaning is shown as a custom value under its own name."""
        self._means = means
        self._senses: dict[str, Sense] = {}
        self._shapes: dict[tuple[str, ...], Shape] = {}

    def sense(self, field: str) -> Sense:
        """Return what a field means."""
        sense = self._senses.get(field)
        if sense is None:
            sense = _kept(self._senses, field, Sense(field, self._means(field) or Term(CUSTOM, (field,))))
        return sense

    def shape(self, senses: Sequence[Sense]) -> Shape:
        """Return the shape of the frames that have these fields, in their order."""
        fields = tuple(sense.field for sense in senses)
        shape = self._shapes.get(fields)
        return shape if shape is not None else _kept(self._shapes, fields, Shape(senses))


def _kept(known: dict[Any, Any], key: Any, made: Any) -> Any:
    if len(known) >= MOST:
        known.clear()
    known[key] = made
    return made
