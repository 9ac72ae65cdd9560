"""``agentd reload``: the running agent goes over to the configuration as it is now in its files."""

import click

from agentd.cli import common, fail
from agentd.cli.client import RefusedError, begin

WITHIN = 60.0
"""Seconds that new plugins may take to start, one that is slow included."""


@click.command("reload")
@common
def command(**_options: object) -> None:
    """Have the running agent read its configuration again. Only what changed is begun anew.

    Ends with 1 where the configuration is refused, every error printed: then the agent goes on as it was. Ends with 2
    where no agent answers.
    """
    show("POST", "reloaded")


def show(method: str, done: str) -> None:
    """Ask the agent, and print what changes, a line for each plugin."""
    import msgspec

    from agentd.changes import Changes

    try:
        with begin("/api/v1/reload", method=method, timeout=WITHIN) as answer:
            changes = msgspec.json.decode(answer.read(), type=Changes)
    except RefusedError as error:
        if error.status != 409:
            raise
        for line in error.message.splitlines():
            click.echo(line, err=True)
        fail("the configuration is refused; the agent goes on as it was")
    for sign, names in (("+", changes.added), ("~", changes.changed), ("-", changes.removed)):
        for name in names:
            click.echo(f"{sign} {name}")
    for name in changes.sections:
        click.echo(f"~ [{name}]")
    for name in changes.later:
        click.echo(f"~ [{name}] is NOT in effect before the agent is started again: systemctl restart agentd")
    click.echo(done if changes else f"{done}: nothing changed")
