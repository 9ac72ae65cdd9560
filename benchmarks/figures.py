"""Prints figures with their spread, and ratios beside what is to be reached."""

from collections.abc import Sequence
from statistics import median


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Return the median of repeated measurements with the smallest and the largest."""
    return f"{median(values):.{digits}f}{unit} ({min(values):.{digits}f} … {max(values):.{digits}f})"


def row(what: str, figure: str, reach: str = "") -> None:
    """Print one line of a table."""
    print(f"  {what:<52} {figure:<34} {reach}", flush=True)


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}", flush=True)
