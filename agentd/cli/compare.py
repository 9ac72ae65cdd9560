"""``agentd compare``: what would change for the users of a node_exporter whose place agentd takes."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import click
from prometheus_client.parser import text_string_to_metric_families

from agentd.cli import common, fail
from agentd.cli.client import NoAgentError, ask

ROUNDS = 3
"""How often both are scraped in turn: what moves is told by that from what stands still."""

BAND = 0.05
"""How far values that move may lie outside of what the other has shown meanwhile, as a part of it."""

OF_THEMSELVES = re.compile(
    r"(go|process|promhttp|agentd)_.*|node_exporter_build_info|node_scrape_collector_duration_seconds"
)
"""What both say about themselves, and not about the machine."""

_TYPE = re.compile(r"^# TYPE (\S+) (\w+)$", re.MULTILINE)

SHOWN = 5
"""Series of one family that are named."""

Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and its labels."""


@dataclass(slots=True)
class Seen:
    """What several scrapes of one exporter have shown: the kinds of its metrics, and the values of its series."""

    kinds: dict[str, str] = field(default_factory=dict)
    values: dict[Series, list[float]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Add another scrape. Raises ``ValueError`` where it is no exposition."""
        kinds = dict(_TYPE.findall(text))
        # As a counter, the parser would have a metric end in _total, whether it does or not.
        for family in text_string_to_metric_families(_TYPE.sub(_uncounted, text)):
            for sample in family.samples:
                if not OF_THEMSELVES.fullmatch(sample.name):
                    self.kinds[sample.name] = kinds.get(family.name, "untyped")
                    # To Prometheus, an empty label is none.
                    series = sample.name, frozenset(pair for pair in sample.labels.items() if pair[1])
                    self.values.setdefault(series, []).append(sample.value)


@dataclass(slots=True)
class Differences:
    """What users of the one would notice at the other."""

    alike: list[str]
    """Metrics that both have, with the same kind, series and values."""
    missing: dict[str, list[Series]]
    """Metrics that only the other exporter has."""
    added: dict[str, list[Series]]
    """Metrics that only agentd has."""
    kinds: dict[str, tuple[str, str]]
    """Metrics of another kind: there, here."""
    missing_series: dict[str, list[Series]]
    """Of metrics that both have, series that only the other exporter has."""
    added_series: dict[str, list[Series]]
    """Of metrics that both have, series that only agentd has."""
    values: dict[Series, tuple[list[float], list[float]]]
    """Series whose values disagree: there, here."""
    labels: dict[str, list[str]]
    """Metrics whose series have further labels here, and which."""

    @property
    def harmless(self) -> bool:
        """Whether nothing is missing or other than it was."""
        return not (self.missing or self.kinds or self.missing_series or self.values)


def differences(theirs: Seen, ours: Seen) -> Differences:
    """Compare what two exporters have shown of one machine at one time."""
    both = theirs.kinds.keys() & ours.kinds.keys()
    further: dict[str, set[str]] = {}
    widened = _widened(theirs, ours)
    for (name, before), (_, after) in widened.items():
        further.setdefault(name, set()).update(label for label, _ in after - before)
    theirs = Seen(theirs.kinds, {widened.get(series, series): values for series, values in theirs.values.items()})
    missing = _by_name(theirs.values.keys() - ours.values.keys())
    added = _by_name(ours.values.keys() - theirs.values.keys())
    kinds = {name: (theirs.kinds[name], ours.kinds[name]) for name in sorted(both)}
    values = {
        series: (theirs.values[series], ours.values[series])
        for series in sorted(theirs.values.keys() & ours.values.keys(), key=spelled)
        if not agree(theirs.values[series], ours.values[series])
    }
    kinds = {name: pair for name, pair in kinds.items() if pair[0] != pair[1]}
    touched = {*missing, *added, *kinds, *further, *(name for name, _ in values)}
    return Differences(
        alike=sorted(both - touched),
        missing={name: series for name, series in missing.items() if name not in both},
        added={name: series for name, series in added.items() if name not in both},
        kinds=kinds,
        missing_series={name: series for name, series in missing.items() if name in both},
        added_series={name: series for name, series in added.items() if name in both},
        values=values,
        labels={name: sorted(labels) for name, labels in sorted(further.items())},
    )


def _widened(theirs: Seen, ours: Seen) -> dict[Series, Series]:
    """Return series that are the same but for further labels here: whoever selects the one gets the other, too."""
    found: dict[Series, Series] = {}
    taken: set[Series] = set()
    added = _by_name(ours.values.keys() - theirs.values.keys())
    for name, missing in _by_name(theirs.values.keys() - ours.values.keys()).items():
        narrowed: dict[frozenset[str], dict[Series, list[Series]]] = {}
        for series in missing:
            labels = frozenset(label for label, _ in series[1])
            if labels not in narrowed:
                narrowed[labels] = _narrowed(added.get(name, ()), labels)
            wider = narrowed[labels].get(series, ())
            if labels and len(wider) == 1 and wider[0] not in taken:
                found[series] = wider[0]
                taken.add(wider[0])
    return found


def _narrowed(series: Sequence[Series], labels: frozenset[str]) -> dict[Series, list[Series]]:
    """Return series by what is left of them when they have no other labels than these."""
    found: dict[Series, list[Series]] = {}
    for each in series:
        found.setdefault((each[0], frozenset(pair for pair in each[1] if pair[0] in labels)), []).append(each)
    return found


def agree(theirs: Sequence[float], ours: Sequence[float]) -> bool:
    """Say whether values of one series, seen in turn, can be those of one quantity.

    Where all stand still they have to be equal. Where some move, the ranges have to overlap, give or take ``BAND`` and
    as much as they have moved.
    """
    numbers = [*theirs, *ours]
    finite = [number for number in numbers if abs(number) < float("inf")]
    if len(finite) < len(numbers):
        return {str(number) for number in theirs} == {str(number) for number in ours}
    if len(set(theirs)) == len(set(ours)) == 1:
        return abs(theirs[0] - ours[0]) <= 1e-9 * abs(theirs[0])
    moved = max(max(theirs) - min(theirs), max(ours) - min(ours))
    slack = moved + BAND * max(map(abs, numbers))
    return min(theirs) - slack <= max(ours) and min(ours) - slack <= max(theirs)


def _uncounted(line: re.Match[str]) -> str:
    return line[0].replace(" counter", " untyped") if line[2] == "counter" else line[0]


def spelled(series: Series) -> str:
    """Return a series as it stands in an exposition."""
    name, labels = series
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels))
    return f"{name}{{{pairs}}}" if pairs else name


def report(found: Differences) -> Iterator[str]:
    """Return the lines that tell people what was found."""
    yield f"{len(found.alike)} metrics are the same."
    if found.missing:
        yield from _listed("would be missing", found.missing)
    for name, (kind, other) in found.kinds.items():
        yield f"{name} is a {kind} there and a {other} here."
    if found.missing_series:
        yield from _listed("would lack series", found.missing_series)
    if found.values:
        yield f"{len(found.values)} series have other values:"
        for series, (there, here) in found.values.items():
            yield f"  {spelled(series)}: there {_range(there)}, here {_range(here)}"
    for name, further in found.labels.items():
        yield f"{name} would have further labels: {', '.join(further)}"
    if found.added_series:
        yield from _listed("would have further series", found.added_series)
    if found.added:
        yield from _listed("would be new", found.added)


def _listed(what: str, metrics: Mapping[str, list[Series]]) -> Iterator[str]:
    yield f"{len(metrics)} metrics {what}:"
    for name, series in metrics.items():
        yield f"  {name} ({len(series)} series)"
        if what.endswith("series"):
            yield from (f"    {spelled(each)}" for each in series[:SHOWN])
            if len(series) > SHOWN:
                yield f"    and {len(series) - SHOWN} more"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.12g}" if low == high else f"{low:.12g} to {high:.12g}"


def _by_name(series: set[Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for each in sorted(series, key=spelled):
        found.setdefault(each[0], []).append(each)
    return found


@click.command("compare")
@click.argument("url")
@click.option(
    "--with", "other", metavar="URL", help="Metrics of an agentd elsewhere, in place of the one running here."
)
@common
def command(url: str, other: str | None, **_options: object) -> None:
    """Say what would change for users of the node_exporter at URL, http://localhost:9100/metrics say, with agentd.

    Of an address alone, localhost:9100 say, /metrics is asked. Both are scraped three times in turn. Ends with 1 where
    something would be missing or have other values.
    """
    found = asyncio.run(_compared(url, other))
    for line in report(found):
        click.echo(line)
    if not found.harmless:
        raise SystemExit(1)


async def _compared(url: str, other: str | None) -> Differences:
    theirs, ours = Seen(), Seen()
    for _ in range(ROUNDS):
        for seen, place in ((theirs, url), (ours, other)):
            try:
                seen.add(await _scraped(place))
            except ValueError as error:
                fail(f"what {place or 'the agent'} answers is no text that Prometheus could read: {error}")
    return differences(theirs, ours)


async def _scraped(url: str | None) -> str:
    if url is None:
        try:
            return ask("/metrics").decode()
        except NoAgentError:
            fail("no agent is running here to compare with: start `agentd run`, or name one by --with URL", 2)
    if "://" not in url:
        url = f"http://{url}"
    if re.fullmatch(r"\w+://[^/?]+", url):
        url += "/metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.get(url) as response,
        ):
            response.raise_for_status()
            return await response.text()
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        number = (
            error.os_error.errno if type(error) is aiohttp.ClientConnectorError else None
        )  # TLS's are numbered its own way
        reason = os.strerror(number).lower() if number and number > 0 else error or type(error).__name__
        fail(f"cannot scrape {url}: {reason}", 2)
