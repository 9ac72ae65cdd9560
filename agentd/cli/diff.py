"""``agentd diff``: what a reload would change."""

import click

from agentd.cli import common
from agentd.cli.reload import show


@click.command("diff")
@common
def command(**_options: object) -> None:
    """Show what agentd reload would begin anew (~), add (+) and remove (-), without doing it.

    The running agent itself compares what it runs with what is in its files. Ends as agentd reload does.
    """
    show("GET", "compared")
