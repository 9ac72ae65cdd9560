"""``agentd plugins``."""

import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from agentd import discovery
from agentd.cli import common, fail, scaffold, status
from agentd.cli.client import ask
from agentd.cli.loading import load, of_agent
from agentd.config import KEYS, Settings, suggest
from agentd.config.settings import Kind
from agentd.config.spelling import toml
from agentd.discovery import KINDS
from agentd.options import Duration
from agentd.plugin import Plugin
from agentd.plugin.declared import declared_metrics
from agentd.registry import PluginError, Registry


class Names(click.Group):
    """Takes whatever is none of its commands for the name of a plugin."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command ``show`` before what begins with none."""
        known = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        return super().parse_args(ctx, args if known else ["show", *args])


def duration(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse what is no duration."""
    try:
        Duration.parse(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}; found {value!r}") from None
    return value


@click.group("plugins", cls=Names, subcommand_metavar="[NAME | COMMAND [ARGS]...]")
@common
def command(**_options: object) -> None:
    """List all plugins, describe one (agentd plugins NAME), write a new one, or pause one of the running agent."""


@command.command("pause")
@click.argument("plugin")
@click.option(
    "--for",
    "how_long",
    default="1h",
    metavar="TIME",
    callback=duration,
    help="How long, 90s or 2h say; an hour if left out.",
)
@common
def pause(plugin: str, how_long: str, **_options: object) -> None:
    """Stop a plugin of the running agent for a while; PLUGIN is its kind and name, collectors.cpu, or just cpu
    where no other kind has one of that name.

    A reload leaves it paused; a restart of the agent does not.
    """
    key = running(plugin)
    ask(f"/api/v1/plugins/{quote(key, safe='')}/pause", query={"for": how_long}, method="POST")
    click.echo(f"{key} is paused for {how_long}")


@command.command("resume")
@click.argument("plugin")
@common
def resume(plugin: str, **_options: object) -> None:
    """Start a plugin of the running agent that was paused, that could not start, or that is left out because it held up
    the agent, and ask a collector again that rests because it failed again and again. PLUGIN is collectors.cpu, or
    just cpu where no other kind has one of that name.
    """
    key = running(plugin)
    ask(f"/api/v1/plugins/{quote(key, safe='')}/resume", method="POST")
    click.echo(f"{key} is to run again: agentd status shows it")


def running(name: str) -> str:
    """Return the key of an instance of the running agent, given by it or by its name alone. Ends where that is none, or
    stands for several.
    """
    agent = status.current()
    keys = [plugin.plugin for plugin in agent.plugins]
    found = [name] if name in keys else [key for key in keys if bare(key) == name]
    if len(found) > 1:
        fail(f'"{name}" may be {" or ".join(found)}')
    if not found:
        off = [f"{key} is switched off: {why}" for key, why in agent.disabled.items() if name in (key, bare(key))]
        near = suggest(name, keys) or suggest(name, map(bare, keys))
        fail(f'no plugin "{name}" is configured{"; " + off[0] if off else near or ": agentd status lists them"}')
    return found[0]


def bare(key: str) -> str:
    """Return the name of an instance without its kind."""
    return key.partition(".")[2]


@command.command("show")
@click.argument("name", required=False)
@common
def show(name: str | None, config_file: str | None, **options: object) -> None:
    """List all plugins with what they are, and whether and why they are enabled, by the configuration of the running
    agent if there is one; or describe one, with its options and metrics. NAME is cpu or, where two kinds have it,
    collectors.cpu.
    """
    settings, registry = load(of_agent(config_file, status.running()), options, log_level="error")
    if name is None:
        show_all(settings, registry)
        return
    kinds = [kind for kind in KEYS if name.removeprefix(f"{kind}.") in registry.names(kind)]
    if not kinds and (named := [one for one in settings.instances if name in (one.key, one.name)]):
        for one in named:
            show_one(settings, registry, one.kind, one.plugin)
        return
    if not kinds:
        known = [plugin for kind in KINDS for plugin in registry.names(kind)]
        fail(f'there is no plugin "{name}"{suggest(name, known)}')
    for kind in kinds:
        show_one(settings, registry, kind, name.removeprefix(f"{kind}."))


@command.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(scaffold.KINDS), default="collector", show_default=True, help="What it is.")
@click.option("--package", is_flag=True, help="A package to be installed, with tests, in the place of one file.")
@click.option("--folder", default=".", type=click.Path(path_type=Path), help="Where, if not here.")
@common
def new(name: str, kind: str, package: bool, folder: Path, **_options: object) -> None:  # noqa: FBT001  # click hands it over by its name
    """Write a new plugin that works at once, and say what to do next. What is there already is never overwritten."""
    taken = {each: f"the command `agentd plugins {each}`" for each in command.commands}
    taken |= {found.name: f"a plugin ({found.origin})" for found in (*discovery.bundled(), *discovery.installed())}
    if reason := scaffold.wrong(name, taken):
        fail(f"{name} cannot be the name of a plugin: {reason}", 2)
    texts = scaffold.files(name, kind, package=package)
    try:
        scaffold.write(folder, texts)
    except OSError as error:
        fail(str(error))
    for path in texts:
        click.echo(f"wrote {folder / path}")
    first = folder / next(iter(texts))
    steps = [shlex.join([sys.executable, "-m", "pip", "install", "-e", str(first.parent)])] if package else []
    if kind == "collector":
        steps.append(f"agentd collect {name if package else shlex.quote(str(first))} --watch")
    else:
        agent = "" if package else f"[agent]\nplugin_dirs = {toml([str(folder.resolve())])}\n\n"
        click.echo(f"\nPut this into the configuration:\n\n{agent}{scaffold.section(name, kind)}")
        steps += ["agentd check --probe" if kind == "sink" else "agentd check", "agentd reload"]
    click.echo("\n".join(["\nNext:", *(f"  {step}" for step in steps)]))


def why(settings: Settings, kind: str, name: str) -> str:
    """Return whether a plugin is enabled, and because of what."""
    instances = [one for one in settings.instances if (one.kind, one.plugin) == (kind, name)]
    if instances:
        return "; ".join(
            f"enabled as {one.name} ({one.reason})" if one.name != name else f"enabled ({one.reason})"
            for one in instances
        )
    return settings.disabled.get(f"{kind}.{name}", f'off (switch on: [{kind}] enable = ["{name}"] or [{kind}.{name}])')


def show_all(settings: Settings, registry: Registry) -> None:
    """Print a table of all plugins."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False, highlight=False)  # what it prints is other people's text
    for kind in KINDS:
        table = Table("name", "what it does", "enabled", title=kind, title_justify="left", box=None, pad_edge=False)
        for name in registry.names(kind):
            try:
                what = summary(registry.plugin_class(kind, name))
            except PluginError as error:
                what = f"cannot be loaded: {error}"
            table.add_row(name, what, why(settings, kind, name))
        console.print(table)
        console.print()
    for name, reason in registry.broken_files.items():
        console.print(f"{name}: cannot be loaded: {reason}")


def show_one(settings: Settings, registry: Registry, kind: Kind, name: str) -> None:
    """Print everything about one plugin."""
    from agentd.config.describe import options

    click.echo(f"{kind}.{name}, {registry.origin(kind, name)}: {why(settings, kind, name)}")
    try:
        cls = registry.plugin_class(kind, name)
    except PluginError as error:
        fail(f"it cannot be loaded: {error}")
    click.echo(f"\n{summary(cls)}\n")
    known = list(options(cls.config_type))
    click.echo(f"Options of [{kind}.{name}]:" if known else f"Options of [{kind}.{name}]: none of its own")
    for option in known:
        default = "not set" if option.default is None else f"default {option.default}"
        click.echo(f"  {option.name} ({option.type}, {'required' if option.required else default})")
        for line in option.doc.replace("``", "").splitlines():
            click.echo(f"      {line}")
    everyone = ", ".join(sorted(KEYS[kind].__struct_fields__))
    click.echo(f"and what every section of {kind} may have: {everyone} (`agentd config default` tells what they mean)")
    metrics = declared_metrics(cls)
    click.echo("\nMetrics:" if metrics else "\nMetrics: none are declared")
    for metric in metrics:
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        click.echo(f"  {metric.name}{labels} ({metric.kind})\n      {metric.help}")


def summary(cls: type[Plugin[Any]]) -> str:
    """Return the first paragraph of a plugin's docstring as one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())
