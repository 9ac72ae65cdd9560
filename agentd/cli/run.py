"""``agentd run``."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import signal
import sys
from typing import TYPE_CHECKING

import click

from agentd import ending
from agentd.cli import LEAVE_WITHIN, common, fail
from agentd.cli.loading import CONFIGURATION, load, loader, overriding, refuse, use
from agentd.config import ConfigError, find, kept, read
from agentd.directories import configuration_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentd.config import Settings
    from agentd.daemon import Agent
    from agentd.registry import Registry

log = logging.getLogger(__name__)

END_WITHIN = 1.9
"""Seconds after a signal in which the process ends, whatever hangs in it."""


@click.command("run")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Instead of 127.0.0.1:9797; may be given again.")
@click.option(
    "--fall-back",
    is_flag=True,
    help="Where the configuration has errors, run with the last that had none (as the service does).",
)
@common
def command(config_file: str | None, *, fall_back: bool, **options: object) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Ends with status 78 where the configuration has errors, and with 1 where a port is taken.
    """
    from agentd.memory import one_heap

    one_heap()
    settings, registry, refused = usable(config_file, options) if fall_back else (*load(config_file, options), "")
    from agentd.daemon import Agent, StateDirectoryError
    from agentd.store.database import StoreBusyError
    from agentd.web.server import ListenError

    with contextlib.suppress(RuntimeError, OSError, ValueError):  # standard error may be closed, or no file
        # SIGABRT is what systemd's watchdog sends where the event loop is blocked: the log then says by what.
        faulthandler.enable()
    status = 0
    with asyncio.Runner() as runner:
        try:
            runner.run(until_told(Agent(settings, registry, loader(config_file, options), refused)))
        except (ListenError, StateDirectoryError, StoreBusyError) as error:
            click.echo(f"agentd: {error}", err=True)
            status = 1
        timer = ending.within(LEAVE_WITHIN, status)
    timer.cancel()
    sys.exit(status)


def usable(config_file: str | None, options: Mapping[str, object]) -> tuple[Settings, Registry, str]:
    """Return what the configuration comes to, or the last one that could be used and why this one cannot."""
    overrides = overriding(options)
    try:
        return *use(read(find(config_file)), overrides), ""
    except ConfigError as error:
        refuse(error)
        before = kept(configuration_file())
        if before is not None:
            with contextlib.suppress(ConfigError):
                settings, registry = use(before, overrides)
                log.error("the configuration has errors: the last that had none is used, of %s", configuration_file())
                return settings, registry, "\n".join(map(str, error.problems))
        fail(f"{len(error.problems)} errors in the configuration, and no earlier one is kept", CONFIGURATION)


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
