"""Reads texts of the kernel in which words stay where they are, and only numbers change from one time to the next."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter


class Places:
    """Where in a text the wanted numbers are. Learned from the words of one text, it serves for all like it."""

    def __init__(self, words: Sequence[bytes], marks: Iterable[int], numbers: Iterable[int]) -> None:
        """Take the words of a text: by ``marks``, those that say what the numbers are, and by ``numbers`` these."""
        self._length = len(words)
        self._marks = _picker(marks)
        self._marked = self._marks(words)
        self._numbers = _picker(numbers)

    def read(self, words: Sequence[bytes]) -> list[float] | None:
        """Return the numbers in the words of a text; None for a text that has other marks.

        Raises ``ValueError`` where there is something else than a number.
        """
        if len(words) != self._length or self._marks(words) != self._marked:
            return None
        try:
            return list(map(float, self._numbers(words)))
        except ValueError as error:
            raise ValueError(f"expected a number behind a word that is known: {error}") from None


def _picker(places: Iterable[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    chosen = tuple(places)
    if len(chosen) > 1:
        return itemgetter(*chosen)
    return lambda words: tuple(words[place] for place in chosen)


NOWHERE = Places((b"",), (0,), ())
"""What is known before the first text: no word of any is empty."""
