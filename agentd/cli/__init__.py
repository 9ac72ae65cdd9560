"""The command line. Each command is a file; what is heavy is imported inside the command that needs it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from agentd import __version__, ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

LEAVE_WITHIN = 1.0
"""Seconds that threads and tasks of plugins get to end when a command is done."""

COMMANDS = {
    "run": "Run the agent until SIGTERM or SIGINT.",
    "check": "Check the configuration and print every error.",
    "collect": "Collect once and print the metrics, without a server.",
    "plugins": "List plugins, describe one, write a new one, or pause one.",
    "explain": "Say what a metric means, and where it comes from.",
    "config": "Print the default configuration, the effective one, or its schema.",
    "reload": "Go over to the changed configuration.",
    "diff": "Show what a reload would change.",
    "status": "Show how the running agent is.",
    "doctor": "Look for what may keep the agent from its work, and say what to do.",
    "bundle": "Pack what somebody else needs to find out what is wrong.",
    "events": "Show what has happened, and follow what happens.",
    "emit": "Say that something happened.",
    "sinks": "Show how the sinks are, deliver again, or skip.",
    "token": "Make, list, replace and revoke tokens.",
    "simulate": "Let a fleet of simulated robots send telemetry to an agent.",
    "compare": "Say what would change with agentd in the place of a node_exporter.",
    "migrate": "Turn the settings of another exporter into agentd's.",
    "completion": "Print a script for shell completion.",
}

ALIASES = {"plugin": "plugins"}
"""Other names by which commands may be called."""


class Commands(click.Group):
    """Loads a command's module when the command is called: ``agentd run`` does not pay for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in commands, and those that plugins add."""
        return [*COMMANDS, *self._added(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"agentd.cli.{cmd_name}").command
            return command
        return self._added(ctx).get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
        with formatter.section("Commands"):
            added = {name: command.get_short_help_str() for name, command in self._added(ctx).items()}
            formatter.write_dl([*COMMANDS.items(), *added.items()])

    def _added(self, _ctx: click.Context) -> dict[str, click.Command]:
        # Only where the command line is not one of the built-in ones are other people's plugins asked for theirs.
        from agentd.cli.loading import commands_of_plugins

        return commands_of_plugins()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="agentd")
def group() -> None:
    """Gather metrics of this host and of the robots around it, and show them to Prometheus."""


def common(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options that every command takes."""
    for option in (
        click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="How log lines look."),
        click.option(
            "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="From which level on to log."
        ),
        click.option(
            "--config", "config_file", metavar="FILE", type=click.Path(), help="Instead of /etc/agentd/agentd.toml."
        ),
    ):
        command = option(command)
    return command


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error and end with this exit status."""
    click.echo(f"agentd: {message}", err=True)
    sys.exit(status)


def main() -> None:
    """Run the command line. An unexpected error is one line; ``--log-level debug`` shows its traceback."""
    try:
        group(prog_name="agentd")
    except SystemExit as end:
        ending.within(LEAVE_WITHIN, end.code if isinstance(end.code, int) else 0)
        raise
    except BrokenPipeError:  # `agentd collect | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # the last resort
        if isinstance(error, UnicodeEncodeError) and any(error.object in argument for argument in sys.argv[1:]):
            fail(f"expected UTF-8; found {error.object!r}", 2)
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        fail(f"{type(error).__name__}: {error} (--log-level debug shows where)")
