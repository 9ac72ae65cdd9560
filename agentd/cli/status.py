"""``agentd status``."""

import json
import time
from collections.abc import Iterator, Sequence

import click
import msgspec

from agentd.cli import common
from agentd.cli.client import ask
from agentd.status import JournalStatus, PluginStatus, Status


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
    bad = [
        plugin
        for plugin in status.plugins
        if (not plugin.up and not plugin.paused_until) or plugin.last_run in ("failed", "timed out")
    ]
    unwritten = status.journal is not None and status.journal.error
    broken = unwritten or status.tokens_error or status.tls_error or status.config_error
    if bad or broken or not status.ready or not all(sink.healthy for sink in status.sinks):
        raise SystemExit(1)


def show(status: Status) -> None:
    """Print a status for people."""
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
    if status.config_error:
        click.echo("the configuration in the files is REFUSED, an earlier one is used:")
        for line in status.config_error.splitlines():
            click.echo(f"    {escaped(line)}")
    click.echo()
    for line in of_plugins(status.plugins):
        click.echo(line)
    for plugin in status.plugins:
        if plugin.error:
            again = f" (asked again in {plugin.asked_again_in:.0f} s)" if plugin.asked_again_in else ""
            click.echo(f"{plugin.plugin}: {escaped(plugin.error)}{again}")
    for sink in status.sinks:
        if not sink.healthy or sink.error:
            health = sink.state if sink.healthy else "UNHEALTHY"
            click.echo(f"{sink.sink}: {health}, {sink.lag_events} events wait: {escaped(sink.error or sink.state)}")
    for name, reason in status.disabled.items():
        click.echo(f"{name}: {reason}")


def of_plugins(plugins: Sequence[PluginStatus]) -> Iterator[str]:
    """Yield the lines of a table of plugins. Why one runs has a line of its own where the terminal is too narrow."""
    from agentd.cli.lines import escaped, table, width

    rows = [("plugin", "up", "last run", "ms", "series", "timeouts")]
    for plugin in plugins:
        milliseconds = "" if plugin.duration_seconds is None else f"{plugin.duration_seconds * 1000:.2f}"
        series = "" if plugin.series is None else str(plugin.series)
        up = "yes" if plugin.up else "paused" if plugin.paused_until else "NO"
        rows.append((plugin.plugin, up, plugin.last_run, milliseconds, series, str(plugin.timeouts or "")))
    lines = list(table(rows, numbers=range(3, 6)))
    column = max(map(len, lines))
    for line, why in zip(lines, ["why", *(escaped(plugin.reason) for plugin in plugins)], strict=True):
        if column + 2 + len(why) <= width():
            yield f"{line.ljust(column)}  {why}".rstrip()
        else:
            yield line
            yield f"    {why}"


def told(journal: JournalStatus) -> str:
    """Return how the journal is, in a line."""
    if journal.error:
        state = f"NOTHING CAN BE WRITTEN DOWN: {journal.error}"
    else:
        state = "on disk" if journal.durable else "in memory only"
    lost = [f"{number} {what}" for number, what in ((journal.dropped, "lost"), (journal.damaged, "damaged")) if number]
    return ", ".join([state, f"last event {journal.last}", f"{journal.size_bytes / (1 << 20):.1f} MiB", *lost])
