"""Shapes: whether anything but the numbers has changed since the last time.

From one scrape to the next the same families come with the same labels, and only values differ. Who has learned that
once, by a few comparisons of whole lists, need not look at each family again: assembling and rendering go by it.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from agentd.metrics.family import Family

Shape = tuple[object, ...]
"""Equal shapes: the same families in the same order, with the same label sets in the same order."""

_head: Callable[[Family], Any] = attrgetter("name", "kind", "help", "label_names")
_samples: Callable[[Family], Any] = attrgetter("samples")


class Outline:
    """Gives out the same shape as long as what it is shown differs in its numbers only."""

    def __init__(self) -> None:
        self.shape: Shape = (object(),)
        self._heads: list[Any] = []
        self._keys: list[list[Any]] = []
        self.series = 0
        """How many series there were."""

    def __len__(self) -> int:
        return len(self._heads)

    def follow(self, families: Sequence[Family]) -> Shape:
        """Return the shape of these families: that of the last ones, or a new one."""
        if not self.matches(families, list(map(_samples, families))):
            self._heads = list(map(_head, families))
            self._keys = list(map(list, map(_samples, families)))
            self.series = sum(map(len, self._keys))
            self.shape = (object(),)
        return self.shape

    def matches(self, families: Sequence[Family], samples: Sequence[Any]) -> bool:
        """Say whether families, with these samples in the place of their own, have the last shape."""
        return (
            len(families) == len(self._heads)
            and list(map(_head, families)) == self._heads
            and list(map(list, samples)) == self._keys
        )
