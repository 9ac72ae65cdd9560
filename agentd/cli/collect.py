"""``agentd collect``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from agentd import ending
from agentd.cli import LEAVE_WITHIN, common, fail
from agentd.cli.loading import load
from agentd.config import Origin, find, read
from agentd.options import Duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.config import Instance, Settings
    from agentd.instances import Running
    from agentd.plugin import Snapshot
    from agentd.registry import Registry


@click.command("collect")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--timeout", default="30s", show_default=True, help="When to print the rest without what hangs.")
@common
def command(names: tuple[str, ...], timeout: str, config_file: str | None, **options: object) -> None:
    """Collect once and print the metrics in the Prometheus text format; of the collectors NAME, or of all enabled ones.

    A collector that is named need not be enabled. The rules of exporters are not applied. Ends with status 1 where a
    collector fails.
    """
    try:
        seconds = float(timeout) if timeout.replace(".", "", 1).isdigit() else Duration.parse(timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    extra: dict[tuple[str, ...], tuple[object, Origin]] = {}
    if names:
        section = read(find(config_file)).values.get("collectors")
        enabled = section.get("enable", []) if isinstance(section, dict) else []
        if isinstance(enabled, list):  # else it is an error, which is told where it stands
            extra["collectors", "enable"] = ([*enabled, *names], Origin("the command line"))
    settings, registry = load(config_file, options, log_level="warning", extra=extra)
    with asyncio.Runner() as runner:
        failed = runner.run(collect(settings, registry, names, seconds))
        timer = ending.within(LEAVE_WITHIN, 1 if failed else 0)
    timer.cancel()
    if failed:
        fail(f"failed: {' '.join(failed)}")


async def collect(settings: Settings, registry: Registry, names: tuple[str, ...], deadline: float) -> list[str]:
    """Print what the collectors say; return the names of those that failed."""
    from agentd.metrics.exposition import Renderer

    wanted = [one for one in settings.instances if one.kind == "collectors" and (not names or one.name in names)]
    off = sorted(set(names) - {one.name for one in wanted})
    if off:
        fail(f"switched off by the configuration: {' '.join(off)}")
    snapshot, runnings = await once(settings, registry, wanted, deadline)
    sys.stdout.buffer.write(Renderer().render(snapshot.families))
    sys.stdout.buffer.flush()
    slots = [running.slot for running in runnings if running.slot is not None]
    for slot in slots:
        if slot.name in names and slot.last is not None and slot.last.status == "no data":
            click.echo(f"agentd: {slot.name} has nothing to tell: {slot.last.error}", err=True)
    bad = {slot.name for slot in slots if slot.last is None or slot.last.status in ("failed", "timed out")}
    return sorted(bad | {running.instance.name for running in runnings if not running.up})


async def once(
    settings: Settings, registry: Registry, wanted: Sequence[Instance], deadline: float
) -> tuple[Snapshot, list[Running]]:
    """Return what collectors say that are started for this alone, and are stopped again."""
    from agentd import instances
    from agentd.host import Host
    from agentd.metrics.gather import Gatherer
    from agentd.metrics.workers import Workers
    from agentd.plugin import Context

    host, workers, gatherer = Host(settings.host), Workers(), Gatherer()
    runnings = instances.build(
        wanted,
        registry,
        lambda one: Context(name=one.key, host=host, labels=settings.agent.labels, in_worker=workers.run),
    )
    for running in runnings:
        await instances.start(running)
        slot = instances.slot_for(running, registry, workers)
        if slot is not None:
            slot.interval = None  # once means now
    gatherer.take(running.slot for running in runnings if running.slot is not None)
    snapshot = await gatherer.gather(deadline=deadline)
    await gatherer.stop()
    for running in runnings:
        await instances.stop(running)
    workers.close()
    return snapshot, runnings
