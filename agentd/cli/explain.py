"""``agentd explain``."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from agentd import ending
from agentd.cli import LEAVE_WITHIN, common, fail
from agentd.cli.client import NoAgentError, RefusedError, ask
from agentd.cli.declarations import PARTS, Declaration, declarations, matching
from agentd.cli.loading import load, of_agent
from agentd.cli.status import running
from agentd.config import Settings, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agentd.plugin import Family
    from agentd.registry import Registry
    from agentd.status import PluginStatus, Status

DEADLINE = 10.0
"""Seconds that the one collection may take."""

SAMPLES = 20
"""Samples that are shown."""


class Here(NamedTuple):
    """What is configured, and what runs."""

    settings: Settings
    registry: Registry
    status: Status | None
    """None where no agent runs."""
    shown: Mapping[str, Told]
    """What it shows to Prometheus, by the names of families and series."""


class Told(NamedTuple):
    """A family as an exposition has it."""

    name: str
    kind: str
    help: str
    samples: Sequence[str]
    """In the text format."""


@click.command("explain")
@click.argument("metric")
@common
def command(metric: str, config_file: str | None, **options: object) -> None:
    """Say what METRIC means: which plugin tells it, its kind, unit and labels, which files it was read from, when the
    running agent read it last, and its present samples.

    To find the files, the collector is run once, by this command; without a running agent the samples are its own.
    """
    status = running()
    settings, registry = load(of_agent(config_file, status), options, log_level="error")
    here = Here(settings, registry, status, exposed(scraped(settings)) if status is not None else {})
    known = list(declarations(registry))
    found = chosen(matching(metric, known), settings)
    if not found and metric not in here.shown:
        candidates = [*(one.metric.name for one in known if "*" not in one.metric.name), *here.shown]
        fail(f'no plugin declares a metric "{metric}"{suggest(metric, candidates)}')
    if not found:
        click.echo("\n".join(of_unknown(metric, here)))
    for number, one in enumerate(found):
        if number:
            click.echo()
        click.echo("\n".join(of_one(one, metric, here)))


def chosen(found: Sequence[Declaration], settings: Settings) -> Sequence[Declaration]:
    """Return, of several who declare a metric, those that are enabled, if any is."""
    enabled = {(one.kind, one.plugin) for one in settings.instances}
    return [one for one in found if not one.kind or (one.kind, one.name) in enabled] or found


def of_one(one: Declaration, name: str, here: Here) -> Iterator[str]:
    """Yield all that is known of a metric that is declared."""
    from agentd.cli.plugins import why
    from agentd.metrics.units import unit

    metric = one.metric
    yield f"{metric.name} ({metric.kind})"
    yield f"    {metric.help.replace('{}', '*')}"
    if said := metric.unit or unit(metric.name):
        yield f"unit: {said}"
    yield f"labels: {', '.join(metric.labels) or 'none'}"
    if one.plugin is None:
        yield "told by the agent about itself"
        yield from of_samples(here.shown.get(metric.name), name)
        return
    origin, reason = here.registry.origin(one.kind, one.name), why(here.settings, one.kind, one.name)
    yield f"told by {one.kind}.{one.name}, {origin}: {reason}"
    about = (inspect.getdoc(sys.modules[one.plugin.__module__]) or "").split("\n\n")[0]
    yield f"    {' '.join(about.split())}"
    own: Told | None = None
    if one.kind == "collectors":
        lines, own = of_files(one, here)
        yield from lines
    instances = [each.key for each in here.settings.instances if (each.kind, each.plugin) == (one.kind, one.name)]
    for plugin in here.status.plugins if here.status is not None else ():
        if plugin.plugin in instances:
            yield of_run(plugin)
    yield from of_samples(own if here.status is None else here.shown.get(metric.name), name)


def of_files(one: Declaration, here: Here) -> tuple[list[str], Told | None]:
    """Return which files the collector reads, and what it says of the metric, by running it once."""
    from agentd.cli.once import once
    from agentd.cli.trace import folded, traced

    assert one.plugin is not None  # noqa: S101  # the caller has seen to it
    if one.plugin.exclusive:
        return ["its files are not traced: it has a place in a stream, which another of it would take"], None
    wanted = [each for each in here.settings.instances if (each.kind, each.plugin) == (one.kind, one.name)]
    if not wanted:
        return [f"its files are not traced, as it is not enabled: agentd collect {one.name} runs it once"], None
    with asyncio.Runner() as runner:
        (snapshot, runnings), paths = traced(lambda: runner.run(once(here.settings, here.registry, wanted, DEADLINE)))
        timer = ending.within(LEAVE_WITHIN, 1)
    timer.cancel()
    lines = []
    if paths:
        lines = ["in one collection just now it has read:", *(f"    {path}" for path in folded(paths))]
    for each in runnings:
        if each.error or (each.slot is not None and each.slot.last is not None and each.slot.last.error):
            said = each.error or each.slot.last.error  # type: ignore[union-attr]  # see above
            lines.append(f"that collection brought nothing: {said}")
    return lines, next((told for told in rendered(snapshot.families) if told.name == one.metric.name), None)


def of_run(plugin: PluginStatus) -> str:
    """Return when the running agent read it last."""
    from agentd.cli.lines import ago, local_time

    if not plugin.up:
        return f"{plugin.plugin} does not run: {plugin.error or 'it is paused'}"
    if plugin.last_run_at is None:
        return f"{plugin.plugin} runs" + ("" if not plugin.last_run else ", and was not read yet")
    age = ago(max(0.0, time.time() - plugin.last_run_at))
    took = f", in {plugin.duration_seconds * 1000:.2f} ms" if plugin.duration_seconds is not None else ""
    error = f": {plugin.error}" if plugin.error else ""
    when = local_time(plugin.last_run_at)
    return f"{plugin.plugin} was last read by the running agent at {when} ({age} ago){took}: {plugin.last_run}{error}"


def of_samples(told: Told | None, name: str) -> Iterator[str]:
    """Yield its present samples: of one that was asked for by the name of a series, those of that name."""
    if told is None:
        yield "samples: none now"
        return
    samples = [sample for sample in told.samples if name == told.name or sample.startswith((f"{name}{{", f"{name} "))]
    yield f"samples: {len(samples)}"
    yield from (f"    {sample}" for sample in samples[:SAMPLES])
    if len(samples) > SAMPLES:
        yield f"    and {len(samples) - SAMPLES} more"


def of_unknown(name: str, here: Here) -> Iterator[str]:
    """Yield what is known of a metric that nobody declares, its name learned while the agent runs."""
    told, path = here.shown[name], scraped(here.settings)
    yield f"{told.name} ({told.kind})"
    yield f"    {told.help}"
    for plugin in here.status.plugins if here.status is not None else ():
        kind, _, instance = plugin.plugin.partition(".")
        if kind == "collectors" and plugin.up and told.name in exposed(f"{path}?collect[]={instance}"):
            yield f"told by {plugin.plugin}, which learns its name while it runs"
            yield of_run(plugin)
    yield from of_samples(told, name)


def scraped(settings: Settings) -> str:
    """Return the path at which the agent is scraped."""
    paths = [getattr(one.config, "path", "") for one in settings.instances if one.plugin == "prometheus"]
    return next(filter(None, paths), "/metrics")


def exposed(path: str) -> dict[str, Told]:
    """Return what the running agent shows at a path, by the names of families and series."""
    try:
        text = ask(path).decode("utf-8", "replace")
    except (NoAgentError, RefusedError):
        return {}
    found = {}
    for told in parsed(text):
        found[told.name] = told
        found |= {told.name + part: told for part in PARTS.get(told.kind, ())}
    return found


def rendered(families: Iterable[Family]) -> list[Told]:
    """Return families as an exposition has them."""
    from agentd.metrics.exposition import Renderer

    return list(parsed(Renderer().render(list(families)).decode()))


def parsed(text: str) -> Iterator[Told]:
    """Yield the families of an exposition in the text format, as agentd writes it."""
    for block in ("\n" + text).split("\n# HELP ")[1:]:
        head, _, rest = block.partition("\n")
        name, _, help_ = head.partition(" ")
        lines = rest.splitlines()
        kind = lines[0].split()[-1] if lines and lines[0].startswith("# TYPE ") else "untyped"
        samples = [line for line in lines if line and not line.startswith("#")]
        yield Told(name, kind.replace("untyped", "unknown"), help_, samples)
