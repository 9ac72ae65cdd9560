"""``agentd status``."""

import json

import click
import msgspec

from agentd.cli import common
from agentd.cli.client import NoAgentError, RefusedError, ask
from agentd.status import Status, wrong

TROUBLE = (
    "plugin.failed",
    "plugin.rests",
    "collector.timed_out",
    "sink.disconnected",
    "journal.*",
    "agent.config_refused",
    "agent.memory_shed",
)
"""Events of the agent's own that tell of something wrong."""

ERRORS = 5
"""Of these, how many are shown, of the last day."""

ROBOTS = "/api/telemetry/info"
"""Where the collector ``robots`` says how many there are."""


class Robots(msgspec.Struct):
    """What that tells."""

    active_connections: int
    robots: int
    stale: int


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]


@click.command("status")
@click.option("--all", "everything", is_flag=True, help="All plugins, though they do not fit into the terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print what the agent answers, as JSON.")
@common
def command(*, everything: bool, as_json: bool, **_options: object) -> None:
    """Show how the agent that runs on this machine is; its first line says whether all is well.

    Ends with 1 where a plugin fails, a sink is unhealthy, the journal cannot be written, or the configuration, the
    certificates or the file of tokens not be used, and with 2 where no agent answers.
    """
    status = current()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(status), indent=2))
    else:
        for line in screen(status, everything=everything):
            click.echo(line)
    if wrong(status):
        raise SystemExit(1)


def current() -> Status:
    """Return how the running agent is. Raises ``NoAgentError``."""
    return msgspec.json.decode(ask("/api/v1/status"), type=Status)


def running() -> Status | None:
    """Return how the running agent is; None where none answers."""
    try:
        return current()
    except (NoAgentError, RefusedError):
        return None


def screen(status: Status, *, everything: bool) -> list[str]:
    """Return the screen, with what the agent tells beside its status."""
    import shutil

    from agentd.cli.lines import width
    from agentd.cli.screen import lines

    height = 0 if everything else shutil.get_terminal_size((0, 0)).lines  # where there is no terminal, there is room
    return list(lines(status, robots(), trouble(), columns=width(), height=height - 1))


def robots() -> Robots | None:
    """Return how many robots there are; None where no collector knows of any."""
    try:
        return msgspec.json.decode(ask(ROBOTS), type=Robots)
    except (RefusedError, NoAgentError, msgspec.MsgspecError):
        return None


def trouble() -> list[str]:
    """Return the last events that tell of something wrong, as lines, the newest last."""
    from agentd.cli.lines import Lines
    from agentd.events.envelope import Event

    query = {"type": ",".join(TROUBLE), "source": "agentd", "since": "1d", "limit": ERRORS}
    try:
        page = msgspec.json.decode(ask("/api/v1/events", query=query), type=_Page)
    except (RefusedError, NoAgentError, msgspec.MsgspecError):
        return []
    events = [msgspec.json.decode(raw, type=Event) for raw in reversed(page.events)]
    lines = Lines()
    for event in events:
        lines.measure(event)
    return [click.unstyle(lines.line(event)) for event in events]
