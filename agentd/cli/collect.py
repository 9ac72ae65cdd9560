"""``agentd collect``."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentd import ending
from agentd.cli import LEAVE_WITHIN, common, fail
from agentd.cli.loading import load
from agentd.config import Origin, find, read
from agentd.options import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentd.config import Instance, Overrides, Settings
    from agentd.events.envelope import Event
    from agentd.registry import Registry


@click.command("collect")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--timeout", default="30s", show_default=True, help="When to print the rest without what hangs.")
@click.option("--watch", "watching", is_flag=True, help="Collect again at each save, and show what changed.")
@common
def command(names: tuple[str, ...], timeout: str, watching: bool, config_file: str | None, **options: object) -> None:  # noqa: FBT001  # click hands it over by its name
    """Collect once and print the metrics in the Prometheus text format; of the collectors NAME, or of all enabled ones.

    A collector that is named need not be enabled. NAME may be a file, ./door.py, which need not be in a folder of
    plugins. The events that it emits are shown, and go nowhere. The rules of exporters are not applied. Ends with
    status 1 where a collector fails.
    """
    try:
        seconds = float(timeout) if timeout.replace(".", "", 1).isdigit() else Duration.parse(timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    files = {name: Path(name).resolve() for name in names if name.endswith(".py")}
    for name, file in files.items():
        if not file.is_file() and not watching:
            fail(f"there is no file {name}", 2)
    named = tuple(name for name in names if name not in files)
    if watching:
        if not names:
            raise click.UsageError("--watch needs the name of what is watched")
        watched = [*files.values(), *(_files_of(named, config_file, options) if named else ())]
        given = {"--timeout": timeout, "--config": config_file, **{f"--{key}": value for key, value in options.items()}}
        chosen = [f"{key.replace('_', '-')}={value}" for key, value in given.items() if value is not None]
        _watch(["collect", *chosen, *names], watched, seconds)
        return
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # standard error may be closed, or no file
        faulthandler.enable()  # a plugin that crashes ends this program, which then says at which line
    settings, registry = load(config_file, options, log_level="warning", extra=_extra(config_file, named, files))
    wanted = _wanted(settings, registry, named, files)
    with asyncio.Runner() as runner:
        failed = runner.run(collect(settings, registry, wanted, seconds, named=bool(names)))
        timer = ending.within(LEAVE_WITHIN, 1 if failed else 0)
    timer.cancel()
    if failed:
        fail(f"failed: {' '.join(failed)}")


def _extra(config_file: str | None, names: Sequence[str], files: Mapping[str, Path]) -> Overrides:
    """Return what the command line adds to the configuration: files, and names that need not be enabled."""
    extra: dict[tuple[str, ...], tuple[object, Origin]] = {}
    values = read(find(config_file)).values
    for path, added in ((("collectors", "enable"), names), (("agent", "plugin_dirs"), list(map(str, files.values())))):
        section = values.get(path[0])
        known = section.get(path[1], []) if isinstance(section, dict) else []
        if added and isinstance(known, list):  # else it is an error, which is told where it stands
            extra[path] = ([*added, *known], Origin("the command line"))
    return extra


def _wanted(
    settings: Settings, registry: Registry, names: Sequence[str], files: Mapping[str, Path]
) -> Sequence[Instance]:
    """Return the collectors to ask. Ends the program where one of those that are named is not to be had."""
    all_of_them = [one for one in settings.instances if one.kind == "collectors"]
    if not names and not files:
        return all_of_them
    plugins: list[str] = []
    for name, file in files.items():
        if f"plugin_dirs.{file.stem}" in registry.broken_files:
            fail(f"{name} cannot be loaded")  # why stands in the log
        found = [each for each in registry.names("collectors") if registry.origin("collectors", each) == str(file)]
        if not found:
            fail(f"{name} has no collector that could be collected")
        plugins += found
    wanted = [one for one in all_of_them if one.name in names or one.plugin in plugins]
    off = sorted(set(names) - {one.name for one in wanted}) + sorted(set(plugins) - {one.plugin for one in wanted})
    if off:
        whys = (f"{name} ({settings.disabled.get(f'collectors.{name}', 'no section has it')})" for name in off)
        fail(f"switched off by the configuration: {', '.join(whys)}")
    return wanted


def _files_of(names: Sequence[str], config_file: str | None, options: Mapping[str, object]) -> Iterator[Path]:
    """Yield the file of each collector, or the folder of one that is a package."""
    settings, registry = load(config_file, options, log_level="error", extra=_extra(config_file, names, {}))
    plugins = {one.name: one.plugin for one in settings.instances if one.kind == "collectors"}
    for name in names:
        file = registry.file("collectors", plugins[name]) if name in plugins else None
        if file is None:
            fail(f"there is no file of {name} to watch")
        yield file.parent if file.name == "__init__.py" else file


def _watch(arguments: Sequence[str], files: Sequence[Path], deadline: float) -> None:
    """Watch files until somebody interrupts it."""
    from agentd.cli.watch import watch

    with contextlib.suppress(KeyboardInterrupt):
        watch(arguments, files, deadline)


async def collect(
    settings: Settings, registry: Registry, wanted: Sequence[Instance], deadline: float, *, named: bool
) -> list[str]:
    """Print what the collectors say; return the names of those that failed."""
    from agentd.metrics.exposition import Renderer

    emitted: list[Event] = []
    from agentd.cli.once import once

    snapshot, runnings = await once(settings, registry, wanted, deadline, emitted.append)
    sys.stdout.buffer.write(Renderer().render(snapshot.families))
    sys.stdout.buffer.flush()
    for event in emitted if named else ():
        click.echo(f"event: {as_line(event)}", err=True)
    slots = [running.slot for running in runnings if running.slot is not None]
    for slot in slots:
        if named and slot.last is not None and slot.last.status == "no data":
            click.echo(f"agentd: {slot.name} has nothing to tell: {slot.last.error}", err=True)
    bad = {slot.name for slot in slots if slot.last is None or slot.last.status in ("failed", "timed out")}
    return sorted(bad | {running.instance.name for running in runnings if not running.up})


def as_line(event: Event) -> str:
    """Return an event in a line, or why the agent would leave it out."""
    from agentd.cli.lines import Lines, escaped
    from agentd.events.envelope import as_json, check, check_given

    try:
        check(event)
        check_given(event)
        as_json("payload", event.payload)
    except Exception as error:  # noqa: BLE001  # a plugin may hand in anything
        return escaped(f"{event.type!r} is left out: {error}")
    event.timestamp = event.timestamp or time.time()
    return Lines().line(event)
