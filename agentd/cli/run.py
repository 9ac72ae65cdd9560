"""``agentd run``."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import signal
import sys
from typing import TYPE_CHECKING

import click

from agentd import ending
from agentd.cli import LEAVE_WITHIN, common
from agentd.cli.loading import load

if TYPE_CHECKING:
    from agentd.daemon import Agent

END_WITHIN = 1.9
"""Seconds after a signal in which the process ends, whatever hangs in it."""


@click.command("run")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Instead of 127.0.0.1:9797; may be given again.")
@common
def command(config_file: str | None, **options: object) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Ends with status 78 where the configuration has errors, and with 1 where a port is taken.
    """
    settings, registry = load(config_file, options)
    from agentd.daemon import Agent, StateDirectoryError
    from agentd.store.database import StoreBusyError
    from agentd.web.server import ListenError

    with contextlib.suppress(AttributeError, OSError, ValueError):  # standard error may be closed, or no file
        # SIGABRT is what systemd's watchdog sends where the event loop is blocked: the log then says by what.
        faulthandler.enable()
    status = 0
    with asyncio.Runner() as runner:
        try:
            runner.run(until_told(Agent(settings, registry)))
        except (ListenError, StateDirectoryError, StoreBusyError) as error:
            click.echo(f"agentd: {error}", err=True)
            status = 1
        timer = ending.within(LEAVE_WITHIN, status)
    timer.cancel()
    sys.exit(status)


async def until_told(agent: Agent) -> None:
    """Run the agent until SIGTERM or SIGINT.

    These are not left to asyncio, whose handlers wait until a plugin that blocks the event loop gives way, and leave
    nothing behind that would take a further signal while the process ends.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        ending.within(END_WITHIN, 0)
        loop.call_soon_threadsafe(stopping.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # What asyncio does handle is SIGHUP: with that, any signal wakes the loop, so that the handler above gets its turn.
    await agent.run(stopping)
