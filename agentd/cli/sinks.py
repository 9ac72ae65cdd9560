"""``agentd sinks``."""

import json
import sys
from collections.abc import Iterator
from urllib.parse import quote

import click
import msgspec

from agentd.cli import common
from agentd.cli.client import ask
from agentd.status import SinkStatus

PAGE = 1000
"""Dead letters that are asked for at once."""

COUNTS = ("sent", "retried", "rejected", "dropped", "dead")


class _Letter(msgspec.Struct):
    number: int
    time: float
    reason: str
    event: msgspec.Raw


@click.group("sinks", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print what the agent answers, as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **_options: object) -> None:
    """Show how the sinks are, deliver to one again, or give up what waits for it.

    Ends with 1 where one is unhealthy, and with 2 where no agent answers.
    """
    if context.invoked_subcommand is not None:
        return
    sinks = _sinks()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(sinks), indent=2))
    else:
        show(sinks)
    if not all(sink.healthy for sink in sinks):
        raise SystemExit(1)


@command.command()
@click.argument("name")
@click.option("--after", metavar="SEQ", type=click.IntRange(0), help="All events behind this number (meta.seq).")
@common
def replay(name: str, after: int | None, **_options: object) -> None:
    """Deliver dead letters to a sink once more; with --after, all events that the journal has behind a number."""
    ask(_path(name, "replay"), query={"after": after}, method="POST")
    click.echo("dead letters are delivered once more" if after is None else f"all behind {after} is delivered again")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def skip(name: str, *, yes: bool, **_options: object) -> None:
    """Give up all events that wait for a sink, so that it goes on with what comes.

    Asks before; where nobody can be asked, in a script, it takes --yes.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("this gives up events for good, and nobody can be asked here: say --yes")
    if not yes:
        waiting = next((sink.lag_events for sink in _sinks() if sink.sink in (name, f"sinks.{name}")), 0)
        click.confirm(f"{name} will not get what it wants of the {waiting} events that wait. Go on?", abort=True)
    skipped = msgspec.json.decode(ask(_path(name, "skip"), method="POST"), type=dict[str, int])["skipped"]
    click.echo(f"{skipped} events are given up")


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print each as JSON, one a line.")
@common
def dead(name: str, *, as_json: bool, **_options: object) -> None:
    """Show the events that a sink's receiver refused for good, the oldest first, and why."""
    from agentd.cli.lines import Lines, escaped, local_time
    from agentd.events.envelope import Event

    lines = Lines()
    for letter in _letters(name):
        if as_json:
            click.echo(msgspec.json.encode(letter))
        else:
            click.echo(lines.line(msgspec.json.decode(letter.event, type=Event)))
            click.echo(f"    refused at {local_time(letter.time)}: {escaped(letter.reason)}")


def show(sinks: list[SinkStatus]) -> None:
    """Print a table of sinks, and what is wrong with them."""
    from agentd.cli.lines import ago, escaped, table, width

    if not sinks:
        click.echo("no sink is configured")
        return
    rows: list[tuple[str, ...]] = [("sink", "plugin", "state", "healthy", "lag", "behind")]
    counts: list[tuple[str, ...]] = [COUNTS]
    for sink in sinks:
        healthy = "yes" if sink.healthy else "NO"
        rows.append((sink.sink, sink.plugin, sink.state, healthy, str(sink.lag_events), ago(sink.lag_seconds)))
        counts.append(tuple(map(str, (sink.sent, sink.retried, sink.rejected, sink.dropped, sink.dead_letters))))
    numbers = range(4, len(rows[0]) + len(COUNTS))
    whole = list(table([row + count for row, count in zip(rows, counts, strict=True)], numbers))
    if max(map(len, whole)) <= width():
        click.echo("\n".join(whole))
    else:  # each sink has its counts on a line of their own
        head, *lines = table(rows, numbers)
        click.echo(head)
        for line, count in zip(lines, counts[1:], strict=True):
            click.echo(line)
            click.echo("    " + ", ".join(f"{name} {number}" for name, number in zip(COUNTS, count, strict=True)))
    for sink in sinks:
        if sink.error:
            click.echo(f"{sink.sink}: {escaped(sink.error)}")


def _sinks() -> list[SinkStatus]:
    return msgspec.json.decode(ask("/api/v1/sinks"), type=list[SinkStatus])


def _letters(name: str) -> Iterator[_Letter]:
    after = 0
    while True:
        page = msgspec.json.decode(ask(_path(name, "dead"), query={"after": after, "limit": PAGE}), type=list[_Letter])
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].number


def _path(name: str, what: str) -> str:
    return f"/api/v1/sinks/{quote(name, safe='')}/{what}"
