"""Reads what bcachefs says in sysfs, for people more than for programs (fs/bcachefs/sysfs.c)."""

Pairs = dict[str, tuple[float, float]]


def size(text: str) -> float:
    """Return a number that may have a unit behind it, ``48.9G`` say, in powers of 1,024. Raises ``ValueError``."""
    text = text.strip()
    power = "KMGTPE".find(text[-1:].upper()) + 1 if text else 0
    number = float(text[:-1] if power else text) * 1024.0**power
    if not 0 <= number < float("inf"):
        raise ValueError(f"expected a size, found {text[:40]!r}")
    return number // 1


def pairs(text: str) -> Pairs:
    """Return the first two numbers in each line below the heading of a table, by what stands before them."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            found[words[0].removesuffix(":")] = size(words[1]), size(words[2])
        except (IndexError, ValueError):
            continue
    return found


def errors(text: str) -> dict[str, float]:
    """Return how often each error was found; the time of the last one, which may touch the number, is not told."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = float(words[1])
    return found


def since_creation(text: str) -> float | None:
    """Return what a counter has reached since the file system was made; None where the file does not say it."""
    for line in text.splitlines():
        words, colon, number = line.partition(":")
        if colon and words.strip() == "since filesystem creation":
            try:
                return size(number)
            except ValueError:
                return None
    return None


def done(text: str) -> dict[tuple[str, str], float]:
    """Return the bytes that a device has read and written, by ``read`` or ``write`` and the kind of data."""
    found = {}
    operation = ""
    for line in text.splitlines():
        name, colon, number = (part.strip() for part in line.partition(":"))
        if colon and not number and name in ("read", "write"):
            operation = name
        elif operation and number.isdecimal():
            found[operation, name] = float(number)
    return found


def device_errors(text: str) -> dict[str, float]:
    """Return the errors of a device by their kind since the file system was made, not those since their last reset."""
    found = {}
    wanted = False
    for line in text.splitlines():
        if line.startswith("IO errors since "):
            wanted = line.startswith("IO errors since filesystem creation")
        elif wanted:
            name, _, number = (part.strip() for part in line.partition(":"))
            if number.isdecimal():
                found[name] = float(number)
    return found
