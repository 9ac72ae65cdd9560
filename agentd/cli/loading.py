"""Files and options of the command line -> settings and a registry."""

import os
import stat
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

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


def of_agent(config_file: str | None, status: Status | None) -> str | None:
    """Return the file to read where nobody names one: that of the running agent.

    A configuration names folders whose plugins are run, by whoever reads it: root, as a rule, who asks an agent of
    fewer rights. So one that others can write is not taken on the agent's word.
    """
    if config_file is not None or status is None or not status.config_files:
        return config_file
    if not status.config_files[0].endswith(".toml"):
        return config_file
    file = status.config_files[0]
    if only_ours(Path(file)):
        return file
    click.echo(
        f"agentd: the agent goes by {ascii(file)[1:-1]}, which others than root and you can write, so it is not read: "
        "name it with --config to have it read, and the plugins run that it names",
        err=True,
    )
    return None


def only_ours(file: Path) -> bool:
    """Say whether nobody but root, who asks and their groups can write a file, or put another one in its place."""
    if not file.is_absolute() or ".." in file.parts:
        return False
    try:
        real = file.resolve(strict=True)
        places = [each.lstat() for each in chain((file, *file.parents), (real, *real.parents))]
    except (OSError, RuntimeError, ValueError):
        return False
    return all(map(_is_only_ours, places))


def _is_only_ours(place: os.stat_result) -> bool:
    mode = place.st_mode
    others = not stat.S_ISLNK(mode) and (
        mode & stat.S_IWOTH or (mode & stat.S_IWGRP and place.st_gid not in (0, os.getegid()))
    )
    kept_apart = stat.S_ISDIR(mode) and mode & stat.S_ISVTX  # as in /tmp, nobody renames what is not theirs
    return place.st_uid in (0, os.geteuid()) and bool(not others or kept_apart)


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
