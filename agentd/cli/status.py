"""``agentd status``."""

import asyncio
import json
import time

import click
import msgspec

from agentd.cli import common, fail
from agentd.cli.loading import socket_files
from agentd.status import Status


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print what the agent answers, as JSON.")
@common
def command(*, as_json: bool, **_options: object) -> None:
    """Show how the agent that runs on this machine is. Ends with 1 where a plugin fails, 2 where none answers."""
    body = asyncio.run(ask("/api/v1/status"))
    if body is None:
        places = ", ".join(map(str, socket_files()))
        fail(f"no agent answers at {places}. Is it running, and may you open its socket?", 2)
    status = msgspec.json.decode(body, type=Status)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(status), indent=2))
    else:
        show(status)
    bad = [plugin for plugin in status.plugins if not plugin.up or plugin.last_run in ("failed", "timed out")]
    if bad or not status.ready:
        raise SystemExit(1)


async def ask(path: str) -> bytes | None:
    """Return what the agent answers over its Unix socket, or None where none answers."""
    import aiohttp

    for file in socket_files():
        try:
            connector = aiohttp.UnixConnector(path=str(file))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get(f"http://localhost{path}") as response,
            ):
                response.raise_for_status()
                return await response.read()
        except (OSError, aiohttp.ClientError, TimeoutError):
            continue
    return None


def show(status: Status) -> None:
    """Print a status for people."""
    from rich.console import Console
    from rich.table import Table

    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started_at))
    click.echo(
        f"agentd {status.version}, process {status.pid}, since {since}, {'ready' if status.ready else 'NOT READY'}"
    )
    click.echo(f"listens on {', '.join(status.listen)}; state in {status.state_directory}")
    click.echo(f"configuration: {', '.join(status.config_files) or 'the defaults'}\n")
    table = Table(box=None, pad_edge=False)
    longest = max((len(plugin.plugin) for plugin in status.plugins), default=0)
    table.add_column("plugin", no_wrap=True, min_width=longest)
    for heading in ("up", "last run", "ms", "series", "timeouts", "why"):
        table.add_column(heading, overflow="fold")
    for plugin in status.plugins:
        milliseconds = "" if plugin.duration_seconds is None else f"{plugin.duration_seconds * 1000:.2f}"
        table.add_row(
            plugin.plugin,
            "yes" if plugin.up else "NO",
            plugin.last_run,
            milliseconds,
            "" if plugin.series is None else str(plugin.series),
            str(plugin.timeouts or ""),
            plugin.reason,
        )
    Console(markup=False, emoji=False, highlight=False).print(table)
    for plugin in status.plugins:
        if plugin.error:
            click.echo(f"{plugin.plugin}: {plugin.error}")
    for name, reason in status.disabled.items():
        click.echo(f"{name}: {reason}")
