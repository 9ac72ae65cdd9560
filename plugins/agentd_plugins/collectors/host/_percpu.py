"""Reads the tables of /proc/net/stat: a heading, then a line of hexadecimal numbers for each CPU (lnstat(8))."""


def parse(text: bytes) -> dict[str, list[int]]:
    """Return each column by its heading, its numbers in the order of the lines.

    Numbers behind the last heading are left out. Raises ``ValueError`` where there is no heading, where a line is
    shorter than the heading, or for anything else than hexadecimal numbers.
    """
    heading, _, rest = text.partition(b"\n")
    names = heading.decode("utf-8", "replace").split()
    rows = [[int(number, 16) for number in line.split()[: len(names)]] for line in rest.splitlines()]
    if not names or any(len(row) < len(names) for row in rows):
        raise ValueError(f"expected a heading and equally many numbers in each line, found {text[:200]!r}")
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return dict(zip(names, columns, strict=True))
