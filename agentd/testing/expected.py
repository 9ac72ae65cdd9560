"""Families compared with the series that a test expects, where what is nearly right is named."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import isclose, isnan

from prometheus_client.parser import text_string_to_metric_families

from agentd.metrics.exposition import Renderer
from agentd.plugin import Family

__tracebackhide__ = True

Told = Iterable[Family] | str | bytes
"""Families, or an exposition in the text format."""

_Labels = frozenset[tuple[str, str]]
_Series = dict[tuple[str, _Labels], float]

LISTED = 20
"""Names that a message lists at most."""


def exposition(told: Told) -> str:
    """Return families in the text format, in the order of their names and labels: equal for what is equal."""
    if isinstance(told, bytes):
        return told.decode()
    if isinstance(told, str):
        return told
    ordered = [
        Family(
            family.name,
            family.kind,
            family.help,
            family.label_names,
            {key: family.samples[key] for key in sorted(family.samples, key=lambda key: [each or "" for each in key])},
        )
        for family in sorted(told, key=lambda family: family.name)
    ]
    return Renderer().render(ordered).decode()


def samples(told: Told) -> dict[str, float]:
    """Return every series with its value, written as in the text format, its labels in order of their names:
    ``{'node_cpu_seconds_total{cpu="0",mode="idle"}': 12.5}``.
    """
    return {_written(name, labels): value for (name, labels), value in _series(exposition(told)).items()}


def assert_metrics(told: Told, expected: Mapping[str, float | None] | str, *, exact: bool = False) -> None:
    """Hold families against the series that are expected.

    ``expected`` maps series to values, ``{'door_open{door="gate"}': 1.0}`` (the order of labels does not matter; None:
    that series must not be there), or is text in the exposition format. Numbers may differ in the tenth digit; whatever
    compares equal counts as equal, ``pytest.approx`` say. With ``exact``, there must be no other series.

    Raises ``AssertionError`` that names all that is wrong, and what was probably meant.
    """
    found = _series(exposition(told))
    if isinstance(expected, str):
        wanted: dict[tuple[str, _Labels], float | None] = {**_series(expected)}
    else:
        wanted = {_key(text): value for text, value in expected.items()}
    wrong = []
    for key, value in wanted.items():
        if value is None:
            if key in found:
                wrong.append(f"{_written(*key)}: is there, with the value {found[key]:g}, and should not be")
        elif key not in found:
            wrong.append(f"{_written(*key)}: {_near(key, value, found, wanted)}")
        elif not _same(found[key], value):
            wrong.append(f"{_written(*key)}: value {found[key]!r} instead of {value!r}")
    if exact:
        wrong += [f"{_written(*key)}: is there, and was not expected" for key in found if key not in wanted]
    if wrong:
        raise AssertionError("the metrics are not those that were expected:\n  " + "\n  ".join(wrong))


def _near(key: tuple[str, _Labels], value: float, found: _Series, wanted: Mapping[tuple[str, _Labels], object]) -> str:
    name, labels = key
    names = {other for other, _ in found}
    if not names:
        return "is not there; there is no series at all"
    said = []
    if name not in names:
        if not (close := get_close_matches(name, sorted(names), n=1)):
            listed = sorted(names)
            return f"is not there; there are {', '.join(listed[:LISTED])}{' …' if len(listed) > LISTED else ''}"
        (name,) = close
        said.append(f"did you mean {name}")
    free = [other for other in found if other[0] == name and other not in wanted]
    candidates = free or [other for other in found if other[0] == name]
    best = min(candidates, key=lambda other: (len(labels ^ other[1]), not _same(found[other], value), sorted(other[1])))
    said += list(_differences(dict(labels), dict(best[1])))
    if not _same(found[best], value):
        said.append(f"value {found[best]!r} instead of {value!r}")
    return "; ".join(said)


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterable[str]:
    for label in sorted({*wanted, *found}):
        if label not in found:
            yield f"label {label} missing"
        elif label not in wanted:
            yield f'label {label}="{found[label]}" not expected'
        elif wanted[label] != found[label]:
            yield f'label {label} is "{found[label]}" instead of "{wanted[label]}"'


def _same(found: float, value: object) -> bool:
    if found == value:
        return True
    if not isinstance(value, int | float):
        return False
    return (isnan(found) and isnan(value)) or isclose(found, value, rel_tol=1e-9)


def _key(text: str) -> tuple[str, _Labels]:
    try:
        (key,) = _series(f"{text} 0\n")
    except ValueError:
        raise ValueError(f'{text!r} is no series: expected a name, or one like door_open{{door="gate"}}') from None
    return key


def _series(text: str) -> _Series:
    found: _Series = {}
    for family in text_string_to_metric_families(text if text.endswith("\n") else f"{text}\n"):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def _written(name: str, labels: _Labels) -> str:
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels))
    return f"{name}{{{pairs}}}" if pairs else name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
