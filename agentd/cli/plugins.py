"""``agentd plugins``."""

from typing import Any

import click

from agentd.cli import common, fail
from agentd.cli.loading import load
from agentd.config import Settings, suggest
from agentd.discovery import KINDS
from agentd.plugin import Plugin, declared_metrics
from agentd.registry import PluginError, Registry


@click.command("plugins")
@click.argument("name", required=False)
@common
def command(name: str | None, config_file: str | None, **options: object) -> None:
    """List all plugins with what they are, and whether and why they are enabled; or describe one, with its options and
    metrics. NAME is ``cpu`` or, where two kinds have it, ``collectors.cpu``.
    """
    settings, registry = load(config_file, options, log_level="error")
    if name is None:
        show_all(settings, registry)
        return
    kinds = [kind for kind in KINDS if name.removeprefix(f"{kind}.") in registry.names(kind)]
    if not kinds:
        known = [plugin for kind in KINDS for plugin in registry.names(kind)]
        fail(f'there is no plugin "{name}"{suggest(name, known)}')
    for kind in kinds:
        show_one(settings, registry, kind, name.removeprefix(f"{kind}."))


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


def show_one(settings: Settings, registry: Registry, kind: str, name: str) -> None:
    """Print everything about one plugin."""
    from agentd.config.describe import options

    click.echo(f"{kind}.{name}, {registry.origin(kind, name)}: {why(settings, kind, name)}")
    try:
        cls = registry.plugin_class(kind, name)
    except PluginError as error:
        fail(f"it cannot be loaded: {error}")
    click.echo(f"\n{summary(cls)}\n\nOptions of [{kind}.{name}]:")
    for option in options(cls.config_type):
        default = "required" if option.required else f"default {option.default}"
        click.echo(f"  {option.name} ({option.type}, {default})")
        for line in option.doc.splitlines():
            click.echo(f"      {line}")
    metrics = declared_metrics(cls)
    click.echo("\nMetrics:" if metrics else "\nMetrics: none are declared")
    for metric in metrics:
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        click.echo(f"  {metric.name}{labels} ({metric.kind})\n      {metric.help}")


def summary(cls: type[Plugin[Any]]) -> str:
    """Return the first paragraph of a plugin's docstring as one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())
