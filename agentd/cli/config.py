"""``agentd config default|show|schema``."""

from collections.abc import Iterator

import click

from agentd.cli import common
from agentd.cli.loading import load
from agentd.discovery import KINDS
from agentd.options import Config
from agentd.registry import PluginError, Registry


@click.group("config")
def command() -> None:
    """Print the default configuration, the effective one, or its schema."""


@command.command()
@common
def default(config_file: str | None, **options: object) -> None:
    """Print every option of every plugin with its default and its meaning, ready to be edited."""
    from agentd.config.describe import default_file

    _, registry = load(config_file, options, log_level="error")
    click.echo(default_file(entries(registry)), nl=False)


@command.command()
@common
def show(config_file: str | None, **options: object) -> None:
    """Print the effective settings, each with where it comes from. Secrets are not shown."""
    from agentd.config.describe import show as shown

    settings, _ = load(config_file, options, log_level="error")
    click.echo(shown(settings), nl=False)


@command.command()
@common
def schema(config_file: str | None, **options: object) -> None:
    """Print a JSON Schema (draft 07) of the configuration with all plugins that are found here, for editors."""
    import json

    from agentd.config.describe import schema as made

    _, registry = load(config_file, options, log_level="error")
    described = list(entries(registry))
    broken = {(kind, name) for kind in KINDS for name in registry.names(kind)} - {
        (kind, name) for kind, name, *_ in described
    }
    click.echo(json.dumps(made(described, sorted(broken)), indent=2))


def entries(registry: Registry) -> Iterator[tuple[str, str, str, type[Config]]]:
    """Yield kind, name, description and options of every plugin that can be loaded."""
    from agentd.cli.plugins import summary

    for kind in KINDS:
        for name in registry.names(kind):
            try:
                cls = registry.plugin_class(kind, name)
            except PluginError:
                continue
            yield kind, name, summary(cls), cls.config_type
