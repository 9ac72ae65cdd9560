"""Files and options of the command line -> settings and a registry."""

import os
from collections.abc import Callable, Mapping

import click

from agentd import logs
from agentd.cli import fail
from agentd.config import ConfigError, Document, Origin, Overrides, Settings, apart, core, find, read, resolve
from agentd.registry import Registry
from agentd.status import Status

CONFIGURATION = 78
"""Exit status for a configuration that cannot be used: EX_CONFIG of sysexits.h."""


def load(
    config_file: str | None,
    options: Mapping[str, object],
    *,
    status: int = CONFIGURATION,
    log_level: str = "info",
    extra: Overrides | None = None,
) -> tuple[Settings, Registry]:
    """Return what the configuration comes to, logs configured; print every error and end with ``status`` otherwise."""
    try:
        return use(read(find(config_file)), {**overriding(options), **(extra or {})}, log_level)
    except ConfigError as error:
        refuse(error)
        count = len(error.problems)
        fail(f"{count} {'error' if count == 1 else 'errors'} in the configuration", status)


def use(document: Document, overrides: Overrides, log_level: str = "info") -> tuple[Settings, Registry]:
    """Return what a document comes to, logs configured. Raises ``ConfigError`` with all that is wrong."""
    agent = core(document, overrides=overrides).agent
    level = agent.log_level if _says(document, overrides, "log_level") else log_level
    logs.configure(level, agent.log_format)  # type: ignore[arg-type]  # both are checked by the configuration
    registry = Registry(agent.plugin_dirs, apart=apart(document))
    return resolve(document, registry, overrides=overrides), registry


def of_agent(config_file: str | None, status: Status) -> str | None:
    """Return the file to read where nobody names one: that of the running agent."""
    if config_file is None and status.config_files and status.config_files[0].endswith(".toml"):
        return status.config_files[0]
    return config_file


def refuse(error: ConfigError) -> None:
    """Print all that is wrong with a configuration."""
    for problem in error.problems:
        click.echo(problem, err=True)


def loader(
    config_file: str | None, options: Mapping[str, object]
) -> Callable[[Registry | None], tuple[Settings, Registry]]:
    """Return what reads the same configuration again. It raises ``ConfigError`` with all that is wrong."""
    overrides = overriding(options)

    def load_again(before: Registry | None) -> tuple[Settings, Registry]:
        document = read(find(config_file))
        registry = Registry(core(document, overrides=overrides).agent.plugin_dirs, before, apart(document))
        return resolve(document, registry, overrides=overrides), registry

    return load_again


def overriding(options: Mapping[str, object]) -> Overrides:
    """Return what the command line and the environment put in the place of the configuration's values."""
    overrides: dict[tuple[str, ...], tuple[object, Origin]] = {}
    if listen := os.environ.get("AGENTD_LISTEN"):
        overrides["web", "listen"] = (listen.split(","), Origin("environment AGENTD_LISTEN"))
    for name, path in (
        ("listen", ("web", "listen")),
        ("log_level", ("agent", "log_level")),
        ("log_format", ("agent", "log_format")),
    ):
        value = options.get(name)
        if value:
            value = list(value) if isinstance(value, tuple) else value
            overrides[path] = (value, Origin("--" + name.replace("_", "-")))
    return overrides


def commands_of_plugins() -> dict[str, click.Command]:
    """Return the commands that plugins add which are not bundled, by the default configuration's plugin folders."""
    document = read(find(None))
    registry = Registry(core(document).agent.plugin_dirs, apart=apart(document))
    registry.load_installed()
    added = click.Group()
    list(registry.call("agentd_commands", commands=added))
    return dict(added.commands)


def _says(document: Document, overrides: Overrides, key: str) -> bool:
    section = document.values.get("agent")
    return ("agent", key) in overrides or (isinstance(section, Mapping) and key in section)
