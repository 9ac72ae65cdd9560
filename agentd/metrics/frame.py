"""Frames: the answer of a collector in columns, its numbers apart from what they are the numbers of.

From one scrape to the next the same families come with the same labels, and only values differ. What stays is a
``Layout``, made and checked once; a ``Frame`` is a layout with one list of values. Whoever has seen a layout before
goes by the very object, and looks at nothing but the numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, overload

from agentd.metrics.family import Family, Kind, Labels, Value

_head: Callable[[Family], Any] = attrgetter("name", "kind", "help", "label_names")
_samples: Callable[[Family], Any] = attrgetter("samples")


class Layout:
    """Families in their order and the label values of their samples in theirs: all of an answer but the values.

    A collector that tells the same series each time may keep one and ``fill`` it: that spares it making families, and
    the agent looking at each of them. Layouts are told apart by what object they are, not by what they contain.
    """

    __slots__ = ("_heads", "_keys", "series")

    def __init__(self, families: Iterable[Family] = ()) -> None:
        """Take the families of an answer; their values do not matter."""
        listed = list(families)
        self._heads: list[Any] = list(map(_head, listed))
        self._keys: list[list[Any]] = list(map(list, map(_samples, listed)))
        self.series: int = sum(map(len, self._keys))
        """How many samples there are."""

    @classmethod
    def joined(cls, layouts: Iterable["Layout"]) -> "Layout":
        """Return the layout of answers of which one follows the other. No two may have families of one name."""
        joined = cls()
        for head, keys in chain.from_iterable(layout.parts() for layout in layouts):
            joined._heads.append(head)
            joined._keys.append(keys)
            joined.series += len(keys)
        return joined

    def __len__(self) -> int:
        return len(self._heads)

    def parts(self) -> list[tuple[tuple[str, Kind, str, tuple[str, ...]], list[Labels]]]:
        """Return of each family its name, kind, help and label names, and the label values of its samples. What is
        returned must not be changed.
        """
        return list(zip(self._heads, self._keys, strict=True))

    def fill(self, values: Sequence[Value]) -> "Frame":
        """Return an answer: one value for each sample of each family, in order.

        Raises ``ValueError`` on another number of values.
        """
        return Frame(self, values)

    def values(self, families: Sequence[Family]) -> list[Value] | None:
        """Return the values of families that have this layout; None for any others.

        Raises ``TypeError`` where samples are no dictionary.
        """
        samples = list(map(_samples, families))
        if (
            len(samples) != len(self._heads)
            or list(map(_head, families)) != self._heads
            or list(map(list, samples)) != self._keys
        ):
            return None
        return list(chain.from_iterable(map(dict.values, samples)))

    def families(self, values: Sequence[Value]) -> Iterator[Family]:
        """Return the families with these values."""
        rest = iter(values)
        for (name, kind, text, labels), keys in zip(self._heads, self._keys, strict=True):
            yield Family(name, kind, text, labels, dict(zip(keys, rest, strict=False)))


class Frame(Sequence[Family]):
    """An answer in columns. To whoever looks at its families it is a sequence of them, made anew each time."""

    __slots__ = ("layout", "values")

    def __init__(self, layout: Layout, values: Sequence[Value]) -> None:
        """Make what ``layout.fill(values)`` returns."""
        if len(values) != layout.series:
            raise ValueError(f"expected {layout.series} values, one for each sample, found {len(values)}")
        self.layout = layout
        """The families, without their values."""
        self.values = values
        """The value of each sample of each family, in order."""

    @classmethod
    def of(cls, families: Sequence[Family]) -> "Frame":
        """Return families as a frame with a layout of its own."""
        return cls(Layout(families), list(chain.from_iterable(family.samples.values() for family in families)))

    def __repr__(self) -> str:
        return f"<Frame: {self.layout.series} samples of {len(self)} families>"

    def __eq__(self, other: object) -> bool:
        """Say whether another frame or list has equal families."""
        return isinstance(other, Frame | list | tuple) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list's, its values may change

    def __len__(self) -> int:
        return len(self.layout)

    def __iter__(self) -> Iterator[Family]:
        return self.layout.families(self.values)

    @overload
    def __getitem__(self, index: int) -> Family: ...
    @overload
    def __getitem__(self, index: slice) -> list[Family]: ...
    def __getitem__(self, index: int | slice) -> Family | list[Family]:
        return list(self)[index]


def again(layout: Layout | None, families: Sequence[Family]) -> tuple[Layout, list[Value]]:
    """Return the layout that families have, the given one if it still fits, and their values."""
    values = layout.values(families) if layout is not None else None
    if layout is None or values is None:
        layout = Layout(families)
        values = list(chain.from_iterable(family.samples.values() for family in families))
    return layout, values


EMPTY = Frame(Layout(), ())
"""The answer that has no families."""
