"""``agentd run``."""

import asyncio

import click

from agentd.cli import common, fail
from agentd.cli.loading import load


@click.command("run")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Instead of 127.0.0.1:9797; may be given again.")
@common
def command(config_file: str | None, **options: object) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Ends with status 78 where the configuration has errors, and with 1 where a port is taken.
    """
    settings, registry = load(config_file, options)
    from agentd.daemon import Agent, StateDirectoryError, end_in_time
    from agentd.web.server import ListenError

    with asyncio.Runner() as runner:
        try:
            runner.run(Agent(settings, registry).run())
        except (ListenError, StateDirectoryError) as error:
            end_in_time(1)
            fail(str(error))
