"""Whether something grows: a slope over many measurements, not the difference of two."""

from collections.abc import Sequence
from statistics import median


def theil_sen(values: Sequence[float]) -> float:
    """Return by how much values grow from one to the next: the median of the slopes between all pairs of them.

    Up to 29 % of the values may be anything without moving it far (Sen, 1968), so that neither one large measurement at
    the end makes a leak of what is none, nor a small one hides a leak. 0 where there are fewer than two.
    """
    pairs = ((i, j) for i in range(len(values)) for j in range(i + 1, len(values)))
    return median([(values[j] - values[i]) / (j - i) for i, j in pairs] or [0.0])
