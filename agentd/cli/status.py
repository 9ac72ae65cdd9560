"""``agentd status``."""

import json
import time

import click
import msgspec

from agentd.cli import common
from agentd.cli.client import ask
from agentd.status import JournalStatus, Status


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print what the agent answers, as JSON.")
@common
def command(*, as_json: bool, **_options: object) -> None:
    """Show how the agent that runs on this machine is.

    Ends with 1 where a plugin fails, a sink is unhealthy, the journal cannot be written, the file of tokens or the
    certificates cannot be used, and with 2 where no agent answers.
    """
    status = msgspec.json.decode(ask("/api/v1/status"), type=Status)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(status), indent=2))
    else:
        show(status)
    bad = [plugin for plugin in status.plugins if not plugin.up or plugin.last_run in ("failed", "timed out")]
    broken = status.journal is not None and status.journal.error
    broken = broken or status.tokens_error or status.tls_error
    if bad or broken or not status.ready or not all(sink.healthy for sink in status.sinks):
        raise SystemExit(1)


def show(status: Status) -> None:
    """Print a status for people."""
    from rich.console import Console
    from rich.table import Table

    from agentd.cli.lines import escaped

    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started_at))
    click.echo(
        f"agentd {status.version}, process {status.pid}, since {since}, {'ready' if status.ready else 'NOT READY'}"
    )
    click.echo(f"listens on {', '.join(status.listen)}; state in {status.state_directory}")
    click.echo(f"configuration: {', '.join(status.config_files) or 'the defaults'}")
    if status.journal is not None:
        click.echo(f"journal: {told(status.journal)}")
    if status.tokens_error:
        click.echo(f"tokens: THE FILE CANNOT BE USED, those known before still count: {status.tokens_error}")
    if status.tls_error:
        click.echo(f"TLS: THE CERTIFICATES CANNOT BE USED, those before are shown still: {status.tls_error}")
    click.echo()
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
    for sink in status.sinks:
        if not sink.healthy or sink.error:
            health = sink.state if sink.healthy else "UNHEALTHY"
            click.echo(f"{sink.sink}: {health}, {sink.lag_events} events wait: {escaped(sink.error or sink.state)}")
    for name, reason in status.disabled.items():
        click.echo(f"{name}: {reason}")


def told(journal: JournalStatus) -> str:
    """Return how the journal is, in a line."""
    if journal.error:
        state = f"NOTHING CAN BE WRITTEN DOWN: {journal.error}"
    else:
        state = "on disk" if journal.durable else "in memory only"
    lost = [f"{number} {what}" for number, what in ((journal.dropped, "lost"), (journal.broken, "damaged")) if number]
    return ", ".join([state, f"last event {journal.last}", f"{journal.size_bytes / (1 << 20):.1f} MiB", *lost])
